package keyfold_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// batches is a store that records every batch, and can refuse it.
type batches struct {
	keyfold.Store
	see func(context.Context, keyfold.UsageBatch) error
}

func (b *batches) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	if err := b.see(ctx, batch); err != nil {
		return keyfold.UsageResult{}, err
	}
	return b.Store.RecordUsage(ctx, batch)
}

func TestUsageSyncAnswersWhenTheUseIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now, Usage: keyfold.UsageSync, FlushInterval: time.Minute})
		key, token := create(t, svc, keyfold.NewKey{Scopes: []string{"a:b"}})
		for i := range 20 {
			if got := outcome(svc, token, "a:b"); got != keyfold.OutcomeAllowed {
				t.Fatal(got)
			}
			if got, err := store.Key(t.Context(), key.ID); err != nil || got.Uses != int64(i+1) {
				t.Fatalf("%d uses are stored after %d verifies, %v", got.Uses, i+1, err)
			}
		}
		if got := outcome(svc, token, "x:y"); got != keyfold.OutcomeScope {
			t.Fatal(got)
		}
		totals, err := svc.UsageTotals(t.Context(), keyfold.UsageQuery{KeyID: keyfold.Only(key.ID)})
		if err != nil || totals.Count[keyfold.OutcomeScope] != 1 {
			t.Errorf("stored %v, %v; want the refusal too", totals.Count, err)
		}
	})
}

func TestUsageSyncSharesOneWriteAmongMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now, Usage: keyfold.UsageSync})
		key, token := create(t, svc, keyfold.NewKey{})
		on(&store.record, func(context.Context) error { time.Sleep(10 * time.Millisecond); return nil })
		before := store.calls.Load()
		var group sync.WaitGroup
		for range 200 {
			group.Go(func() { outcome(svc, token) })
		}
		group.Wait()
		if writes := store.calls.Load() - before; writes > 5 {
			t.Errorf("%d writes for 200 verifies at once", writes)
		}
		if got, err := store.Key(t.Context(), key.ID); err != nil || got.Uses != 200 {
			t.Errorf("%d uses, %v; want 200", got.Uses, err)
		}
	})
}

// The events that wait during a slow write can be more than one batch.
func TestUsageSyncWaitsForEveryBatchOfABacklog(t *testing.T) {
	// Mutation tried: waking those who wait with the first batch fails this.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := memory.New()
		writes := 0
		store := &batches{inner, func(context.Context, keyfold.UsageBatch) error {
			writes++
			time.Sleep(100 * time.Millisecond)
			return nil
		}}
		svc := newService(t, store, &keyfold.Options{Now: time.Now, Usage: keyfold.UsageSync})
		key, token := create(t, svc, keyfold.NewKey{})
		var group sync.WaitGroup
		const uses = 25_000
		for range uses {
			group.Go(func() {
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Errorf("verify: %v", got)
				}
			})
		}
		group.Wait()
		if got, err := inner.Key(t.Context(), key.ID); err != nil || got.Uses != uses || writes < 2 {
			t.Errorf("%d uses in %d writes, %v; want %d in at least 2", got.Uses, writes, err, uses)
		}
	})
}

func TestUsageSyncRefusesVerifiesItCannotStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{
			Now: time.Now, Usage: keyfold.UsageSync, VerifyTimeout: 200 * time.Millisecond, FlushInterval: time.Minute,
		})
		key, token := create(t, svc, keyfold.NewKey{})
		for name, fault := range map[string]func(context.Context) error{
			"hangs": hang, "fails": func(context.Context) error { return errors.New("read-only file system") },
		} {
			on(&store.record, fault)
			start := time.Now()
			id, err := svc.Verify(t.Context(), keyfold.Request{Token: token})
			if !errors.Is(err, keyfold.ErrUnavailable) || id.KeyID() != "" {
				t.Errorf("%s: %q, %v; want ErrUnavailable and no identity", name, id.KeyID(), err)
			}
			if took := time.Since(start); took > 200*time.Millisecond {
				t.Errorf("%s: took %v, want at most VerifyTimeout", name, took)
			}
			gone, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			if _, err := svc.Verify(gone, keyfold.Request{Token: token}); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, keyfold.ErrUnavailable) {
				t.Errorf("%s: caller that went away: %v", name, err)
			}
			cancel()
			start = time.Now()
			if got := outcome(svc, "garbage"); got != keyfold.OutcomeMalformed || time.Since(start) != 0 {
				t.Errorf("%s: garbage: %v after %v; want no wait", name, got, time.Since(start))
			}
			on(&store.record, nil)
			time.Sleep(11 * time.Second) // what hangs is given up
			if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
				t.Errorf("%s: %v once the store is back", name, got)
			}
		}
		if got, err := store.Key(t.Context(), key.ID); err != nil || got.Uses != 6 {
			t.Errorf("%d uses, %v; want 6: those that were refused for want of an answer are counted", got.Uses, err)
		}
	})
}

