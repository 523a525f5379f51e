package keyfold_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// policies are those of a store whose verifies poll and of one whose verifies wake
// the background task.
var policies = map[string]keyfold.PollPolicy{
	"inline":     {After: 20 * time.Millisecond, Inline: true},
	"background": {After: 50 * time.Millisecond},
}

// polled runs a test for each of the policies: store is what the Service follows, and
// other is a Service of another process on the same database.
func polled(t *testing.T, test func(t *testing.T, store *feed, other *keyfold.Service)) {
	for name, policy := range policies {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				shared := memory.New()
				other := newService(t, shared, &keyfold.Options{Now: time.Now})
				test(t, &feed{spy: &spy{Store: shared}, policy: policy}, other)
			})
		})
	}
}

// verifyFor verifies every step for a time, which must allow the key.
func verifyFor(t *testing.T, svc *keyfold.Service, token string, d, step time.Duration) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(step) {
		if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
			t.Fatalf("got %v, want allowed", got)
		}
	}
}

func TestProcessInUseHearsOfARevocationWithinTwicePollAfter(t *testing.T) {
	// Mutations tried: refresh without the wake, an asked
	// that is never compared.
	t.Parallel()
	polled(t, func(t *testing.T, store *feed, other *keyfold.Service) {
		svc, token := follows(t, store, keyfold.Options{PollInterval: time.Minute, MaxStaleness: time.Minute, CacheMaxAge: time.Hour, KeyTTL: time.Hour})
		after := store.policy.After
		for round := range 50 {
			key, doomed := create(t, other, keyfold.NewKey{})
			verifyFor(t, svc, doomed, 4*after, time.Millisecond) // the change that created it evicts it
			time.Sleep(rand.N(after))
			reads := store.reads.Load()
			if got := outcome(svc, doomed); got != keyfold.OutcomeAllowed || store.reads.Load() != reads {
				t.Fatalf("round %d: %v after %d reads, want a key that is allowed from memory", round, got, store.reads.Load()-reads)
			}
			if err := other.RevokeKey(t.Context(), key.ID, ""); err != nil {
				t.Fatal(err)
			}
			for revoked := time.Now(); outcome(svc, doomed) != keyfold.OutcomeRevoked; time.Sleep(time.Millisecond) {
				if lag := time.Since(revoked); lag > 2*after {
					t.Fatalf("round %d: allowed %v after it was revoked, want at most %v", round, lag, 2*after)
				}
			}
		}
		before := len(store.polls())
		verifyFor(t, svc, token, time.Second, time.Millisecond)
		if got, most := len(store.polls())-before, int(time.Second/after)+1; got > most || got < most/2 {
			t.Errorf("%d polls in a second, want about %d", got, most)
		}
	})
}

func TestProcessThatVerifiesNothingPollsByItsTimerOnly(t *testing.T) {
	t.Parallel()
	polled(t, func(t *testing.T, store *feed, _ *keyfold.Service) {
		svc, token := follows(t, store, keyfold.Options{})
		verifyFor(t, svc, token, time.Second, time.Millisecond)
		before := len(store.polls())
		time.Sleep(20 * time.Second)
		if got := len(store.polls()) - before; got > 21 {
			t.Errorf("%d polls in 20 s without a verify, want one a second", got)
		}
	})
}

func TestFirstVerifyAfterAPauseIsExactWhereVerifiesPoll(t *testing.T) {
	// Elsewhere it is at most PollInterval behind, and wakes the poll for the next one.
	t.Parallel()
	polled(t, func(t *testing.T, store *feed, other *keyfold.Service) {
		svc, _ := follows(t, store, keyfold.Options{PollInterval: time.Minute, MaxStaleness: time.Minute, CacheMaxAge: time.Hour, KeyTTL: time.Hour})
		key, token := create(t, other, keyfold.NewKey{})
		verifyFor(t, svc, token, 4*store.policy.After, time.Millisecond)
		time.Sleep(10 * time.Second)
		if err := other.RevokeKey(t.Context(), key.ID, ""); err != nil {
			t.Fatal(err)
		}
		if got := outcome(svc, token); store.policy.Inline && got != keyfold.OutcomeRevoked {
			t.Errorf("got %v, want revoked: the verify polls", got)
		}
		synctest.Wait()
		if got := outcome(svc, token); got != keyfold.OutcomeRevoked {
			t.Errorf("the second verify: got %v, want revoked", got)
		}
	})
}

func TestSlowPollHoldsUpNoVerifyButTheOneThatPolls(t *testing.T) {
	// Mutation tried: refresh without a time limit.
	t.Parallel()
	polled(t, func(t *testing.T, store *feed, _ *keyfold.Service) {
		slow := make(chan struct{})
		store.poll = func(ctx context.Context, _ int) error {
			select {
			case <-slow:
				return hang(ctx)
			default:
				return nil
			}
		}
		svc, token := follows(t, store, keyfold.Options{})
		verifyFor(t, svc, token, time.Second, time.Millisecond)
		close(slow)
		time.Sleep(2 * store.policy.After)
		first := make(chan time.Duration, 1)
		go func() { // this one polls, or wakes the poll
			began := time.Now()
			outcome(svc, token)
			first <- time.Since(began)
		}()
		synctest.Wait()
		if store.inside.Load() != 1 {
			t.Fatal("no poll is under way: this test shows nothing")
		}
		for range 100 {
			began := time.Now()
			if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
				t.Fatalf("got %v, want allowed", got)
			}
			if took := time.Since(began); took != 0 {
				t.Fatalf("a verify took %v during the poll of another one", took)
			}
			time.Sleep(100 * time.Microsecond)
		}
		took := <-first
		if most := 50 * time.Millisecond; took > most || !store.policy.Inline && took != 0 {
			t.Errorf("the verify that began the poll took %v, want at most %v", took, most)
		}
		if most := store.most.Load(); most != 1 {
			t.Errorf("%d polls at once, want 1", most)
		}
	})
}

