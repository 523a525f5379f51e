package sqltest

import (
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// TestLargeBatch records more events than fit one statement, twice, the second
// time by a recorder that numbers its events alike. Every one must come back.
func TestLargeBatch(t *testing.T, store keyfold.Store) {
	t.Helper()
	const events, page = 1234, 200
	key, began := Create(t, store), time.Now().UTC().Truncate(time.Millisecond)
	batch := keyfold.UsageBatch{
		RecorderID: "first", Number: 1, At: began, Keys: []keyfold.KeyUses{{KeyID: key.ID, Uses: events, LastUsedAt: began}},
		Hours: []keyfold.UsageHour{{KeyID: key.ID, HourAt: began.Truncate(time.Hour), Count: events}},
	}
	want := map[string]int{}
	for n := range events {
		event := keyfold.UsageEvent{
			At: began.Add(time.Duration(n/7) * time.Millisecond), Seq: int64(n + 1), KeyID: key.ID, Outcome: keyfold.Outcome(n % 15),
			Route: fmt.Sprint("GET /", n%40), IP: netip.AddrFrom4([4]byte{192, 0, 2, byte(n % 250)}), RequestID: fmt.Sprint("request ", n),
			UserAgent: fmt.Sprint("agent/", n%3),
		}
		batch.Events = append(batch.Events, event)
		event.Seq = 0
		want[fmt.Sprint(event)] += 2
	}
	for _, recorder := range []string{"first", "second"} {
		batch.RecorderID = recorder
		result, err := store.RecordUsage(t.Context(), batch)
		if err != nil || result.Duplicate || result.LostUses != 0 {
			t.Fatalf("RecordUsage of the %s recorder: %+v, %v", recorder, result, err)
		}
	}
	scan := keyfold.UsageScan{KeyID: key.ID, From: began, To: began.Add(time.Hour), Limit: page}
	for {
		got, err := store.UsageEvents(t.Context(), scan)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range got {
			scan.After = keyfold.EventPosition{At: event.At, Seq: event.Seq}
			event.Seq = 0
			want[fmt.Sprint(event)]--
		}
		if len(got) < page {
			break
		}
	}
	for event, left := range want {
		if left != 0 {
			t.Fatalf("event %s came back %d times too few", event, left)
		}
	}
	if got, err := store.Key(t.Context(), key.ID); err != nil || got.Uses != 2*events {
		t.Errorf("the key has %d uses (%v), want %d", got.Uses, err, 2*events)
	}
}

// TestProbe wants a Probe that leaves nothing behind, also when several run at once.
func TestProbe(t *testing.T, store keyfold.Store, db *sql.DB) {
	t.Helper()
	done := make(chan error)
	for range 4 {
		go func() { done <- store.(keyfold.ProbingStore).Probe(t.Context()) }()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Errorf("Probe: %v", err)
		}
	}
	var left int
	if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM keyfold_settings").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d settings are left (%v)", left, err)
	}
}

// TestProbeReturnsTheReasonOfARefusal wants Probe to return keyfold.ErrNoSpace or
// keyfold.ErrReadOnly for each code of the server, as want says. For a code whose
// error is nil, Probe must return an error that is neither. After refuse(code), the
// database must answer every insert into keyfold_settings with that code.
func TestProbeReturnsTheReasonOfARefusal(t *testing.T, store keyfold.ProbingStore, refuse func(code string), want map[string]error) {
	t.Helper()
	for code, cause := range want {
		refuse(code)
		err := store.Probe(t.Context())
		if err == nil {
			t.Errorf("Probe after %s: got no error", code)
		}
		for _, known := range []error{keyfold.ErrNoSpace, keyfold.ErrReadOnly} {
			if got := errors.Is(err, known); got != (cause == known) {
				t.Errorf("Probe after %s: got %v, want %v", code, err, cause)
			}
		}
	}
}
