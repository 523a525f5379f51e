package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

// updateFlags is what keys update was told.
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
		Short: "Change what a key is labelled with and what it may do",
		Long: `Change what a key is labelled with and what it may do. What no flag names stays
as it is; --scope, --network and --metadata replace all that there were; an empty
text such as --name '' takes one away.

The change is made to the key as it is now. --version makes it only if nobody has
changed the key since it was read at that version.`,
		Example: `  keyfold keys update 8fJ2kQ0aXw3mT7Zb --scope reports:read --scope reports:write`,
		Args:    oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			u, err := flags.update(cmd)
			if err != nil {
				return err
			}
			return c.onService(cmd, false, func(ctx context.Context, svc *keyfold.Service) error {
				key, err := updateKey(ctx, svc, args[0], u)
				if err != nil {
					return aboutKey(ctx, svc, args[0], err)
				}
				return c.printKey(flags.asJSON, key, fmt.Sprintf("updated %s, now at version %d", key.ID, key.Version))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.name, "name", "", "`name` of the key")
	f.StringVar(&flags.notes, "notes", "", "`text` to keep beside it")
	f.StringVar(&flags.owner, "owner", "", "your own `id` of whoever the key belongs to")
	f.StringVar(&flags.tenant, "tenant", "", "`label` to list and stop keys by")
	f.StringArrayVar(&flags.scopes, "scope", nil, "everything the key may do, a `scope` such as reports:read, reports:* or **; repeatable")
	f.BoolVar(&flags.noScopes, "no-scopes", false, "the key may do nothing that needs a scope")
	f.StringArrayVar(&flags.networks, "network", nil, "all that it may be used from, a CIDR `prefix`; repeatable")
	f.BoolVar(&flags.noNetworks, "no-networks", false, "the key may be used from anywhere")
	f.StringArrayVar(&flags.metadata, "metadata", nil, "all that is kept beside it, `name=value`; repeatable")
	f.BoolVar(&flags.noMetadata, "no-metadata", false, "keep nothing beside it")
	f.StringVar(&flags.idleTimeout, "idle-timeout", "", "end the key when unused for that `duration`; none for no such end")
	f.Int64Var(&flags.version, "version", 0, "`version` of the key as it was read (default: the one that it has)")
	exclusive(cmd, "scope", "no-scopes")
	exclusive(cmd, "network", "no-networks")
	exclusive(cmd, "metadata", "no-metadata")
	flags.add(cmd)
	return cmd
}

// updateKey changes the key as it is now where the update names no version.
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
		return u, usage(`--version wants the version that "keyfold keys show" tells, 1 or more`)
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
		return u, usage("nothing to change; see %q", cmd.CommandPath()+" --help")
	}
	return u, nil
}

func ifGiven[T any](given bool, value T) *T {
	if !given {
		return nil
	}
	return &value
}
