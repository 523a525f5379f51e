package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/internal/cidr"
)

// verdict is the JSON document of "keyfold keys verify".
type verdict struct {
	Outcome keyfold.Outcome `json:"outcome"`
	KeyID   *string         `json:"key_id"` // nil if the token is malformed or its key does not exist
}

func (c *command) keysVerify() *cobra.Command {
	var flags dataFlags
	var scopes []string
	var address string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Show whether a token is accepted, and the reason if it is not",
		Long: `Show whether a token is accepted, and the reason if it is not. The exit code is
0 if the token is accepted, and 4 if it is refused. The command does not count
as a use of the key: it changes neither the usage nor the time of the last use.

The token is read from the first line of standard input. On a terminal, the
command asks for it and does not show it. It is never an argument, because other
users of the machine can read arguments.`,
		Example: "  keyfold keys verify --scope reports:read < token.txt",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			request := keyfold.Request{Scopes: scopes}
			if cmd.Flags().Changed("ip") {
				var err error
				if request.IP, err = netip.ParseAddr(address); err != nil || request.IP.Zone() != "" {
					return usage("--ip must be an IP address, such as 192.0.2.7 or 2001:db8::7")
				}
			}
			var err error
			if request.Token, err = c.readToken(cmd.Context()); err != nil {
				return classify(err)
			}
			return c.withService(cmd, io.Discard, withoutUsage, func(ctx context.Context, svc *keyfold.Service) error {
				return c.printVerdict(ctx, svc, request, flags.asJSON)
			})
		},
	}
	cmd.Flags().StringArrayVar(&scopes, "scope", nil, "`scope` that the key must have; repeatable")
	cmd.Flags().StringVar(&address, "ip", "", "IP `address` of the client, for keys with networks")
	flags.add(cmd)
	return cmd
}

func (c *command) printVerdict(ctx context.Context, svc *keyfold.Service, request keyfold.Request, asJSON bool) error {
	_, err := svc.Verify(ctx, request)
	outcome := keyfold.OutcomeOf(err)
	if outcome == keyfold.OutcomeUnavailable {
		return err
	}
	var key *keyfold.Key
	var id *string
	if token, parseErr := keyfold.ParseToken(request.Token); parseErr == nil && outcome != keyfold.OutcomeMalformed {
		found, readErr := svc.Key(ctx, token.ID())
		switch {
		case readErr == nil:
			key, id = &found, &found.ID
		case !errors.Is(readErr, keyfold.ErrNotFound):
			return readErr
		}
	}
	if asJSON {
		if err := c.printJSON(verdict{outcome, id}); err != nil {
			return err
		}
	}
	if outcome != keyfold.OutcomeAllowed {
		return &failure{exitRefused, fmt.Errorf("the token is refused: %s%s", refusalReason(outcome, key), c.inDatabase())}
	}
	if asJSON || key == nil {
		return nil
	}
	_, err = fmt.Fprintf(c.stdout, "accepted: key %s%s %s\n", key.ID, c.inDatabase(), expiry(key))
	return err
}

// refusalReason explains why a token was refused. key is nil if it does not exist.
func refusalReason(outcome keyfold.Outcome, key *keyfold.Key) string {
	if key == nil {
		switch outcome {
		case keyfold.OutcomeMalformed:
			return "it does not have the form of a token, or its checksum is wrong (malformed)"
		case keyfold.OutcomeUnknown:
			return "its key does not exist (unknown)"
		}
		return outcome.String()
	}
	reasons := map[keyfold.Outcome]string{
		keyfold.OutcomeWrongSecret:  "the secret, the prefix or the environment in the token is wrong",
		keyfold.OutcomeRevoked:      "the key was revoked at " + shortTime(key.RevokedAt) + because(key.RevokedReason),
		keyfold.OutcomeDisabled:     "the key was disabled at " + shortTime(key.DisabledAt) + because(key.DisabledReason),
		keyfold.OutcomeExpired:      "the key expired at " + shortTime(key.ExpiresAt),
		keyfold.OutcomeIdle:         "the key has been unused for longer than its idle timeout of " + admin.FormatDuration(key.IdleTimeout),
		keyfold.OutcomeUserDisabled: "the user of the key is disabled or was deleted",
		keyfold.OutcomeScope:        "the key does not have every required scope; its scopes are " + cell(strings.Join(key.Scopes, " ")),
		keyfold.OutcomeIP:           "the IP address (see --ip) is not in the networks of the key, " + cidr.Join(key.Networks),
	}
	reason := "key " + key.ID
	if text := reasons[outcome]; text != "" {
		reason = text + "; key " + key.ID
	}
	return reason + " (" + outcome.String() + ")"
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + printable(reason) + ")"
}

// withoutUsage wraps a store so that verifies change nothing in it: they are not stored
// as uses, and hashes stay as they are.
func withoutUsage(store keyfold.Store) keyfold.Store { return unrecorded{store} }

type unrecorded struct{ keyfold.Store }

func (unrecorded) RecordUsage(context.Context, keyfold.UsageBatch) (keyfold.UsageResult, error) {
	return keyfold.UsageResult{}, nil
}

func (unrecorded) RehashKey(context.Context, string, keyfold.SecretHash, keyfold.SecretHash) error {
	return nil
}
