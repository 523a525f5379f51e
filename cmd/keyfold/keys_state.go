package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

// eachKey runs change on one key after the other and prints each as it then
// is, or "done ID". One that fails keeps no other from its turn: who revokes
// keys that leaked wants as many revoked as can be.
func (c *command) eachKey(ctx context.Context, svc *keyfold.Service, ids []string, asJSON bool, done string,
	change func(id string) (keyfold.Key, error),
) error {
	var failed []error
	for _, id := range ids {
		key, err := change(id)
		if err != nil {
			if failed = append(failed, classify(inFlags(aboutKey(ctx, svc, id, err)))); ctx.Err() != nil {
				break
			}
			continue
		}
		if err := c.printKey(asJSON, key, done+" "+id); err != nil {
			return errors.Join(append(failed, err)...)
		}
	}
	return errors.Join(failed...)
}

// onEach is [command.eachKey] for changes that do not return the key.
func (c *command) onEach(ctx context.Context, svc *keyfold.Service, ids []string, asJSON bool, done string, change func(id string) error) error {
	return c.eachKey(ctx, svc, ids, asJSON, done, func(id string) (keyfold.Key, error) {
		if err := change(id); err != nil || !asJSON {
			return keyfold.Key{}, err
		}
		return svc.Key(ctx, id)
	})
}

// bulkFlags name keys by what they have in common.
type bulkFlags struct {
	owner, user, tenant string
	yes                 bool
}

func (f *bulkFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.owner, "owner", "", "all keys of the owner of that `id`")
	cmd.Flags().StringVar(&f.user, "user", "", "all keys of the user of that `id`")
	cmd.Flags().StringVar(&f.tenant, "tenant", "", "all keys with that tenant `label`; beside the others, those of both")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask before all keys of an owner, user or tenant are changed")
}

// check wants ids or flags, and someone who can be asked.
func (f *bulkFlags) check(c *command, cmd *cobra.Command, ids []string) error {
	given := cmd.Flags().Changed
	bulk := given("owner") || given("user") || given("tenant")
	switch {
	case !bulk && len(ids) == 0:
		return usage(`%s wants ids, as "keyfold keys list" shows them, or --owner, --user or --tenant`, cmd.CommandPath())
	case !bulk:
		return checkIDs(ids)
	case len(ids) > 0:
		return usage("%s wants ids, or --owner, --user or --tenant, not both", cmd.CommandPath())
	}
	if err := noneEmpty(cmd, "owner", "user", "tenant"); err != nil {
		return err
	}
	if err := checkUserFlag(f.user); err != nil {
		return err
	}
	if !f.yes && !isTerminal(c.stdin) {
		return usage("there is nobody to ask: add --yes to %s all these keys", cmd.Name())
	}
	return nil
}

// stateCommand is a command that gives keys another state and can do so in bulk.
type stateCommand struct {
	verb, done, finality string
	left                 func(*keyfold.Key) bool // the keys that it still changes
	one                  func(*keyfold.Service, context.Context, string, string) error
	many                 func(*keyfold.Service, context.Context, keyfold.KeyFilter, string) (int, error)
}

func (c *command) keysRevoke() *cobra.Command {
	return c.stateCommand("End keys for good", stateCommand{
		"revoke", "revoked", "this cannot be undone",
		func(k *keyfold.Key) bool { return k.RevokedAt.IsZero() },
		(*keyfold.Service).RevokeKey, (*keyfold.Service).RevokeKeys,
	})
}

func (c *command) keysDisable() *cobra.Command {
	return c.stateCommand("Switch keys off for now", stateCommand{
		"disable", "disabled", `"keyfold keys enable" undoes it, key by key`,
		func(k *keyfold.Key) bool { return k.RevokedAt.IsZero() && k.DisabledAt.IsZero() },
		(*keyfold.Service).DisableKey, (*keyfold.Service).DisableKeys,
	})
}

