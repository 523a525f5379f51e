package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

func mergingCases() []testCase {
	return []testCase{
		{name: "merging keeps events and their order, even between two pages", run: mergeKeepsPages, alone: true, merge: true},
		{name: "merging at the same time keeps each event once", run: racingMerges, alone: true, merge: true},
		{name: "events that arrive after a merge are listed in order, and merged later", run: lateEvents, alone: true, merge: true},
		{name: "a merge whose context ends keeps all events", run: canceledMerge, alone: true, merge: true},
	}
}

// merge merges everything that ended at a time or earlier.
func (t *trial) merge(ctx context.Context, before time.Time) error {
	for {
		more, err := t.store.(keyfold.UsageMerger).MergeUsage(ctx, before)
		if err != nil || !more {
			return err
		}
	}
}

// manyBatches records batches of two recorders that overlap in time, and returns the
// beginning of their hour. Some events have the same time, and some are of the next hour.
func (t *trial) manyBatches(keyIDs ...string) time.Time {
	t.Helper()
	hour := t.clock.Truncate(time.Hour).Add(-5 * time.Hour)
	recorders := []string{t.id(), t.id()}
	for n := range 200 {
		batch := keyfold.UsageBatch{RecorderID: recorders[n%2], Number: int64(n + 1), At: t.clock}
		for i := range 3 {
			at := hour.Add(time.Duration(n/2)*36*time.Second + time.Duration(i)*20*time.Second)
			if n%5 == 0 {
				at = hour.Add(time.Minute)
			}
			key := keyIDs[(n+i)%len(keyIDs)]
			batch.Events = append(batch.Events, keyfold.UsageEvent{At: at, KeyID: key, Route: fmt.Sprint(n, "/", i), UserAgent: fmt.Sprint(n % 3)})
		}
		t.recordBatch(batch)
	}
	return hour
}

func (t *trial) scanAll(hour time.Time) keyfold.UsageScan {
	return keyfold.UsageScan{From: hour.Add(-time.Hour), To: hour.Add(3 * time.Hour), Limit: 37}
}

// pages reads all pages of a scan, and calls between after the first.
func (t *trial) pages(scan keyfold.UsageScan, between func()) (all []keyfold.UsageEvent) {
	t.Helper()
	for {
		page, err := t.store.UsageEvents(t.ctx, scan)
		t.wantNoError("UsageEvents", err)
		all = append(all, page...)
		if len(page) < scan.Limit {
			return all
		}
		if len(all) == len(page) && between != nil {
			between()
		}
		last := page[len(page)-1]
		scan.After = keyfold.EventPosition{At: last.At, Seq: last.Seq}
	}
}

func (t *trial) wantPages(what string, scan keyfold.UsageScan, want []keyfold.UsageEvent, between func()) {
	t.Helper()
	got := t.pages(scan, between)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d events are listed, want the %d events of before in the same order", what, len(got), len(want))
	}
}

func mergeKeepsPages(t *trial) {
	keys := t.ids(t.createMany(3))
	hour := t.manyBatches(keys...)
	all, one := t.scanAll(hour), t.scanAll(hour)
	one.KeyID = keys[1]
	wantAll, wantOne := t.pages(all, nil), t.pages(one, nil)
	if len(wantAll) != 600 || len(wantOne) != 200 {
		t.Errorf("%d events are listed and %d of the key, want 600 and 200", len(wantAll), len(wantOne))
	}
	merge := func() { t.wantNoError("MergeUsage", t.merge(t.ctx, hour.Add(time.Hour))) }
	t.wantPages("pages around a merge", all, wantAll, merge)
	t.wantPages("pages of a key after a merge", one, wantOne, nil)
	hour = hour.Add(time.Hour)
	t.wantPages("pages of a key around another merge", one, wantOne, merge)
	t.wantPages("pages after both", all, wantAll, merge)
}

func racingMerges(t *trial) {
	hour := t.manyBatches(t.create().ID)
	scan := t.scanAll(hour)
	want := t.pages(scan, nil)
	errs := race(4, func(int) error { return again(func() error { return t.merge(t.ctx, hour.Add(time.Hour)) }) })
	t.wantNoError("merges at the same time", errors.Join(errs...))
	t.wantPages("after merges at the same time", scan, want, nil)
}

func lateEvents(t *trial) {
	key := t.create().ID
	hour := t.manyBatches(key)
	scan := t.scanAll(hour)
	want := len(t.pages(scan, nil))
	for n := range 3 {
		t.wantNoError("MergeUsage", t.merge(t.ctx, hour.Add(time.Hour)))
		batch := t.batch()
		batch.Events = []keyfold.UsageEvent{{At: hour.Add(30 * time.Minute), KeyID: key, Route: "late"}}
		t.recordBatch(batch)
		late := 0
		all := t.pages(scan, nil)
		for i, event := range all {
			if event.Route == "late" {
				late++
			}
			if i > 0 && event.At.After(all[i-1].At) {
				t.Errorf("an event of %v is listed after one of %v", event.At, all[i-1].At)
			}
		}
		if want++; len(all) != want || late != n+1 {
			t.Errorf("%d events are listed, and %d that arrived late, want %d and %d", len(all), late, want, n+1)
		}
	}
}

func canceledMerge(t *trial) {
	hour := t.manyBatches(t.create().ID)
	scan := t.scanAll(hour)
	want := t.pages(scan, nil)
	for wait := 100 * time.Microsecond; wait < 100*time.Millisecond; wait *= 2 {
		ctx, cancel := context.WithTimeout(t.ctx, wait)
		_ = t.merge(ctx, hour.Add(time.Hour))
		cancel()
		t.wantPages(fmt.Sprintf("after a merge that ended after %v", wait), scan, want, nil)
	}
}
