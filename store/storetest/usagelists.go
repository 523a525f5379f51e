package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

func usageListCases() []testCase {
	return []testCase{
		{name: "events are listed newest first, page by page, each once", run: eventsAreOrdered},
		{name: "events are filtered by key, owner, time and code", run: eventsAreFiltered},
		{name: "a scan of no key and no owner shows all events", run: allEvents, alone: true},
		{name: "a walk over events is not disturbed by newer ones", run: eventWalkIsStable},
		{name: "an owner's usage is that of the keys which are theirs now", run: usageFollowsOwner},
		{name: "hours are summed over keys, by hour and code", run: hoursAreSummed},
		{name: "hours of all keys count keys that are gone and refusals", run: hoursOfAll, alone: true},
		{name: "hours begin with the hour of the start and end before the end", run: hourBounds},
		{name: "refusals that belong to no key are summed by hour and outcome", run: refusalsAreSummed},
	}
}

// events walks over all pages of a scan.
func (t *trial) events(scan keyfold.UsageScan, between func()) []keyfold.UsageEvent {
	t.Helper()
	var all []keyfold.UsageEvent
	for range 1000 {
		page, err := t.store.UsageEvents(t.ctx, scan)
		t.wantNoError("UsageEvents", err)
		if len(page) > scan.Limit {
			t.Fatalf("UsageEvents returned %d events, want at most %d", len(page), scan.Limit)
		}
		all = append(all, page...)
		if len(page) < scan.Limit {
			return all
		}
		last := page[len(page)-1]
		scan.After = keyfold.EventPosition{At: last.At, Seq: last.Seq}
		if between != nil {
			between()
		}
	}
	t.Fatalf("a walk over %d events does not end", len(all))
	return nil
}

// routes names events by their route, which cases make unique.
func routes(events []keyfold.UsageEvent) []string {
	names := make([]string, len(events))
	for i, event := range events {
		names[i] = event.Route
	}
	return names
}

func eventsAreOrdered(t *trial) {
	key, begin := t.create(), t.now()
	for n := range 3 {
		batch := t.batch()
		for m := range 7 {
			at := begin.Add(time.Duration((n+m*2)%4) * time.Millisecond)
			batch.Events = append(batch.Events, keyfold.UsageEvent{At: at, KeyID: key.ID, Route: fmt.Sprint(n, m)})
		}
		t.recordBatch(batch)
	}
	scan := keyfold.UsageScan{KeyID: key.ID, From: begin, To: begin.Add(time.Second), Limit: 50}
	want := t.events(scan, nil)
	if len(want) != 21 {
		t.Errorf("UsageEvents returned %d events, want 21", len(want))
	}
	for i := 1; i < len(want); i++ {
		newer, older := want[i-1], want[i]
		if newer.At.Before(older.At) || newer.At.Equal(older.At) && newer.Seq <= older.Seq {
			t.Errorf("event %d (%v, %d) is followed by (%v, %d), want newest first", i, newer.At, newer.Seq, older.At, older.Seq)
		}
	}
	for _, limit := range []int{1, 2, 5, 21} {
		scan.Limit = limit
		t.wantEqual(fmt.Sprintf("events in pages of %d", limit), t.events(scan, nil), want)
	}
}

