package main

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

func (c *command) users() *cobra.Command {
	cmd := &cobra.Command{
		Use: "users", Short: "Create, list, change and stop users", Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		c.usersCreate(), c.usersList(), c.usersShow(), c.usersUpdate(), c.usersSetPassword(),
		c.usersUnlock(), c.usersDisable(), c.usersEnable(), c.usersDelete(),
	)
	return cmd
}

// oneUserID wants the id of a user.
func oneUserID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage(`%s wants one id, as "keyfold users list" shows it`, cmd.CommandPath())
	}
	return checkUserID("argument 1", args[0])
}

func (c *command) usersCreate() *cobra.Command {
	var flags dataFlags
	var password passwordFlags
	var n keyfold.NewUser
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a user",
		Long: `Create a user, by a username, an e-mail address or both. Without a password the
user cannot log in until one is set.

` + passwordHelp,
		Example: "  keyfold users create --username olga --email olga@example.com --password",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if n.Password, err = password.read(cmd.Context(), c); err != nil {
				return classify(err)
			}
			return c.underRules(cmd, true, func(ctx context.Context, svc *keyfold.Service) error {
				user, err := svc.CreateUser(ctx, n)
				if err != nil {
					return err
				}
				return c.printUser(flags.asJSON, user, "created "+user.ID)
			})
		},
	}
	cmd.Flags().StringVar(&n.Username, "username", "", "`name` to log in by: letters, digits, . _ -")
	cmd.Flags().StringVar(&n.Email, "email", "", "`address`")
	password.add(cmd, "give the user a password")
	flags.add(cmd)
	return cmd
}

// printUser prints a user as JSON, or that line.
func (c *command) printUser(asJSON bool, user keyfold.User, line string) error {
	if asJSON {
		return c.printJSON(user)
	}
	_, err := fmt.Fprintln(c.stdout, line)
	return err
}

