package adminsecret

import (
	"net/netip"
	"time"

	"github.com/keyfold/keyfold/httpadapter/internal/failures"
)

// recent holds when something last happened for an address, for the maxKnown
// addresses for which that was last.
type recent map[netip.Prefix]time.Time

func (r recent) add(address netip.Addr, now time.Time) {
	block := failures.Block(address)
	if _, known := r[block]; !known && len(r) >= maxKnown {
		var oldest netip.Prefix
		first := true
		for candidate, at := range r {
			if first || at.Before(r[oldest]) {
				oldest, first = candidate, false
			}
		}
		delete(r, oldest)
	}
	r[block] = now
}

// within reports whether it happened less than that long ago.
func (r recent) within(address netip.Addr, now time.Time, long time.Duration) bool {
	at, known := r[failures.Block(address)]
	return known && isWithin(at, now, long)
}

// isWithin reports whether an event was less than that long ago. An event in the
// future, before the clock was set back, was not.
func isWithin(at, now time.Time, long time.Duration) bool {
	age := now.Sub(at)
	return age >= 0 && age < long
}

// pace lets something happen a number of times within any period of that length.
type pace struct {
	period time.Duration
	times  []time.Time // of the last ones, as a ring
	next   int
}

func newPace(times int, period time.Duration) pace {
	return pace{period: period, times: make([]time.Time, times)}
}

// take reports whether it happened less than n times within the period, and
// counts it if so. n must not be larger than what the pace was made for.
func (p *pace) take(now time.Time, n int) bool {
	last := p.times[(p.next-n+len(p.times))%len(p.times)]
	if isWithin(last, now, p.period) {
		return false
	}
	p.times[p.next] = now
	p.next = (p.next + 1) % len(p.times)
	return true
}
