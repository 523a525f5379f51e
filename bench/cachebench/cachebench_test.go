package cachebench

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/keyfold/keyfold/bench/keyset"
)

// The benchmarks are inside the package because the candidates have no other use.

func TestCandidatesFindWhatWasPutIn(t *testing.T) {
	t.Parallel()
	keys := keyset.New(20_000)
	for _, candidate := range candidates {
		c := candidate.make(keys.Len())
		for i := range keys.Len() / 2 {
			c.put(keys, i)
		}
		for i := range keys.Len() {
			f, ok := c.get(keys.ID(i))
			if ok != (i < keys.Len()/2) || ok && f != factsOf(keys, i) {
				t.Fatalf("%s: key %d: found %v, %v", candidate.name, i, ok, f)
			}
		}
	}
}

var sizes = []struct {
	name string
	keys int
}{{"10k", 10_000}, {"100k", 100_000}, {"1M", 1_000_000}}

// BenchmarkHit is a get of a key that is there.
func BenchmarkHit(b *testing.B) {
	onCandidates(b, func(b *testing.B, c cache, keys *keyset.Set, _ int64) {
		n := keys.Len()
		for name, order := range map[string]keyset.Order{"zipf": keyset.Zipf(n), "uniform": keyset.Uniform(n)} {
			b.Run(name, func(b *testing.B) {
				i := 0
				for b.Loop() {
					hit(b, c, keys, order, i)
					i++
				}
			})
			b.Run("parallel-"+name, func(b *testing.B) {
				var worker atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					for i := int(worker.Add(1)) << 16; pb.Next(); i++ {
						hit(b, c, keys, order, i)
					}
				})
			})
		}
	})
}

func hit(b *testing.B, c cache, keys *keyset.Set, order keyset.Order, i int) {
	f, ok := c.get(keys.ID(int(order[i&(len(order)-1)])))
	if !ok || f.staleAt < 0 || f.sum[0] == 0 && f.sum[1] == 0 && f.sum[2] == 0 && f.sum[3] == 0 {
		b.Fatal("a key is missing")
	}
}

// BenchmarkCollect is one collection of garbage with the cache alive.
func BenchmarkCollect(b *testing.B) {
	onCandidates(b, func(b *testing.B, c cache, keys *keyset.Set, bytes int64) {
		b.Run("gc", func(b *testing.B) {
			used, rounds := cpu(), 0
			for b.Loop() {
				runtime.GC()
				rounds++
			}
			b.ReportMetric(float64(cpu()-used)/1e6/float64(rounds), "gc-cpu-ms")
			b.ReportMetric(float64(bytes)/float64(keys.Len()), "B/key")
		})
		runtime.KeepAlive(c)
	})
}

func onCandidates(b *testing.B, run func(*testing.B, cache, *keyset.Set, int64)) {
	for _, size := range sizes {
		b.Run("keys="+size.name, func(b *testing.B) {
			keys := keyset.New(size.keys)
			for _, candidate := range candidates {
				b.Run(candidate.name, func(b *testing.B) {
					before := heap()
					c := candidate.make(size.keys)
					for i := range size.keys {
						c.put(keys, i)
					}
					run(b, c, keys, heap()-before)
				})
			}
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func cpu() int64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}