func TestVerifyThatWouldPollDoesNotWaitForAPollThatIsUnderWay(t *testing.T) {
	// Mutation tried: refresh that waits for polling, as poll does.
	t.Parallel()
	polled(t, func(t *testing.T, store *feed, _ *keyfold.Service) {
		slow := make(chan struct{})
		store.poll = func(ctx context.Context, _ int) error {
			select {
			case <-slow:
				return wait(ctx, 3*time.Second)
			default:
				return nil
			}
		}
		svc, token := follows(t, store, keyfold.Options{PollInterval: time.Minute, MaxStaleness: time.Minute})
		close(slow)
		synced := make(chan error, 1)
		go func() { synced <- svc.Sync(t.Context()) }()
		synctest.Wait()
		for began := time.Now(); time.Since(began) < time.Second; time.Sleep(time.Millisecond) {
			before := time.Now()
			if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
				t.Fatalf("got %v, want allowed", got)
			}
			if took := time.Since(before); took != 0 {
				t.Fatalf("a verify took %v during a poll", took)
			}
		}
		if err := <-synced; err != nil {
			t.Error(err)
		}
	})
}

func TestVerifiesDoNotStormAFeedThatIsAway(t *testing.T) {
	// Mutation tried: asked that is set to nil after a poll that failed.
	t.Parallel()
	polled(t, func(t *testing.T, store *feed, _ *keyfold.Service) {
		away := make(chan struct{})
		store.poll = func(context.Context, int) error {
			select {
			case <-away:
				return errors.New("away")
			default:
				return nil
			}
		}
		svc, token := follows(t, store, keyfold.Options{})
		verifyFor(t, svc, token, time.Second, time.Millisecond)
		close(away)
		before := len(store.polls())
		for range 1000 {
			outcome(svc, token)
			time.Sleep(10 * time.Millisecond)
		}
		if got := len(store.polls()) - before; got > 14 {
			t.Errorf("%d polls in ten seconds, want about one a second", got)
		}
	})
}

func TestMalformedTokenCausesNoPoll(t *testing.T) {
	// Mutation tried: catchUp before the checksum is compared.
	t.Parallel()
	polled(t, func(t *testing.T, store *feed, _ *keyfold.Service) {
		svc, token := follows(t, store, keyfold.Options{PollInterval: time.Minute, MaxStaleness: time.Minute})
		time.Sleep(10 * time.Second)
		before := len(store.polls())
		for i := range len(token) {
			other := "0"
			if token[i] == '0' {
				other = "1"
			}
			for _, malformed := range []string{token[:len(token)-1-i/2], token[:i] + other + token[i+1:]} {
				if got := outcome(svc, malformed); got != keyfold.OutcomeMalformed {
					t.Fatalf("token %d: got %v, want malformed", i, got)
				}
			}
			synctest.Wait()
		}
		if got := len(store.polls()) - before; got != 0 {
			t.Errorf("%d polls, want none", got)
		}
		outcome(svc, token)
		synctest.Wait()
		if got := len(store.polls()) - before; got != 1 {
			t.Errorf("%d polls for a good token, want 1", got)
		}
	})
}

func TestPollAfterOfTheOptionsComesFirst(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		policy keyfold.PollPolicy
		option time.Duration
		want   int // polls in the second in which keys are verified
	}{
		"the store says nothing":                    {keyfold.PollPolicy{}, 0, 1},
		"the store says nothing, but the host does": {keyfold.PollPolicy{}, 100 * time.Millisecond, 10},
		"never":                             {policies["background"], keyfold.Never, 1},
		"never, though verifies could poll": {policies["inline"], keyfold.Never, 1},
		"longer than the store says":        {policies["background"], 200 * time.Millisecond, 5},
		"shorter than the store says":       {policies["inline"], 5 * time.Millisecond, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &feed{spy: newSpy(), policy: row.policy}
				svc, token := follows(t, store, keyfold.Options{PollAfter: row.option})
				verifyFor(t, svc, token, time.Second, time.Millisecond)
				before := len(store.polls())
				verifyFor(t, svc, token, time.Second, 100*time.Microsecond)
				if got := len(store.polls()) - before; got < row.want*9/10 || got > row.want+2 {
					t.Errorf("%d polls in a second, want about %d", got, row.want)
				}
			})
		})
	}
}

func TestPollAfterHasBounds(t *testing.T) {
	t.Parallel()
	for after, ok := range map[time.Duration]bool{
		keyfold.Never: true, time.Millisecond: true, time.Minute: true,
		-2: false, time.Millisecond - 1: false, time.Minute + 1: false,
	} {
		svc, err := keyfold.New(memory.New(), &keyfold.Options{PollAfter: after})
		var invalid *keyfold.InvalidError
		if ok != (err == nil) || !ok && (!errors.As(err, &invalid) || invalid.Field != "Options.PollAfter") {
			t.Errorf("PollAfter %d: got %v", after, err)
		}
		if err == nil {
			_ = svc.Close(t.Context())
		}
	}
}
