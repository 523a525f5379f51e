package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
)

func (c *command) audit() *cobra.Command {
	cmd := &cobra.Command{
		Use: "audit", Short: "Show who changed what", Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.auditList())
	return cmd
}

func (c *command) auditList() *cobra.Command {
	var flags dataFlags
	var pages pageFlags
	var target string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List changes, newest first",
		Long: `List changes, newest first, with the actor, the network address, and the old and
new values of the changed fields.

` + listHelp,
		Example: `  keyfold audit list --target 8fJ2kQ0aXw3mT7Zb`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := noneEmpty(cmd, "target"); err != nil {
				return err
			}
			if _, err := keyfold.ParseToken(target); err == nil {
				return checkID("--target", target) // IDs of other objects have other forms
			}
			if err := pages.check(); err != nil {
				return err
			}
			return c.onService(cmd, func(ctx context.Context, svc *keyfold.Service) error {
				target, err := auditTarget(ctx, svc, target)
				if err != nil {
					return err
				}
				return auditListing(svc, target).print(ctx, c, &pages, flags.asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&target, "target", "", "only changes of the object with this `id`, or of the user with this username or e-mail address")
	pages.add(cmd)
	flags.add(cmd)
	return cmd
}

// auditTarget returns the ID of the user if the target is a username or an e-mail
// address, and the target itself otherwise.
func auditTarget(ctx context.Context, svc *keyfold.Service, target string) (string, error) {
	if target == "" || idPattern.MatchString(target) {
		return target, nil
	}
	user, err := svc.UserByIdentifier(ctx, target)
	if errors.Is(err, keyfold.ErrNotFound) {
		return target, nil
	}
	return user.ID, err
}

func auditListing(svc *keyfold.Service, target string) listing[keyfold.AuditEntry] {
	return listing[keyfold.AuditEntry]{
		fetch: func(ctx context.Context, cursor string, limit int) ([]keyfold.AuditEntry, string, error) {
			page, err := svc.Audit(ctx, keyfold.AuditQuery{Target: onlyIf(target), Cursor: cursor, Limit: limit})
			return page.Entries, page.Next, err
		},
		document: func(entries []keyfold.AuditEntry, next string) any {
			return keyfold.AuditPage{Entries: entries, Next: next}
		},
		table: auditTable,
	}
}

func auditTable(found []keyfold.AuditEntry) *table {
	t := newTable("audit entries", "TIME!", "ACTOR", "IP?", "REQUEST?", "ACTION", "TARGET!", "CHANGE")
	for _, e := range found {
		t.add(exactTime(e.At), e.Actor, ipText(e.IP), e.RequestID, e.Action, e.Target, changeText(e.Before, e.After))
	}
	return t
}

// ipText is empty for the zero Addr.
func ipText(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

// changeText lists the changed fields: name: "a" → "b". For a creation or a deletion
// it lists the fields that are not empty.
func changeText(before, after string) string {
	var old, now map[string]json.RawMessage
	_ = json.Unmarshal([]byte(before), &old) // empty for a creation
	_ = json.Unmarshal([]byte(after), &now)  // empty for a deletion
	names := maps.Clone(old)
	if names == nil {
		names = map[string]json.RawMessage{}
	}
	maps.Copy(names, now)
	var changes []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		from, was := old[name]
		to, is := now[name]
		switch {
		case was && is:
			changes = append(changes, name+": "+string(from)+" → "+string(to))
		case is && holds(to):
			changes = append(changes, name+": "+string(to))
		case was && holds(from):
			changes = append(changes, name+": "+string(from))
		}
	}
	return strings.Join(changes, ", ")
}

func holds(value json.RawMessage) bool {
	return !slices.Contains([]string{"null", `""`, "[]", "{}", `"0s"`}, string(value))
}
