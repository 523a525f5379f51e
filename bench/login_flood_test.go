package bench_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/keyset"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/mongo"
)

const (
	floodClients = 2000
	floodKeys    = 100_000
)

// BenchmarkLoginFlood has 2000 anonymous clients log in, or ask for mails, each
// time under another name and from another address, and measures what the users
// of keys notice. Each operation is one flood of KEYFOLD_BENCH_SECONDS seconds.
func BenchmarkLoginFlood(b *testing.B) {
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			d := filled(b, engine.name, floodKeys)
			store, err := d.again(context.Background())
			must(b, err)
			b.Cleanup(func() { _ = store.Close() })
			loginFloods(b, d.store, store, d.keys)
		})
	}
	b.Run("mongodb", func(b *testing.B) {
		url := testdb.Mongo(b)
		var stores [2]keyfold.Store
		for i := range stores {
			store, err := mongo.Open(context.Background(), url)
			must(b, err)
			b.Cleanup(func() { _ = store.Close() })
			stores[i] = store
		}
		loginFloods(b, stores[0], stores[1], nil)
	})
}

func loginFloods(b *testing.B, here, there keyfold.Store, keys *keyset.Set) {
	b.Run("logins", func(b *testing.B) {
		loginFlood(b, here, there, keys, func(ctx context.Context, svc *keyfold.Service, name string, ip netip.Addr) error {
			_, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: name, Password: userPassword, IP: ip})
			return err
		})
	})
	b.Run("mails", func(b *testing.B) {
		loginFlood(b, here, there, keys, func(ctx context.Context, svc *keyfold.Service, name string, ip netip.Addr) error {
			return svc.SendPasswordReset(ctx, name, ip)
		})
	})
}

// noMail is a Mailer that delivers nothing.
type noMail struct{}

func (noMail) SendOneTimeToken(context.Context, keyfold.IssuedOneTimeToken) error { return nil }

// flooded is a Service that is flooded, and another process on the same
// database that is not.
type flooded struct {
	b           *testing.B
	here, there *keyfold.Service
	keys        *keyset.Set // keys that are in the database and that neither has read
	revocable   []revocable

	verified       tally         // verifies of keys that are not remembered
	remembered     tally         // verifies of a key that is
	admitted, away atomic.Int64  // log-ins and mails
	stale          atomic.Int64  // the longest, nanoseconds
	revoking, lags []float64     // ms
	failed         []error       // revocations
	stop           chan struct{} // ends everything
}

type revocable struct{ id, token string }

// tally counts calls and keeps how long they took.
type tally struct {
	mu           sync.Mutex
	passed, lost int
	took         []float64 // ms
}

func (t *tally) add(began time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, milliseconds(time.Since(began)))
	if err != nil {
		t.lost++
		return
	}
	t.passed++
}

