package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

// listFlags are the flags of "keyfold keys list".
type listFlags struct {
	dataFlags
	pageFlags
	owner, user, tenant, state, expiringBefore string
}

func (c *command) keysList() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List keys, newest first",
		Long:  "List keys, newest first.\n\n" + listHelp,
		Example: `  keyfold keys list --owner cust_42 --state active
  keyfold keys list --all --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := keyfold.KeyQuery{OwnerID: onlyIf(flags.owner), Tenant: onlyIf(flags.tenant), State: keyfold.KeyState(flags.state)}
			var err error
			if q.ExpiringBefore, err = parseTimeIfSet(cmd, "expiring-before", flags.expiringBefore); err != nil {
				return err
			}
			if err := flags.check(cmd); err != nil {
				return err
			}
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				if err := findUserFlag(ctx, svc, "--user", &flags.user); err != nil {
					return err
				}
				q.UserID = onlyIf(flags.user)
				return keyListing(svc, q, time.Now()).print(ctx, c, &flags.pageFlags, flags.asJSON)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.owner, "owner", "", "only keys of the owner with this `id`")
	f.StringVar(&flags.user, "user", "", "only keys of this `user`: an ID, a username or an e-mail address")
	f.StringVar(&flags.tenant, "tenant", "", "only keys with this tenant `label`")
	f.StringVar(&flags.state, "state", "", "only keys in this `state`: active, expired, user_disabled, disabled, revoked")
	f.StringVar(&flags.expiringBefore, "expiring-before", "", "only keys that expire before this `time`, soonest first")
	flags.pageFlags.add(cmd)
	flags.dataFlags.add(cmd)
	return cmd
}

func (f *listFlags) check(cmd *cobra.Command) error {
	if err := f.pageFlags.check(); err != nil {
		return err
	}
	return noneEmpty(cmd, "owner", "user", "tenant", "state")
}

// keyListing lists keys with their states at the time now.
func keyListing(svc *keyfold.Service, q keyfold.KeyQuery, now time.Time) listing[keyfold.Key] {
	return listing[keyfold.Key]{
		fetch: func(ctx context.Context, cursor string, limit int) ([]keyfold.Key, string, error) {
			q.Cursor, q.Limit = cursor, limit
			page, err := svc.Keys(ctx, q)
			return page.Keys, page.Next, err
		},
		document: func(keys []keyfold.Key, next string) any {
			return keyfold.KeyPage{Keys: keys, Next: next}
		},
		table: func(keys []keyfold.Key) *table { return keyTable(keys, now) },
	}
}

func keyTable(keys []keyfold.Key, now time.Time) *table {
	t := newTable("keys", "ID!", "TOKEN", "NAME", "OWNER", "TENANT?", "STATE", "EXPIRES", "USES", "LAST USED")
	for i := range keys {
		k := &keys[i]
		t.add(k.ID, k.Hint, k.Name, k.OwnerID, k.Tenant, string(k.State(now)), neverOr(shortTime(k.ExpiresAt)),
			strconv.FormatInt(k.Uses, 10), shortTime(k.LastUsedAt))
	}
	return t
}

func (c *command) keysShow() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a key", Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				key, err := svc.Key(ctx, args[0])
				if err != nil {
					return aboutKey(ctx, svc, args[0], err)
				}
				now := time.Now()
				if flags.asJSON {
					return c.printJSON(key)
				}
				return keyDetails(&key, now).print(c.stdout)
			})
		},
	}
	flags.add(cmd)
	return cmd
}