func (c *command) usersList() *cobra.Command {
	var flags dataFlags
	var page pageFlags
	var username, email, state string
	cmd := &cobra.Command{
		Use: "list", Short: "List users, newest first", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			if err := noneEmpty(cmd, "username", "email", "state"); err != nil {
				return err
			}
			q := keyfold.UserQuery{Username: onlyIf(username), Email: onlyIf(email), State: keyfold.UserState(state)}
			return c.onService(cmd, false, func(ctx context.Context, svc *keyfold.Service) error {
				return userListing(svc, q).print(ctx, c, &page, flags.asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&username, "username", "", "only the user of that `name`, whatever its case")
	cmd.Flags().StringVar(&email, "email", "", "only the user of that `address`, whatever its case")
	cmd.Flags().StringVar(&state, "state", "", "only users in that `state`: active, disabled")
	page.add(cmd)
	flags.add(cmd)
	return cmd
}

func userListing(svc *keyfold.Service, q keyfold.UserQuery) listing[keyfold.User] {
	return listing[keyfold.User]{
		fetch: func(ctx context.Context, cursor string, limit int) ([]keyfold.User, string, error) {
			q.Cursor, q.Limit = cursor, limit
			page, err := svc.Users(ctx, q)
			return page.Users, page.Next, err
		},
		document: func(users []keyfold.User, next string) any {
			return keyfold.UserPage{Users: users, Next: next}
		},
		table: func(users []keyfold.User) *table {
			t := newTable("ID", "USERNAME", "E-MAIL", "STATE", "CREATED")
			for i := range users {
				u := &users[i]
				t.add(u.ID, u.Username, u.Email, string(u.State()), shortTime(u.CreatedAt))
			}
			return t
		},
	}
}

func (c *command) usersShow() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show all that is known of a user", Args: oneUserID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onUser(cmd, args[0], func(ctx context.Context, svc *keyfold.Service) error {
				user, err := svc.User(ctx, args[0])
				switch {
				case err != nil:
					return err
				case flags.asJSON:
					return c.printJSON(user)
				}
				return userDetails(&user).print(c.stdout)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func userDetails(u *keyfold.User) details {
	var lines details
	lines.add("ID", u.ID)
	lines.add("Username", u.Username)
	lines.add("E-mail", u.Email)
	lines.add("Verified", exactTime(u.EmailVerifiedAt))
	lines.add("State", string(u.State()))
	lines.add("Password", strconv.FormatBool(u.HasPassword))
	lines.add("Set", exactTime(u.PasswordChangedAt))
	lines.add("Created", exactTime(u.CreatedAt))
	lines.add("Updated", exactTime(u.UpdatedAt))
	if !u.DisabledAt.IsZero() {
		lines.add("Disabled", exactTime(u.DisabledAt))
		lines.add("Reason", u.DisabledReason)
	}
	lines.add("Version", strconv.FormatInt(u.Version, 10))
	return lines
}

// onUser is onService for one user, who has to exist.
func (c *command) onUser(cmd *cobra.Command, id string, do func(context.Context, *keyfold.Service) error) error {
	return c.onService(cmd, false, func(ctx context.Context, svc *keyfold.Service) error {
		return aboutUser(id, do(ctx, svc))
	})
}

func (c *command) usersUpdate() *cobra.Command {
	var flags dataFlags
	var username, email string
	var version int64
	cmd := &cobra.Command{
		Use:   "update ID",
		Short: "Change what a user is called",
		Long: `Change the username or the e-mail address of a user; an empty one is taken away.
Another address counts as not verified.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("username") && !cmd.Flags().Changed("email") {
				return usage("%s wants --username or --email", cmd.CommandPath())
			}
			return oneUserID(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			update := keyfold.UserUpdate{Version: version}
			if cmd.Flags().Changed("username") {
				update.Username = &username
			}
			if cmd.Flags().Changed("email") {
				update.Email = &email
			}
			return c.onUser(cmd, args[0], func(ctx context.Context, svc *keyfold.Service) error {
				if !cmd.Flags().Changed("version") {
					user, err := svc.User(ctx, args[0])
					if err != nil {
						return err
					}
					update.Version = user.Version
				}
				user, err := svc.UpdateUser(ctx, args[0], update)
				if err != nil {
					return err
				}
				return c.printUser(flags.asJSON, user, "updated "+user.ID)
			})
		},
	}
	cmd.Flags().StringVar(&username, "username", "", "another `name`; empty for none")
	cmd.Flags().StringVar(&email, "email", "", "another `address`; empty for none")
	cmd.Flags().Int64Var(&version, "version", 0, "change nothing unless the user is at that version, `n`")
	flags.add(cmd)
	return cmd
}

func (c *command) usersSetPassword() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "set-password ID", Short: "Give a user another password", Long: "Give a user another password, and lift the waits that failed log-ins have put on the user.\n\n" + passwordHelp,
		Example: "  keyfold users set-password 8fJ2kQ0aXw3mT7Zb < password.txt",
		Args:    oneUserID,
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := c.readPassword(cmd.Context())
			if err != nil {
				return classify(err)
			}
			return c.changeUser(cmd, args[0], flags.asJSON, "set the password of", func(ctx context.Context, svc *keyfold.Service) error {
				return svc.SetPassword(ctx, args[0], password)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func (c *command) usersUnlock() *cobra.Command {
	var flags dataFlags
	var address string
	cmd := &cobra.Command{
		Use: "unlock ID", Short: "Lift the waits that failed log-ins have put on a user",
		Long: `Lift the waits that failed log-ins have put on a user, for the username and for
the e-mail address. With --ip, the right password also passes from there while
others go on guessing. A new password and a used one-time token lift the waits, too.`,
		Example: "  keyfold users unlock 8fJ2kQ0aXw3mT7Zb --ip 192.0.2.7",
		Args:    oneUserID,
		RunE: func(cmd *cobra.Command, args []string) error {
			var ip netip.Addr
			if cmd.Flags().Changed("ip") {
				var err error
				if ip, err = netip.ParseAddr(address); err != nil || ip.Zone() != "" {
					return usage(`--ip must be an IP address, such as 192.0.2.7 or 2001:db8::7`)
				}
			}
			return c.changeUser(cmd, args[0], flags.asJSON, "unlocked", func(ctx context.Context, svc *keyfold.Service) error {
				return svc.UnlockUser(ctx, args[0], ip)
			})
		},
	}
	cmd.Flags().StringVar(&address, "ip", "", "the user's IP `address`, which becomes known for the user, as after a log-in")
	flags.add(cmd)
	return cmd
}

// changeUser makes a change that does not return the user, and prints the user.
func (c *command) changeUser(cmd *cobra.Command, id string, asJSON bool, done string, change func(context.Context, *keyfold.Service) error) error {
	return c.onUser(cmd, id, func(ctx context.Context, svc *keyfold.Service) error {
		if err := change(ctx, svc); err != nil {
			return err
		}
		user, err := svc.User(ctx, id)
		if err != nil {
			return err
		}
		return c.printUser(asJSON, user, done+" "+id)
	})
}

func (c *command) usersDisable() *cobra.Command {
	var flags dataFlags
	var reason string
	cmd := &cobra.Command{
		Use: "disable ID", Short: "Refuse a user's log-ins and keys for now", Args: oneUserID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.changeUser(cmd, args[0], flags.asJSON, "disabled", func(ctx context.Context, svc *keyfold.Service) error {
				return svc.DisableUser(ctx, args[0], reason)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` to keep beside it")
	flags.add(cmd)
	return cmd
}

func (c *command) usersEnable() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "enable ID", Short: "Let a disabled user log in again", Args: oneUserID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.changeUser(cmd, args[0], flags.asJSON, "enabled", func(ctx context.Context, svc *keyfold.Service) error {
				return svc.EnableUser(ctx, args[0])
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func (c *command) usersDelete() *cobra.Command {
	var flags dataFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "delete ID", Short: "Remove a user and all their keys",
		Long: `Remove a user and, in the same step, all their keys. It asks before, unless --yes
is given. With --json it prints the user as it was.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if !yes && !isTerminal(c.stdin) {
				return usage("there is nobody to ask: add --yes to delete the user and their keys")
			}
			return oneUserID(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onUser(cmd, args[0], func(ctx context.Context, svc *keyfold.Service) error {
				user, err := svc.User(ctx, args[0])
				if err == nil && !yes {
					err = c.confirmDeletion(ctx, svc, user)
				}
				if err == nil {
					err = svc.DeleteUser(ctx, user.ID)
				}
				if err != nil {
					return err
				}
				return c.printUser(flags.asJSON, user, "deleted "+user.ID)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	flags.add(cmd)
	return cmd
}

func (c *command) confirmDeletion(ctx context.Context, svc *keyfold.Service, user keyfold.User) error {
	count, err := countKeys(ctx, svc, keyfold.KeyQuery{UserID: keyfold.Only(user.ID)}, func(*keyfold.Key) bool { return true })
	if err != nil {
		return err
	}
	name := user.Username
	if name == "" {
		name = user.Email
	}
	return c.confirm(ctx, fmt.Sprintf("This will delete %s and %s; this cannot be undone.", printable(name), keysText(count)))
}
