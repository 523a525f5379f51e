package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

func pruningCases() []testCase {
	return []testCase{
		{name: "pruning deletes events that are older, and those only", run: pruneBound, alone: true},
		{name: "pruning deletes events of hours that had ended, though newer ones came with them", run: pruneMixedBatch, alone: true},
		{name: "pruning goes in small steps, oldest first, and says when more is left", run: pruneInSteps, alone: true},
		{name: "pruning forgets batches that are older than a day, and those only", run: pruneClaims, alone: true},
		{name: "pruning says that more is left until every old batch is forgotten", run: pruneManyClaims, alone: true},
		{name: "pruning forgets batches that are older than thirty days, whatever the bound", run: pruneVeryOldClaims, alone: true},
		{name: "pruning events leaves totals and hours alone", run: pruneLeavesCounts, alone: true},
		{name: "a route is known as long as an event has it, however much is pruned", run: pruneKeepsWords, alone: true},
		{name: "pruning hours deletes hours that are over, and those only", run: pruneHoursBound, alone: true},
		{name: "pruning hours goes in small steps, oldest first, and says when more is left", run: pruneHoursInSteps, alone: true},
		{name: "pruning hours keeps those from which events are left", run: pruneHoursKeepsFindable, alone: true},
		{name: "pruning the feed keeps the newest row", run: pruneKeepsNewestChange, alone: true},
		{name: "pruning the feed deletes only older changes", run: pruneChangesBound, alone: true},
		{name: "pruning the feed respects the limit and reports whether more remain", run: pruneChangesInSteps, alone: true},
	}
}

// prune prunes usage until nothing is left to prune, and returns how many
// events went.
func (t *trial) prune(before time.Time, limit int) int {
	t.Helper()
	sum := 0
	for range 100 {
		deleted, more, err := t.store.PruneUsage(t.ctx, before, limit)
		t.wantNoError("PruneUsage", err)
		if deleted > 2*limit {
			t.Errorf("PruneUsage deleted %d events at once, want about %d at most", deleted, limit)
		}
		sum += deleted
		if !more {
			return sum
		}
	}
	t.Fatalf("PruneUsage does not end after %d events", sum)
	return sum
}

func pruneBound(t *trial) {
	key, before := t.create(), t.now().Add(-time.Hour)
	for route, offset := range map[string]time.Duration{
		"old": -time.Hour, "just old": -time.Millisecond, "at": 0, "young": time.Minute,
	} {
		// Separate batches, because a Store may keep the events of one batch and hour in one row.
		batch := t.batch()
		batch.Events = []keyfold.UsageEvent{{At: before.Add(offset), KeyID: key.ID, Route: route}}
		t.recordBatch(batch)
	}
	if got := t.prune(before, 100); got != 2 {
		t.Errorf("PruneUsage deleted %d events, want 2", got)
	}
	scan := keyfold.UsageScan{KeyID: key.ID, From: before.Add(-24 * time.Hour), To: before.Add(24 * time.Hour), Limit: 10}
	if got := routes(t.events(scan, nil)); !slices.Equal(got, []string{"young", "at"}) {
		t.Errorf("left are %q, want young and at", got)
	}
	if got := t.prune(before, 100); got != 0 {
		t.Errorf("PruneUsage deleted %d more events, want none", got)
	}
}

func pruneMixedBatch(t *trial) {
	key, hour := t.create(), t.now().Truncate(time.Hour)
	batch := t.batch()
	want := []string{}
	for n := range 5 {
		route := fmt.Sprint("hour ", n)
		batch.Events = append(batch.Events, keyfold.UsageEvent{At: hour.Add(-time.Duration(n) * time.Hour), KeyID: key.ID, Route: route})
		if n <= 2 {
			want = append(want, route)
		}
	}
	t.recordBatch(batch)
	before := hour.Add(-2 * time.Hour)
	if got := t.prune(before, 100); got != 2 {
		t.Errorf("PruneUsage deleted %d events, want 2", got)
	}
	scan := keyfold.UsageScan{KeyID: key.ID, From: before.Add(-24 * time.Hour), To: hour.Add(time.Hour), Limit: 10}
	if got := routes(t.events(scan, nil)); !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
}

