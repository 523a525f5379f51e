package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// TestMerging wants few blocks after a merge. A damaged block must stay as it is, must not
// hide other events, must be reported once, and must be deleted with the others.
//
// another is a Store of the same database, which merges at the same time. Mutations tried:
// a merge that does not compare the number of deleted rows; one that continues across a
// block that it cannot read.
func TestMerging(t *testing.T, store, another keyfold.Store, db *sql.DB) {
	t.Helper()
	const batches = 300
	var log strings.Builder
	store.(keyfold.LoggingStore).SetLogger(slog.New(slog.NewTextHandler(&log, nil)))
	key, hour := Create(t, store), time.Now().UTC().Truncate(time.Hour).Add(-48*time.Hour)
	for n := range batches {
		batch := keyfold.UsageBatch{RecorderID: "r", Number: int64(n + 1), At: hour}
		for range 2 {
			batch.Events = append(batch.Events, keyfold.UsageEvent{At: hour.Add(time.Duration(n) * time.Second), KeyID: key.ID, Route: fmt.Sprint(n)})
		}
		if _, err := store.RecordUsage(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	block := func(n int) string { // its id is between these
		at := hour.Add(time.Duration(n) * time.Second).UnixMilli()
		return fmt.Sprintf("id >= %d AND id < %d", at<<15, (at+1)<<15)
	}
	count := func(query string) (n int) {
		t.Helper()
		if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	mustExec(t, db, "UPDATE keyfold_usage_blocks SET body = (SELECT body FROM (SELECT body FROM keyfold_usage_blocks WHERE "+block(7)+") b), events = 3 WHERE "+block(100))
	if count("SELECT COUNT(*) FROM keyfold_usage_blocks") != batches {
		t.Fatalf("want %d blocks", batches)
	}
	list := func() (n int) {
		events, err := store.UsageEvents(t.Context(), keyfold.UsageScan{From: hour, To: hour.Add(time.Hour), Limit: 4096})
		if err != nil {
			t.Fatal(err)
		}
		return len(events)
	}
	const want = 2 * (batches - 1)
	if got := list(); got != want {
		t.Errorf("%d events are listed before the merge, want %d", got, want)
	}
	merged := make(chan error)
	go func() { merged <- mergeAll(t.Context(), another) }()
	err := mergeAll(t.Context(), store)
	if err := errors.Join(err, <-merged); err != nil {
		t.Fatal(err)
	}
	// The damaged block separates two runs.
	if got := count("SELECT COUNT(*) FROM keyfold_usage_blocks"); got != 3 {
		t.Errorf("there are %d blocks after the merge, want 3", got)
	}
	if got := list(); got != want {
		t.Errorf("%d events are listed after the merge, want %d", got, want)
	}
	if got := strings.Count(log.String(), "a block of usage events cannot be read"); got != 1 {
		t.Errorf("the block is reported %d times, want once: %s", got, &log)
	}
	if _, _, err := store.PruneUsage(t.Context(), hour.Add(time.Hour), 1000); err != nil {
		t.Fatal(err)
	}
	if got := count("SELECT COUNT(*) FROM keyfold_usage_blocks"); got != 0 {
		t.Errorf("%d blocks are left after pruning, want none", got)
	}
}

func mergeAll(ctx context.Context, store keyfold.Store) error {
	for {
		more, err := store.(keyfold.UsageMerger).MergeUsage(ctx, time.Now())
		if err != nil || !more {
			return err
		}
	}
}
