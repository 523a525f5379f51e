package keyfold_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// heard waits until the Service follows the change feed. From then on, it uses cached
// keys.
func heard(t testing.TB, svc *keyfold.Service) {
	t.Helper()
	if err := svc.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// two Services stand for two processes on one store; only the feed joins them.
func two(t *testing.T, store keyfold.Store, opts keyfold.Options) (here, there *keyfold.Service) {
	t.Helper()
	mine, theirs := opts, opts
	return newService(t, store, &mine), newService(t, store, &theirs)
}

func TestSecondVerifyNeedsNoStore(t *testing.T) {
	t.Parallel()
	store := newSpy()
	svc := newService(t, store, nil)
	_, token := create(t, svc, keyfold.NewKey{})
	heard(t, svc)
	for range 100 {
		if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
			t.Fatal(got)
		}
	}
	if got := store.reads.Load(); got != 1 {
		t.Errorf("%d reads for 100 verifies, want 1", got)
	}
}

func TestDisableCacheReadsTheStoreEachTime(t *testing.T) {
	t.Parallel()
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{DisableCache: true})
	_, token := create(t, svc, keyfold.NewKey{})
	for range 10 {
		outcome(svc, token)
	}
	if got := store.reads.Load(); got != 10 || svc.Staleness() != 0 {
		t.Errorf("%d reads for 10 verifies, staleness %v; want 10 and 0", got, svc.Staleness())
	}
}