func TestUsageSyncDoesNotWaitInsideATransaction(t *testing.T) {
	t.Parallel()
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{Usage: keyfold.UsageSync, VerifyTimeout: time.Minute})
	_, token := create(t, svc, keyfold.NewKey{})
	on(&store.record, hang)
	err := svc.InTx(t.Context(), func(tx *keyfold.Service) error {
		_, err := tx.Verify(t.Context(), keyfold.Request{Token: token})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	on(&store.record, nil)
}

func TestCloseKeepsToItsContextWhileAWriteHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now})
		key, token := create(t, svc, keyfold.NewKey{})
		outcome(svc, token)
		on(&store.record, hang)
		time.Sleep(1500 * time.Millisecond) // the background is writing now
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := svc.Close(ctx); !errors.Is(err, keyfold.ErrUnavailable) || time.Since(start) > 100*time.Millisecond {
			t.Errorf("Close: %v after %v; want ErrUnavailable within 100 ms", err, time.Since(start))
		}

		// A write that hangs does not eat up the time in which another may succeed.
		svc = newService(t, store, &keyfold.Options{Now: time.Now})
		outcome(svc, token)
		time.Sleep(1500 * time.Millisecond)
		on(&store.record, nil)
		if err := svc.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if got, err := store.Key(t.Context(), key.ID); err != nil || got.Uses != 1 {
			t.Errorf("%d uses, %v; want the one of the second Service", got.Uses, err)
		}
	})
}

func TestRefusalsAreCountedInTheHourOfTheRefusal(t *testing.T) {
	t.Parallel()
	clock := newClock()
	store := memory.New()
	svc := newService(t, store, &keyfold.Options{Now: clock.now, FlushInterval: time.Minute})
	start := clock.now()
	for n := range 3 {
		for range n + 1 {
			outcome(svc, "garbage")
		}
		outcome(svc, "")
		clock.add(61 * time.Minute)
	}
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	hours, err := store.UsageHours(t.Context(), keyfold.UsageScan{From: start, To: clock.now()})
	if err != nil {
		t.Fatal(err)
	}
	var want []keyfold.UsageHour
	for n := range 3 {
		at := start.Add(time.Duration(n) * time.Hour)
		want = append(want, keyfold.UsageHour{HourAt: at, Outcome: keyfold.OutcomeMissing, Count: 1},
			keyfold.UsageHour{HourAt: at, Outcome: keyfold.OutcomeMalformed, Count: int64(n + 1)})
	}
	if fmt.Sprint(hours) != fmt.Sprint(want) {
		t.Errorf("hours\n%v, want\n%v", hours, want)
	}
}

// Mutations tried: ten samples a second, as before; a budget that is full again
// every 24 hours; a bucket that holds a whole day.
func TestSamplesStayWithinADailyBudgetAndLastAllDay(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var samples []time.Time
	var counted int64
	store := &batches{memory.New(), func(_ context.Context, batch keyfold.UsageBatch) error {
		mu.Lock()
		defer mu.Unlock()
		for _, event := range batch.Events {
			samples = append(samples, event.At)
		}
		for _, hour := range batch.Hours {
			counted += hour.Count
		}
		return nil
	}}
	clock := newClock()
	svc := newService(t, store, &keyfold.Options{Now: clock.now})
	start, sent := clock.now(), int64(0)
	for ; clock.now().Sub(start) < 50*time.Hour; sent++ {
		outcome(svc, "garbage")
		clock.add(1999 * time.Millisecond)
	}
	if err := svc.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, from := range []time.Duration{0, 7 * time.Hour, 26 * time.Hour} {
		day, lastHour := 0, 0
		for _, at := range samples {
			if since := at.Sub(start.Add(from)); since >= 0 && since < 24*time.Hour {
				day++
				if since >= 23*time.Hour {
					lastHour++
				}
			}
		}
		if day > 10_000 || day < 9_800 || lastHour < 400 {
			t.Errorf("%d samples in the 24 hours from hour %v, %d of them in the last hour; want at most 10 000, spread over the day",
				day, from.Hours(), lastHour)
		}
	}
	if counted != sent {
		t.Errorf("counted %d refusals, want all %d", counted, sent)
	}
}

