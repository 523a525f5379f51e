package main

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

func (c *command) users() *cobra.Command {
	cmd := &cobra.Command{
		Use: "users", Short: "Create, list, change and delete users", Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		c.usersCreate(), c.usersList(), c.usersShow(), c.usersUpdate(), c.usersSetPassword(),
		c.usersUnlock(), c.usersDisable(), c.usersEnable(), c.usersDelete(),
	)
	return cmd
}

// oneUser requires the ID, the username or the e-mail address of one user.
func oneUser(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return usage(`%s requires one user: an ID, a username or an e-mail address`, cmd.CommandPath())
	}
	return nil
}

func (c *command) usersCreate() *cobra.Command {
	var flags dataFlags
	var password passwordFlags
	var n keyfold.NewUser
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a user",
		Long: `Create a user with a username, an e-mail address or both. A user without a
password cannot log in until one is set.

` + passwordHelp,
		Example: "  keyfold users create --username olga --email olga@example.com --password",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if n.Password, err = password.read(cmd.Context(), c); err != nil {
				return classify(err)
			}
			return c.underRules(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				user, err := svc.CreateUser(ctx, n)
				if err != nil {
					return err
				}
				return c.printUser(flags.asJSON, user, "created "+user.ID+c.inDatabase())
			})
		},
	}
	cmd.Flags().StringVar(&n.Username, "username", "", "`name` to log in with: letters, digits, . _ -")
	cmd.Flags().StringVar(&n.Email, "email", "", "e-mail `address`")
	password.add(cmd, "read a password for the user")
	flags.add(cmd)
	return cmd
}

// printUser prints a user as JSON, or the line.
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
		Use: "list", Short: "List users, newest first", Long: "List users, newest first.\n\n" + listHelp, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := page.check(); err != nil {
				return err
			}
			if err := noneEmpty(cmd, "username", "email", "state"); err != nil {
				return err
			}
			q := keyfold.UserQuery{Username: onlyIf(username), Email: onlyIf(email), State: keyfold.UserState(state)}
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				return userListing(svc, q).print(ctx, c, &page, flags.asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&username, "username", "", "only the user with this `name`, regardless of case")
	cmd.Flags().StringVar(&email, "email", "", "only the user with this `address`, regardless of case")
	cmd.Flags().StringVar(&state, "state", "", "only users in this `state`: active, disabled")
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
			t := newTable("users", "ID!", "USERNAME", "E-MAIL", "STATE", "CREATED")
			for i := range users {
				u := &users[i]
				t.add(u.ID, u.Username, u.Email, string(u.State(time.Now())), shortTime(u.CreatedAt))
			}
			return t
		},
	}
}

