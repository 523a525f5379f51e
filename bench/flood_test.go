package bench_test

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/keyfold/keyfold/bench/keyset"
)

// BenchmarkRejectFlood sends well-formed tokens of keys that do not exist.
func BenchmarkRejectFlood(b *testing.B) {
	b.Run("store=instant", floodInstant)
	b.Run("store=1ms", floodSlow)
}

// floodInstant is the price of one such token where the store answers at once,
// and what remains of them in memory. KEYFOLD_BENCH_FLOOD is how many are sent
// at least.
func floodInstant(b *testing.B) {
	c := newCached(b, 10_000)
	before := liveHeap()
	ctx := serverContext(b)
	var buf []byte
	var sent uint64
	send := func() {
		buf = keyset.Unknown(buf[:0], sent)
		sent++
		token := unsafe.String(&buf[0], len(buf)) // Verify is done with it before buf is written again
		if _, err := c.svc.Verify(ctx, request(token)); err == nil {
			b.Fatal("an unknown key was accepted")
		}
	}
	b.ReportAllocs()
	used := processCPU()
	for b.Loop() {
		send()
	}
	b.ReportMetric(perOp(processCPU()-used, b.N), "cpu-ns/op")
	least, _ := strconv.ParseUint(os.Getenv("KEYFOLD_BENCH_FLOOD"), 10, 64)
	for sent < max(least, 1000) {
		send()
	}
	b.ReportMetric(float64(liveHeap()-before)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(sent), "tokens")
}

// floodSlow has 64 senders against a store that takes a millisecond, and
// compares how fast a cached key is verified meanwhile with how fast it is in
// quiet moments between.
func floodSlow(b *testing.B) {
	c := newCached(b, 10_000)
	var now, most atomic.Int64
	c.store.wait = func() {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(time.Millisecond)
		now.Add(-1)
	}
	reads := c.store.reads.Load()
	gate := newGate()
	var sent atomic.Uint64
	var senders sync.WaitGroup
	for range 64 {
		senders.Go(func() {
			for gate.pass() {
				_, _ = c.svc.Verify(context.Background(), request(string(keyset.Unknown(nil, sent.Add(1)))))
			}
		})
	}
	order := keyset.Zipf(c.keys.Len())
	i := 0
	rate := func(d time.Duration) float64 {
		began, n := time.Now(), 0
		for time.Since(began) < d {
			for range 256 {
				verify(b, c.svc, c.keys.Token(int(order[i&(len(order)-1)])))
				i++
			}
			n += 256
		}
		return float64(n) / time.Since(began).Seconds()
	}
	var quiet, flooded float64
	rounds := 0
	for b.Loop() {
		quiet += rate(50 * time.Millisecond)
		gate.open()
		flooded += rate(50 * time.Millisecond)
		gate.close()
		rounds++
	}
	gate.end()
	senders.Wait()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(flooded/quiet, "x-quiet")
	b.ReportMetric(float64(most.Load()), "reads-in-flight")
	b.ReportMetric(max(0, float64(most.Load())-float64(4*runtime.GOMAXPROCS(0))), "reads-over-cap")
	b.ReportMetric(float64(c.store.reads.Load()-reads)/(float64(rounds)*0.05), "reads/s")
}

// gate lets goroutines pass while it is open.
type gate struct {
	mu           sync.Mutex
	cond         *sync.Cond
	isOpen, over bool
}

func newGate() *gate {
	g := &gate{}
	g.cond = sync.NewCond(&g.mu)
	return g
}

func (g *gate) pass() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for !g.isOpen && !g.over {
		g.cond.Wait()
	}
	return !g.over
}

func (g *gate) set(isOpen, over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isOpen, g.over = isOpen, over
	g.cond.Broadcast()
}

func (g *gate) open()  { g.set(true, false) }
func (g *gate) close() { g.set(false, false) }
func (g *gate) end()   { g.set(true, true) }

// liveHeap is what the collector cannot free.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
