package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

func (c *command) keysRenew() *cobra.Command {
	var flags dataFlags
	var deadline deadlineFlags
	cmd := &cobra.Command{
		Use:   "renew ID",
		Short: "Extend the lifetime of a key",
		Long: `Extend the lifetime of a key. An expired key works again afterwards; a revoked
key cannot be renewed. --ttl counts from now and never shortens the lifetime.
--expires-at can shorten it, and a time in the past makes the key expire at
once.

` + durationHelp,
		Example: `  keyfold keys renew 8fJ2kQ0aXw3mT7Zb --ttl 30d`,
		Args:    oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			ttl, at, err := deadline.parse(cmd)
			if err != nil {
				return err
			}
			return c.underRules(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				key, err := svc.RenewKey(ctx, args[0], keyfold.RenewOptions{TTL: ttl, ExpiresAt: at})
				if err != nil {
					return aboutKey(ctx, svc, args[0], err)
				}
				return c.printKey(flags.asJSON, key, "renewed "+key.ID+c.inDatabase()+"; it "+expiry(&key))
			})
		},
	}
	deadline.add(cmd, "lifetime from now, a `duration` or never (default 15d)")
	flags.add(cmd)
	return cmd
}

func (c *command) keysRotate() *cobra.Command {
	var flags dataFlags
	var deadline deadlineFlags
	var overlap string
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Replace a key and print the token of the new key",
		Long: `Replace a key with a new key. The new key has its own ID and token and inherits
everything else. Its token is printed on standard output and cannot be shown
again; all other output goes to standard error. The old key keeps working for
the overlap, but never longer than its own expiry time.

` + durationHelp,
		Example: `  keyfold keys rotate 8fJ2kQ0aXw3mT7Zb --overlap 2h`,
		Args:    oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			var o keyfold.RotateOptions
			var err error
			if o.TTL, o.ExpiresAt, err = deadline.parse(cmd); err != nil {
				return err
			}
			if o.Overlap, err = parseOverlap(cmd, overlap); err != nil {
				return err
			}
			return c.underRules(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				key, token, err := svc.RotateKey(ctx, args[0], o)
				if err != nil {
					return aboutKey(ctx, svc, args[0], err)
				}
				message := "replaced key " + args[0] + " with key " + key.ID + c.inDatabase() + "; the new key " + expiry(&key)
				if old, err := svc.Key(ctx, args[0]); err == nil { // after an error, the token is still printed
					message += "; the old key " + expiry(&old)
				}
				return c.printToken(flags.asJSON, key, token, message)
			})
		},
	}
	cmd.Flags().StringVar(&overlap, "overlap", "", "`duration` for which the old key keeps working; none revokes it at once (default 24h)")
	deadline.add(cmd, "lifetime of the new key, a `duration` or never (default: the expiry time of the old key)")
	flags.add(cmd)
	return cmd
}

func parseOverlap(cmd *cobra.Command, text string) (time.Duration, error) {
	switch {
	case !cmd.Flags().Changed("overlap"):
		return 0, nil
	case text == none:
		return keyfold.NoOverlap, nil
	}
	return parseFlag("--overlap", text, admin.ParseOverlap)
}
