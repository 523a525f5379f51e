package bench_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/keyset"
)

// cached is a Service that remembers every key.
type cached struct {
	keys  *keyset.Set
	store *synthetic
	svc   *keyfold.Service
}

func newCached(b *testing.B, n int) *cached {
	b.Helper()
	keys := keyset.New(n)
	c := &cached{keys: keys, store: newSynthetic(keys)}
	c.svc = newService(b, c.store, quietOptions(n))
	warm(b, c.svc, keys)
	return c
}

func sizeName(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

func BenchmarkVerifyCached(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000, 1_000_000} {
		b.Run("keys="+sizeName(n), func(b *testing.B) {
			c := newCached(b, n)
			if n == 10_000 {
				b.Run("hot", func(b *testing.B) { c.run(b, keyset.Hot()) })
			}
			b.Run("zipf", func(b *testing.B) { c.run(b, keyset.Zipf(n)) })
			b.Run("uniform", func(b *testing.B) { c.run(b, keyset.Uniform(n)) })
		})
	}
}

// run measures verifies one after the other. The usage is flushed between the
// chunks, outside of the measurement; its cost is reported apart.
func (c *cached) run(b *testing.B, order keyset.Order) {
	ctx := serverContext(b)
	mask := len(order) - 1
	sum := c.keys.Sum(0)
	reads, uses, n := c.store.reads.Load(), c.store.uses.Load(), 0
	var flushing meter
	paired(b, chunk, func(i int) {
		if _, err := c.svc.Verify(ctx, request(c.keys.Token(int(order[i&mask])))); err != nil {
			b.Fatal(err)
		}
		n++
	}, func(i int) {
		accepted = floorVerify(c.keys.Token(int(order[i&mask])), &sum)
	}, func() {
		flushing.start()
		flush(b, c.svc)
		flushing.stop(0)
	})
	b.ReportMetric(perOp(flushing.cpu, n), "flush-cpu-ns/op")
	c.check(b, reads, uses, n)
}

// check fails the benchmark when it measured something else than it says.
func (c *cached) check(b *testing.B, reads, uses int64, n int) {
	b.Helper()
	if got := c.store.reads.Load() - reads; got > 0 {
		b.Errorf("%d of %d verifies read the store", got, n)
	}
	if got := c.store.uses.Load() - uses; got != int64(n) {
		b.Errorf("%d uses were counted of %d", got, n)
	}
	if stats := c.svc.UsageStats(); stats.DroppedEvents > 0 {
		b.Errorf("%d events were dropped", stats.DroppedEvents)
	}
}

// BenchmarkVerifyCachedParallel verifies on every processor at once. Nothing
// stops for the flush here: at this rate most events find no room, and are kept
// as numbers, which is reported. No use is lost.
func BenchmarkVerifyCachedParallel(b *testing.B) {
	c := newCached(b, 10_000)
	order := keyset.Zipf(c.keys.Len())
	ctx := serverContext(b)
	b.ReportAllocs()
	b.ResetTimer()
	uses, dropped := c.store.uses.Load(), c.svc.UsageStats().DroppedEvents
	used := processCPU()
	var worker atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		i := int(worker.Add(1)) * (len(order) / 7)
		for pb.Next() {
			if _, err := c.svc.Verify(ctx, request(c.keys.Token(int(order[i&(len(order)-1)])))); err != nil {
				b.Error(err)
				return
			}
			i++
		}
	})
	b.StopTimer()
	b.ReportMetric(perOp(processCPU()-used, b.N), "cpu-ns/op")
	b.ReportMetric(float64(c.svc.UsageStats().DroppedEvents-dropped)/float64(b.N), "late/op")
	flush(b, c.svc)
	if got := c.store.uses.Load() - uses; got != int64(b.N) {
		b.Errorf("%d uses were counted of %d", got, b.N)
	}
}

func BenchmarkReject(b *testing.B) {
	keys := keyset.New(1)
	good := keys.Token(0)
	for name, token := range map[string]string{
		"prefix": "Bad" + good[2:],
		"length": good[:len(good)-1],
		"crc":    good[:len(good)-1] + string('0'+(good[len(good)-1]-'0'+1)%10),
	} {
		b.Run(name, func(b *testing.B) {
			store := newSynthetic(keys)
			svc := newService(b, store, quietOptions(1))
			ctx := serverContext(b)
			r := request(token)
			paired(b, chunk, func(int) {
				if _, err := svc.Verify(ctx, r); err == nil {
					b.Fatal("a malformed token was accepted")
				}
			}, nil, func() { flush(b, svc) })
			if n := store.reads.Load(); n > 0 {
				b.Errorf("%d reads of the store", n)
			}
		})
		b.Run(name+"/parse", func(b *testing.B) {
			paired(b, chunk, func(int) {
				if _, err := keyfold.ParseToken(token); err == nil {
					b.Fatal("a malformed token was accepted")
				}
			}, nil, nil)
		})
	}
}
