package bench_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/keyset"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/mongo"
)

// BenchmarkCacheMemory is what remembered keys take, and what a collection of
// garbage costs with them: each operation is one.
func BenchmarkCacheMemory(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run("keys="+sizeName(n), func(b *testing.B) {
			keys := keyset.New(n)
			before := liveHeap()
			svc := newService(b, newSynthetic(keys), quietOptions(n))
			warm(b, svc, keys)
			after := liveHeap()
			var collecting meter
			rounds := 0
			for b.Loop() {
				collecting.start()
				runtime.GC()
				collecting.stop(1)
				rounds++
			}
			b.ReportMetric(float64(after-before)/1e6, "MB")
			b.ReportMetric(float64(after-before)/float64(n), "B/key")
			b.ReportMetric(float64(collecting.cpu.Microseconds())/1000/float64(rounds), "gc-cpu-ms")
			runtime.KeepAlive(svc)
			runtime.KeepAlive(keys)
		})
	}
}

// BenchmarkOpen opens a database with many keys and verifies one of them.
func BenchmarkOpen(b *testing.B) {
	type variant struct {
		engine string
		keys   int
	}
	variants := []variant{{"sqlite", 1000}, {"sqlite", 100_000}, {"sqlite", 1_000_000}}
	if full() {
		variants = append(variants, variant{"postgres", 1_000_000}, variant{"mysql", 1_000_000})
	}
	for _, v := range variants {
		b.Run("keys="+sizeName(v.keys)+"/"+v.engine, func(b *testing.B) {
			d := filled(b, v.engine, v.keys)
			order := keyset.Spread(d.keys.Len(), 1000)
			var slowest time.Duration
			paired(b, 8, func(i int) {
				began := time.Now()
				store, err := d.again(context.Background())
				must(b, err)
				svc, err := keyfold.New(store, &keyfold.Options{Logger: quiet})
				must(b, err)
				verify(b, svc, d.keys.Token(int(order[i%len(order)])))
				slowest = max(slowest, time.Since(began))
				b.StopTimer()
				must(b, svc.Close(context.Background()))
				must(b, store.Close())
				b.StartTimer()
			}, nil, nil)
			b.ReportMetric(float64(slowest.Microseconds())/1000, "slowest-ms")
		})
	}
}

// BenchmarkRevocationLag is how long a key goes on being accepted after Revoke
// has returned: in the same process, and in another one on the same database that
// verifies the key all the time, as a process in use does.
func BenchmarkRevocationLag(b *testing.B) {
	b.Run("process", func(b *testing.B) {
		store := memory.New()
		svc := newService(b, store, quietOptions(1))
		revocationLag(b, svc, svc)
	})
	for _, engine := range engines {
		b.Run(engine.name, func(b *testing.B) {
			d := filled(b, engine.name, 1000)
			store, err := d.again(context.Background())
			must(b, err)
			b.Cleanup(func() { _ = store.Close() })
			revocationLag(b, newService(b, d.store, quietOptions(1)), newService(b, store, quietOptions(1)))
		})
	}
	b.Run("mongodb", func(b *testing.B) {
		url := testdb.Mongo(b)
		var processes [2]*keyfold.Service
		for i := range processes {
			store, err := mongo.Open(context.Background(), url)
			must(b, err)
			b.Cleanup(func() { _ = store.Close() })
			processes[i] = newService(b, store, quietOptions(1))
		}
		revocationLag(b, processes[0], processes[1])
	})
}

func revocationLag(b *testing.B, here, there *keyfold.Service) {
	ctx := context.Background()
	var lags []time.Duration
	for b.Loop() {
		key, token, err := here.CreateKey(ctx, keyfold.NewKey{Name: "short-lived"})
		must(b, err)
		for range 3 { // remembered, whenever the feed was heard first: the change that created the key evicts it
			verify(b, there, token.Reveal())
			must(b, there.Sync(ctx))
		}
		// Or every revocation would come right after a poll.
		for end := time.Now().Add(rand.N(200 * time.Millisecond)); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
			verify(b, there, token.Reveal())
		}
		err = here.RevokeKey(ctx, key.ID, "benchmark")
		must(b, err)
		began, late := time.Now(), time.Duration(0)
		for {
			if _, err := there.Verify(ctx, request(token.Reveal())); errors.Is(err, keyfold.ErrUnauthenticated) {
				break
			}
			late = time.Since(began) // still accepted
			time.Sleep(100 * time.Microsecond)
		}
		lags = append(lags, late)
	}
	slices.Sort(lags)
	at := func(q float64) float64 {
		return float64(lags[int(math.Ceil(q*float64(len(lags))))-1].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.50), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}
