package usageexport_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/usageexport"
)

func written(t *testing.T, f usageexport.Format, events ...keyfold.UsageEvent) string {
	t.Helper()
	var text strings.Builder
	w := usageexport.NewWriter(&text, f)
	for i := range events {
		if err := w.Write(&events[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func event(agent string) keyfold.UsageEvent {
	return keyfold.UsageEvent{
		At: time.Date(2026, 11, 30, 12, 0, 0, 7e6, time.UTC), KeyID: "8fJ2kQpWm3xTzR4a", Outcome: keyfold.OutcomeScope,
		Route: "GET /reports/{id}", IP: netip.MustParseAddr("2001:db8::1"), RequestID: "r-1", UserAgent: agent,
	}
}

func TestNDJSONLinesAreTheEventsOfTheAdminAPI(t *testing.T) {
	t.Parallel()
	want := []keyfold.UsageEvent{event("curl/8\n\"quoted\""), {At: time.UnixMilli(5).UTC(), Outcome: keyfold.OutcomeMissing}}
	lines := strings.Split(strings.TrimSuffix(written(t, usageexport.NDJSON, want...), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d", len(lines), len(want))
	}
	for i, line := range lines {
		var got keyfold.UsageEvent
		if err := json.Unmarshal([]byte(line), &got); err != nil || !reflect.DeepEqual(got, want[i]) {
			t.Errorf("line %d is %+v (%v), want %+v", i, got, err, want[i])
		}
	}
}

func TestCSVHasAHeaderAndSurvivesEveryText(t *testing.T) {
	t.Parallel()
	agent := "a,\"b\"\nc;d"
	rows, err := csv.NewReader(strings.NewReader(written(t, usageexport.CSV, event(agent)))).ReadAll()
	want := [][]string{
		{"at", "key_id", "outcome", "route", "ip", "request_id", "user_agent"},
		{"2026-11-30T12:00:00.007Z", "8fJ2kQpWm3xTzR4a", "scope", "GET /reports/{id}", "2001:db8::1", "r-1", agent},
	}
	if err != nil || !reflect.DeepEqual(rows, want) {
		t.Errorf("got %q (%v), want %q", rows, err, want)
	}
	if got := written(t, usageexport.CSV); got != "at,key_id,outcome,route,ip,request_id,user_agent\n" {
		t.Errorf("without events: %q, want the header", got)
	}
}

// Mutation tried: cells as they are.
func TestCSVHasNoFormulas(t *testing.T) {
	t.Parallel()
	for _, agent := range []string{"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"} {
		t.Run(agent, func(t *testing.T) {
			t.Parallel()
			rows, err := csv.NewReader(strings.NewReader(written(t, usageexport.CSV, event(agent)))).ReadAll()
			if err != nil || !strings.HasPrefix(rows[1][6], "'") {
				t.Errorf("the cell is %q (%v), want an apostrophe before it", rows, err)
			}
		})
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }

func TestErrorOfTheWriterIsReturned(t *testing.T) {
	t.Parallel()
	for _, f := range []usageexport.Format{usageexport.NDJSON, usageexport.CSV} {
		w := usageexport.NewWriter(broken{}, f)
		e := event("curl")
		_ = w.Write(&e)
		if err := w.Flush(); err == nil {
			t.Errorf("%s: no error", f)
		}
	}
}
