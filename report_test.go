package keyfold_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// counts contains numbers of verifies.
type counts map[keyfold.Outcome]int64

// tally is a report that tests can compare. It omits counts of zero.
type tally map[time.Time]counts

func (t tally) add(at time.Time, code keyfold.Outcome, n int64) {
	if t[at] == nil {
		t[at] = counts{}
	}
	t[at][code] += n
}

func (t tally) by(unit time.Duration) tally {
	sum := tally{}
	for at, counts := range t {
		for code, n := range counts {
			sum.add(at.Truncate(unit), code, n)
		}
	}
	return sum
}

func (t tally) equal(other tally) bool {
	return maps.EqualFunc(t, other, func(a, b counts) bool { return maps.Equal(a, b) })
}

func reported(t *testing.T, svc *keyfold.Service, q keyfold.UsageReportQuery) tally {
	t.Helper()
	report, err := svc.UsageReport(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	sum, unit := tally{}, time.Hour
	if q.By == keyfold.UsageByDay {
		unit = day
	}
	for i, interval := range report.Intervals {
		if want := report.Intervals[0].StartAt.Add(time.Duration(i) * unit); !interval.StartAt.Equal(want) {
			t.Fatalf("interval %d begins at %v, want %v", i, interval.StartAt, want)
		}
		for code, n := range interval.Count {
			sum.add(interval.StartAt, code, n)
		}
	}
	return sum
}

func TestReportCountsEveryHourAndDay(t *testing.T) {
	t.Parallel()
	clock := newClock() // noon
	svc := newService(t, memory.New(), &keyfold.Options{Now: clock.now})
	key, token := create(t, svc, keyfold.NewKey{OwnerID: "o", TTL: keyfold.Never})
	start := clock.now()
	for range 30 {
		outcome(svc, token)
		outcome(svc, token, "x:y")
		outcome(svc, "garbage")
		clock.add(time.Hour)
	}
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	q := keyfold.UsageReportQuery{KeyID: keyfold.Only(key.ID), From: start.Add(90 * time.Minute), To: start.Add(3*time.Hour + time.Millisecond)}
	report, err := svc.UsageReport(t.Context(), q)
	if err != nil || len(report.Intervals) != 3 || !report.Intervals[0].StartAt.Equal(start.Add(time.Hour)) {
		t.Fatalf("%+v, %v; want the hours that begin in or hold the span", report, err)
	}
	for _, row := range []struct {
		name string
		q    keyfold.UsageReportQuery
		want tally
	}{
		{"a key by day", keyfold.UsageReportQuery{KeyID: keyfold.Only(key.ID), By: keyfold.UsageByDay}, tally{
			start.Add(-12 * time.Hour): {keyfold.OutcomeAllowed: 12, keyfold.OutcomeScope: 12},
			start.Add(12 * time.Hour):  {keyfold.OutcomeAllowed: 18, keyfold.OutcomeScope: 18},
		}},
		{"one outcome of an owner", keyfold.UsageReportQuery{OwnerID: keyfold.Only("o"), By: keyfold.UsageByDay, Outcomes: []keyfold.Outcome{keyfold.OutcomeScope}}, tally{
			start.Add(-12 * time.Hour): {keyfold.OutcomeScope: 12}, start.Add(12 * time.Hour): {keyfold.OutcomeScope: 18},
		}},
		{"all by day", keyfold.UsageReportQuery{By: keyfold.UsageByDay, To: start.Add(12 * time.Hour), From: start}, tally{
			start.Add(-12 * time.Hour): {keyfold.OutcomeAllowed: 12, keyfold.OutcomeScope: 12, keyfold.OutcomeMalformed: 12},
		}},
		{"another owner", keyfold.UsageReportQuery{OwnerID: keyfold.Only("p")}, tally{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := reported(t, svc, row.q); !got.equal(row.want) {
				t.Errorf("%s: %v, want %v", row.name, got, row.want)
			}
		})
	}
	// What is not asked for defaults to a day by hour and thirty days by day.
	byHour, err := svc.UsageReport(t.Context(), keyfold.UsageReportQuery{})
	if err != nil || len(byHour.Intervals) != 25 {
		t.Errorf("%d hours, %v; want 25: the one that has begun and 24 before", len(byHour.Intervals), err)
	}
	byDay, err := svc.UsageReport(t.Context(), keyfold.UsageReportQuery{By: keyfold.UsageByDay})
	if err != nil || len(byDay.Intervals) != 31 {
		t.Errorf("%d days, %v; want 31: the one that has begun and 30 before", len(byDay.Intervals), err)
	}
}

func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	to := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name  string
		q     keyfold.UsageReportQuery
		field string
	}{
		{"31 days by hour", keyfold.UsageReportQuery{From: to.Add(-31 * day), To: to}, ""},
		{"31 days and a millisecond by hour", keyfold.UsageReportQuery{From: to.Add(-31*day - time.Millisecond), To: to}, "from"},
		{"366 days by day", keyfold.UsageReportQuery{From: to.Add(-366 * day), To: to, By: keyfold.UsageByDay}, ""},
		{"366 days and a bit by day", keyfold.UsageReportQuery{From: to.Add(-366 * day), To: to.Add(time.Hour), By: keyfold.UsageByDay}, "from"},
		{"ages", keyfold.UsageReportQuery{From: time.Unix(0, 0), To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), By: keyfold.UsageByDay}, "from"},
		{"no span", keyfold.UsageReportQuery{From: to, To: to}, "from"},
		{"by what", keyfold.UsageReportQuery{By: 2}, "by"},
		{"key and owner", keyfold.UsageReportQuery{KeyID: keyfold.Only("0000000000000000"), OwnerID: keyfold.Only("o")}, "owner_id"},
		{"no outcome", keyfold.UsageReportQuery{Outcomes: []keyfold.Outcome{200}}, "outcome"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := svc.UsageReport(t.Context(), row.q)
			if refused, ok := errors.AsType[*keyfold.InvalidError](err); row.field == "" && err != nil || row.field != "" && (!ok || refused.Field != row.field) {
				t.Errorf("%s: %v, want field %q", row.name, err, row.field)
			}
		})
	}
}

