package main

import (
	"context"
	"encoding/csv"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/wire"
)

// use verifies two keys: the first is allowed twice and refused once for a
// scope, the second is refused as revoked. It returns their ids.
func (s *shell) use() (id, revoked string) {
	s.t.Helper()
	svc := s.openService()
	create := func(owner string) (string, keyfold.Request) {
		key, token, err := svc.CreateKey(s.t.Context(), keyfold.NewKey{OwnerID: owner})
		if err != nil {
			s.t.Fatal(err)
		}
		s.keeps(token.Reveal())
		return key.ID, keyfold.Request{Token: token.Reveal(), Route: "GET /reports", IP: netip.MustParseAddr("192.0.2.7")}
	}
	id, request := create("a")
	scoped := request
	scoped.Scopes = []string{"a:b"}
	revoked, refused := create("b")
	if err := svc.RevokeKey(s.t.Context(), revoked, ""); err != nil {
		s.t.Fatal(err)
	}
	for _, r := range []keyfold.Request{request, request, scoped, refused} {
		_, _ = svc.Verify(s.t.Context(), r) // what is refused is counted all the same
	}
	if err := svc.Flush(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	return id, revoked
}

func TestUsageEvents(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id, revoked := s.use()
	page := decoded[wire.UsagePage](t, s.prints("usage", "events", "--json"))
	if len(page.Events) != 4 || page.Next != nil {
		t.Fatalf("events %+v", page)
	}
	for args, want := range map[string]int{
		"--key " + id: 3, "--owner b": 1, "--outcome allowed": 2, "--outcome allowed --outcome scope": 3, "--outcome expired": 0, "--limit 2": 2,
		"--to 2001-01-01T00:00:00Z": 0, "--from 2001-01-01T00:00:00Z": 4,
	} {
		page := decoded[wire.UsagePage](t, s.prints(append([]string{"usage", "events", "--json"}, strings.Fields(args)...)...))
		if len(page.Events) != want {
			t.Errorf("%s: %d events, want %d", args, len(page.Events), want)
		}
	}
	events := documents[wire.UsageEvent](t, s.prints("usage", "events", "--json", "--all", "--outcome", "allowed"))
	if len(events) != 2 || events[0].Outcome != "allowed" || *events[0].Route != "GET /reports" || *events[0].IP != "192.0.2.7" || *events[0].KeyID != id {
		t.Errorf("--all: %+v", events)
	}

	table := s.prints("usage", "events")
	want := []string{"allowed", "allowed", "revoked", "scope"}
	if got := column(t, table, 2); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
		t.Errorf("outcomes %q, want %q:\n%s", got, want, table)
	}
	if keys := column(t, table, 1); !slices.Contains(keys, revoked) {
		t.Errorf("table:\n%s", table)
	}
	for _, at := range column(t, table, 0) {
		if parsed, err := time.Parse(time.RFC3339, at); err != nil || parsed.Location() != time.UTC {
			t.Errorf("time %q is not RFC 3339 in UTC", at)
		}
	}
	cut := s.run("usage", "events", "--limit", "3")
	_, cursor, _ := strings.Cut(cut.stderr, "--cursor ")
	cursor, _, _ = strings.Cut(cursor, " ")
	if rest := column(t, s.prints("usage", "events", "--limit", "3", "--cursor", cursor), 2); len(rest) != 1 {
		t.Errorf("after %q the list goes on with %q, want one more", cut.stderr, rest)
	}
}

