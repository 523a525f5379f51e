package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

// keysFlags is what all commands on keys share.
type keysFlags struct {
	db     string
	asJSON bool
}

func (f *keysFlags) add(cmd *cobra.Command) {
	databaseFlag(cmd, &f.db)
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON, as the admin API does")
}

func (c *command) keys() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "Create, list and revoke keys", Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.keysCreate(), c.keysList(), c.keysRevoke())
	return cmd
}

// onService runs do with a Service on the database, and closes it in order.
// Changes are written to the audit log as made by this command.
func (c *command) onService(cmd *cobra.Command, flags *keysFlags, create bool, do func(context.Context, *keyfold.Service) error) error {
	db, err := c.database(cmd, flags.db)
	if err != nil {
		return err
	}
	ctx := keyfold.WithActor(cmd.Context(), keyfold.Actor{Name: "keyfold command"})
	store, err := db.open(ctx, create)
	if err != nil {
		return err
	}
	svc, err := keyfold.New(store, &keyfold.Options{Logger: slog.New(slog.NewTextHandler(c.stderr, nil))})
	if err != nil {
		_ = store.Close()
		return classify(err)
	}
	err = do(ctx, svc)
	return classify(errors.Join(err, svc.Close(context.WithoutCancel(ctx)), store.Close()))
}

// createFlags is what keys create was told.
type createFlags struct {
	keysFlags
	name, notes, owner, tenant, environment string
	ttl, expiresAt, idleTimeout             string
	never                                   bool
	scopes, networks, metadata              []string
}

func (c *command) keysCreate() *cobra.Command {
	var flags createFlags
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a key and print its token, once",
		Long: `Create a key and print its token on standard output, once: it is not kept and
cannot be had again. All else goes to standard error.

Durations are days of 24 hours, hours, minutes and seconds: 15d, 36h, 1d12h.`,
		Example: `  keyfold keys create --name ci --owner cust_42 --scope reports:read --ttl 30d`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := flags.newKey()
			if err != nil {
				return classify(err)
			}
			return c.onService(cmd, &flags.keysFlags, true, func(ctx context.Context, svc *keyfold.Service) error {
				key, token, err := svc.CreateKey(ctx, n)
				if err != nil {
					return err
				}
				return c.printCreated(&flags, key, token)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.name, "name", "", "`name` of the key")
	f.StringVar(&flags.notes, "notes", "", "`text` to keep beside it")
	f.StringVar(&flags.owner, "owner", "", "your own `id` of whoever the key belongs to")
	f.StringVar(&flags.tenant, "tenant", "", "`label` to list and stop keys by")
	f.StringVar(&flags.environment, "environment", "", "second part of the token: `live`, test")
	f.StringArrayVar(&flags.scopes, "scope", nil, "what the key may do, `resource:action`; repeatable")
	f.StringArrayVar(&flags.networks, "network", nil, "where it may be used from, a CIDR `prefix`; repeatable")
	f.StringArrayVar(&flags.metadata, "metadata", nil, "`name=value` to keep beside it; repeatable")
	f.StringVar(&flags.ttl, "ttl", "", "life of the key, a `duration` or never (default 15d)")
	f.StringVar(&flags.expiresAt, "expires-at", "", "end of the key, an RFC 3339 `time`")
	f.BoolVar(&flags.never, "never", false, "the key does not end; the same as --ttl never")
	f.StringVar(&flags.idleTimeout, "idle-timeout", "", "end the key when unused for that `duration`")
	cmd.MarkFlagsMutuallyExclusive("ttl", "expires-at", "never")
	flags.add(cmd)
	return cmd
}

func (f *createFlags) newKey() (keyfold.NewKey, error) {
	n := keyfold.NewKey{
		Name: f.name, Notes: f.notes, OwnerID: f.owner, Tenant: f.tenant, Environment: f.environment, Scopes: f.scopes,
	}
	var err error
	switch {
	case f.never:
		n.TTL = keyfold.Never
	case f.ttl != "":
		if n.TTL, err = admin.ParseTTL(f.ttl); err != nil {
			return n, usage("--ttl: %s", strings.TrimPrefix(err.Error(), "keyfold: "))
		}
	case f.expiresAt != "":
		if n.ExpiresAt, err = parseTime("--expires-at", f.expiresAt); err != nil {
			return n, err
		}
	}
	if f.idleTimeout != "" {
		if n.IdleTimeout, err = admin.ParseDuration(f.idleTimeout); err != nil {
			return n, usage("--idle-timeout: %s", strings.TrimPrefix(err.Error(), "keyfold: "))
		}
	}
	for _, text := range f.networks {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return n, usage("--network wants CIDR prefixes: 192.0.2.0/24, 2001:db8::/32")
		}
		n.Networks = append(n.Networks, network)
	}
	for _, entry := range f.metadata {
		name, value, found := strings.Cut(entry, "=")
		if _, twice := n.Metadata[name]; !found || twice {
			return n, usage("--metadata wants name=value, and each name once")
		}
		if n.Metadata == nil {
			n.Metadata = map[string]string{}
		}
		n.Metadata[name] = value
	}
	return n, nil
}

