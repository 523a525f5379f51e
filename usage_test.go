package keyfold_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

func TestEveryVerifyIsCountedExactly(t *testing.T) {
	// Mutation tried: one lost increment in a thousand fails this.
	t.Parallel()
	svc := newService(t, memory.New(), &keyfold.Options{FlushInterval: 10 * time.Millisecond})
	const keys, workers, rounds = 5, 20, 500
	var ids, tokens []string
	for range keys {
		key, token := create(t, svc, keyfold.NewKey{Scopes: []string{"a:b"}})
		ids, tokens = append(ids, key.ID), append(tokens, token)
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for i := range rounds {
				outcome(svc, tokens[i%keys], "a:b")
				if i%5 == 0 {
					outcome(svc, tokens[i%keys], "x:y")
					outcome(svc, "garbage")
				}
			}
		})
	}
	group.Wait()
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		key, err := svc.Key(t.Context(), id)
		if err != nil || key.Uses != workers*rounds/keys {
			t.Errorf("key %d: %d uses, %v; want %d", i, key.Uses, err, workers*rounds/keys)
		}
	}
	totals, err := svc.UsageTotals(t.Context(), keyfold.UsageQuery{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[keyfold.Outcome]int64{
		keyfold.OutcomeAllowed: workers * rounds, keyfold.OutcomeScope: workers * rounds / 5, keyfold.OutcomeMalformed: workers * rounds / 5,
	}
	if fmt.Sprint(totals.Count) != fmt.Sprint(want) {
		t.Errorf("totals %v, want %v", totals.Count, want)
	}
}

// Mutations tried: events kept all the same; sampled refusals kept; the room of
// uses not given back, so that later ones are kept late.
func TestWithoutEventsEveryUseIsCounted(t *testing.T) {
	t.Parallel()
	clock := newClock()
	svc := newService(t, memory.New(), &keyfold.Options{Now: clock.now, DisableEvents: true, MaxPendingEvents: 100})
	key, token := create(t, svc, keyfold.NewKey{})
	const rounds, each = 5, 90
	for range rounds {
		for range each {
			outcome(svc, token)
		}
		outcome(svc, token, "no:scope")
		outcome(svc, "garbage")
		if err := svc.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		clock.add(time.Hour)
	}
	if stored, err := svc.Key(t.Context(), key.ID); err != nil || stored.Uses != rounds*each {
		t.Errorf("%d uses, %v; want %d", stored.Uses, err, rounds*each)
	}
	all := keyfold.UsageQuery{From: clock.now().Add(-24 * time.Hour), To: clock.now(), Limit: 200}
	totals, err := svc.UsageTotals(t.Context(), all)
	want := map[keyfold.Outcome]int64{keyfold.OutcomeAllowed: rounds * each, keyfold.OutcomeScope: rounds, keyfold.OutcomeMalformed: rounds}
	if err != nil || fmt.Sprint(totals.Count) != fmt.Sprint(want) {
		t.Errorf("totals %v, %v; want %v", totals.Count, err, want)
	}
	if page, err := svc.Usage(t.Context(), all); err != nil || len(page.Events) > 0 {
		t.Errorf("%d events, %v; want none", len(page.Events), err)
	}
	if stats := svc.UsageStats(); stats.DroppedEvents > 0 || stats.PendingEvents > 0 {
		t.Errorf("%+v, want nothing dropped and nothing pending", stats)
	}
}

func TestUsageEventTellsWhatWasAsked(t *testing.T) {
	t.Parallel()
	clock := newClock()
	svc := newService(t, memory.New(), &keyfold.Options{Now: clock.now, RecordRequestID: true, RecordUserAgent: true})
	key, token := create(t, svc, keyfold.NewKey{})
	_, err := svc.Verify(t.Context(), keyfold.Request{
		Token: token, IP: netip.MustParseAddr("::ffff:192.0.2.7"), Route: "GET /reports/{id}", RequestID: "r-1", UserAgent: "curl/8",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := svc.Usage(t.Context(), keyfold.UsageQuery{KeyID: keyfold.Only(key.ID)})
	if err != nil || len(page.Events) != 1 {
		t.Fatalf("%d events, %v", len(page.Events), err)
	}
	got := page.Events[0]
	got.Seq = 0
	want := keyfold.UsageEvent{
		At: clock.now(), KeyID: key.ID, Route: "GET /reports/{id}", IP: netip.MustParseAddr("192.0.2.7"), RequestID: "r-1", UserAgent: "curl/8",
	}
	if got != want {
		t.Errorf("event %+v, want %+v", got, want)
	}
	stored, err := svc.Key(t.Context(), key.ID)
	if err != nil || !stored.LastUsedAt.Equal(clock.now()) {
		t.Errorf("LastUsedAt = %v, %v; want %v", stored.LastUsedAt, err, clock.now())
	}
}

func TestPersonalFieldsAreOffByDefaultAndTextsAreTamed(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	key, token := create(t, svc, keyfold.NewKey{})
	_, _ = svc.Verify(t.Context(), keyfold.Request{
		Token: token, RequestID: "r-1", UserAgent: "curl/8", Route: strings.Repeat("é", 300),
	})
	_, _ = svc.Verify(t.Context(), keyfold.Request{Token: token, Route: "GET \x00"})
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := svc.Usage(t.Context(), keyfold.UsageQuery{KeyID: keyfold.Only(key.ID)})
	if err != nil || len(page.Events) != 2 {
		t.Fatalf("%d events, %v", len(page.Events), err)
	}
	for _, event := range page.Events {
		if event.RequestID != "" || event.UserAgent != "" || len(event.Route) > 256 || strings.Contains(event.Route, "\x00") {
			t.Errorf("event %+v", event)
		}
	}
}

func TestGarbageWritesABoundedSample(t *testing.T) {
	t.Parallel()
	clock := newClock()
	store := memory.New()
	svc := newService(t, store, &keyfold.Options{Now: clock.now})
	const garbage = 1000
	for range garbage {
		outcome(svc, "garbage")
	}
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := svc.Usage(t.Context(), keyfold.UsageQuery{Limit: 200, To: clock.now().Add(time.Second)})
	if err != nil || len(page.Events) != 100 {
		t.Errorf("%d events, %v; want 100 samples, which may be taken at once", len(page.Events), err)
	}
	totals, err := svc.UsageTotals(t.Context(), keyfold.UsageQuery{})
	if err != nil || totals.Count[keyfold.OutcomeMalformed] != garbage {
		t.Errorf("counted %v, %v; want all %d", totals.Count, err, garbage)
	}
}

// Mutation tried: samples that keep what RecordRequestID and RecordUserAgent ask for.
func TestSamplesKeepNoTextOfAStranger(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), &keyfold.Options{RecordRequestID: true, RecordUserAgent: true})
	key, token := create(t, svc, keyfold.NewKey{})
	address := netip.MustParseAddr("198.51.100.7")
	for _, sent := range []string{token, "garbage", ""} {
		_, _ = svc.Verify(t.Context(), keyfold.Request{Token: sent, Route: "GET /x", IP: address, RequestID: "r-1", UserAgent: "curl/8"})
	}
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := svc.Usage(t.Context(), keyfold.UsageQuery{})
	if err != nil || len(page.Events) != 3 {
		t.Fatalf("%d events, %v; want 3", len(page.Events), err)
	}
	for _, event := range page.Events {
		requestID, userAgent := "", ""
		if event.KeyID == key.ID {
			requestID, userAgent = "r-1", "curl/8"
		}
		if event.RequestID != requestID || event.UserAgent != userAgent || event.Route != "GET /x" || event.IP != address {
			t.Errorf("event %+v, want request ID %q and user agent %q", event, requestID, userAgent)
		}
	}
}

func TestFailingBatchIsTriedAgainWholeUnderItsNumber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		lost := &lostAnswers{spy: store}
		svc := newService(t, lost, &keyfold.Options{Now: time.Now})
		key, token := create(t, svc, keyfold.NewKey{})
		lost.fail.Store(3) // the store keeps the batch, but its answer is lost, three times
		for range 40 {
			outcome(svc, token)
			time.Sleep(100 * time.Millisecond)
		}
		if err := svc.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := store.Key(t.Context(), key.ID)
		if err != nil || got.Uses != 40 {
			t.Errorf("%d uses, %v; want 40", got.Uses, err)
		}
		events, err := store.UsageEvents(t.Context(), keyfold.UsageScan{From: time.Unix(0, 0), To: time.Now().Add(time.Hour), Limit: 100})
		if err != nil || len(events) != 40 {
			t.Errorf("%d events, %v; want 40", len(events), err)
		}
	})
}