func TestCachedVerifyAllocatesNothing(t *testing.T) {
	svc := newService(t, memory.New(), &keyfold.Options{FlushInterval: time.Minute, CacheMaxAge: time.Hour, MaxStaleness: time.Hour, PollInterval: time.Minute})
	_, token := create(t, svc, keyfold.NewKey{Scopes: []string{"a:b"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	heard(t, svc)
	r := keyfold.Request{Token: token, Scopes: []string{"a:b"}, IP: netip.MustParseAddr("10.1.2.3"), Route: "GET /x"}
	verify := func() {
		if _, err := svc.Verify(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	for range 20_000 { // so that the shards have grown
		verify()
	}
	if err := svc.Flush(t.Context()); err != nil { // so that no flush is counted
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(1000, verify); n != 0 {
		t.Errorf("a cached verify allocates %v times", n)
	}
}

func TestChangesTakeEffectAtOnceInTheProcess(t *testing.T) {
	// Mutation tried: changed() without evict lets the revoked key through.
	t.Parallel()
	store := memory.New()
	svc := newService(t, store, nil)
	for name, row := range map[string]struct {
		change func(id string) error
		want   keyfold.Outcome
	}{
		"revoke":  {func(id string) error { return svc.RevokeKey(context.Background(), id, "") }, keyfold.OutcomeRevoked},
		"disable": {func(id string) error { return svc.DisableKey(context.Background(), id, "") }, keyfold.OutcomeDisabled},
		"delete":  {func(id string) error { return svc.DeleteKey(context.Background(), id) }, keyfold.OutcomeUnknown},
		"update": {func(id string) error {
			_, err := svc.UpdateKey(context.Background(), id, keyfold.KeyUpdate{Version: 1, Scopes: &[]string{}})
			return err
		}, keyfold.OutcomeScope},
		"renew to an end": {func(id string) error {
			_, err := svc.RenewKey(context.Background(), id, keyfold.RenewOptions{ExpiresAt: time.Now()})
			return err
		}, keyfold.OutcomeExpired},
		"rotate without overlap": {func(id string) error {
			_, _, err := svc.RotateKey(context.Background(), id, keyfold.RotateOptions{Overlap: keyfold.NoOverlap})
			return err
		}, keyfold.OutcomeRevoked},
		"bulk revoke": {func(id string) error {
			_, err := svc.RevokeKeys(context.Background(), keyfold.KeyFilter{IDs: []string{id}}, "")
			return err
		}, keyfold.OutcomeRevoked},
		"revoke in a transaction": {func(id string) error {
			return svc.InTx(context.Background(), func(k *keyfold.Service) error { return k.RevokeKey(context.Background(), id, "") })
		}, keyfold.OutcomeRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			key, token := create(t, svc, keyfold.NewKey{Scopes: []string{"a:b"}})
			heard(t, svc)
			if got := outcome(svc, token, "a:b"); got != keyfold.OutcomeAllowed {
				t.Fatalf("%s: before: %v", name, got)
			}
			if err := row.change(key.ID); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := outcome(svc, token, "a:b"); got != row.want {
				t.Errorf("%s: %v right after, want %v", name, got, row.want)
			}
		})
	}
}

func TestChangeThatFailedIsForgottenToo(t *testing.T) {
	// The commit may have succeeded even if the response was lost.
	t.Parallel()
	store := &lostRevoke{spy: newSpy()}
	svc := newService(t, store, nil)
	key, token := create(t, svc, keyfold.NewKey{})
	heard(t, svc)
	outcome(svc, token)
	if err := svc.RevokeKey(t.Context(), key.ID, ""); !errors.Is(err, keyfold.ErrUnavailable) {
		t.Fatal(err)
	}
	if got := outcome(svc, token); got != keyfold.OutcomeRevoked {
		t.Errorf("after a revoke whose answer was lost: %v, want revoked", got)
	}
}

// lostRevoke is a store that revokes the key and then returns an error.
type lostRevoke struct{ *spy }

func (l *lostRevoke) SetKeyState(ctx context.Context, ids []string, change keyfold.StateChange, reason string, m keyfold.Mutation) ([]string, error) {
	if _, err := l.spy.SetKeyState(ctx, ids, change, reason, m); err != nil {
		return nil, err
	}
	return nil, errors.New("connection reset by peer")
}

func TestRevocationIsHeardInOtherProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		here, there := two(t, memory.New(), keyfold.Options{Now: time.Now})
		key, token := create(t, here, keyfold.NewKey{})
		heard(t, there)
		if got := outcome(there, token); got != keyfold.OutcomeAllowed {
			t.Fatal(got)
		}
		if err := here.RevokeKey(t.Context(), key.ID, ""); err != nil {
			t.Fatal(err)
		}
		if got := outcome(there, token); got != keyfold.OutcomeAllowed {
			t.Fatalf("%v before the next poll: this test shows nothing", got)
		}
		time.Sleep(time.Second + time.Millisecond)
		if got := outcome(there, token); got != keyfold.OutcomeRevoked {
			t.Errorf("one poll later: %v, want revoked", got)
		}
	})
}

func TestSlowReadCannotBringARevokedKeyBack(t *testing.T) {
	// Mutation tried: put without comparing generations serves the old row.
	t.Parallel()
	for name, revoke := range map[string]func(here, there *keyfold.Service, id string) error{
		"revoked here": func(here, _ *keyfold.Service, id string) error { return here.RevokeKey(context.Background(), id, "") },
		"revoked elsewhere and heard": func(here, there *keyfold.Service, id string) error {
			if err := there.RevokeKey(context.Background(), id, ""); err != nil {
				return err
			}
			return here.Sync(context.Background())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &slowRead{spy: newSpy(), began: make(chan struct{}), go_: make(chan struct{})}
			here, there := two(t, store, keyfold.Options{})
			key, token := create(t, here, keyfold.NewKey{})
			heard(t, here)
			store.slow.Store(true)
			late := make(chan keyfold.Outcome)
			go func() { late <- outcome(here, token) }()
			<-store.began // the row has been read, its answer is under way
			if err := revoke(here, there, key.ID); err != nil {
				t.Fatal(err)
			}
			if got := outcome(here, token); got != keyfold.OutcomeRevoked {
				t.Errorf("during the read: %v, want revoked; no other verify may join it now", got)
			}
			close(store.go_)
			<-late // it began before the revocation: either answer is right
			for range 3 {
				if got := outcome(here, token); got != keyfold.OutcomeRevoked {
					t.Errorf("after the revocation: %v, want revoked", got)
				}
			}
		})
	}
}

// slowRead is a store that delays one read, which then returns the old state.
type slowRead struct {
	*spy
	slow       atomic.Bool
	began, go_ chan struct{}
}

func (s *slowRead) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	record, err := s.spy.VerifyKey(ctx, id)
	if s.slow.Swap(false) {
		close(s.began)
		<-s.go_
	}
	return record, err
}

func TestConcurrentMissesOfOneKeyMakeOneRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now})
		_, token := create(t, svc, keyfold.NewKey{})
		heard(t, svc)
		on(&store.verify, func(ctx context.Context) error { return wait(ctx, 100*time.Millisecond) })
		var group sync.WaitGroup
		for range 100 {
			group.Go(func() {
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Errorf("%v", got)
				}
			})
		}
		group.Wait()
		if got := store.reads.Load(); got != 1 {
			t.Errorf("%d reads, want 1", got)
		}
	})
}

func TestCancelledCallerDoesNotCancelOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now})
		_, token := create(t, svc, keyfold.NewKey{})
		heard(t, svc)
		on(&store.verify, func(ctx context.Context) error { return wait(ctx, 100*time.Millisecond) })
		leader, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := svc.Verify(leader, keyfold.Request{Token: token}); !errors.Is(err, context.Canceled) {
				t.Errorf("the one that left: %v", err)
			}
		})
		synctest.Wait()
		for range 5 {
			group.Go(func() {
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Errorf("one that stayed: %v", got)
				}
			})
		}
		synctest.Wait()
		cancel()
		group.Wait()
		if got := store.reads.Load(); got != 2 {
			t.Errorf("%d reads, want 2: the abandoned one and one for all who stayed", got)
		}
	})
}

func TestReadsInFlightAreCapped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Now: time.Now})
		_, good := create(t, svc, keyfold.NewKey{})
		heard(t, svc)
		outcome(svc, good)
		var now, most atomic.Int64
		on(&store.verify, func(ctx context.Context) error {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer now.Add(-1)
			return wait(ctx, 300*time.Millisecond)
		})
		var group sync.WaitGroup
		for i := range 500 {
			group.Go(func() {
				token := sealed(fmt.Sprintf("kf_%016d_%032d_", i, i))
				if got := outcome(svc, token); got != keyfold.OutcomeUnknown && got != keyfold.OutcomeUnavailable {
					t.Errorf("flood: %v", got)
				}
			})
		}
		synctest.Wait()
		start := time.Now()
		if got := outcome(svc, good); got != keyfold.OutcomeAllowed || time.Since(start) != 0 {
			t.Errorf("a remembered key during the flood: %v after %v", got, time.Since(start))
		}
		group.Wait()
		if limit := int64(4 * runtime.GOMAXPROCS(0)); most.Load() > limit {
			t.Errorf("%d reads at once, want at most %d", most.Load(), limit)
		}
	})
}

func TestKeyUnknownAMomentAgoIsNotHidden(t *testing.T) {
	t.Parallel()
	store := memory.New()
	svc := newService(t, store, nil)
	heard(t, svc)
	tx, err := store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := svc.With(tx.Tx()).CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	if got := outcome(svc, token.Reveal()); got != keyfold.OutcomeUnknown {
		t.Errorf("before the commit: %v, want unknown", got)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := outcome(svc, token.Reveal()); got != keyfold.OutcomeAllowed {
		t.Errorf("right after the commit: %v, want allowed", got)
	}
}

func TestSilentFeedSendsVerifiesToTheStore(t *testing.T) {
	// Mutation tried: fresh() always true serves the revoked key for a minute.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &deaf{spy: newSpy()}
		here, there := two(t, store, keyfold.Options{Now: time.Now})
		key, token := create(t, there, keyfold.NewKey{})
		heard(t, here)
		outcome(here, token)
		store.silent.Store(true)
		if err := there.RevokeKey(t.Context(), key.ID, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5*time.Second + time.Millisecond)
		if got := outcome(here, token); got != keyfold.OutcomeRevoked {
			t.Errorf("behind MaxStaleness: %v, want revoked", got)
		}
		if here.Staleness() < 5*time.Second {
			t.Errorf("Staleness = %v", here.Staleness())
		}
		on(&store.verify, hang)
		start := time.Now()
		if got := outcome(here, token); got != keyfold.OutcomeUnavailable {
			t.Errorf("with the store away too: %v, want unavailable", got)
		}
		if took := time.Since(start); took > 250*time.Millisecond {
			t.Errorf("took %v, want at most 250 ms", took)
		}
	})
}

// deaf is a store whose change feed can stop responding.
type deaf struct {
	*spy
	silent atomic.Bool
}

func (d *deaf) Changes(ctx context.Context, cursor string) ([]keyfold.Change, string, error) {
	if d.silent.Load() {
		return nil, "", errors.New("feed is away")
	}
	return d.spy.Changes(ctx, cursor)
}

