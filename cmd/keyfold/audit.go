package main

import (
	"context"
	"encoding/json"
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
		Long: `List changes, newest first: who made them, from where, and what became of the
fields that changed. A list that goes on says so on standard error, or with --json
in "next".`,
		Example: `  keyfold audit list --target 8fJ2kQ0aXw3mT7Zb`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := noneEmpty(cmd, "target"); err != nil {
				return err
			}
			if _, err := keyfold.ParseToken(target); err == nil {
				return checkID("--target", target) // the id of anything else will do
			}
			if err := pages.check(); err != nil {
				return err
			}
			return c.onService(cmd, false, func(ctx context.Context, svc *keyfold.Service) error {
				return auditListing(svc, target).print(ctx, c, &pages, flags.asJSON)
			})
		},
	}
	cmd.Flags().StringVar(&target, "target", "", "only changes of what has that `id`")
	pages.add(cmd)
	flags.add(cmd)
	return cmd
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
	t := newTable("TIME", "ACTOR", "IP?", "REQUEST?", "ACTION", "TARGET", "CHANGE")
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

// changeText says what became of each field: "name: "a" → "b"". Of what is new
// or gone it tells the fields that hold something.
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
