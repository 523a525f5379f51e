package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

// eachKey changes one key after the other and prints each key as it is after the
// change, or a line such as "revoked ID in sqlite:keyfold.db". It continues after
// an error: when keys have leaked, as many of them as possible must be revoked.
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
		if err := c.printKey(asJSON, key, done+" "+id+c.inDatabase()); err != nil {
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

// confirmKeys asks before the keys with these IDs are changed. It does not ask if
// none of them exists, because the change then fails anyway.
func (c *command) confirmKeys(ctx context.Context, svc *keyfold.Service, yes *yesFlag, verb string, ids []string) error {
	if yes.yes {
		return nil
	}
	var found []keyfold.Key
	for _, id := range ids {
		key, err := svc.Key(ctx, id)
		if err != nil && !errors.Is(err, keyfold.ErrNotFound) {
			return err
		}
		if err == nil {
			found = append(found, key)
		}
	}
	what := keysText(len(found))
	switch {
	case len(found) == 0:
		return nil
	case len(found) == 1:
		what = "key " + found[0].ID
		if name := found[0].Name; name != "" {
			what += " (" + printable(name) + ")"
		}
	}
	return yes.confirm(ctx, c, fmt.Sprintf("This will %s %s%s; this cannot be undone.", verb, what, c.inDatabase()))
}

// bulkFlags select all keys of an owner, a user or a tenant.
type bulkFlags struct{ owner, user, tenant string }

func (f *bulkFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.owner, "owner", "", "all keys of the owner with this `id`")
	cmd.Flags().StringVar(&f.user, "user", "", "all keys of this `user`: an ID, a username or an e-mail address")
	cmd.Flags().StringVar(&f.tenant, "tenant", "", "all keys with this tenant `label`; only keys that match all these flags are changed")
}

// given reports whether one of the flags was given.
func (f *bulkFlags) given(cmd *cobra.Command) bool {
	changed := cmd.Flags().Changed
	return changed("owner") || changed("user") || changed("tenant")
}

// check requires either IDs or flags.
func (f *bulkFlags) check(cmd *cobra.Command, ids []string) error {
	switch bulk := f.given(cmd); {
	case !bulk && len(ids) == 0:
		return usage(`%s requires key IDs (see "keyfold keys list"), or --owner, --user or --tenant`, cmd.CommandPath())
	case !bulk:
		return checkIDs(ids)
	case len(ids) > 0:
		return usage("%s accepts either key IDs or --owner, --user and --tenant, not both", cmd.CommandPath())
	}
	return noneEmpty(cmd, "owner", "user", "tenant")
}

func (f *bulkFlags) filter() keyfold.KeyFilter {
	return keyfold.KeyFilter{OwnerID: onlyIf(f.owner), UserID: onlyIf(f.user), Tenant: onlyIf(f.tenant)}
}

// stateCommand describes a command that changes the state of keys, one by one or
// in bulk.
type stateCommand struct {
	verb, done, finality string
	asks                 bool                    // also for single keys
	affects              func(*keyfold.Key) bool // the keys whose state it changes
	one                  func(*keyfold.Service, context.Context, string, string) error
	many                 func(*keyfold.Service, context.Context, keyfold.KeyFilter, string) (int, error)
	long                 string
}

func (c *command) keysRevoke() *cobra.Command {
	return c.stateCommand("Revoke keys permanently", stateCommand{
		"revoke", "revoked", "this cannot be undone", true,
		func(k *keyfold.Key) bool { return k.RevokedAt.IsZero() },
		(*keyfold.Service).RevokeKey, (*keyfold.Service).RevokeKeys,
		`Revoke keys permanently: the keys with these IDs, or all keys of an owner, a
user or a tenant. The command asks for confirmation unless --yes is given.`,
	})
}

func (c *command) keysDisable() *cobra.Command {
	return c.stateCommand("Disable keys temporarily", stateCommand{
		"disable", "disabled", `"keyfold keys enable" enables them again, one by one`, false,
		func(k *keyfold.Key) bool { return k.RevokedAt.IsZero() && k.DisabledAt.IsZero() },
		(*keyfold.Service).DisableKey, (*keyfold.Service).DisableKeys,
		`Disable keys temporarily: the keys with these IDs, or all keys of an owner, a
user or a tenant. Before it disables all those keys, the command asks for
confirmation unless --yes is given.`,
	})
}

