package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

// updateFlags are the flags of "keyfold keys update".
type updateFlags struct {
	dataFlags
	name, notes, owner, tenant, idleTimeout string
	scopes, networks, metadata              []string
	noScopes, noNetworks, noMetadata        bool
	version                                 int64
}

func (c *command) keysUpdate() *cobra.Command {
	var flags updateFlags
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Change the labels and permissions of a key",
		Long: `Change the labels and permissions of a key. Fields without a flag stay
unchanged. --scope, --network and --metadata replace all previous values. An
empty text, such as --name '', clears a field.

With --version, the command fails if the key has another version, which means
that it was changed in the meantime.`,
		Example: `  keyfold keys update 8fJ2kQ0aXw3mT7Zb --scope orders:read --scope orders:write`,
		Args:    oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			u, err := flags.update(cmd)
			if err != nil {
				return err
			}
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				key, err := updateKey(ctx, svc, args[0], u)
				if err != nil {
					return aboutKey(ctx, svc, args[0], err)
				}
				return c.printKey(flags.asJSON, key, fmt.Sprintf("updated %s%s; its version is %d", key.ID, c.inDatabase(), key.Version))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.name, "name", "", "`name` of the key")
	f.StringVar(&flags.notes, "notes", "", "`text` to store with the key")
	f.StringVar(&flags.owner, "owner", "", "`id` of the owner of the key in your own system")
	f.StringVar(&flags.tenant, "tenant", "", "`label` by which keys can be listed, disabled and revoked")
	f.StringArrayVar(&flags.scopes, "scope", nil, "`scope` of the key, such as reports:read, reports:* or **; repeatable")
	f.BoolVar(&flags.noScopes, "no-scopes", false, "remove all scopes")
	f.StringArrayVar(&flags.networks, "network", nil, "network that the key can be used from, a CIDR `prefix`; repeatable")
	f.BoolVar(&flags.noNetworks, "no-networks", false, "remove all networks, so that the key can be used from anywhere")
	f.StringArrayVar(&flags.metadata, "metadata", nil, "`name=value` to store with the key; repeatable")
	f.BoolVar(&flags.noMetadata, "no-metadata", false, "remove all metadata")
	f.StringVar(&flags.idleTimeout, "idle-timeout", "", "`duration` without use after which the key expires, or none")
	f.Int64Var(&flags.version, "version", 0, "required `version` of the key (default: any)")
	exclusive(cmd, "scope", "no-scopes")
	exclusive(cmd, "network", "no-networks")
	exclusive(cmd, "metadata", "no-metadata")
	flags.add(cmd)
	return cmd
}

// updateKey changes a key. Without a version, it changes the current version.
func updateKey(ctx context.Context, svc *keyfold.Service, id string, u keyfold.KeyUpdate) (keyfold.Key, error) {
	if u.Version == 0 {
		key, err := svc.Key(ctx, id)
		if err != nil {
			return keyfold.Key{}, err
		}
		u.Version = key.Version
	}
	return svc.UpdateKey(ctx, id, u)
}

func (f *updateFlags) update(cmd *cobra.Command) (keyfold.KeyUpdate, error) {
	given := cmd.Flags().Changed
	u := keyfold.KeyUpdate{
		Version: f.version, Name: ifGiven(given("name"), f.name), Notes: ifGiven(given("notes"), f.notes),
		OwnerID: ifGiven(given("owner"), f.owner), Tenant: ifGiven(given("tenant"), f.tenant),
		Scopes: ifGiven(given("scope") || f.noScopes, f.scopes),
	}
	if given("version") && f.version < 1 {
		return u, usage(`--version must be 1 or more; "keyfold keys show" shows it`)
	}
	networks, err := parseNetworks(f.networks)
	if err != nil {
		return u, err
	}
	u.Networks = ifGiven(given("network") || f.noNetworks, networks)
	metadata, err := parseMetadata(f.metadata)
	if err != nil {
		return u, err
	}
	u.Metadata = ifGiven(given("metadata") || f.noMetadata, metadata)
	if given("idle-timeout") {
		idle, err := parseIdleTimeout(f.idleTimeout)
		if err != nil {
			return u, err
		}
		u.IdleTimeout = &idle
	}
	if u == (keyfold.KeyUpdate{Version: u.Version}) {
		return u, usage("at least one field to change is required; see %q", cmd.CommandPath()+" --help")
	}
	return u, nil
}

func ifGiven[T any](given bool, value T) *T {
	if !given {
		return nil
	}
	return &value
}