func pruneInSteps(t *trial) {
	const events, limit = 25, 10
	key, before := t.create(), t.now().Add(-time.Hour)
	for n := range events {
		batch := t.batch()
		batch.Events = []keyfold.UsageEvent{{At: before.Add(-time.Duration(n+1) * time.Second), KeyID: key.ID}}
		t.recordBatch(batch)
	}
	scan := keyfold.UsageScan{KeyID: key.ID, From: before.Add(-24 * time.Hour), To: before, Limit: 100}
	all := t.events(scan, nil)

	deleted, more, err := t.store.PruneUsage(t.ctx, before, limit)
	t.wantNoError("PruneUsage", err)
	if deleted < 1 || deleted > 2*limit || !more {
		t.Fatalf("the first step deleted %d events and said more is %t, want about %d and true", deleted, more, limit)
	}
	t.wantEqual("what the first step left", t.events(scan, nil), all[:events-deleted])
	if rest := t.prune(before, limit); deleted+rest != events {
		t.Errorf("all steps deleted %d events, want %d", deleted+rest, events)
	}
}

func pruneClaims(t *trial) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	old, young := t.batch(), t.batch()
	old.At, young.At = now.Add(-50*time.Hour), now.Add(-22*time.Hour)
	between := t.batch()
	between.At = now.Add(-30 * time.Hour)
	for _, batch := range []keyfold.UsageBatch{old, young, between} {
		t.recordBatch(batch)
	}
	sendAgain := func(name string, batch keyfold.UsageBatch, want bool) {
		t.Helper()
		result, err := t.store.RecordUsage(t.ctx, batch)
		t.wantNoError("RecordUsage", err)
		if result.Duplicate != want {
			t.Errorf("%s: duplicate is %t, want %t", name, result.Duplicate, want)
		}
	}
	t.prune(now.Add(-40*time.Hour), 10)
	sendAgain("a batch younger than the bound", between, true)
	sendAgain("a batch older than the bound", old, false)
	t.prune(now, 10)
	sendAgain("a batch younger than a day", young, true)
	sendAgain("a batch older than a day", between, false)
}

func pruneManyClaims(t *trial) {
	var batches []keyfold.UsageBatch
	for range 12 {
		batch := t.batch()
		batch.At = batch.At.Add(-72 * time.Hour)
		t.recordBatch(batch)
		batches = append(batches, batch)
	}
	t.prune(t.clock, 5)
	for _, batch := range batches {
		t.recordBatch(batch)
	}
}

func pruneVeryOldClaims(t *trial) {
	old, young := t.batch(), t.batch()
	old.At, young.At = time.Now().Add(-31*24*time.Hour), time.Now().Add(-29*24*time.Hour)
	t.recordBatch(old)
	t.recordBatch(young)
	t.prune(time.Time{}, 10)
	t.recordBatch(old)
	result, err := t.store.RecordUsage(t.ctx, young)
	t.wantNoError("RecordUsage", err)
	if !result.Duplicate {
		t.Errorf("a batch younger than thirty days was forgotten")
	}
}

func pruneKeepsWords(t *trial) {
	key, begin := t.create(), t.now().Truncate(24*time.Hour).Add(-10*24*time.Hour)
	for n := range 5 {
		batch := t.batch()
		for _, at := range []time.Time{begin.Add(time.Duration(n)*24*time.Hour - time.Millisecond), begin.Add(time.Duration(n) * 24 * time.Hour)} {
			batch.Events = append(batch.Events,
				keyfold.UsageEvent{At: at, KeyID: key.ID, Route: "always", UserAgent: fmt.Sprint("agent ", n)},
				keyfold.UsageEvent{At: at, KeyID: key.ID, Route: fmt.Sprint("once ", n), UserAgent: "same"})
		}
		t.recordBatch(batch)
	}
	scan := keyfold.UsageScan{KeyID: key.ID, From: begin.Add(-time.Hour), To: t.clock, Limit: 100}
	all := t.events(scan, nil)
	if len(all) != 20 {
		t.Fatalf("%d events, want 20", len(all))
	}
	for n := range 5 {
		before := begin.Add(time.Duration(n) * 24 * time.Hour)
		t.prune(before, 3)
		want := slices.DeleteFunc(slices.Clone(all), func(e keyfold.UsageEvent) bool { return e.At.Before(before) })
		t.wantEqual(fmt.Sprintf("what is left after pruning %d times", n+1), t.events(scan, nil), want)
	}
}

