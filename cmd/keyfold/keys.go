package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/internal/cidr"
)

func (c *command) keys() *cobra.Command {
	cmd := &cobra.Command{
		Use: "keys", Short: "Create, list, change and revoke keys", Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		c.keysCreate(), c.keysList(), c.keysShow(), c.keysVerify(), c.keysUpdate(), c.keysRenew(), c.keysRotate(),
		c.keysRevoke(), c.keysDisable(), c.keysEnable(), c.keysDelete(),
	)
	return cmd
}

// oneID requires the ID of one key.
func oneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usage(`%s requires one key ID; "keyfold keys list" lists the keys`, cmd.CommandPath())
	}
	return checkIDs(args)
}

// someIDs requires the IDs of one or more keys.
func someIDs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage(`%s requires key IDs; "keyfold keys list" lists the keys`, cmd.CommandPath())
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

// checkID requires the ID of a key. If the text is a token, the error names the ID
// in it, which is not secret. It never repeats a text that is not an ID.
func checkID(where, text string) error {
	if token, err := keyfold.ParseToken(text); err == nil {
		return usage("%s must be a key ID, not a token; the ID in this token is %s", where, token.ID())
	}
	if !idPattern.MatchString(text) {
		return usage(`%s must be a key ID of 16 letters and digits; "keyfold keys list" lists the keys`, where)
	}
	return nil
}

var idPattern = regexp.MustCompile(`^[0-9A-Za-z]{16}$`)

// inDatabase names the open database at the end of a message: " in
// sqlite:keyfold.db".
func (c *command) inDatabase() string { return " in " + c.database.String() }

// printKey prints a key as JSON, or the line.
func (c *command) printKey(asJSON bool, key keyfold.Key, line string) error {
	if asJSON {
		return c.printJSON(key)
	}
	_, err := fmt.Fprintln(c.stdout, line)
	return err
}

// printToken prints the token of a new key on standard output, and a message about
// the key on standard error.
func (c *command) printToken(asJSON bool, key keyfold.Key, token keyfold.Token, message string) error {
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
	_, err = fmt.Fprintf(c.stderr, "keyfold: %s; store the token now, because it is not shown again\n", message)
	return err
}

// expiry says when a key expires.
func expiry(key *keyfold.Key) string {
	switch {
	case !key.RevokedAt.IsZero():
		return "is revoked"
	case key.ExpiresAt.IsZero():
		return "never expires"
	case !key.ExpiresAt.After(time.Now()):
		return "expired at " + shortTime(key.ExpiresAt)
	}
	return "expires at " + shortTime(key.ExpiresAt)
}

// keyDetails lists every field of a key.
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
	lines.add("Networks", cidr.Join(k.Networks))
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

// idleText formats an idle timeout. It is empty if there is none.
func idleText(timeout time.Duration) string {
	if timeout == 0 {
		return ""
	}
	return admin.FormatDuration(timeout)
}

// entries returns metadata as sorted lines of the form "name=value".
func entries(metadata map[string]string) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		lines = append(lines, name+"="+metadata[name])
	}
	return lines
}
