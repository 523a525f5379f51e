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
		Short: "Give a key more time",
		Long: `Give a key more time. An expired key comes back to life, a revoked one never
does. --ttl counts from now and never shortens what the key has; --expires-at
may, and one that is past ends the key now.`,
		Example: `  keyfold keys renew 8fJ2kQ0aXw3mT7Zb --ttl 30d`,
		Args:    oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			ttl, at, err := deadline.parse(cmd)
			if err != nil {
				return err
			}
			return c.underRules(cmd, false, func(ctx context.Context, svc *keyfold.Service) error {
				key, err := svc.RenewKey(ctx, args[0], keyfold.RenewOptions{TTL: ttl, ExpiresAt: at})
				if err != nil {
					return aboutKey(ctx, svc, args[0], err)
				}
				return c.printKey(flags.asJSON, key, "renewed "+key.ID+", which "+ending(&key))
			})
		},
	}
	deadline.add(cmd, "life from now, a `duration` or never (default 15d)")
	flags.add(cmd)
	return cmd
}

func (c *command) keysRotate() *cobra.Command {
	var flags dataFlags
	var deadline deadlineFlags
	var overlap string
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Replace a key by a new one and print its token, once",
		Long: `Replace a key by a new one with another id and token, which inherits all else.
The token is printed on standard output, once; all else goes to standard error.
The old key goes on for the overlap, at most until its own end.`,
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
			return c.underRules(cmd, false, func(ctx context.Context, svc *keyfold.Service) error {
				key, token, err := svc.RotateKey(ctx, args[0], o)
				if err != nil {
					return aboutKey(ctx, svc, args[0], err)
				}
				note := "key " + args[0] + " is replaced by " + key.ID + ", which " + ending(&key)
				if old, err := svc.Key(ctx, args[0]); err == nil { // or else the token is what matters
					note += "; the old one " + ending(&old)
				}
				return c.printToken(flags.asJSON, key, token, note)
			})
		},
	}
	cmd.Flags().StringVar(&overlap, "overlap", "", "how long the old key continues to work, a `duration`; none revokes it at once (default 24h)")
	deadline.add(cmd, "life of the new key, a `duration` or never (default: the end that the old one had)")
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