func eventsAreFiltered(t *trial) {
	owner, begin := t.id(), t.now()
	a := t.create(func(key *keyfold.KeyRecord) { key.OwnerID = owner })
	b := t.create(func(key *keyfold.KeyRecord) { key.OwnerID = owner })
	other := t.create(func(key *keyfold.KeyRecord) { key.OwnerID = "not " + owner })
	batch := t.batch()
	at := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Millisecond) }
	batch.Events = []keyfold.UsageEvent{
		{At: at(0), KeyID: a.ID, Route: "a0"},
		{At: at(1), KeyID: a.ID, Route: "a1", Outcome: keyfold.OutcomeScope},
		{At: at(2), KeyID: b.ID, Route: "b2"},
		{At: at(3), KeyID: b.ID, Route: "b3", Outcome: keyfold.OutcomeUnavailable},
		{At: at(4), KeyID: other.ID, Route: "o4"},
		{At: at(5), Route: "x5", Outcome: keyfold.OutcomeUnknown},
		{At: at(6), KeyID: a.ID, Route: "a6", Outcome: keyfold.OutcomeExpired},
	}
	t.recordBatch(batch)
	from, to := at(0), at(7)
	for _, row := range []struct {
		name string
		scan keyfold.UsageScan
		want []string
	}{
		{"key a", keyfold.UsageScan{KeyID: a.ID, From: from, To: to}, []string{"a6", "a1", "a0"}},
		{"owner", keyfold.UsageScan{OwnerID: owner, From: from, To: to}, []string{"a6", "b3", "b2", "a1", "a0"}},
		{"other owner", keyfold.UsageScan{OwnerID: "not " + owner, From: from, To: to}, []string{"o4"}},
		{"unknown key", keyfold.UsageScan{KeyID: t.id(), From: from, To: to}, nil},
		{"unknown owner", keyfold.UsageScan{OwnerID: t.id(), From: from, To: to}, nil},
		{"the end is exclusive", keyfold.UsageScan{KeyID: a.ID, From: from, To: at(6)}, []string{"a1", "a0"}},
		{"the start is inclusive", keyfold.UsageScan{KeyID: a.ID, From: at(1), To: to}, []string{"a6", "a1"}},
		{"no time at all", keyfold.UsageScan{KeyID: a.ID, From: from, To: from}, nil},
		{"allowed only", keyfold.UsageScan{OwnerID: owner, From: from, To: to, Outcomes: []keyfold.Outcome{0}}, []string{"b2", "a0"}},
		{
			"two codes of a key",
			keyfold.UsageScan{KeyID: a.ID, From: from, To: to, Outcomes: []keyfold.Outcome{keyfold.OutcomeExpired, keyfold.OutcomeScope}},
			[]string{"a6", "a1"},
		},
		{
			"two codes of an owner, in time",
			keyfold.UsageScan{OwnerID: owner, From: at(2), To: at(6), Outcomes: []keyfold.Outcome{keyfold.OutcomeUnavailable, keyfold.OutcomeScope}},
			[]string{"b3"},
		},
		{"no event of that code", keyfold.UsageScan{KeyID: b.ID, From: from, To: to, Outcomes: []keyfold.Outcome{keyfold.OutcomeIdle}}, nil},
	} {
		for _, limit := range []int{1, 100} {
			row.scan.Limit = limit
			if got := routes(t.events(row.scan, nil)); !slices.Equal(got, row.want) {
				t.Errorf("%s, in pages of %d: got %q, want %q", row.name, limit, got, row.want)
			}
		}
	}
}

func allEvents(t *trial) {
	keys := t.createMany(2)
	batch := t.used(keys[0].ID, keys[1].ID)
	batch.Events[1].Outcome = keyfold.OutcomeRevoked
	batch.Events = append(batch.Events, keyfold.UsageEvent{At: batch.Events[0].At, Outcome: keyfold.OutcomeUnknown})
	t.recordBatch(batch)
	t.delete(keys[0].ID)
	scan := day(t.clock)
	scan.From = scan.From.Add(-24 * time.Hour)
	for _, row := range []struct {
		codes []keyfold.Outcome
		want  int
	}{
		{nil, 3},
		{[]keyfold.Outcome{keyfold.OutcomeAllowed}, 1},
		{[]keyfold.Outcome{keyfold.OutcomeUnknown, keyfold.OutcomeRevoked}, 2},
	} {
		scan.Outcomes = row.codes
		if events := t.events(scan, nil); len(events) != row.want {
			t.Errorf("codes %v: got %d events, want %d", row.codes, len(events), row.want)
		}
	}
	scan.Outcomes = nil
	hours, err := t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	if len(hours) != 1 || hours[0].Count != 2 || hours[0].KeyID != "" {
		t.Errorf("UsageHours of all: got %+v, want one row of 2 without a key", hours)
	}
}