// pruneHours prunes counts until nothing is left to prune, and returns how many
// went.
func (t *trial) pruneHours(before time.Time, limit int) int {
	t.Helper()
	sum := 0
	for range 100 {
		deleted, more, err := t.store.PruneHours(t.ctx, before, limit)
		t.wantNoError("PruneHours", err)
		if deleted > 2*limit {
			t.Errorf("PruneHours deleted %d counts at once, want about %d at most", deleted, limit)
		}
		sum += deleted
		if !more {
			return sum
		}
	}
	t.Fatalf("PruneHours does not end after %d counts", sum)
	return sum
}

func pruneHoursBound(t *trial) {
	key, hour := t.create(), t.now().Truncate(time.Hour)
	batch := t.batch()
	batch.Keys = []keyfold.KeyUses{{KeyID: key.ID, Uses: 8, LastUsedAt: hour}}
	for n := range 4 {
		at := hour.Add(time.Duration(n-2) * time.Hour)
		batch.Hours = append(batch.Hours, keyfold.UsageHour{KeyID: key.ID, HourAt: at, Count: 2})
		batch.Hours = append(batch.Hours, keyfold.UsageHour{HourAt: at, Outcome: keyfold.OutcomeMissing, Count: 2})
	}
	t.recordBatch(batch)
	// An hour that has begun when the bound comes is not over.
	t.pruneHours(hour.Add(59*time.Minute), 10)
	scan := keyfold.UsageScan{KeyID: key.ID, From: hour.Add(-48 * time.Hour), To: hour.Add(48 * time.Hour)}
	want := []keyfold.UsageHour{{HourAt: hour, Count: 2}, {HourAt: hour.Add(time.Hour), Count: 2}}
	hours, err := t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	t.wantEqual("hours of the key", hours, want)
	scan.KeyID, scan.Outcomes = "", []keyfold.Outcome{keyfold.OutcomeMissing}
	want[0].Outcome, want[1].Outcome = keyfold.OutcomeMissing, keyfold.OutcomeMissing
	hours, err = t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	t.wantEqual("refusals by hour", hours, want)
	if got := t.wantKey(key.ID).Uses; got != 8 {
		t.Errorf("the key has %d uses after pruning, want 8", got)
	}
}

func pruneHoursInSteps(t *trial) {
	const keys, hours, limit = 4, 6, 5
	ids := t.ids(t.createMany(keys))
	end := t.now().Truncate(time.Hour)
	batch := t.batch()
	for n := range hours {
		for _, id := range ids {
			at := end.Add(-time.Duration(n+1) * time.Hour)
			batch.Hours = append(batch.Hours, keyfold.UsageHour{KeyID: id, HourAt: at, Count: 1})
			batch.Hours = append(batch.Hours, keyfold.UsageHour{HourAt: at, Outcome: keyfold.OutcomeUnknown, Count: 1})
		}
	}
	t.recordBatch(batch)
	oldest := func() (at time.Time) {
		for _, id := range ids {
			scan := keyfold.UsageScan{KeyID: id, From: end.Add(-24 * time.Hour), To: end}
			rows, err := t.store.UsageHours(t.ctx, scan)
			t.wantNoError("UsageHours", err)
			if len(rows) > 0 && (at.IsZero() || rows[0].HourAt.Before(at)) {
				at = rows[0].HourAt
			}
		}
		return at
	}
	first := oldest()
	deleted, more, err := t.store.PruneHours(t.ctx, end, limit)
	t.wantNoError("PruneHours", err)
	if deleted < 1 || deleted > 2*limit || !more {
		t.Fatalf("the first step deleted %d counts and said more is %t, want about %d and true", deleted, more, limit)
	}
	if now := oldest(); now.Before(first) || now.After(first.Add(2*time.Hour)) {
		t.Errorf("the oldest hour was %v and is %v after a step, want the oldest to go first", first, now)
	}
	t.pruneHours(end, limit)
	if now := oldest(); !now.IsZero() {
		t.Errorf("%v is left of the hours", now)
	}
	rest, err := t.store.UsageHours(t.ctx, keyfold.UsageScan{From: end.Add(-24 * time.Hour), To: end})
	t.wantNoError("UsageHours", err)
	if len(rest) != 0 {
		t.Errorf("%d hours of refusals are left, want none", len(rest))
	}
}

