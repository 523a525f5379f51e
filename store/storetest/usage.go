package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

func usageCases() []testCase {
	return []testCase{
		{name: "totals rise by exactly what concurrent recorders give", run: totalsAreExact},
		{name: "no batch counted twice: a batch that was applied before changes nothing", run: duplicateBatch},
		{name: "a batch that arrives twice at once is applied once", run: racingBatches},
		{name: "batches of one recorder may come in any order", run: batchesInAnyOrder},
		{name: "the last use only moves forward", run: lastUseMovesForward},
		{name: "what is given twice in one batch is added", run: repeatedRowsAreAdded},
		{name: "usage of a key that does not exist is passed over and the rest kept", run: lostUses},
		{name: "a value in every column of an event comes back", run: everyEventColumn},
		{name: "an empty batch is applied and claimed", run: emptyBatch},
		{name: "a batch of thousands of keys and events is applied whole", run: largeBatch},
		{name: "a batch that fails keeps nothing and can be sent again", run: failedBatch},
	}
}

// batch returns an empty batch of a recorder of its own.
func (t *trial) batch() keyfold.UsageBatch {
	return keyfold.UsageBatch{RecorderID: t.id(), Number: 1, At: t.now()}
}

// recordBatch applies a batch, which must not have been applied before.
func (t *trial) recordBatch(batch keyfold.UsageBatch) {
	t.Helper()
	result, err := t.store.RecordUsage(t.ctx, batch)
	t.wantNoError("RecordUsage", err)
	t.wantEqual("RecordUsage", result, keyfold.UsageResult{})
}

// day is a scan from midnight to midnight around a time.
func day(at time.Time) keyfold.UsageScan {
	from := at.Truncate(24 * time.Hour)
	return keyfold.UsageScan{From: from, To: from.Add(24 * time.Hour), Limit: 10_000}
}

// used returns a batch with one use of each key in totals, hours and events.
func (t *trial) used(ids ...string) keyfold.UsageBatch {
	batch, at := t.batch(), t.now()
	for _, id := range ids {
		batch.Keys = append(batch.Keys, keyfold.KeyUses{KeyID: id, Uses: 1, LastUsedAt: at})
		batch.Hours = append(batch.Hours, keyfold.UsageHour{KeyID: id, HourAt: at.Truncate(time.Hour), Count: 1})
		batch.Events = append(batch.Events, keyfold.UsageEvent{At: at, KeyID: id, Route: "GET /"})
	}
	return batch
}

// wantUses checks uses, the sum of hours and the number of events of a key.
func (t *trial) wantUses(what, id string, want int) {
	t.Helper()
	// Two days, in case that midnight passes while a case runs.
	scan := keyfold.UsageScan{KeyID: id, From: t.clock.Add(-24 * time.Hour), To: t.clock.Add(24 * time.Hour), Limit: 10_000}
	events, err := t.store.UsageEvents(t.ctx, scan)
	t.wantNoError("UsageEvents", err)
	hours, err := t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	var sum int64
	for _, hour := range hours {
		sum += hour.Count
	}
	if uses := t.wantKey(id).Uses; uses != int64(want) || sum != int64(want) || len(events) != want {
		t.Errorf("%s: key has %d uses, %d in its hours and %d events, want %d of each", what, uses, sum, len(events), want)
	}
}