func eventWalkIsStable(t *trial) {
	key, begin := t.create(), t.now()
	add := func(from, n int) {
		batch := t.batch()
		for i := range n {
			at := begin.Add(time.Duration((from+i)/2) * time.Millisecond)
			batch.Events = append(batch.Events, keyfold.UsageEvent{At: at, KeyID: key.ID, Route: fmt.Sprint("event ", from+i)})
		}
		t.recordBatch(batch)
	}
	add(0, 10)
	next := 10
	got := t.events(keyfold.UsageScan{KeyID: key.ID, From: begin, To: begin.Add(time.Minute), Limit: 3}, func() {
		add(next, 2)
		next += 2
	})
	if len(got) != 10 {
		t.Errorf("the walk showed %d events, want the 10 that were there: %q", len(got), routes(got))
	}
}

func usageFollowsOwner(t *trial) {
	key := t.create(func(key *keyfold.KeyRecord) { key.OwnerID = "first " + key.ID })
	t.recordBatch(t.used(key.ID))
	first := key.OwnerID
	key.OwnerID = "second " + key.ID
	t.wantNoError("UpdateKey", t.store.UpdateKey(t.ctx, key, t.mutation("key.update", key.ID)))
	for owner, want := range map[string]int{first: 0, key.OwnerID: 1} {
		scan := keyfold.UsageScan{OwnerID: owner, From: t.clock.Add(-2 * time.Hour), To: t.clock.Add(time.Hour), Limit: 10}
		hours, err := t.store.UsageHours(t.ctx, scan)
		t.wantNoError("UsageHours", err)
		if got := len(t.events(scan, nil)); got != want || len(hours) != want {
			t.Errorf("owner %q has %d events and %d hours, want %d", owner, got, len(hours), want)
		}
	}
}

func hoursAreSummed(t *trial) {
	owner := t.id()
	keys := t.createMany(3, func(key *keyfold.KeyRecord) { key.OwnerID = owner })
	keys[2] = t.create()
	hour := t.now().Truncate(time.Hour)
	row := func(key int, at time.Time, code keyfold.Outcome, n int64) keyfold.UsageHour {
		return keyfold.UsageHour{KeyID: keys[key].ID, HourAt: at, Outcome: code, Count: n}
	}
	for range 2 {
		batch := t.batch()
		batch.Hours = []keyfold.UsageHour{
			row(0, hour, keyfold.OutcomeAllowed, 1), row(0, hour, keyfold.OutcomeExpired, 10), row(1, hour, keyfold.OutcomeAllowed, 100),
			row(1, hour.Add(-time.Hour), keyfold.OutcomeScope, 1000), row(2, hour, keyfold.OutcomeAllowed, 10_000),
		}
		t.recordBatch(batch)
	}
	sum := func(at time.Time, code keyfold.Outcome, n int64) keyfold.UsageHour {
		return keyfold.UsageHour{HourAt: at, Outcome: code, Count: n}
	}
	scan := keyfold.UsageScan{From: hour.Add(-time.Hour), To: hour.Add(time.Hour)}
	for _, row := range []struct {
		name, keyID, ownerID string
		codes                []keyfold.Outcome
		want                 []keyfold.UsageHour
	}{
		{"one key", keys[0].ID, "", nil, []keyfold.UsageHour{sum(hour, keyfold.OutcomeAllowed, 2), sum(hour, keyfold.OutcomeExpired, 20)}},
		{"an owner", "", owner, nil, []keyfold.UsageHour{
			sum(hour.Add(-time.Hour), keyfold.OutcomeScope, 2000), sum(hour, keyfold.OutcomeAllowed, 202), sum(hour, keyfold.OutcomeExpired, 20),
		}},
		{"an owner and a code", "", owner, []keyfold.Outcome{keyfold.OutcomeAllowed}, []keyfold.UsageHour{sum(hour, keyfold.OutcomeAllowed, 202)}},
		{"an unknown owner", "", t.id(), nil, nil},
	} {
		scan.KeyID, scan.OwnerID, scan.Outcomes = row.keyID, row.ownerID, row.codes
		// Neither of these has a meaning for hours.
		scan.Limit, scan.After = 1, keyfold.EventPosition{At: hour.Add(-48 * time.Hour), Seq: 1}
		hours, err := t.store.UsageHours(t.ctx, scan)
		t.wantNoError("UsageHours", err)
		t.wantEqual("hours of "+row.name, hours, row.want)
	}
}