func (c *command) usersShow() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "show USER", Short: "Show a user", Long: "Show a user.\n\n" + userHelp, Args: oneUser,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onUser(cmd, args[0], func(ctx context.Context, svc *keyfold.Service, user keyfold.User) error {
				if flags.asJSON {
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
	lines.add("State", string(u.State(time.Now())))
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

// onUser is onService for one user, who must exist.
func (c *command) onUser(cmd *cobra.Command, name string, do func(context.Context, *keyfold.Service, keyfold.User) error) error {
	return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
		user, err := findUser(ctx, svc, "argument 1", name)
		if err != nil {
			return err
		}
		return aboutUser(user.ID, do(ctx, svc, user))
	})
}

// userHelp explains how a command names a user.
const userHelp = `USER is the ID, the username or the e-mail address of a user. An ID takes
precedence over a username of the same form.`

func (c *command) usersUpdate() *cobra.Command {
	var flags dataFlags
	var username, email string
	var version int64
	cmd := &cobra.Command{
		Use:   "update USER",
		Short: "Change the username or e-mail address of a user",
		Long: `Change the username or the e-mail address of a user. An empty text removes it. A
new address is not verified.

With --version, the command fails if the user has another version, which means
that it was changed in the meantime.

` + userHelp,
		Example: "  keyfold users update olga --email olga@example.com",
		Args: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("username") && !cmd.Flags().Changed("email") {
				return usage("%s requires --username or --email", cmd.CommandPath())
			}
			return oneUser(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			update := keyfold.UserUpdate{Version: version}
			if cmd.Flags().Changed("username") {
				update.Username = &username
			}
			if cmd.Flags().Changed("email") {
				update.Email = &email
			}
			return c.onUser(cmd, args[0], func(ctx context.Context, svc *keyfold.Service, user keyfold.User) error {
				if !cmd.Flags().Changed("version") {
					update.Version = user.Version
				}
				user, err := svc.UpdateUser(ctx, user.ID, update)
				if err != nil {
					return err
				}
				return c.printUser(flags.asJSON, user, "updated "+user.ID+c.inDatabase())
			})
		},
	}
	cmd.Flags().StringVar(&username, "username", "", "new `name`, or empty to remove it")
	cmd.Flags().StringVar(&email, "email", "", "new `address`, or empty to remove it")
	cmd.Flags().Int64Var(&version, "version", 0, "required `version` of the user (default: any)")
	flags.add(cmd)
	return cmd
}

func (c *command) usersSetPassword() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "set-password USER", Short: "Set the password of a user",
		Long: `Set the password of a user, and remove the waiting time after failed log-ins.

` + passwordHelp + "\n\n" + userHelp,
		Example: "  keyfold users set-password olga < password.txt",
		Args:    oneUser,
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := c.readPassword(cmd.Context())
			if err != nil {
				return classify(err)
			}
			return c.changeUser(cmd, args[0], flags.asJSON, "set the password of", func(ctx context.Context, svc *keyfold.Service, id string) error {
				return svc.SetPassword(ctx, id, password)
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
		Use: "unlock USER", Short: "Remove the waiting time after failed log-ins",
		Long: `Remove the waiting time after failed log-ins, for the username and for the
e-mail address of a user. With --ip, the correct password is also accepted from
that IP address while someone else keeps guessing. Setting a password and using
a one-time token remove the waiting time, too.

` + userHelp,
		Example: "  keyfold users unlock olga --ip 192.0.2.7",
		Args:    oneUser,
		RunE: func(cmd *cobra.Command, args []string) error {
			var ip netip.Addr
			if cmd.Flags().Changed("ip") {
				var err error
				if ip, err = netip.ParseAddr(address); err != nil || ip.Zone() != "" {
					return usage(`--ip must be an IP address, such as 192.0.2.7 or 2001:db8::7`)
				}
			}
			return c.changeUser(cmd, args[0], flags.asJSON, "unlocked", func(ctx context.Context, svc *keyfold.Service, id string) error {
				return svc.UnlockUser(ctx, id, ip)
			})
		},
	}
	cmd.Flags().StringVar(&address, "ip", "", "IP `address` of the user, which becomes a known address of the user")
	flags.add(cmd)
	return cmd
}

// changeUser makes a change that does not return the user, and prints the user.
func (c *command) changeUser(cmd *cobra.Command, name string, asJSON bool, done string,
	change func(ctx context.Context, svc *keyfold.Service, id string) error,
) error {
	return c.onUser(cmd, name, func(ctx context.Context, svc *keyfold.Service, user keyfold.User) error {
		if err := change(ctx, svc, user.ID); err != nil {
			return err
		}
		user, err := svc.User(ctx, user.ID)
		if err != nil {
			return err
		}
		return c.printUser(asJSON, user, done+" "+user.ID+c.inDatabase())
	})
}

func (c *command) usersDisable() *cobra.Command {
	var flags dataFlags
	var reason string
	cmd := &cobra.Command{
		Use: "disable USER", Short: "Refuse the log-ins and keys of a user temporarily", Long: "Refuse the log-ins and keys of a user temporarily.\n\n" + userHelp, Args: oneUser,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.changeUser(cmd, args[0], flags.asJSON, "disabled", func(ctx context.Context, svc *keyfold.Service, id string) error {
				return svc.DisableUser(ctx, id, reason)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` to store with the change")
	flags.add(cmd)
	return cmd
}

func (c *command) usersEnable() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "enable USER", Short: "Accept the log-ins and keys of a disabled user again", Long: "Accept the log-ins and keys of a disabled user again.\n\n" + userHelp, Args: oneUser,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.changeUser(cmd, args[0], flags.asJSON, "enabled", func(ctx context.Context, svc *keyfold.Service, id string) error {
				return svc.EnableUser(ctx, id)
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func (c *command) usersDelete() *cobra.Command {
	var flags dataFlags
	var yes yesFlag
	cmd := &cobra.Command{
		Use: "delete USER", Short: "Delete a user and all keys of the user",
		Long: `Delete a user and, in the same step, all keys of the user. The command asks for
confirmation unless --yes is given. With --json, it prints the user as it was.

` + userHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := oneUser(cmd, args); err != nil {
				return err
			}
			return yes.check(c, cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.onUser(cmd, args[0], func(ctx context.Context, svc *keyfold.Service, user keyfold.User) error {
				if err := c.confirmDeletion(ctx, svc, &yes, user); err != nil {
					return err
				}
				if err := svc.DeleteUser(ctx, user.ID); err != nil {
					return err
				}
				return c.printUser(flags.asJSON, user, "deleted "+user.ID+c.inDatabase())
			})
		},
	}
	yes.add(cmd)
	flags.add(cmd)
	return cmd
}

func (c *command) confirmDeletion(ctx context.Context, svc *keyfold.Service, yes *yesFlag, user keyfold.User) error {
	if yes.yes {
		return nil
	}
	count, err := countKeys(ctx, svc, keyfold.KeyFilter{UserID: keyfold.Only(user.ID)}, func(*keyfold.Key) bool { return true })
	if err != nil {
		return err
	}
	name := user.Username
	if name == "" {
		name = user.Email
	}
	return yes.confirm(ctx, c, fmt.Sprintf("This will delete user %s and %s%s; this cannot be undone.", printable(name), keysText(count), c.inDatabase()))
}
