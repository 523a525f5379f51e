package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

// createFlags is what keys create was told.
type createFlags struct {
	dataFlags
	deadlineFlags
	name, notes, owner, user, tenant, environment, idleTimeout string
	scopes, networks, metadata                                 []string
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
			n, err := flags.newKey(cmd)
			if err != nil {
				return err
			}
			return c.underRules(cmd, true, func(ctx context.Context, svc *keyfold.Service) error {
				key, token, err := svc.CreateKey(ctx, n)
				if err != nil {
					return aboutUser(n.UserID, err)
				}
				return c.printToken(flags.asJSON, key, token, "created key "+key.ID+", which "+ending(&key))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.name, "name", "", "`name` of the key")
	f.StringVar(&flags.notes, "notes", "", "`text` to keep beside it")
	f.StringVar(&flags.owner, "owner", "", "your own `id` of whoever the key belongs to")
	f.StringVar(&flags.user, "user", "", "`id` of the user that the key belongs to, without whom it is refused")
	f.StringVar(&flags.tenant, "tenant", "", "`label` to list and stop keys by")
	f.StringVar(&flags.environment, "environment", "", "second part of the token, a `word` such as live or test (default that of KEYFOLD_ENVIRONMENT, or none)")
	f.StringArrayVar(&flags.scopes, "scope", nil, "what the key may do, a `scope` such as reports:read, reports:* or **; repeatable")
	f.StringArrayVar(&flags.networks, "network", nil, "where it may be used from, a CIDR `prefix`; repeatable")
	f.StringArrayVar(&flags.metadata, "metadata", nil, "`name=value` to keep beside it; repeatable")
	f.StringVar(&flags.idleTimeout, "idle-timeout", none, "end the key when unused for that `duration`")
	flags.deadlineFlags.add(cmd, "life of the key, a `duration` or never (default 15d)")
	flags.dataFlags.add(cmd)
	return cmd
}

func (f *createFlags) newKey(cmd *cobra.Command) (keyfold.NewKey, error) {
	n := keyfold.NewKey{
		Name: f.name, Notes: f.notes, OwnerID: f.owner, UserID: f.user, Tenant: f.tenant, Environment: f.environment, Scopes: f.scopes,
	}
	if cmd.Flags().Changed("user") {
		if err := checkUserID("--user", f.user); err != nil {
			return n, err
		}
	}
	var err error
	if n.TTL, n.ExpiresAt, err = f.deadlineFlags.parse(cmd); err != nil {
		return n, err
	}
	if n.IdleTimeout, err = parseIdleTimeout(f.idleTimeout); err != nil {
		return n, err
	}
	if n.Networks, err = parseNetworks(f.networks); err != nil {
		return n, err
	}
	n.Metadata, err = parseMetadata(f.metadata)
	return n, err
}