func TestUsageReportAndTotals(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id, _ := s.use()
	day := decoded[wire.UsageReport](t, s.prints("usage", "report", "--by", "day", "--json"))
	if day.By != "day" || len(day.Intervals) < 30 || len(day.Intervals) > 31 {
		t.Fatalf("by %s, %d intervals", day.By, len(day.Intervals))
	}
	allowed := func(r wire.UsageReport) (n int64) {
		for _, interval := range r.Intervals {
			n += interval.Counts["allowed"]
		}
		return n
	}
	hour := decoded[wire.UsageReport](t, s.prints("usage", "report", "--key", id, "--json"))
	if hour.By != "hour" || allowed(hour) != 2 || allowed(day) != 2 {
		t.Errorf("by %s, allowed %d and %d, want 2 each", hour.By, allowed(hour), allowed(day))
	}
	table := s.prints("usage", "report", "--by", "day")
	days, total := column(t, table, 0), column(t, table, 1)
	if days[len(days)-1] != "total" || total[len(total)-1] != "2" || column(t, table, 1+int(keyfold.OutcomeRevoked))[len(days)-1] != "1" {
		t.Errorf("table:\n%s", table)
	}
	if table := s.prints("usage", "report", "--outcome", "expired"); !strings.HasSuffix(table, "\ntotal"+strings.Repeat("\t", len(outcomes()))+"\n") {
		t.Errorf("of no use at all:\n%s", table)
	}

	totals := decoded[wire.UsageTotals](t, s.prints("usage", "totals", "--json"))
	if totals.Counts["allowed"] != 2 || totals.Counts["scope"] != 1 || totals.Counts["revoked"] != 1 {
		t.Errorf("totals %+v", totals)
	}
	if got := s.prints("usage", "totals", "--key", id); got != "allowed\t2\nscope\t1\n" {
		t.Errorf("totals:\n%s", got)
	}
}

func TestUsageRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.use()
	s.secrets = append(s.secrets, "hunter")
	for args, says := range map[string]string{
		"report --by week": "--by must be hour or day",
		"report --by hour --from 2001-01-01T00:00:00Z":                 "--from must be at most 31 days",
		"events --outcome hunter":                                      "--outcome must be one of allowed, missing",
		"events --from hunter":                                         "--from must be a date or an RFC 3339 time",
		"events --key hunter":                                          "--key must be a key ID of 16 letters and digits",
		"events --key=":                                                "--key must not be empty",
		"totals --key 0123456789abcdef --owner a":                      "--key and --owner cannot be used together",
		"totals --from 2002-01-01T00:00:00Z --to 2001-01-01T00:00:00Z": "--from must be before",
		"events --limit -1":                                            "--limit must be above zero",
		"events --cursor eyJmIjoxfQ":                                   "--cursor must be",
		"totals --owner=":                                              "--owner must not be empty",
		"events hunter":                                                "takes no arguments",
		"drop":                                                         `unknown command "drop"`,
		"events --db sqlite:" + strings.TrimSuffix(s.path, ".db") + "2.db": "",
	} {
		code := exitUsage
		if says == "" {
			code = exitNotFound
		}
		s.fails(code, says, append([]string{"usage"}, strings.Fields(args)...)...)
	}
}

func TestOutcomesAreAllThereAre(t *testing.T) {
	t.Parallel()
	names := outcomeNames()
	if len(names) != int(keyfold.OutcomeUnavailable)+1 || names[0] != "allowed" || names[len(names)-1] != "unavailable" {
		t.Errorf("outcomes %q", names)
	}
}

func TestUsageExport(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id, _ := s.use()
	if events := documents[wire.UsageEvent](t, s.prints("usage", "export")); len(events) != 4 {
		t.Errorf("%d events, want 4", len(events))
	}
	rows, err := csv.NewReader(strings.NewReader(s.prints("usage", "export", "--format", "csv", "--key", id, "--outcome", "allowed"))).ReadAll()
	if err != nil || len(rows) != 3 || rows[0][0] != "at" || rows[1][1] != id || rows[2][3] != "GET /reports" {
		t.Errorf("rows %q (%v), want a header and two events", rows, err)
	}
	if got := s.prints("usage", "export", "--outcome", "expired"); got != "" {
		t.Errorf("no event matches, and the export is %q", got)
	}
	s.fails(2, "--format must be ndjson or csv", "usage", "export", "--format", "xml")
}
