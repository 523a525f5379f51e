package keyfold_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// hunted is a key of the hunt and since when it must be refused.
type hunted struct {
	id    string
	token string
	mu    sync.Mutex                // held while it is changed
	dead  atomic.Pointer[time.Time] // nil while it may be allowed
}

func TestNoVerifyIsAllowedLaterThanAPollAfterARevocation(t *testing.T) {
	// Mutations tried: a poll that evicts nothing, a snapshot whose xmin is two
	// too high.
	t.Parallel()
	// One process polls by its timer only. The others verify all the time, so that
	// their verifies cause polls; on PostgreSQL they are notified.
	//
	// The bound of the promise is tested with a clock of its own in changes_test.go.
	// Here machines are busy, so a late verify must only be far from CacheMaxAge.
	const poll, bound = 50 * time.Millisecond, 5 * time.Second
	onEveryEngine(t, func(t *testing.T, e *engine) {
		hunt := 5 * time.Second
		if testing.Short() || e.name == "sqlite" { // SQLite has one transaction at a time
			hunt = time.Second
		}
		var services []*keyfold.Service
		for i := range 3 {
			opts := keyfold.Options{PollInterval: poll, PollAfter: keyfold.Never}
			if i > 0 && e.name != "postgres" {
				opts = keyfold.Options{} // PollAfter is at most poll
			}
			services = append(services, e.service(t, opts))
		}
		var mu sync.RWMutex
		var keys []*hunted
		add := func(id, token string) {
			mu.Lock()
			defer mu.Unlock()
			keys = append(keys, &hunted{id: id, token: token})
		}
		pick := func() *hunted {
			mu.RLock()
			defer mu.RUnlock()
			return keys[max(0, len(keys)-1-mathrand.IntN(40))]
		}
		for range 20 {
			key, token := create(t, services[0], keyfold.NewKey{})
			add(key.ID, token)
		}
		var wrong, verifies, changes, refused, worst, gap atomic.Int64
		end := time.Now().Add(hunt)
		var group sync.WaitGroup
		bystander := e.service(t, keyfold.Options{})
		group.Go(func() { // how long nothing ran at all, here or on the server
			for last := time.Now(); last.Before(end); {
				time.Sleep(5 * time.Millisecond)
				if err := bystander.Ping(t.Context()); err != nil {
					t.Errorf("Ping: %v", err)
					return
				}
				now := time.Now()
				gap.Store(max(gap.Load(), int64(now.Sub(last))))
				last = now
			}
		})
		for _, svc := range services {
			group.Go(func() {
				for time.Now().Before(end) {
					if err := disrupt(t.Context(), svc, pick(), add); err != nil {
						t.Errorf("a change: %v", err)
						return
					}
					changes.Add(1)
					time.Sleep(time.Duration(mathrand.IntN(10)) * time.Millisecond)
				}
			})
			group.Go(func() {
				for time.Now().Before(end) {
					key := pick()
					dead, began := key.dead.Load(), time.Now()
					code := outcome(svc, key.token)
					verifies.Add(1)
					switch {
					case code != keyfold.OutcomeAllowed:
						refused.Add(1)
					case dead != nil && key.dead.Load() == dead:
						late := began.Sub(*dead)
						worst.Store(max(worst.Load(), int64(late)))
						if late > bound+time.Duration(gap.Load()) {
							wrong.Add(1)
						}
					}
					time.Sleep(100 * time.Microsecond)
				}
			})
		}
		group.Wait()
		end = time.Now().Add(bound)
		for _, svc := range services {
			for _, key := range keys {
				for key.dead.Load() != nil && outcome(svc, key.token) == keyfold.OutcomeAllowed {
					if time.Now().After(end) { // no poll has reported the change
						wrong.Add(1)
						break
					}
					time.Sleep(time.Millisecond)
				}
			}
		}
		t.Logf("%d verifies, %d refused, %d changes; latest allow %v after a revocation, longest gap %v",
			verifies.Load(), refused.Load(), changes.Load(), time.Duration(worst.Load()), time.Duration(gap.Load()))
		least := int64(300)
		if e.name == noSQL { // FerretDB takes one request at a time
			least = 50
		}
		if wrong.Load() > 0 || verifies.Load() < least || refused.Load() == 0 {
			t.Errorf("%d wrong allows of %d verifies, %d refused", wrong.Load(), verifies.Load(), refused.Load())
		}
	})
}

