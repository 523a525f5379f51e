package bench_test

import (
	"runtime"
	"testing"
	"time"
)

// meter adds up the wall time and the processor time of stretches of work, and
// what they allocate.
type meter struct {
	wall, cpu time.Duration
	mallocs   uint64
	n         int

	since   time.Time
	used    time.Duration
	counted uint64
}

func (m *meter) start() {
	m.counted = mallocs()
	m.used = processCPU()
	m.since = time.Now()
}

func (m *meter) stop(n int) {
	m.wall += time.Since(m.since)
	m.cpu += processCPU() - m.used
	m.mallocs += mallocs() - m.counted
	m.n += n
}

// mallocs is the number of objects that were allocated so far.
func mallocs() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}

func perOp(d time.Duration, n int) float64 {
	if n == 0 {
		return 0
	}
	return float64(d.Nanoseconds()) / float64(n)
}

// paired runs ours with b's timer and, chunk by chunk, the floor as often with
// the timer stopped, so that both meet the same noise. They take turns in who
// comes first after rest, which runs once every chunk outside of both
// measurements and leaves cold caches behind. A nil floor or rest is nothing.
//
// It reports, in addition to the wall time and the allocations of ours, the processor
// time of the whole process, the same for the floor, and how many times the
// floor ours takes.
func paired(b *testing.B, chunk int, ours, floor func(i int), rest func()) {
	b.Helper()
	b.ReportAllocs()
	var us, it meter
	next := 0 // of the floor's calls, which walk the same order elsewhere
	runFloor := func(n int) {
		if floor == nil {
			return
		}
		it.start()
		for range n {
			floor(next + 1<<19)
			next++
		}
		it.stop(n)
	}
	i, done := 0, 0
	floorIsFirst := false
	us.start()
	for b.Loop() {
		ours(i)
		if i++; i-done == chunk {
			us.stop(chunk)
			b.StopTimer()
			if !floorIsFirst {
				runFloor(chunk)
			}
			if rest != nil {
				rest()
			}
			if floorIsFirst = !floorIsFirst; floorIsFirst {
				runFloor(chunk)
			}
			done = i
			b.StartTimer() // stops the world for its statistics, which is not ours
			us.start()
		}
	}
	us.stop(i - done)
	if rest != nil {
		rest()
	}
	if it.n == 0 {
		runFloor(min(i, chunk))
	}
	b.ReportMetric(perOp(us.wall, us.n), "ns/op")
	b.ReportMetric(perOp(us.cpu, us.n), "cpu-ns/op")
	if floor != nil {
		b.ReportMetric(perOp(it.wall, it.n), "floor-ns/op")
		b.ReportMetric(perOp(it.cpu, it.n), "floor-cpu-ns/op")
		floorAllocs := float64(it.mallocs / uint64(it.n))
		b.ReportMetric(floorAllocs, "floor-allocs/op")
		b.ReportMetric(float64(us.mallocs/uint64(us.n))-floorAllocs, "allocs-over-floor")
		b.ReportMetric(perOp(us.wall, us.n)/perOp(it.wall, it.n), "x-floor")
		b.ReportMetric(perOp(us.cpu, us.n)/perOp(it.cpu, it.n), "x-floor-cpu")
	}
}