func (c *command) stateCommand(short string, s stateCommand) *cobra.Command {
	var flags dataFlags
	var bulk bulkFlags
	var yes yesFlag
	var reason string
	cmd := &cobra.Command{
		Use:   s.verb + " [ID...]",
		Short: short,
		Long: s.long + `

With --json, the command prints each key on a line of its own. For all keys of
an owner, a user or a tenant, it prints the number of changed keys.`,
		Example: "  keyfold keys " + s.verb + " 8fJ2kQ0aXw3mT7Zb --reason 'left the company'\n" +
			"  keyfold keys " + s.verb + " --owner cust_42 --yes",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := bulk.check(cmd, args); err != nil || !s.asks && len(args) > 0 {
				return err
			}
			return yes.check(c, cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			counted := &counted{}
			return c.withService(cmd, io.Discard, counted.wrap, func(ctx context.Context, svc *keyfold.Service) error {
				if len(args) == 0 {
					return c.changeAll(ctx, svc, s, &bulk, &yes, counted, reason, flags.asJSON)
				}
				if s.asks {
					if err := c.confirmKeys(ctx, svc, &yes, s.verb, args); err != nil {
						return err
					}
				}
				return c.onEach(ctx, svc, args, flags.asJSON, s.done, func(id string) error { return s.one(svc, ctx, id, reason) })
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` to store with the change")
	bulk.add(cmd)
	yes.add(cmd)
	flags.add(cmd)
	return cmd
}

// changeAll changes all keys that match the flags.
func (c *command) changeAll(ctx context.Context, svc *keyfold.Service, s stateCommand, f *bulkFlags, yes *yesFlag, counted *counted,
	reason string, asJSON bool,
) error {
	of := f.of()
	if err := findUserFlag(ctx, svc, "--user", &f.user); err != nil {
		return err
	}
	count := 0
	if !yes.yes {
		var err error
		stop := c.progress(func() string { return "counting keys" })
		count, err = countKeys(ctx, svc, f.filter(), s.affects)
		stop()
		if err == nil && count > 0 {
			err = yes.confirm(ctx, c, fmt.Sprintf("This will %s %s%s%s; %s.", s.verb, keysText(count), of, c.inDatabase(), s.finality))
		}
		if err != nil {
			return err
		}
		if count == 0 { // keys created since then were not confirmed
			return c.printChanged(s, 0, asJSON)
		}
	}
	stop := c.progress(func() string {
		if count > 0 {
			return fmt.Sprintf("%s %d of %s", s.done, counted.changed.Load(), keysText(count))
		}
		return s.done + " " + keysText(int(counted.changed.Load()))
	})
	changed, err := s.many(svc, ctx, f.filter(), reason)
	stop()
	if err != nil {
		return fmt.Errorf("%s %s%s; run the command again to continue: %w", s.done, keysText(changed), c.inDatabase(), err)
	}
	return c.printChanged(s, changed, asJSON)
}

func (c *command) printChanged(s stateCommand, changed int, asJSON bool) error {
	if asJSON {
		return c.printJSON(admin.BulkChange{Changed: changed})
	}
	_, err := fmt.Fprintf(c.stdout, "%s %s%s\n", s.done, keysText(changed), c.inDatabase())
	return err
}

// of describes whose keys the flags select.
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

// countKeys counts the keys that match the filter and that a change would affect.
func countKeys(ctx context.Context, svc *keyfold.Service, f keyfold.KeyFilter, affects func(*keyfold.Key) bool) (int, error) {
	count := 0
	for key, err := range svc.AllKeys(ctx, keyfold.KeyQuery{OwnerID: f.OwnerID, UserID: f.UserID, Tenant: f.Tenant}) {
		if err != nil {
			return 0, err
		}
		if affects(&key) {
			count++
		}
	}
	return count, nil
}

func (c *command) keysEnable() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "enable ID...", Short: "Enable disabled keys again", Args: someIDs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				return c.onEach(ctx, svc, args, flags.asJSON, "enabled", func(id string) error { return svc.EnableKey(ctx, id) })
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func (c *command) keysDelete() *cobra.Command {
	var flags dataFlags
	var yes yesFlag
	cmd := &cobra.Command{
		Use:   "delete ID...",
		Short: "Delete keys and their totals",
		Long: `Delete keys and their totals. To keep a record of a key, revoke it instead. The
audit log keeps an entry in both cases. The command asks for confirmation unless
--yes is given. With --json, it prints each key as it was.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := someIDs(cmd, args); err != nil {
				return err
			}
			return yes.check(c, cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				if err := c.confirmKeys(ctx, svc, &yes, "delete", args); err != nil {
					return err
				}
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
	yes.add(cmd)
	flags.add(cmd)
	return cmd
}
