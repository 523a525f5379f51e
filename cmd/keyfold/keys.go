package main

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

func (c *command) keys() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "Create, list, change and end keys", Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		c.keysCreate(), c.keysList(), c.keysShow(), c.keysUpdate(), c.keysRenew(), c.keysRotate(),
		c.keysRevoke(), c.keysDisable(), c.keysEnable(), c.keysDelete(),
	)
	return cmd
}

// oneID wants the id of a key.
func oneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage(`%s wants one id, as "keyfold keys list" shows it`, cmd.CommandPath())
	}
	return checkIDs(args)
}

// someIDs wants the ids of keys.
func someIDs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage(`%s wants ids, as "keyfold keys list" shows them`, cmd.CommandPath())
	}
	return checkIDs(args)
}

func checkIDs(args []string) error {
	for i, arg := range args {
		if err := checkID(fmt.Sprintf("argument %d", i+1), arg); err != nil {
			return err
		}
	}
	return nil
}

// checkUserID is for the id of a user, which no token has in it.
func checkUserID(where, text string) error {
	if !idPattern.MatchString(text) {
		return usage(`%s is no id: want 16 letters and digits, as "keyfold users list" shows them`, where)
	}
	return nil
}

// checkUserFlag checks --user, if it is given.
func checkUserFlag(user string) error {
	if user == "" {
		return nil
	}
	return checkUserID("--user", user)
}

// checkID tells who gives a token what its id is, which is no secret. It never
// repeats what is not an id.
func checkID(where, text string) error {
	if token, err := keyfold.ParseToken(text); err == nil {
		return usage("%s is a token; the id of its key is %s", where, token.ID())
	}
	if !idPattern.MatchString(text) {
		return usage(`%s is no id: want 16 letters and digits, as "keyfold keys list" shows them`, where)
	}
	return nil
}

var idPattern = regexp.MustCompile(`^[0-9A-Za-z]{16}$`)

// printKey prints a key as JSON, or that line.
func (c *command) printKey(asJSON bool, key keyfold.Key, line string) error {
	if asJSON {
		return c.printJSON(key)
	}
	_, err := fmt.Fprintln(c.stdout, line)
	return err
}

// printToken prints the token of a new key on standard output, and what there
// is to say of it, the note, on standard error.
func (c *command) printToken(asJSON bool, key keyfold.Key, token keyfold.Token, note string) error {
	var err error
	if asJSON {
		err = c.printJSON(keyfold.CreatedKey{Key: key, Token: token})
	} else {
		_, err = fmt.Fprintln(c.stdout, token.Reveal())
	}
	if err != nil {
		return fmt.Errorf("key %s was created, but its token could not be printed and is lost: %w", key.ID, err)
	}
	if asJSON {
		return nil
	}
	_, err = fmt.Fprintf(c.stderr, "keyfold: %s; its token is shown this once, so keep it now\n", note)
	return err
}

// ending says when a key ends, or that it has.
func ending(key *keyfold.Key) string {
	switch {
	case !key.RevokedAt.IsZero():
		return "is revoked"
	case key.ExpiresAt.IsZero():
		return "never ends"
	case !key.ExpiresAt.After(time.Now()):
		return "ends now: its end is " + shortTime(key.ExpiresAt)
	}
	return "ends at " + shortTime(key.ExpiresAt)
}

// keyDetails is all that is known of a key.
func keyDetails(k *keyfold.Key, now time.Time) details {
	var lines details
	lines.add("ID", k.ID)
	lines.add("Token", k.Hint)
	lines.add("Name", k.Name)
	lines.add("State", string(k.State(now)))
	lines.add("Owner", k.OwnerID)
	lines.add("User", k.UserID)
	lines.add("Tenant", k.Tenant)
	lines.add("Environment", k.Environment)
	lines.add("Scopes", strings.Join(k.Scopes, " "))
	lines.add("Networks", networksText(k.Networks))
	lines.add("Metadata", strings.Join(entries(k.Metadata), "\n"))
	lines.add("Notes", k.Notes)
	lines.add("Created", exactTime(k.CreatedAt))
	lines.add("Updated", exactTime(k.UpdatedAt))
	lines.add("Expires", neverOr(exactTime(k.ExpiresAt)))
	lines.add("Idle timeout", idleText(k.IdleTimeout))
	lines.add("Uses", strconv.FormatInt(k.Uses, 10))
	lines.add("Last used", exactTime(k.LastUsedAt))
	if !k.DisabledAt.IsZero() {
		lines.add("Disabled", exactTime(k.DisabledAt))
		lines.add("Reason", k.DisabledReason)
	}
	if !k.RevokedAt.IsZero() {
		lines.add("Revoked", exactTime(k.RevokedAt))
		lines.add("Reason", k.RevokedReason)
	}
	lines.add("Rotated from", k.RotatedFrom)
	lines.add("Rotated to", k.RotatedTo)
	lines.add("Lineage", k.LineageID)
	lines.add("Version", strconv.FormatInt(k.Version, 10))
	return lines
}

func neverOr(at string) string {
	if at == "" {
		return "never"
	}
	return at
}

// idleText is empty for no idle timeout.
func idleText(timeout time.Duration) string {
	if timeout == 0 {
		return ""
	}
	return admin.FormatDuration(timeout)
}

func networksText(networks []netip.Prefix) string {
	texts := make([]string, len(networks))
	for i, network := range networks {
		texts[i] = network.String()
	}
	return strings.Join(texts, " ")
}

// entries are what metadata holds, in order: "name=value".
func entries(metadata map[string]string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		lines = append(lines, name+"="+metadata[name])
	}
	return lines
}