func TestBlockedStoreDoesNotSlowAVerify(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now, MaxPendingEvents: 100})
		key, token := create(t, svc, keyfold.NewKey{})
		on(&store.record, hang)
		start := time.Now()
		for range 50 {
			for range 10 {
				outcome(svc, token)
			}
			if took := time.Since(start); took != 0 { // the fake clock moves only when all wait
				t.Fatalf("verifies waited %v for a store that takes no usage", took)
			}
			time.Sleep(time.Second)
			start = time.Now()
		}
		stats := svc.UsageStats()
		if stats.PendingEvents > 100 || stats.PendingEvents < 50 || stats.PendingEvents+stats.DroppedEvents != 500 {
			t.Errorf("%+v, want at most 100 pending and the rest of 500 dropped", stats)
		}
		on(&store.record, nil)
		if err := svc.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := store.Key(t.Context(), key.ID)
		if err != nil || got.Uses != 500 {
			t.Errorf("%d uses, %v; totals must not drop: want 500", got.Uses, err)
		}
		totals, err := svc.UsageTotals(t.Context(), keyfold.UsageQuery{KeyID: keyfold.Only(key.ID)})
		if err != nil || totals.Count[keyfold.OutcomeAllowed] != 500 {
			t.Errorf("counts by hour %v, %v; want 500 allowed", totals.Count, err)
		}
	})
}

func TestPendingEventsAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{MaxPendingBytes: 10_000, FlushInterval: time.Minute})
	_, token := create(t, svc, keyfold.NewKey{})
	on(&store.record, func(context.Context) error { return errors.New("away") })
	defer on(&store.record, nil)
	for range 100 {
		_, _ = svc.Verify(t.Context(), keyfold.Request{Token: token, Route: strings.Repeat("r", 200)})
	}
	if stats := svc.UsageStats(); stats.PendingEvents > 10_000/200 || stats.PendingEvents+stats.DroppedEvents != 100 {
		t.Errorf("%+v: more than 10 000 bytes are kept, or some are not accounted for", stats)
	}
}

func TestUsesOfADeletedKeyAreCountedAsLost(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), &keyfold.Options{FlushInterval: time.Minute})
	gone, goneToken := create(t, svc, keyfold.NewKey{})
	kept, keptToken := create(t, svc, keyfold.NewKey{})
	outcome(svc, goneToken)
	outcome(svc, keptToken)
	if err := svc.DeleteKey(t.Context(), gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := svc.Key(t.Context(), kept.ID)
	if err != nil || got.Uses != 1 || svc.UsageStats().LostUses != 1 {
		t.Errorf("%d uses, %v, %d lost; want 1 and 1", got.Uses, err, svc.UsageStats().LostUses)
	}
}

func TestCloseDrainsEvenWhenItsContextIsDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now, FlushInterval: time.Minute})
		key, token := create(t, svc, keyfold.NewKey{})
		outcome(svc, token)
		tries := 0
		on(&store.record, func(context.Context) error {
			if tries++; tries < 4 {
				return errors.New("away")
			}
			return nil
		})
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if err := svc.Close(done); err != nil {
			t.Fatal(err)
		}
		if got, _ := store.Key(t.Context(), key.ID); got.Uses != 1 {
			t.Errorf("%d uses, want 1", got.Uses)
		}
		if err := svc.Close(t.Context()); err != nil {
			t.Errorf("second Close: %v", err)
		}
		_, err := svc.Verify(t.Context(), keyfold.Request{Token: token})
		if !errors.Is(err, keyfold.ErrClosed) || !errors.Is(err, keyfold.ErrUnavailable) {
			t.Errorf("Verify after Close: %v, want ErrClosed and ErrUnavailable", err)
		}
	})
}

