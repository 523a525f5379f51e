package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/internal/wire"
)

func TestAuditList(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id := s.created("keys", "create", "--name", "ci").ID
	other := s.created("keys", "create").ID
	s.prints("keys", "update", id, "--name", "build\u202e")
	s.prints("keys", "delete", id, "--yes")

	page := decoded[wire.AuditPage](t, s.prints("audit", "list", "--json"))
	var actions []string
	for _, entry := range page.Entries {
		actions = append(actions, entry.Action)
		if *entry.Actor != "keyfold command" || entry.IP != nil {
			t.Errorf("entry %+v", entry)
		}
	}
	if want := []string{"key.delete", "key.update", "key.create", "key.create"}; !slices.Equal(actions, want) || page.Next != nil {
		t.Errorf("actions %q, next %v, want %q", actions, page.Next, want)
	}
	if update := page.Entries[1]; string(update.Before) != `{"name":"ci"}` || string(update.After) != "{\"name\":\"build\u202e\"}" || update.Target != id {
		t.Errorf("update %+v", update)
	}
	if create := page.Entries[3]; string(create.Before) != "null" {
		t.Errorf("before the creation there was %s", create.Before)
	}
	if got := documents[wire.AuditEntry](t, s.prints("audit", "list", "--all", "--json", "--target", other)); len(got) != 1 || got[0].Target != other {
		t.Errorf("of one key: %+v", got)
	}

	table := s.prints("audit", "list", "--target", id)
	if got, want := column(t, table, 4), []string{"key.delete", "key.update", "key.create"}; !slices.Equal(got, want) {
		t.Errorf("actions %q, want %q:\n%s", got, want, table)
	}
	if !strings.Contains(table, `name: "ci" → "build�"`) || strings.Contains(table, "tenant") {
		t.Errorf("table:\n%s", table)
	}
	cut := s.run("audit", "list", "--limit", "3")
	if rows := strings.Count(cut.stdout, "\n"); rows != 3 || !strings.Contains(cut.stderr, "--cursor ") {
		t.Errorf("%d rows, %q", rows, cut.stderr)
	}

	token := "kf_0123456789abcdef_0123456789abcdef0123456789abcdef_000000"
	s.secrets = append(s.secrets, token)
	s.fails(exitUsage, "--target must be at most 128 bytes", "audit", "list", "--target", strings.Repeat("x", 129))
	s.fails(exitUsage, "--cursor must be", "audit", "list", "--cursor", token)
	s.fails(exitUsage, "takes no arguments", "audit", "list", token)
}