// A batch that the store refuses must not delay the other batches, and must not be lost.
func TestBatchThatIsRefusedForLongIsSetAsideAndNotLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var poison atomic.Bool
		poison.Store(true)
		inner := memory.New()
		store := &batches{inner, func(_ context.Context, batch keyfold.UsageBatch) error {
			if batch.Number == 2 && poison.Load() {
				return errors.New("value out of range")
			}
			return nil
		}}
		svc := newService(t, store, &keyfold.Options{
			Now: time.Now, MaxPendingEvents: 1000, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		key, token := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
		const uses = 100
		for range uses {
			outcome(svc, token)
			time.Sleep(time.Second)
		}
		if got, err := inner.Key(t.Context(), key.ID); err != nil || got.Uses < uses-3 || got.Uses >= uses {
			t.Errorf("%d uses are stored, %v; want nearly all of %d", got.Uses, err, uses)
		}
		if stats := svc.UsageStats(); stats.RejectedBatches != 1 || stats.DroppedEvents != 0 {
			t.Errorf("%+v, want one batch aside and nothing dropped", stats)
		}
		if err := svc.Flush(t.Context()); !errors.Is(err, keyfold.ErrUnavailable) {
			t.Errorf("Flush: %v, want ErrUnavailable while a batch is refused", err)
		}
		poison.Store(false)
		if err := svc.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := inner.Key(t.Context(), key.ID); err != nil || got.Uses != uses {
			t.Errorf("%d uses, %v; want %d", got.Uses, err, uses)
		}
		if got := strings.Count(log.String(), "set aside"); got != 2 {
			t.Errorf("%d lines tell that a batch was set aside and then written, want 2:\n%s", got, log.String())
		}
	})
}

func TestFullDiskSetsFewBatchesAsideAndLosesNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now, MaxPendingEvents: 50})
		key, token := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
		on(&store.record, func(context.Context) error { return errors.New("disk is full") })
		const uses = 3600
		for range uses {
			outcome(svc, token)
			time.Sleep(time.Second)
		}
		if stats := svc.UsageStats(); stats.RejectedBatches != 4 || stats.PendingEvents > 50 || stats.PendingEvents+stats.DroppedEvents != uses {
			t.Errorf("%+v after an hour, want 4 batches aside, at most 50 events and the rest dropped", stats)
		}
		on(&store.record, nil)
		if err := svc.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := store.Key(t.Context(), key.ID); err != nil || got.Uses != uses {
			t.Errorf("%d uses, %v; want %d", got.Uses, err, uses)
		}
		if stats := svc.UsageStats(); stats.RejectedBatches != 0 || stats.PendingEvents != 0 {
			t.Errorf("%+v after Close, want nothing left", stats)
		}
	})
}

// A batch that takes longer than a flush may is never stored, so what gathered
// in an outage must not become one.
func TestBacklogIsWrittenInBatchesOfBoundedSize(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	var largest int
	inner := memory.New()
	store := &batches{inner, func(_ context.Context, batch keyfold.UsageBatch) error {
		if away.Load() {
			return errors.New("away")
		}
		largest = max(largest, len(batch.Events))
		var events, hours, totals int64
		for _, event := range batch.Events {
			if event.KeyID != "" {
				events++
			}
		}
		for _, hour := range batch.Hours {
			hours += hour.Count
		}
		for _, total := range batch.Keys {
			totals += total.Uses
		}
		if hours != totals || events > totals {
			t.Errorf("a batch with %d events, %d uses in hours and %d in totals", events, hours, totals)
		}
		return nil
	}}
	svc := newService(t, store, &keyfold.Options{FlushInterval: time.Minute, MaxPendingEvents: 60_000})
	key, token := create(t, svc, keyfold.NewKey{})
	away.Store(true)
	const uses = 70_000
	for range uses {
		outcome(svc, token)
	}
	away.Store(false)
	if err := svc.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := inner.Key(t.Context(), key.ID); err != nil || got.Uses != uses {
		t.Errorf("%d uses, %v; want %d", got.Uses, err, uses)
	}
	if largest > 20_000 || svc.UsageStats().PendingEvents != 0 {
		t.Errorf("a batch of %d events; %d pending after Close", largest, svc.UsageStats().PendingEvents)
	}
}

func TestHalfOfTheBytesIsAReasonToFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now, FlushInterval: time.Minute, MaxPendingBytes: 400_000})
		_, token := create(t, svc, keyfold.NewKey{})
		for range 3000 { // 380 bytes each
			_, _ = svc.Verify(t.Context(), keyfold.Request{Token: token, Route: strings.Repeat("r", 250)})
			time.Sleep(time.Millisecond)
		}
		if stats := svc.UsageStats(); stats.DroppedEvents > 0 {
			t.Errorf("%+v: events are dropped though the store takes them", stats)
		}
	})
}