func TestGraceServesKeysWhileTheStoreIsAwayButNoneKnownToBeRevoked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &deaf{spy: newSpy()}
		svc := newService(t, store, &keyfold.Options{Now: time.Now, StaleGrace: time.Minute})
		_, kept := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
		revoked, gone := create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
		_, short := create(t, svc, keyfold.NewKey{TTL: 30 * time.Second})
		heard(t, svc)
		for _, token := range []string{kept, gone, short} {
			outcome(svc, token)
		}
		if err := svc.RevokeKey(t.Context(), revoked.ID, ""); err != nil {
			t.Fatal(err)
		}
		store.silent.Store(true)
		on(&store.verify, func(context.Context) error { return errors.New("away") })
		time.Sleep(40 * time.Second)
		for name, row := range map[string]struct {
			token string
			want  keyfold.Outcome
		}{
			"remembered key": {kept, keyfold.OutcomeAllowed}, "revoked key": {gone, keyfold.OutcomeUnavailable}, "expired meanwhile": {short, keyfold.OutcomeExpired},
		} {
			if got := outcome(svc, row.token); got != row.want {
				t.Errorf("%s within the grace: %v, want %v", name, got, row.want)
			}
		}
		time.Sleep(40 * time.Second)
		if got := outcome(svc, kept); got != keyfold.OutcomeUnavailable {
			t.Errorf("beyond the grace: %v, want unavailable", got)
		}
	})
}

func TestNothingIsServedBeyondItsAge(t *testing.T) {
	// A store that changes a key without a row in the feed: the last bound.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &mute{spy: newSpy()}
		here, there := two(t, store, keyfold.Options{Now: time.Now})
		key, token := create(t, there, keyfold.NewKey{})
		heard(t, here)
		outcome(here, token)
		if err := there.RevokeKey(t.Context(), key.ID, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := outcome(here, token); got != keyfold.OutcomeRevoked {
			t.Errorf("after a minute: %v, want revoked", got)
		}
	})
}

// mute is a store whose change feed responds but never reports a change.
type mute struct{ *spy }

func (m *mute) Changes(ctx context.Context, cursor string) ([]keyfold.Change, string, error) {
	_, next, err := m.spy.Changes(ctx, cursor)
	return nil, next, err
}

func TestClockThatJumpsStopsServingFromMemory(t *testing.T) {
	// While a machine sleeps, its wall clock moves and its monotonic clock does not.
	t.Parallel()
	clock := newClock()
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{Now: clock.now, PollInterval: time.Minute, MaxStaleness: time.Minute})
	_, token := create(t, svc, keyfold.NewKey{})
	heard(t, svc)
	outcome(svc, token)
	before := store.reads.Load()
	clock.add(2 * time.Minute)
	outcome(svc, token)
	if got := store.reads.Load(); got != before+1 {
		t.Errorf("%d reads after the jump, want 1", got-before)
	}
}

func TestFlushedFeedForgetsEverything(t *testing.T) {
	t.Parallel()
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{PollInterval: time.Minute, MaxStaleness: time.Minute})
	var tokens []string
	for range 200 {
		_, token := create(t, svc, keyfold.NewKey{OwnerID: "o"})
		tokens = append(tokens, token)
	}
	heard(t, svc)
	for _, token := range tokens {
		outcome(svc, token)
	}
	other := newService(t, store, nil)
	if _, err := other.RevokeKeys(t.Context(), keyfold.KeyFilter{OwnerID: keyfold.Only("o")}, ""); err != nil {
		t.Fatal(err)
	}
	heard(t, svc)
	for _, token := range tokens {
		if got := outcome(svc, token); got != keyfold.OutcomeRevoked {
			t.Fatalf("after a bulk revoke elsewhere: %v", got)
		}
	}
}

func TestCacheIsBoundedAndStaysRight(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]keyfold.Options{
		"in entries": {CacheEntries: 640}, "in bytes": {CacheBytes: 640 * 500}, "to next to nothing": {CacheEntries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newSpy()
			svc := newService(t, store, &opts)
			var tokens []string
			for range 5000 {
				_, token := create(t, svc, keyfold.NewKey{})
				tokens = append(tokens, token)
			}
			heard(t, svc)
			for range 2 {
				for _, token := range tokens {
					if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
						t.Fatal(got)
					}
				}
			}
			if kept := 10_000 - store.reads.Load(); kept > 1400 {
				t.Errorf("%d of 5000 keys were remembered from one round to the next, want about 640 at most", kept)
			}
		})
	}
}