// rollupsOnly is a store that cannot read single events.
type rollupsOnly struct{ keyfold.Store }

func (rollupsOnly) UsageEvents(context.Context, keyfold.UsageScan) ([]keyfold.UsageEvent, error) {
	panic("events are read")
}

func TestReportsReadOnlyTheHourlyCounts(t *testing.T) {
	t.Parallel()
	svc := newService(t, rollupsOnly{memory.New()}, nil)
	outcome(svc, "garbage")
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := reported(t, svc, keyfold.UsageReportQuery{By: keyfold.UsageByDay}); len(got) != 1 {
		t.Errorf("%v, want one day", got)
	}
	if got, err := svc.UsageTotals(t.Context(), keyfold.UsageQuery{}); err != nil || got.Count[keyfold.OutcomeMalformed] != 1 {
		t.Errorf("%v, %v; want one refusal", got.Count, err)
	}
}

func TestCountsByHourEqualARecount(t *testing.T) {
	// Mutations tried: a store that counts the last minute of an hour in the next
	// one, and one that replaces a count within a batch instead of adding to it,
	// fail this.
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		recorders, rounds := 3, few(store, 250)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 1))
		admin := newService(t, store, &keyfold.Options{Now: newClock().now})
		var ids, tokens []string
		owners := []string{"a", "a", "b", ""}
		for n, owner := range owners {
			key := keyfold.NewKey{OwnerID: owner, Scopes: []string{"x:y"}, TTL: keyfold.Never}
			if n%2 == 1 {
				key.TTL = 30 * time.Hour
				key.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
			}
			created, token := create(t, admin, key)
			ids, tokens = append(ids, created.ID), append(tokens, token)
		}
		truth := make([]tally, len(ids)+1) // of each key, and of refusals that none can be held to
		for i := range truth {
			truth[i] = tally{}
		}
		lastUse := make([]time.Time, len(ids))
		var latest time.Time
		for range recorders {
			clock := newClock()
			clock.add(time.Duration(random.IntN(3600)) * time.Second)
			svc := newService(t, store, &keyfold.Options{Now: clock.now, FlushInterval: time.Minute, PollInterval: time.Minute, MaxStaleness: time.Hour, VerifyTimeout: time.Minute})
			for range rounds {
				clock.add(time.Duration(random.ExpFloat64() * float64(20*time.Minute)))
				at := clock.now().Truncate(time.Millisecond)
				n := random.IntN(len(truth))
				r := keyfold.Request{Token: "garbage", Route: "GET /"}
				if n < len(ids) {
					r.Token = tokens[n]
					r.Scopes = [][]string{nil, {"x:y"}, {"not:held"}}[random.IntN(3)]
					r.IP = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")}[random.IntN(2)]
				}
				_, err := svc.Verify(t.Context(), r)
				code := keyfold.OutcomeOf(err)
				truth[n].add(at.Truncate(time.Hour), code, 1)
				if code == keyfold.OutcomeAllowed && at.After(lastUse[n]) {
					lastUse[n] = at
				}
				if at.After(latest) {
					latest = at
				}
				if random.IntN(20) == 0 {
					if err := svc.Flush(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := svc.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}

		from, to := newClock().now().Add(-time.Hour), latest.Add(time.Hour)
		all, byOwner := tally{}, tally{}
		for n := range truth {
			for at, counts := range truth[n] {
				for code, count := range counts {
					all.add(at, code, count)
					if n < len(ids) && owners[n] == "a" {
						byOwner.add(at, code, count)
					}
				}
			}
		}
		for n, id := range ids {
			// The events are what is recounted: none is dropped in this test.
			events, err := store.UsageEvents(t.Context(), keyfold.UsageScan{KeyID: id, From: from, To: to, Limit: 10 * rounds})
			if err != nil {
				t.Fatal(err)
			}
			recount := tally{}
			for _, event := range events {
				recount.add(event.At.Truncate(time.Hour), event.Outcome, 1)
			}
			if !recount.equal(truth[n]) {
				t.Errorf("key %d: events\n%v, want\n%v", n, recount, truth[n])
			}
			var allowed int64
			for _, counts := range truth[n] {
				allowed += counts[keyfold.OutcomeAllowed]
			}
			if key, err := store.Key(t.Context(), id); err != nil || key.Uses != allowed || !key.LastUsedAt.Equal(lastUse[n]) {
				t.Errorf("key %d: %d uses, the last at %v, %v; want %d and %v", n, key.Uses, key.LastUsedAt, err, allowed, lastUse[n])
			}
		}
		for _, row := range []struct {
			name string
			q    keyfold.UsageReportQuery
			want tally
		}{
			{"key 0", keyfold.UsageReportQuery{KeyID: keyfold.Only(ids[0])}, truth[0]},
			{"key 3", keyfold.UsageReportQuery{KeyID: keyfold.Only(ids[3])}, truth[3]},
			{"owner a", keyfold.UsageReportQuery{OwnerID: keyfold.Only("a")}, byOwner},
			{"all", keyfold.UsageReportQuery{}, all},
		} {
			row.q.From, row.q.To = from, to
			if got := reported(t, admin, row.q); !got.equal(row.want) {
				t.Errorf("%s by hour:\n%v, want\n%v", row.name, got, row.want)
			}
			totals, err := admin.UsageTotals(t.Context(), keyfold.UsageQuery{KeyID: row.q.KeyID, OwnerID: row.q.OwnerID, From: from, To: to})
			sum := counts{}
			for _, counts := range row.want {
				for code, n := range counts {
					sum[code] += n
				}
			}
			if err != nil || fmt.Sprint(totals.Count) != fmt.Sprint(map[keyfold.Outcome]int64(sum)) {
				t.Errorf("%s in total: %v, %v; want %v", row.name, totals.Count, err, sum)
			}
			row.q.By = keyfold.UsageByDay
			if got := reported(t, admin, row.q); !got.equal(row.want.by(day)) {
				t.Errorf("%s by day:\n%v, want\n%v", row.name, got, row.want.by(day))
			}
		}
	})
}

