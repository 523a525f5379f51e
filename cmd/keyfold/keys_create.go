package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

// createFlags are the flags of "keyfold keys create".
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
		Short: "Create a key and print its token",
		Long: `Create a key and print its token on standard output. Only a hash of the token is
stored, so it cannot be shown again. All other output goes to standard error.

` + durationHelp,
		Example: `  keyfold keys create --name ci --owner cust_42 --scope reports:read --ttl 30d`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := flags.newKey(cmd)
			if err != nil {
				return err
			}
			return c.underRules(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				if err := findUserFlag(ctx, svc, "--user", &n.UserID); err != nil {
					return err
				}
				key, token, err := svc.CreateKey(ctx, n)
				if err != nil {
					return err
				}
				return c.printToken(flags.asJSON, key, token, "created key "+key.ID+c.inDatabase()+"; it "+expiry(&key))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.name, "name", "", "`name` of the key")
	f.StringVar(&flags.notes, "notes", "", "`text` to store with the key")
	f.StringVar(&flags.owner, "owner", "", "`id` of the owner of the key in your own system")
	f.StringVar(&flags.user, "user", "", "`user` that the key belongs to: an ID, a username or an e-mail address")
	f.StringVar(&flags.tenant, "tenant", "", "`label` by which keys can be listed, disabled and revoked")
	f.StringVar(&flags.environment, "environment", "", "`word` in the token, such as live or test (default KEYFOLD_ENVIRONMENT, or none)")
	f.StringArrayVar(&flags.scopes, "scope", nil, "`scope` of the key, such as reports:read, reports:* or **; repeatable")
	f.StringArrayVar(&flags.networks, "network", nil, "network that the key can be used from, a CIDR `prefix`; repeatable")
	f.StringArrayVar(&flags.metadata, "metadata", nil, "`name=value` to store with the key; repeatable")
	f.StringVar(&flags.idleTimeout, "idle-timeout", none, "`duration` without use after which the key expires")
	flags.deadlineFlags.add(cmd, "lifetime of the key, a `duration` or never (default 15d)")
	flags.dataFlags.add(cmd)
	return cmd
}

func (f *createFlags) newKey(cmd *cobra.Command) (keyfold.NewKey, error) {
	n := keyfold.NewKey{
		Name: f.name, Notes: f.notes, OwnerID: f.owner, UserID: f.user, Tenant: f.tenant, Environment: f.environment, Scopes: f.scopes,
	}
	err := noneEmpty(cmd, "user")
	if err != nil {
		return n, err
	}
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