func (c *command) stateCommand(short string, s stateCommand) *cobra.Command {
	var flags dataFlags
	var bulk bulkFlags
	var reason string
	cmd := &cobra.Command{
		Use:   s.verb + " [ID...]",
		Short: short,
		Long: short + `, by their ids or all of an owner, user or tenant. Before all of
those it asks, unless --yes is given. With --json it prints each key on a line of
its own, or of all keys of an owner, user or tenant how many were changed.`,
		Example: "  keyfold keys " + s.verb + " 8fJ2kQ0aXw3mT7Zb --reason 'left the company'\n" +
			"  keyfold keys " + s.verb + " --owner cust_42 --yes",
		Args: func(cmd *cobra.Command, args []string) error { return bulk.check(c, cmd, args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onService(cmd, false, func(ctx context.Context, svc *keyfold.Service) error {
				if len(args) == 0 {
					return c.changeAll(ctx, svc, s, &bulk, reason, flags.asJSON)
				}
				return c.onEach(ctx, svc, args, flags.asJSON, s.done, func(id string) error { return s.one(svc, ctx, id, reason) })
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` to keep beside it")
	bulk.add(cmd)
	flags.add(cmd)
	return cmd
}

// changeAll changes all keys of an owner, a tenant or both.
func (c *command) changeAll(ctx context.Context, svc *keyfold.Service, s stateCommand, f *bulkFlags, reason string, asJSON bool) error {
	if !f.yes {
		count, err := countKeys(ctx, svc, keyfold.KeyQuery{OwnerID: onlyIf(f.owner), UserID: onlyIf(f.user), Tenant: onlyIf(f.tenant)}, s.left)
		if err == nil && count > 0 {
			err = c.confirm(ctx, fmt.Sprintf("This will %s %s%s; %s.", s.verb, keysText(count), f.of(), s.finality))
		}
		if err != nil {
			return err
		}
		if count == 0 { // nor any that was made since then, which nobody confirmed
			return c.printChanged(s, 0, asJSON)
		}
	}
	changed, err := s.many(svc, ctx, keyfold.KeyFilter{OwnerID: onlyIf(f.owner), UserID: onlyIf(f.user), Tenant: onlyIf(f.tenant)}, reason)
	if err != nil {
		return fmt.Errorf("%s %s; run it again to go on: %w", s.done, keysText(changed), err)
	}
	return c.printChanged(s, changed, asJSON)
}

func (c *command) printChanged(s stateCommand, changed int, asJSON bool) error {
	if asJSON {
		return c.printJSON(admin.BulkChange{Changed: changed})
	}
	_, err := fmt.Fprintf(c.stdout, "%s %s\n", s.done, keysText(changed))
	return err
}

// of names whose keys are meant.
func (f *bulkFlags) of() string {
	var of string
	if f.owner != "" {
		of += " of owner " + printable(f.owner)
	}
	if f.user != "" {
		of += " of user " + printable(f.user)
	}
	if f.tenant != "" {
		of += " of tenant " + printable(f.tenant)
	}
	return of
}

func keysText(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}

// countKeys counts the keys that match and are left.
func countKeys(ctx context.Context, svc *keyfold.Service, q keyfold.KeyQuery, left func(*keyfold.Key) bool) (int, error) {
	count := 0
	for q.Limit = maxPage; ; {
		page, err := svc.Keys(ctx, q)
		if err != nil {
			return 0, err
		}
		for i := range page.Keys {
			if left(&page.Keys[i]) {
				count++
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return count, nil
		}
	}
}

func (c *command) keysEnable() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "enable ID...", Short: "Switch disabled keys on again", Args: someIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onService(cmd, false, func(ctx context.Context, svc *keyfold.Service) error {
				return c.onEach(ctx, svc, args, flags.asJSON, "enabled", func(id string) error { return svc.EnableKey(ctx, id) })
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func (c *command) keysDelete() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use:   "delete ID...",
		Short: "Remove keys and their totals",
		Long: `Remove keys and their totals. Revoke them instead to keep a record of them; the
audit log keeps one either way. With --json it prints each key as it was.`,
		Args: someIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onService(cmd, false, func(ctx context.Context, svc *keyfold.Service) error {
				return c.eachKey(ctx, svc, args, flags.asJSON, "deleted", func(id string) (keyfold.Key, error) {
					key, err := svc.Key(ctx, id)
					if err != nil {
						return key, err
					}
					return key, svc.DeleteKey(ctx, id)
				})
			})
		},
	}
	flags.add(cmd)
	return cmd
}