// disrupt changes the key in a way taken at random.
func disrupt(ctx context.Context, svc *keyfold.Service, key *hunted, add func(id, token string)) error {
	if !key.mu.TryLock() {
		return nil
	}
	defer key.mu.Unlock()
	die := func(err error) error {
		now := time.Now()
		if key.dead.Load() == nil {
			key.dead.Store(&now)
		}
		if errors.Is(err, keyfold.ErrConflict) { // dead already
			return nil
		}
		return err
	}
	switch mathrand.IntN(8) {
	case 0, 1, 2:
		made, token, err := svc.CreateKey(ctx, keyfold.NewKey{})
		if err == nil {
			add(made.ID, token.Reveal())
		}
		return err
	case 3:
		return die(svc.RevokeKey(ctx, key.id, ""))
	case 4:
		return die(svc.DisableKey(ctx, key.id, ""))
	case 5:
		if key.dead.Load() == nil {
			return nil
		}
		dead := key.dead.Swap(nil)
		err := svc.EnableKey(ctx, key.id)
		if errors.Is(err, keyfold.ErrConflict) {
			key.dead.Store(dead)
			return nil
		}
		return err
	case 6:
		if key.dead.Load() != nil {
			return nil
		}
		made, token, err := svc.RotateKey(ctx, key.id, keyfold.RotateOptions{Overlap: keyfold.NoOverlap})
		if err == nil {
			add(made.ID, token.Reveal())
		}
		return die(err)
	}
	undone := errors.New("undone")
	err := svc.InTx(ctx, func(k *keyfold.Service) error {
		return errors.Join(k.DisableKey(ctx, key.id, ""), undone)
	})
	if errors.Is(err, undone) || errors.Is(err, errors.ErrUnsupported) { // MongoDB has no transactions
		return nil
	}
	return err
}

// manyKeys, set to anything, makes the next test take ten times as many keys,
// and a minute: 100,000 on SQLite, 20,000 on the servers.
const manyKeys = "KEYFOLD_TEST_MANY_KEYS"

func TestManyKeysRevokedAtOnceAreRefusedAfterOnePollAndStallNobody(t *testing.T) {
	// Mutation tried: poll without the flush for an empty target.
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, e *engine) {
		count := 2000
		if e.name == "sqlite" {
			count = 10_000
		}
		if os.Getenv(manyKeys) != "" {
			count *= 10
		}
		opts := keyfold.Options{PollInterval: time.Minute, PollAfter: keyfold.Never, MaxStaleness: time.Hour, CacheMaxAge: time.Hour, FlushInterval: time.Minute, CacheEntries: 2 * count, CacheBytes: 1 << 30}
		here, there, _, others := remembered(t, e, opts, 100)
		tokens := clones(t, e, count, "many")
		for _, token := range tokens {
			wants(t, here, token, keyfold.OutcomeAllowed, "before")
		}
		revoked := make(chan error, 1)
		began := time.Now()
		go func() {
			// A step that takes longer than five seconds, as on a machine that is
			// busy, is undone, and the call may be repeated.
			total := 0
			for range 10 {
				n, err := there.RevokeKeys(context.Background(), keyfold.KeyFilter{OwnerID: keyfold.Only("many")}, "")
				total += n
				if err == nil {
					break
				}
				t.Logf("after %d keys: %v", total, err)
			}
			if total != count {
				revoked <- fmt.Errorf("%d keys were revoked, want %d", total, count)
			}
			close(revoked)
		}()
		var took []time.Duration
		for done := false; !done; {
			began := time.Now()
			wants(t, here, others[mathrand.IntN(len(others))], keyfold.OutcomeAllowed, "another owner's key meanwhile")
			took = append(took, time.Since(began))
			select {
			case err := <-revoked:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			case <-time.After(time.Millisecond):
			}
			if len(took)%100 == 0 { // as often as a second passes
				syncs(t, here)
			}
		}
		all := time.Since(began)
		syncs(t, here)
		for i, token := range tokens {
			if got := outcome(here, token); got != keyfold.OutcomeRevoked {
				t.Fatalf("key %d of %d after one poll: %v, want revoked", i, count, got)
			}
		}
		slices.Sort(took)
		t.Logf("%d keys revoked in %v; %d verifies of others meanwhile: p50 %v, p99 %v, most %v",
			count, all, len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	}, noSQL)
}

// clones stores keys of an owner without going through the library, which
// would take minutes, and returns their tokens.
func clones(t *testing.T, e *engine, count int, owner string) (tokens []string) {
	t.Helper()
	hash := map[string]string{"sqlite": "x'%x'", "mariadb": "x'%x'", "postgres": `'\x%x'`}[e.name]
	now := time.Now().UnixMilli()
	for step := range slices.Chunk(make([]struct{}, count), 1000) {
		var keys, totals strings.Builder
		for i := range step {
			id, secret := rand.Text()[:16], (rand.Text() + rand.Text())[:32]
			token := sealed("kf_" + id + "_" + secret + "_")
			sum := sha256.Sum256([]byte(token[len(token)-55:]))
			tokens = append(tokens, token)
			if i > 0 {
				keys.WriteByte(',')
				totals.WriteByte(',')
			}
			fmt.Fprintf(&keys, "('%s','kf2','',"+hash+",'h','kf','','','','%s','','','','','',%d,%d,0,%d,'','','%s','','',1)", id, sum, owner, now, now, now, id)
			fmt.Fprintf(&totals, "('%s',0,0)", id)
		}
		e.exec(t, "INSERT INTO keyfold_keys (id, secret_alg, secret_pepper, secret_sum, hint, prefix, environment, name, notes, owner_id,"+
			" user_id, tenant, scopes, networks, metadata, created_at, updated_at, idle_timeout, active_at, disabled_reason, revoked_reason,"+
			" lineage_id, rotated_from, rotated_to, version) VALUES "+keys.String(),
			"INSERT INTO keyfold_key_totals (key_id, uses, last_used_at) VALUES "+totals.String())
	}
	return tokens
}