func pruneHoursKeepsFindable(t *trial) {
	key := t.create()
	batch, at := t.used(key.ID), t.clock.Add(-100*time.Hour)
	batch.Events[0].At = at
	batch.Hours[0].HourAt = at.Truncate(time.Hour)
	batch.Hours = append(batch.Hours,
		keyfold.UsageHour{KeyID: key.ID, HourAt: at.Truncate(time.Hour).Add(-time.Hour), Count: 7},
		keyfold.UsageHour{KeyID: key.ID, HourAt: at.Truncate(time.Hour).Add(time.Hour), Count: 7})
	t.recordBatch(batch)
	t.pruneHours(t.clock, 10)
	scan := keyfold.UsageScan{KeyID: key.ID, From: at.Add(-3 * time.Hour), To: t.clock, Limit: 10}
	if got := t.events(scan, nil); len(got) != 1 {
		t.Errorf("%d events of the key are found after pruning hours, want 1", len(got))
	}
	hours, err := t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	if len(hours) != 2 || hours[0].Count != 1 {
		t.Errorf("hours are %+v, want that of the event and the later one", hours)
	}
	t.prune(t.clock, 10)
	t.pruneHours(t.clock, 10)
	if hours, err = t.store.UsageHours(t.ctx, scan); err != nil || len(hours) != 0 {
		t.Errorf("hours are %+v, %v once the event is gone, want none", hours, err)
	}
}

func pruneLeavesCounts(t *trial) {
	key := t.create()
	t.recordBatch(t.used(key.ID))
	if got := t.prune(t.clock.Add(time.Hour), 10); got != 1 {
		t.Errorf("PruneUsage deleted %d events, want 1", got)
	}
	scan := keyfold.UsageScan{KeyID: key.ID, From: t.clock.Add(-2 * time.Hour), To: t.clock.Add(time.Hour)}
	hours, err := t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	if uses := t.wantKey(key.ID).Uses; uses != 1 || len(hours) != 1 {
		t.Errorf("after pruning the key has %d uses and %d hours, want 1 and 1", uses, len(hours))
	}
}

func pruneKeepsNewestChange(t *trial) {
	key := t.create()
	cursor := t.nextCursor(t.cursor())
	for range 3 {
		t.renew(key.ID, t.now().Add(-48*time.Hour))
	}
	deleted, _, err := t.store.PruneChanges(t.ctx, t.clock.Add(time.Hour), 100)
	t.wantNoError("PruneChanges", err)
	if deleted != 3 {
		t.Errorf("PruneChanges deleted %d of 4 changes, want all but the newest", deleted)
	}
	deleted, _, err = t.store.PruneChanges(t.ctx, t.clock.Add(time.Hour), 100)
	t.wantNoError("PruneChanges", err)
	if deleted != 0 {
		t.Errorf("PruneChanges deleted %d of 1 change, want none: the newest row stays", deleted)
	}
	if !t.feedLost(cursor) {
		t.Errorf("a cursor from before changes that were pruned got no change with an empty target")
	}
	// The feed goes on where it was: numbers do not begin anew.
	cursor = t.cursor()
	action := t.renew(key.ID, t.now())
	if len(t.changes(cursor, action)) != 1 {
		t.Errorf("after pruning a new change was not returned")
	}
}

func pruneChangesBound(t *trial) {
	key, before := t.record(), t.now().Add(-48*time.Hour)
	m := t.mutation("key.create", key.ID)
	m.At = before.Add(-2 * time.Hour)
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, m))
	for _, offset := range []time.Duration{-time.Hour, -time.Millisecond} {
		t.renew(key.ID, before.Add(offset))
	}
	cursor := t.nextCursor(t.cursor())
	young := []string{t.renew(key.ID, before), t.renew(key.ID, before.Add(time.Hour)), t.renew(key.ID, t.now())}
	deleted, _, err := t.store.PruneChanges(t.ctx, before, 100)
	t.wantNoError("PruneChanges", err)
	if deleted != 3 {
		t.Errorf("PruneChanges deleted %d changes, want the 3 that are older", deleted)
	}
	if t.feedLost(cursor) {
		return // it cannot know, which is allowed
	}
	for _, action := range young {
		t.wantChange(cursor, action)
	}
}

func pruneChangesInSteps(t *trial) {
	const changes, limit = 12, 5
	key := t.record()
	m := t.mutation("key.create", key.ID)
	m.At = m.At.Add(-48 * time.Hour)
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, m))
	for range changes {
		t.renew(key.ID, m.At)
	}
	t.renew(key.ID, t.now())
	t.wantSteps("PruneChanges", 1+changes, limit, func() (int, bool, error) {
		return t.store.PruneChanges(t.ctx, m.At.Add(time.Hour), limit)
	})
}