func (t *tally) percent() float64 { return 100 * float64(t.passed) / float64(max(1, t.passed+t.lost)) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// ask is the request of a stranger.
type ask func(ctx context.Context, svc *keyfold.Service, name string, ip netip.Addr) error

func loginFlood(b *testing.B, here, there keyfold.Store, keys *keyset.Set, ask ask) {
	seconds, _ := strconv.Atoi(os.Getenv("KEYFOLD_BENCH_SECONDS"))
	length := time.Duration(max(1, seconds)) * time.Second
	opts := func() *keyfold.Options { return &keyfold.Options{Logger: quiet, Mailer: noMail{}} }
	f := &flooded{b: b, here: newService(b, here, opts()), there: newService(b, there, opts()), keys: keys}
	f.prepare(4 * int(length/time.Second))
	for b.Loop() {
		f.stop = make(chan struct{})
		var all sync.WaitGroup
		for i := range floodClients {
			all.Go(func() { f.client(i, ask) })
		}
		time.Sleep(200 * time.Millisecond) // for the flood to rise
		for i := range 4 {
			all.Go(func() { f.verifyUncached(i) })
		}
		all.Go(f.verifyRemembered)
		all.Go(f.watchStaleness)
		all.Go(f.revoke)
		time.Sleep(length)
		close(f.stop)
		all.Wait()
	}
	f.report(length)
}

// prepare makes keys that will be revoked, and has both processes remember them.
func (f *flooded) prepare(n int) {
	for range n {
		key, token, err := f.there.CreateKey(context.Background(), keyfold.NewKey{Name: "revocable"})
		must(f.b, err)
		f.revocable = append(f.revocable, revocable{key.ID, token.Reveal()})
	}
	for range 3 {
		for _, svc := range []*keyfold.Service{f.here, f.there} {
			for _, key := range f.revocable {
				verify(f.b, svc, key.token)
			}
			must(f.b, svc.Sync(context.Background()))
		}
	}
}

// over waits and reports whether the flood has ended.
func (f *flooded) over(pause time.Duration) bool {
	select {
	case <-f.stop:
		return true
	case <-time.After(pause):
		return false
	}
}

// client sends one request after the other, each as a stranger who was not seen
// before, and does not heed Retry-After.
func (f *flooded) client(number int, ask ask) {
	ctx := context.Background()
	for i := 0; ; i++ {
		n := uint32(i*floodClients + number)
		ip := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		err := ask(ctx, f.here, fmt.Sprint("stranger", n), ip)
		if errors.Is(err, keyfold.ErrUnavailable) {
			f.away.Add(1)
		} else {
			f.admitted.Add(1)
		}
		if f.over(time.Millisecond) {
			return
		}
	}
}

func (f *flooded) verifyUncached(number int) {
	for i := number; f.keys != nil && i < f.keys.Len() && !f.over(10*time.Millisecond); i += 4 {
		began := time.Now()
		_, err := f.here.Verify(context.Background(), request(f.keys.Token(i)))
		f.verified.add(began, err)
	}
}

func (f *flooded) verifyRemembered() {
	token := f.revocable[0].token // the one that is never revoked
	for !f.over(5 * time.Millisecond) {
		began := time.Now()
		_, err := f.here.Verify(context.Background(), request(token))
		f.remembered.add(began, err)
	}
}

func (f *flooded) watchStaleness() {
	for !f.over(5 * time.Millisecond) {
		f.stale.Store(max(f.stale.Load(), int64(f.here.Staleness())))
	}
}

// revoke revokes in the flooded process and in the other one in turns, and
// measures how long the process that did not revoke accepts the key afterwards.
func (f *flooded) revoke() {
	for i, key := range f.revocable[1:] {
		if f.over(250 * time.Millisecond) {
			return
		}
		from, other := f.here, f.there
		if i%2 == 1 {
			from, other = other, from
		}
		began := time.Now()
		if err := from.RevokeKey(context.Background(), key.id, "benchmark"); err != nil {
			f.failed = append(f.failed, err)
			continue
		}
		if from == f.here {
			f.revoking = append(f.revoking, milliseconds(time.Since(began)))
		}
		began = time.Now()
		late := time.Duration(0)
		for {
			if _, err := other.Verify(context.Background(), request(key.token)); err != nil {
				break // also when it is not served from memory any more
			}
			late = time.Since(began)
			time.Sleep(time.Millisecond)
		}
		f.lags = append(f.lags, milliseconds(late))
	}
}

func (f *flooded) report(length time.Duration) {
	b := f.b
	b.ReportMetric(0, "ns/op")
	if f.keys != nil {
		b.ReportMetric(f.verified.percent(), "uncached-%")
		b.ReportMetric(quantile(f.verified.took, 0.99), "uncached-p99-ms")
		b.ReportMetric(float64(f.verified.passed), "uncached-passed")
	}
	b.ReportMetric(f.remembered.percent(), "remembered-%")
	b.ReportMetric(quantile(f.revoking, 0.5), "revoke-p50-ms")
	b.ReportMetric(quantile(f.revoking, 1), "revoke-max-ms")
	b.ReportMetric(float64(len(f.failed)), "revoke-failed")
	b.ReportMetric(quantile(f.lags, 1), "lag-max-ms")
	b.ReportMetric(milliseconds(time.Duration(f.stale.Load())), "stale-max-ms")
	b.ReportMetric(float64(f.admitted.Load())/length.Seconds(), "admitted/s")
	b.ReportMetric(float64(f.away.Load())/length.Seconds(), "turned-away/s")
	for _, err := range f.failed {
		b.Log(err)
	}
}

// quantile is 0 of nothing.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[int(math.Ceil(q*float64(len(values))))-1]
}