func TestPruneHoursKeepsTotals(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		clock := newClock()
		svc := newService(t, store, &keyfold.Options{Now: clock.now, FlushInterval: time.Minute})
		key, token := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
		for range 40 {
			outcome(svc, token)
			outcome(svc, "garbage")
			clock.add(time.Hour)
		}
		if err := svc.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := clock.now().Add(-10 * time.Hour)
		if n, err := svc.PruneHours(t.Context(), before); err != nil || n != 0 {
			t.Errorf("%d counts of hours with events are deleted, %v", n, err)
		}
		if _, err := svc.PruneUsage(t.Context(), before); err != nil {
			t.Fatal(err)
		}
		if n, err := svc.PruneHours(t.Context(), before); err != nil || n < 30 {
			t.Errorf("%d counts deleted, %v; want those of 30 hours", n, err)
		}
		for _, q := range []keyfold.UsageReportQuery{{KeyID: keyfold.Only(key.ID)}, {}} {
			q.From = clock.now().Add(-100 * time.Hour)
			if got := reported(t, svc, q); len(got) != 10 {
				t.Errorf("%d hours are left, want 10", len(got))
			}
		}
		if got, err := svc.Key(t.Context(), key.ID); err != nil || got.Uses != 40 {
			t.Errorf("%d uses, %v; want 40", got.Uses, err)
		}
	})
}

func TestOldCountsAreDeletedInTheBackground(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name          string
		events, hours time.Duration
		want          int
	}{
		{"by default", 0, 0, 401},
		{"events for ever, which need their hours", keyfold.Never, 0, 500},
		{"hours for ever", 0, keyfold.Never, 500},
		{"hours for two days, but events for four", 4 * day, 2 * day, 5},
	} {
		synctest.Test(t, func(t *testing.T) {
			store := memory.New()
			svc := newService(t, store, &keyfold.Options{Now: time.Now, EventRetention: row.events, HourRetention: row.hours})
			key, _ := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
			batch := keyfold.UsageBatch{RecorderID: "r", Number: 1, At: time.Now()}
			now := time.Now().Add(4 * time.Hour).Truncate(time.Hour).UTC()
			for n := range 500 {
				at := now.Add(-time.Duration(n) * day)
				batch.Hours = append(batch.Hours, keyfold.UsageHour{KeyID: key.ID, HourAt: at, Count: 1})
				batch.Events = append(batch.Events, keyfold.UsageEvent{At: at, KeyID: key.ID})
			}
			if _, err := store.RecordUsage(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			outcome(svc, "kf_garbage")
			_, token := create(t, svc, keyfold.NewKey{})
			outcome(svc, token) // begins the background work
			time.Sleep(4 * time.Hour)
			hours, err := store.UsageHours(t.Context(), keyfold.UsageScan{KeyID: key.ID, From: now.Add(-600 * day), To: now.Add(day)})
			if err != nil || len(hours) != row.want {
				t.Errorf("%s: %d hours are left, %v; want %d", row.name, len(hours), err, row.want)
			}
		})
	}
}