func TestCacheCountsWhatFewKeysHave(t *testing.T) {
	// Mutation tried: place that counts a chunk before its networks are added.
	t.Parallel()
	const limit, keys = 256 << 10, 4000
	var networks []netip.Prefix
	for i := range 32 {
		networks = append(networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16))
	}
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{CacheBytes: limit, PollInterval: time.Minute, MaxStaleness: time.Hour})
	heard(t, svc)
	var tokens []string
	for range keys {
		_, token := create(t, svc, keyfold.NewKey{Networks: networks})
		tokens = append(tokens, token)
		_, _ = svc.Verify(t.Context(), keyfold.Request{Token: token, IP: netip.MustParseAddr("10.1.0.1")})
	}
	read := store.reads.Load()
	for _, token := range tokens {
		if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token, IP: netip.MustParseAddr("10.1.0.1")}); err != nil {
			t.Fatal(err)
		}
	}
	// Each takes 32 networks of 32 bytes alone.
	if kept := keys - int(store.reads.Load()-read); kept*32*32 > limit {
		t.Errorf("%d keys were remembered: their networks alone take %d bytes, want at most %d", kept, kept*32*32, limit)
	}
}

func TestStalenessIsToldToTheHook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &deaf{spy: newSpy()}
		var polls, failed atomic.Int64
		var last atomic.Int64
		svc := newService(t, store, &keyfold.Options{Now: time.Now, OnPoll: func(behind time.Duration, err error) {
			polls.Add(1)
			last.Store(int64(behind))
			if err != nil {
				failed.Add(1)
			}
		}})
		_, token := create(t, svc, keyfold.NewKey{})
		outcome(svc, token)
		time.Sleep(10*time.Second + time.Millisecond)
		store.silent.Store(true)
		time.Sleep(10 * time.Second)
		if polls.Load() != 21 || failed.Load() != 10 || time.Duration(last.Load()) != 10*time.Second {
			t.Errorf("%d polls, %d failed, last %v behind; want 21, 10 and 10 s", polls.Load(), failed.Load(), time.Duration(last.Load()))
		}
	})
}

func TestKeyInUseIsNotIdleHoweverLongItIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := newService(t, memory.New(), &keyfold.Options{Now: time.Now, CacheMaxAge: time.Hour})
		_, token := create(t, svc, keyfold.NewKey{IdleTimeout: time.Minute})
		for range 20 {
			if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
				t.Fatalf("used every 30 s: %v", got)
			}
			time.Sleep(30 * time.Second)
		}
		time.Sleep(time.Minute)
		if got := outcome(svc, token); got != keyfold.OutcomeIdle {
			t.Errorf("after more than a minute without use: %v, want idle", got)
		}
	})
}

func TestWhatWasReadBeforeTheFeedWasFollowedIsForgotten(t *testing.T) {
	t.Parallel()
	store := &deaf{spy: newSpy()}
	store.silent.Store(true)
	here, there := two(t, store, keyfold.Options{PollInterval: time.Minute, MaxStaleness: time.Minute})
	key, token := create(t, there, keyfold.NewKey{})
	if got := outcome(here, token); got != keyfold.OutcomeAllowed {
		t.Fatal(got)
	}
	if err := there.RevokeKey(t.Context(), key.ID, ""); err != nil {
		t.Fatal(err)
	}
	store.silent.Store(false)
	heard(t, here) // from now on, and the revocation came before
	if got := outcome(here, token); got != keyfold.OutcomeRevoked {
		t.Errorf("%v, want revoked", got)
	}
}

func TestKeysAreNeverMixedUpWhateverIsLetGo(t *testing.T) {
	// Mutation tried: an index that is followed without comparing the id hands
	// out other people's keys at once.
	t.Parallel()
	for name, opts := range map[string]keyfold.Options{
		"room for few": {CacheEntries: 100}, "room for a third": {CacheEntries: 700}, "small in bytes": {CacheBytes: 64 << 10}, "room for all": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			svc := newService(t, memory.New(), &opts)
			const keys = 2000
			var ids, tokens [keys]string
			for i := range keys {
				key, token := create(t, svc, keyfold.NewKey{Name: fmt.Sprint("name ", i), OwnerID: fmt.Sprint("owner ", i), Metadata: map[string]string{"n": fmt.Sprint(i)}})
				ids[i], tokens[i] = key.ID, token
			}
			heard(t, svc)
			var group sync.WaitGroup
			for worker := range 4 {
				group.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(worker), 1))
					var kept [50]keyfold.Identity // identities outlive what the cache lets go
					for round := range 5000 {
						i := rng.IntN(keys)
						switch rng.IntN(50) {
						case 0:
							_ = svc.DisableKey(context.Background(), ids[i], "")
							_ = svc.EnableKey(context.Background(), ids[i])
						case 1:
							if rng.IntN(20) == 0 {
								_, _ = svc.RevokeKeys(context.Background(), keyfold.KeyFilter{OwnerID: keyfold.Only("nobody")}, "")
							}
						}
						id, err := svc.Verify(context.Background(), keyfold.Request{Token: tokens[i]})
						if code := keyfold.OutcomeOf(err); code != keyfold.OutcomeAllowed && code != keyfold.OutcomeDisabled {
							t.Errorf("key %d: %v", i, err)
							return
						}
						if err == nil {
							kept[round%len(kept)] = id
							if id.KeyID() != ids[i] || id.Name() != fmt.Sprint("name ", i) || id.Metadata("n") != fmt.Sprint(i) {
								t.Errorf("key %d answered as %s %q", i, id.KeyID(), id.Name())
								return
							}
						}
					}
					for _, id := range kept {
						if !id.IsZero() && "name "+id.Metadata("n") != id.Name() {
							t.Errorf("a kept identity changed: %q with metadata %q", id.Name(), id.Metadata("n"))
						}
					}
				})
			}
			group.Wait()
		})
	}
}

