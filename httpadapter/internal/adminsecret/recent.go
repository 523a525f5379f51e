package adminsecret

import (
	"net/netip"
	"time"

	"github.com/keyfold/keyfold/internal/ipblock"
)

// recent is the time of the last event of each address. It keeps the maxKnown addresses
// with the latest events.
type recent map[netip.Prefix]time.Time

func (r recent) add(address netip.Addr, now time.Time) {
	block := ipblock.Of(address)
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

// within reports whether the last event of the address was less than that long ago.
func (r recent) within(address netip.Addr, now time.Time, long time.Duration) bool {
	at, known := r[ipblock.Of(address)]
	return known && isWithin(at, now, long)
}

// isWithin reports whether an event was less than that long ago. It reports false for an
// event in the future, which was recorded before the clock was set back.
func isWithin(at, now time.Time, long time.Duration) bool {
	age := now.Sub(at)
	return age >= 0 && age < long
}

// pace limits how many events may happen within any period of a length.
type pace struct {
	period time.Duration
	times  []time.Time // of the latest events, as a ring
	next   int
}

func newPace(times int, period time.Duration) pace {
	return pace{period: period, times: make([]time.Time, times)}
}

// take reports whether fewer than n events happened within the period, and counts
// another event if so. n must not exceed the number that newPace was given.
func (p *pace) take(now time.Time, n int) bool {
	last := p.times[(p.next-n+len(p.times))%len(p.times)]
	if isWithin(last, now, p.period) {
		return false
	}
	p.times[p.next] = now
	p.next = (p.next + 1) % len(p.times)
	return true
}