func hoursOfAll(t *trial) {
	kept, gone := t.create(), t.create()
	batch := t.used(kept.ID, gone.ID)
	at := batch.Hours[0].HourAt
	for _, late := range []time.Duration{0, 0, time.Hour} {
		batch.Hours = append(batch.Hours, keyfold.UsageHour{HourAt: at.Add(late), Outcome: keyfold.OutcomeMalformed, Count: 5})
	}
	t.recordBatch(batch)
	t.delete(gone.ID)
	batch.RecorderID = t.id() // the uses of the key that is gone are lost now, the others are not
	if _, err := t.store.RecordUsage(t.ctx, batch); err != nil {
		t.Errorf("RecordUsage: %v", err)
	}
	hours, err := t.store.UsageHours(t.ctx, keyfold.UsageScan{From: at, To: at.Add(2 * time.Hour)})
	t.wantNoError("UsageHours", err)
	t.wantEqual("hours of all", hours, []keyfold.UsageHour{
		{HourAt: at, Count: 3},
		{HourAt: at, Outcome: keyfold.OutcomeMalformed, Count: 20},
		{HourAt: at.Add(time.Hour), Outcome: keyfold.OutcomeMalformed, Count: 10},
	})
	hours, err = t.store.UsageHours(t.ctx, keyfold.UsageScan{KeyID: kept.ID, From: at, To: at.Add(2 * time.Hour)})
	t.wantNoError("UsageHours", err)
	t.wantEqual("hours of the key", hours, []keyfold.UsageHour{{HourAt: at, Count: 2}})
}

func hourBounds(t *trial) {
	key := t.create()
	hour := time.UnixMilli(1_700_000_000_000).Truncate(time.Hour).UTC()
	batch := t.batch()
	for n := range 4 {
		batch.Hours = append(batch.Hours, keyfold.UsageHour{KeyID: key.ID, HourAt: hour.Add(time.Duration(n) * time.Hour), Count: 1})
	}
	t.recordBatch(batch)
	for _, row := range []struct {
		from, to    time.Duration
		first, last int
	}{
		{0, 4 * time.Hour, 0, 3},
		{time.Hour, 2 * time.Hour, 1, 1},
		{59 * time.Minute, 2 * time.Hour, 0, 1},
		{time.Hour, 2*time.Hour + time.Millisecond, 1, 2},
		{time.Hour - time.Millisecond, time.Hour, 0, 0},
	} {
		scan := keyfold.UsageScan{KeyID: key.ID, From: hour.Add(row.from), To: hour.Add(row.to)}
		hours, err := t.store.UsageHours(t.ctx, scan)
		t.wantNoError("UsageHours", err)
		var want []keyfold.UsageHour
		for n := row.first; n <= row.last; n++ {
			want = append(want, keyfold.UsageHour{HourAt: batch.Hours[n].HourAt, Count: 1})
		}
		t.wantEqual(fmt.Sprintf("hours from %v to %v", row.from, row.to), hours, want)
	}
}

func refusalsAreSummed(t *trial) {
	hour := time.UnixMilli(1_600_000_020_000).Truncate(time.Hour).UTC()
	for range 2 {
		batch := t.batch()
		batch.Hours = []keyfold.UsageHour{
			{HourAt: hour, Outcome: keyfold.OutcomeWrongSecret, Count: 3},
			{HourAt: hour, Outcome: keyfold.OutcomeMissing, Count: 4},
			{HourAt: hour.Add(-time.Hour), Outcome: keyfold.OutcomeUnknown, Count: 1 << 40},
		}
		t.recordBatch(batch)
	}
	t.wantRefusals([]keyfold.UsageHour{
		{HourAt: hour.Add(-time.Hour), Outcome: keyfold.OutcomeUnknown, Count: 1 << 41},
		{HourAt: hour, Outcome: keyfold.OutcomeMissing, Count: 8},
		{HourAt: hour, Outcome: keyfold.OutcomeWrongSecret, Count: 6},
	})
}