// Keys lie packed: texts that several share once, each text with its length,
// few bytes for when an entry is too old.
func TestRememberedKeyTellsAllThatWasStored(t *testing.T) {
	// Mutation tried: a shared text that is found by its beginning alone, and an
	// index of networks that is not renumbered, fail this.
	t.Parallel()
	store := newSpy()
	svc := newService(t, store, &keyfold.Options{Prefix: "acme_x", CacheBytes: 1 << 30})
	text := func(i, longest int) string { return strings.Repeat(string(rune('a'+i%26)), i*37%(longest+1)) }
	const keys = 1500
	var news [keys]keyfold.NewKey
	var tokens [keys]string
	for i := range keys {
		n := keyfold.NewKey{
			Name: text(i, 128), OwnerID: text(i+1, 128), Tenant: text(i+2, 128), Environment: []string{"", "live", "l"}[i%3],
			Metadata: map[string]string{"n": fmt.Sprint(i), "long": text(i+3, 3900)},
		}
		for j := range i % 23 {
			n.Scopes = append(n.Scopes, fmt.Sprintf("resource%d:read", j))
		}
		if i%5 == 0 {
			n.Networks = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)}
		}
		_, tokens[i] = create(t, svc, n)
		news[i] = n
	}
	heard(t, svc)
	for round := range 2 {
		for i, n := range news {
			id, err := svc.Verify(t.Context(), keyfold.Request{Token: tokens[i], IP: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 7})})
			if err != nil {
				t.Fatalf("key %d: %v", i, err)
			}
			if id.Name() != n.Name || id.OwnerID() != n.OwnerID || id.Tenant() != n.Tenant || id.Environment() != n.Environment ||
				id.UserID() != "" || id.Metadata("n") != n.Metadata["n"] || id.Metadata("long") != n.Metadata["long"] ||
				!slices.Equal(slices.Collect(id.Scopes()), n.Scopes) {
				t.Fatalf("round %d: key %d is told as %+v", round, i, id)
			}
			_, err = svc.Verify(t.Context(), keyfold.Request{Token: tokens[i], IP: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i) + 1, 7})})
			if errors.Is(err, keyfold.ErrForbidden) != (len(n.Networks) > 0) {
				t.Fatalf("round %d: key %d from elsewhere: %v", round, i, err)
			}
		}
	}
	if reads := store.reads.Load(); reads != keys {
		t.Errorf("%d reads for %d keys", reads, keys)
	}
}

func TestKeyIsServedForItsAgeAndNoLongerWheneverItWasRead(t *testing.T) {
	// Mutation tried: a chunk that takes keys for longer than its units can count
	// has the last ones read again at once.
	t.Parallel()
	for _, age := range []time.Duration{time.Second, time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			store := newSpy()
			svc := newService(t, store, &keyfold.Options{Now: time.Now, CacheMaxAge: age, MaxStaleness: time.Hour})
			var tokens [60]string
			for i := range tokens {
				_, tokens[i] = create(t, svc, keyfold.NewKey{TTL: keyfold.Never})
			}
			heard(t, svc)
			for i, token := range tokens {
				outcome(svc, token)
				began, before := time.Now(), store.reads.Load()
				time.Sleep(age*9/10 - age/100)
				if outcome(svc, token); store.reads.Load() != before {
					t.Fatalf("age %v, key %d: read again after %v", age, i, time.Since(began))
				}
				time.Sleep(time.Until(began.Add(age)))
				if outcome(svc, token); store.reads.Load() != before+1 {
					t.Fatalf("age %v, key %d: not read again after %v", age, i, time.Since(began))
				}
				time.Sleep(age / 7)
			}
		})
	}
}
