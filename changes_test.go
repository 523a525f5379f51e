package keyfold_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
)

// feed is a store whose change feed the test can observe and disturb.
type feed struct {
	*spy
	mu     sync.Mutex
	began  []time.Time                            // when each poll did
	poll   func(ctx context.Context, n int) error // comes before the n-th poll, from 1
	listen func(ctx context.Context, wake func())
	policy keyfold.PollPolicy
	inside atomic.Int64 // polls under way
	most   atomic.Int64
}

func (f *feed) Changes(ctx context.Context, cursor string) ([]keyfold.Change, string, error) {
	if n := f.inside.Add(1); n > f.most.Load() {
		f.most.Store(n)
	}
	defer f.inside.Add(-1)
	f.mu.Lock()
	f.began = append(f.began, time.Now())
	n := len(f.began)
	f.mu.Unlock()
	if f.poll != nil {
		if err := f.poll(ctx, n); err != nil {
			return nil, "", err
		}
	}
	return f.spy.Changes(ctx, cursor)
}

func (f *feed) Listen(ctx context.Context, wake func()) {
	if f.listen != nil {
		f.listen(ctx, wake)
	}
}

func (f *feed) PollPolicy() keyfold.PollPolicy { return f.policy }

func (f *feed) polls() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.began)
}

// follows returns a Service that follows the feed, and a key that it has cached.
func follows(t *testing.T, store keyfold.Store, opts keyfold.Options) (*keyfold.Service, string) {
	t.Helper()
	opts.Now = time.Now
	svc := newService(t, store, &opts)
	_, token := create(t, svc, keyfold.NewKey{})
	outcome(svc, token)
	synctest.Wait()
	outcome(svc, token) // what was read before the feed was followed is not kept
	return svc, token
}

func TestFailedPollIsTriedAgainWithinASecond(t *testing.T) {
	// Mutation tried: the next poll after PollInterval, whatever came of this one.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &feed{spy: newSpy(), poll: func(_ context.Context, n int) error {
			if n < 4 {
				return errors.New("away")
			}
			return nil
		}}
		follows(t, store, keyfold.Options{PollInterval: time.Minute, MaxStaleness: time.Minute})
		time.Sleep(3*time.Second + time.Millisecond)
		if got := len(store.polls()); got != 4 {
			t.Errorf("%d polls in three seconds, three of which failed, want 4", got)
		}
		time.Sleep(20 * time.Second)
		if got := len(store.polls()); got != 4 {
			t.Errorf("%d polls once it was back, want no more within PollInterval", got)
		}
	})
}

func TestVerifyThatFindsItsMemoryStaleAsksForAPoll(t *testing.T) {
	// When a machine wakes, most of PollInterval can still be left to wait.
	// Mutation tried: fresh() without the wake reads the store for a minute.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		store := &feed{spy: newSpy()}
		svc := newService(t, store, &keyfold.Options{
			PollInterval: time.Minute, MaxStaleness: time.Minute, CacheMaxAge: time.Hour,
			Now: func() time.Time { return time.Now().Add(time.Duration(slept.Load())) },
		})
		_, token := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
		outcome(svc, token)
		synctest.Wait()
		slept.Store(int64(10 * time.Minute))
		reads := store.reads.Load()
		outcome(svc, token)
		time.Sleep(100 * time.Millisecond)
		outcome(svc, token)
		if got := store.reads.Load() - reads; got != 1 {
			t.Errorf("%d reads, want 1: the feed was polled meanwhile", got)
		}
		if got := svc.Staleness(); got > time.Second {
			t.Errorf("still %v behind", got)
		}
	})
}

func TestStaleVerifiesDoNotStormAFeedThatIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &feed{spy: newSpy(), poll: func(_ context.Context, n int) error {
			if n > 1 {
				return errors.New("away")
			}
			return nil
		}}
		svc, token := follows(t, store, keyfold.Options{})
		time.Sleep(6 * time.Second)
		before := len(store.polls())
		for range 1000 {
			outcome(svc, token)
			time.Sleep(10 * time.Millisecond)
		}
		if got := len(store.polls()) - before; got > 11 {
			t.Errorf("%d polls in ten seconds, want about one a second", got)
		}
	})
}