func TestCloseGivesUpWithinItsBudgetAndSaysWhatIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now})
		_, token := create(t, svc, keyfold.NewKey{})
		outcome(svc, token)
		on(&store.record, hang)
		for name, row := range map[string]time.Duration{"no end": 10 * time.Second} {
			start := time.Now()
			err := svc.Close(context.Background())
			if !errors.Is(err, keyfold.ErrUnavailable) || !strings.Contains(err.Error(), "1 usage events were not written") {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); took > row {
				t.Errorf("%s: took %v, want at most %v", name, took, row)
			}
		}
	})
}

func TestNothingRunsUntilTheServiceIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// A goroutine left behind would keep the bubble from ending.
		if _, err := keyfold.New(memory.New(), nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLogTellsWhenUsageCannotBeWrittenOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		_, token := create(t, svc, keyfold.NewKey{})
		outcome(svc, token)
		on(&store.record, func(context.Context) error { return errors.New("disk is full") })
		time.Sleep(10 * time.Second)
		on(&store.record, nil)
		time.Sleep(2 * time.Second)
		if err := svc.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(log.String(), "\n"); lines != 2 || !strings.Contains(log.String(), "disk is full") {
			t.Errorf("%d lines in the log, want one for the fault and one for its end:\n%s", lines, log.String())
		}
	})
}

func TestUsagePagesAndPrunes(t *testing.T) {
	t.Parallel()
	clock := newClock()
	svc := newService(t, memory.New(), &keyfold.Options{Now: clock.now})
	key, token := create(t, svc, keyfold.NewKey{OwnerID: "o", TTL: keyfold.Never})
	_, other := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
	for range 25 {
		outcome(svc, token)
		outcome(svc, other)
		clock.add(time.Hour)
	}
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]keyfold.UsageQuery{"by key": {KeyID: keyfold.Only(key.ID)}, "by owner": {OwnerID: keyfold.Only("o")}} {
		q.From, q.Limit = clock.now().Add(-100*time.Hour), 10
		var seen []keyfold.UsageEvent
		for pages := 1; ; pages++ {
			page, err := svc.Usage(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			seen = append(seen, page.Events...)
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		if len(seen) != 25 {
			t.Errorf("%s: %d events, want 25", name, len(seen))
		}
		for i := 1; i < len(seen); i++ {
			if !seen[i].At.Before(seen[i-1].At) || seen[i].KeyID != key.ID {
				t.Errorf("%s: event %d is out of order or of another key", name, i)
			}
		}
	}
	deleted, err := svc.PruneUsage(t.Context(), clock.now().Add(-5*time.Hour))
	if err != nil || deleted != 40 {
		t.Errorf("pruned %d, %v; want 40", deleted, err)
	}
	if got, err := svc.Key(t.Context(), key.ID); err != nil || got.Uses != 25 {
		t.Errorf("%d uses after pruning, %v; want 25", got.Uses, err)
	}
}

func TestFlushesAreAsRareAsTheEventsNeed(t *testing.T) {
	// Mutation tried: granting a shard the full credit each time makes the room
	// seem taken, and the flusher run without end.
	t.Parallel()
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{FlushInterval: time.Minute})
	_, token := create(t, svc, keyfold.NewKey{})
	verify := func(n int) {
		for range n {
			_, _ = svc.Verify(t.Context(), keyfold.Request{Token: token, Route: "GET /a/route/of/some/length"})
		}
	}
	for range 20 {
		verify(20_000)
		if err := svc.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := store.calls.Load()
	for range 8 { // one event in eight of those that make a flush worth while
		verify(1250)
		time.Sleep(time.Millisecond) // lets a flusher run that was woken
	}
	if flushes := store.calls.Load() - before; flushes > 3 {
		t.Errorf("%d flushes for %d events", flushes, 8*1250)
	}
}