func totalsAreExact(t *trial) {
	const recorders, batches = 6, 8
	ids := t.ids(t.createMany(5))
	all := make([][]keyfold.UsageBatch, recorders)
	last := t.clock
	for i := range all {
		recorder := t.id()
		for n := range batches {
			batch := t.used(ids...)
			batch.RecorderID, batch.Number = recorder, int64(n+1)
			last = batch.Keys[0].LastUsedAt
			all[i] = append(all[i], batch)
		}
	}
	errs := race(recorders, func(i int) error {
		for _, batch := range all[i] {
			err := again(func() error {
				result, err := t.store.RecordUsage(t.ctx, batch)
				if err == nil && result != (keyfold.UsageResult{}) {
					err = fmt.Errorf("RecordUsage returned %+v, want the zero result", result)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	t.wantNoError("racing batches", errors.Join(errs...))
	for _, id := range ids {
		t.wantUses("after racing batches", id, recorders*batches)
		if got := t.wantKey(id).LastUsedAt; !got.Equal(last) {
			t.Errorf("last use is %v, want %v", got, last)
		}
	}
}

func duplicateBatch(t *trial) {
	key := t.create()
	batch := t.used(key.ID)
	refusals := []keyfold.UsageHour{{HourAt: time.UnixMilli(7_200_000).UTC(), Outcome: keyfold.OutcomeMalformed, Count: 1}}
	batch.Hours = append(batch.Hours, refusals...)
	t.recordBatch(batch)
	for range 2 {
		result, err := t.store.RecordUsage(t.ctx, batch)
		t.wantNoError("RecordUsage of the same batch", err)
		t.wantEqual("RecordUsage of the same batch", result, keyfold.UsageResult{Duplicate: true})
	}
	// The claim alone decides, whatever else the second batch holds.
	other := t.used(key.ID)
	other.RecorderID, other.Number = batch.RecorderID, batch.Number
	result, err := t.store.RecordUsage(t.ctx, other)
	t.wantNoError("RecordUsage of another batch with the same claim", err)
	t.wantEqual("RecordUsage of another batch with the same claim", result, keyfold.UsageResult{Duplicate: true})
	t.wantUses("after one batch that came four times", key.ID, 1)
	t.wantRefusals(refusals)
}

// wantRefusals checks what UsageHours returns for the hours and outcomes of want,
// which no other case may use.
func (t *trial) wantRefusals(want []keyfold.UsageHour) {
	t.Helper()
	scan := keyfold.UsageScan{From: want[0].HourAt, To: want[len(want)-1].HourAt.Add(time.Hour)}
	for _, hour := range want {
		if !slices.Contains(scan.Outcomes, hour.Outcome) {
			scan.Outcomes = append(scan.Outcomes, hour.Outcome)
		}
	}
	got, err := t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	t.wantEqual("UsageHours of refusals", got, want)
}

func racingBatches(t *trial) {
	const racers = 6
	key := t.create()
	batch := t.used(key.ID)
	var results [racers]keyfold.UsageResult
	errs := race(racers, func(i int) error {
		return again(func() (err error) {
			results[i], err = t.store.RecordUsage(t.ctx, batch)
			return err
		})
	})
	t.wantNoError("racing batches", errors.Join(errs...))
	applied := 0
	for _, result := range results {
		if !result.Duplicate {
			applied++
		}
	}
	if applied != 1 {
		t.Errorf("of %d equal batches %d were applied, want 1", racers, applied)
	}
	t.wantUses("after one batch that came six times", key.ID, 1)
}

func batchesInAnyOrder(t *trial) {
	key := t.create()
	recorder := t.id()
	for _, number := range []int64{3, 1, 1 << 40, 2} {
		batch := t.used(key.ID)
		batch.RecorderID, batch.Number = recorder, number
		t.recordBatch(batch)
	}
	t.wantUses("after four batches", key.ID, 4)
}

func lastUseMovesForward(t *trial) {
	key := t.create()
	want := t.now()
	for _, used := range []time.Time{want.Add(-time.Hour), want, want.Add(-time.Minute), want} {
		batch := t.batch()
		batch.Keys = []keyfold.KeyUses{{KeyID: key.ID, Uses: 2, LastUsedAt: used}}
		t.recordBatch(batch)
	}
	if got := t.wantKey(key.ID); !got.LastUsedAt.Equal(want) || got.Uses != 8 {
		t.Errorf("key has %d uses, the last at %v, want 8 and %v", got.Uses, got.LastUsedAt, want)
	}
}

func repeatedRowsAreAdded(t *trial) {
	key := t.create()
	batch := t.used(key.ID, key.ID, key.ID)
	refusal := keyfold.UsageHour{HourAt: time.UnixMilli(10_800_000).UTC(), Outcome: keyfold.OutcomeMissing, Count: 2}
	batch.Hours = append(batch.Hours, refusal, refusal)
	batch.Keys[0].LastUsedAt = batch.Keys[0].LastUsedAt.Add(time.Hour)
	t.recordBatch(batch)
	t.wantUses("after a batch that names the key three times", key.ID, 3)
	if got, want := t.wantKey(key.ID).LastUsedAt, batch.Keys[0].LastUsedAt; !got.Equal(want) {
		t.Errorf("last use is %v, want the latest given, %v", got, want)
	}
	refusal.Count = 4
	t.wantRefusals([]keyfold.UsageHour{refusal})
}

func lostUses(t *trial) {
	kept, deleted, never := t.create(), t.create(), t.id()
	t.delete(deleted.ID)
	batch := t.used(deleted.ID, kept.ID, never)
	batch.Keys[0].Uses, batch.Keys[2].Uses = 40, 2
	sample := keyfold.UsageEvent{At: t.now(), Outcome: keyfold.OutcomeUnknown, Route: "sample " + never}
	batch.Events = append(batch.Events, sample)
	result, err := t.store.RecordUsage(t.ctx, batch)
	t.wantNoError("RecordUsage", err)
	t.wantEqual("RecordUsage", result, keyfold.UsageResult{LostUses: 42})
	t.wantUses("the key that exists", kept.ID, 1)
	for _, id := range []string{deleted.ID, never} {
		scan := day(batch.Events[0].At)
		scan.KeyID = id
		events, err := t.store.UsageEvents(t.ctx, scan)
		t.wantNoError("UsageEvents", err)
		hours, err := t.store.UsageHours(t.ctx, scan)
		t.wantNoError("UsageHours", err)
		if len(events) != 0 || len(hours) != 0 {
			t.Errorf("a key that does not exist has %d events and %d hours, want none", len(events), len(hours))
		}
	}
	scan := keyfold.UsageScan{
		From: sample.At, To: sample.At.Add(time.Millisecond), Outcomes: []keyfold.Outcome{keyfold.OutcomeUnknown}, Limit: 100,
	}
	if events := t.events(scan, nil); !slices.Contains(routes(events), sample.Route) {
		t.Errorf("the sample of a refusal: got %v, want it kept", events)
	}

	result, err = t.store.RecordUsage(t.ctx, batch)
	t.wantNoError("RecordUsage again", err)
	if !result.Duplicate {
		t.Errorf("a batch with lost uses was applied twice")
	}
}

func everyEventColumn(t *trial) {
	key := t.create()
	batch := t.batch()
	want := keyfold.UsageEvent{
		At: t.now(), Seq: 1, KeyID: key.ID, Outcome: keyfold.OutcomeIP, Route: "DELETE /reports/{id}", IP: netip.MustParseAddr("2001:db8::8a2e:370:7334"),
		RequestID: "request-18", UserAgent: "curl/8.5 (é; \"x\")",
	}
	for _, field := range zeroFields("UsageEvent", reflect.ValueOf(want)) {
		t.Errorf("the suite's own event has nothing in %s: give it a value", field)
	}
	bare := keyfold.UsageEvent{At: time.UnixMilli(0).UTC(), KeyID: key.ID}
	batch.Events = []keyfold.UsageEvent{want, bare}
	t.recordBatch(batch)
	scan := keyfold.UsageScan{KeyID: key.ID, From: bare.At, To: want.At.Add(time.Millisecond), Limit: 10}
	events, err := t.store.UsageEvents(t.ctx, scan)
	t.wantNoError("UsageEvents", err)
	for i := range events {
		events[i].Seq = 0 // the store's own
	}
	want.Seq = 0
	t.wantEqual("UsageEvents", events, []keyfold.UsageEvent{want, bare})
}

func emptyBatch(t *trial) {
	batch := t.batch()
	t.recordBatch(batch)
	result, err := t.store.RecordUsage(t.ctx, batch)
	t.wantNoError("RecordUsage", err)
	t.wantEqual("RecordUsage again", result, keyfold.UsageResult{Duplicate: true})
}

func largeBatch(t *trial) {
	keys, events := t.scale(1500), t.scale(4500)
	ids := t.ids(t.createMany(keys))
	batch := t.used(ids...)
	for len(batch.Events) < events {
		n := len(batch.Events)
		batch.Events = append(batch.Events, keyfold.UsageEvent{
			At: t.clock, KeyID: ids[n%keys], Route: fmt.Sprint("GET /", n%50), IP: netip.MustParseAddr("192.0.2.1"), UserAgent: fmt.Sprint("agent ", n%7),
		})
	}
	var refusals []keyfold.UsageHour
	for n := range t.scale(1500) {
		at := time.UnixMilli(7_200_000_000_000 + int64(n)*3_600_000)
		refusals = append(refusals, keyfold.UsageHour{HourAt: at.UTC(), Outcome: keyfold.OutcomeMissing, Count: int64(n + 1)})
	}
	batch.Hours = append(batch.Hours, refusals...)
	t.recordBatch(batch)
	t.wantRefusals(refusals)
	for _, i := range []int{0, 1, keys / 2, keys - 1} {
		if uses := t.wantKey(ids[i]).Uses; uses != 1 {
			t.Errorf("key %d of the batch has %d uses, want 1", i, uses)
		}
		scan := keyfold.UsageScan{KeyID: ids[i], From: t.clock.Add(-time.Hour), To: t.clock.Add(time.Hour), Limit: 10}
		got, err := t.store.UsageEvents(t.ctx, scan)
		t.wantNoError("UsageEvents", err)
		if len(got) != events/keys {
			t.Errorf("key %d of the batch has %d events, want %d", i, len(got), events/keys)
		}
	}
}

func failedBatch(t *trial) {
	key := t.create()
	batch := t.used(key.ID)
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	if _, err := t.store.RecordUsage(ctx, batch); err == nil {
		t.Errorf("RecordUsage with a context that is done: got no error")
	}
	if t.hasTx() {
		refused := errors.New("rolled back")
		err := t.store.InTx(t.ctx, func(tx keyfold.Store) error {
			if _, err := tx.RecordUsage(t.ctx, batch); err != nil {
				return err
			}
			return refused
		})
		t.wantError("InTx", err, refused)
	}
	t.wantUses("after a batch that failed", key.ID, 0)
	t.recordBatch(batch)
	t.wantUses("after the batch was sent again", key.ID, 1)
}