func TestListenersCallIsActedOnAtOnceButManyMakeFewPolls(t *testing.T) {
	// Mutation tried: no pause between polls makes one for every call.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := make(chan int)
		store := &feed{spy: newSpy(), listen: func(ctx context.Context, wake func()) {
			for {
				select {
				case n := <-calls:
					for range n {
						wake()
						time.Sleep(time.Millisecond)
					}
				case <-ctx.Done():
					return
				}
			}
		}}
		follows(t, store, keyfold.Options{PollInterval: time.Minute, MaxStaleness: time.Minute})
		time.Sleep(time.Second)
		called := time.Now()
		calls <- 1
		synctest.Wait()
		if polls := store.polls(); len(polls) != 2 || !polls[1].Equal(called) {
			t.Errorf("a call made %d polls, want one, at once", len(polls)-1)
		}
		time.Sleep(time.Second)
		before := len(store.polls())
		calls <- 1000
		time.Sleep(1100 * time.Millisecond)
		polls := store.polls()[before:]
		if len(polls) < 50 || len(polls) > 110 {
			t.Errorf("%d polls for a thousand calls in a second, want one each 10 ms", len(polls))
		}
		if last := time.Since(polls[len(polls)-1]); last > 110*time.Millisecond {
			t.Errorf("the last poll was %v ago: the last call was lost", last)
		}
	})
}

func TestProcessesStartedTogetherDoNotPollTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const processes = 20
		times := map[time.Time]bool{}
		var stores []*feed
		for range processes {
			store := &feed{spy: newSpy()}
			stores = append(stores, store)
			follows(t, store, keyfold.Options{})
		}
		time.Sleep(10 * time.Second)
		for _, store := range stores {
			polls := store.polls()
			times[polls[len(polls)-1].Truncate(time.Millisecond)] = true
			for i := 2; i < len(polls); i++ {
				if gap := polls[i].Sub(polls[i-1]); gap != time.Second {
					t.Fatalf("%v between polls, want a second", gap)
				}
			}
		}
		if len(times) < processes/2 {
			t.Errorf("%d processes poll at %d times", processes, len(times))
		}
	})
}

func TestSlowFeedIsPolledOneAtATimeAndCountsFromTheBeginningOfThePoll(t *testing.T) {
	// Mutation tried: heard counting from the end of a poll serves what is older
	// than MaxStaleness.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &feed{spy: newSpy(), poll: func(ctx context.Context, n int) error {
			if n == 1 {
				return nil
			}
			return wait(ctx, 3*time.Second) // three times PollInterval
		}}
		svc, token := follows(t, store, keyfold.Options{MaxStaleness: 2 * time.Second})
		for range 60 {
			time.Sleep(100 * time.Millisecond)
			reads := store.reads.Load()
			behind := svc.Staleness()
			outcome(svc, token)
			if fromStore := store.reads.Load() > reads; fromStore != (behind > 2*time.Second) {
				t.Fatalf("%v behind: read the store is %t", behind, fromStore)
			}
		}
		if err := svc.Sync(t.Context()); err != nil {
			t.Error(err)
		}
		if got := svc.Staleness(); got != 3*time.Second {
			t.Errorf("%v behind after a poll of 3 s, want 3 s", got)
		}
		if most := store.most.Load(); most != 1 {
			t.Errorf("%d polls at once, want 1", most)
		}
	})
}

func TestCloseEndsAPollThatIsUnderWayAndTheListener(t *testing.T) {
	// synctest finds what is left running.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var listening atomic.Bool
		store := &feed{
			spy:  newSpy(),
			poll: func(ctx context.Context, _ int) error { return hang(ctx) },
			listen: func(ctx context.Context, _ func()) {
				listening.Store(true)
				<-ctx.Done()
				listening.Store(false)
			},
		}
		svc, _ := follows(t, store, keyfold.Options{})
		if !listening.Load() || store.inside.Load() != 1 {
			t.Fatal("no poll is under way: this test shows nothing")
		}
		began := time.Now()
		if err := svc.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 || listening.Load() || store.inside.Load() != 0 {
			t.Errorf("Close took %v, listening is %t, %d polls are under way", took, listening.Load(), store.inside.Load())
		}
		polls := len(store.polls())
		time.Sleep(time.Minute)
		if got := len(store.polls()); got != polls {
			t.Errorf("%d polls after Close", got-polls)
		}
	})
}