func (c *command) printCreated(flags *createFlags, key keyfold.Key, token keyfold.Token) error {
	var err error
	if flags.asJSON {
		err = c.printJSON(admin.NewCreatedKey(key, token, time.Now()))
	} else {
		_, err = fmt.Fprintln(c.stdout, token.Reveal())
	}
	if err != nil {
		return fmt.Errorf("key %s was created, but its token could not be printed and is lost: %w", key.ID, err)
	}
	if flags.asJSON {
		return nil
	}
	ends := "never ends"
	if !key.ExpiresAt.IsZero() {
		ends = "ends at " + key.ExpiresAt.UTC().Format(time.RFC3339)
	}
	_, err = fmt.Fprintf(c.stderr, "keyfold: created key %s, which %s; its token is shown this once, so keep it now\n", key.ID, ends)
	return err
}

// listFlags is what keys list was told.
type listFlags struct {
	keysFlags
	owner, tenant, state, expiringBefore string
	limit                                int
}

func (c *command) keysList() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List keys, newest first",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := keyfold.KeysQuery{OwnerID: flags.owner, Tenant: flags.tenant, State: keyfold.KeyState(flags.state)}
			if flags.limit < 0 {
				return usage("--limit wants a number above zero, or 0 for all")
			}
			if flags.expiringBefore != "" {
				var err error
				if q.ExpiringBefore, err = parseTime("--expiring-before", flags.expiringBefore); err != nil {
					return err
				}
			}
			return c.onService(cmd, &flags.keysFlags, false, func(ctx context.Context, svc *keyfold.Service) error {
				return c.printKeys(ctx, svc, q, &flags)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.owner, "owner", "", "only keys of the owner of that `id`")
	f.StringVar(&flags.tenant, "tenant", "", "only keys with that tenant `label`")
	f.StringVar(&flags.state, "state", "", "only keys in that `state`: active, expired, disabled, revoked")
	f.StringVar(&flags.expiringBefore, "expiring-before", "", "only keys that are to end before that RFC 3339 `time`, soonest first")
	f.IntVar(&flags.limit, "limit", 0, "at most `n` keys; 0 for all")
	flags.add(cmd)
	return cmd
}

func (c *command) printKeys(ctx context.Context, svc *keyfold.Service, q keyfold.KeysQuery, flags *listFlags) error {
	keys, err := allKeys(ctx, svc, q, flags.limit)
	if err != nil {
		return err
	}
	now := time.Now()
	if flags.asJSON {
		shown := make([]admin.Key, 0, len(keys)) // an empty list is [], never null
		for _, key := range keys {
			shown = append(shown, admin.NewKey(key, now))
		}
		return c.printJSON(shown)
	}
	t := newTable(c.stdout, now)
	for i := range keys {
		t.add(&keys[i])
	}
	return t.close()
}

// allKeys walks the pages until there are limit keys; 0 is all.
func allKeys(ctx context.Context, svc *keyfold.Service, q keyfold.KeysQuery, limit int) ([]keyfold.Key, error) {
	const page = 200
	var keys []keyfold.Key
	for {
		q.Limit = page
		if limit > 0 {
			q.Limit = min(page, limit-len(keys))
		}
		found, err := svc.Keys(ctx, q)
		if err != nil {
			return nil, err
		}
		keys = append(keys, found.Keys...)
		if q.Cursor = found.Next; found.Next == "" || limit > 0 && len(keys) >= limit {
			return keys, nil
		}
	}
}

func (c *command) keysRevoke() *cobra.Command {
	var flags keysFlags
	var reason string
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "End a key for good",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("revoke wants one id, as \"keyfold keys list\" shows it")
			}
			if token, err := keyfold.ParseToken(args[0]); err == nil {
				return usage("that is a token; the id of its key is %s", token.ID())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onService(cmd, &flags, false, func(ctx context.Context, svc *keyfold.Service) error {
				if err := svc.RevokeKey(ctx, args[0], reason); err != nil {
					return err
				}
				if !flags.asJSON {
					_, err := fmt.Fprintf(c.stdout, "revoked %s\n", args[0])
					return err
				}
				key, err := svc.Key(ctx, args[0])
				if err != nil {
					return err
				}
				return c.printJSON(admin.NewKey(key, time.Now()))
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` to keep beside the revocation")
	flags.add(cmd)
	return cmd
}

func parseTime(flag, text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.IsZero() {
		return time.Time{}, usage("%s wants an RFC 3339 time: 2026-01-31T18:30:00Z", flag)
	}
	return at, nil
}
