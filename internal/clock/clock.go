// Package clock provides a cheap clock that never goes backwards, and that notices when
// the machine slept or its clock was set.
package clock

import (
	"sync/atomic"
	"time"
)

// Instant is one reading of a [Clock].
type Instant struct {
	Wall int64         // unix milliseconds
	Mono time.Duration // since the clock was made, by the monotonic clock if there is one
}

// Age returns the time since the instant, according to the clock that advanced further:
// the monotonic clock stops while a machine sleeps, and the wall clock can be set back.
func (at Instant) Age(now Instant) time.Duration {
	return max(time.Duration(now.Wall-at.Wall)*time.Millisecond, now.Mono-at.Mono)
}

// Clock never goes backwards, so that an expired key stays expired in this process even if
// the clock of the system is set back. It is safe for concurrent use.
//
// The system has two clocks, and reading both takes twice as long as reading one. Clock
// therefore reads the monotonic clock, and measures the difference to the wall clock every
// 10 ms. It notices with that delay that the clock was set or the machine slept.
type Clock struct {
	both    func() (wall time.Time, mono time.Duration)
	mono    func() time.Duration // nil: each reading takes both clocks
	synced  atomic.Int64         // mono when both were last read
	ahead   atomic.Int64         // unix nanoseconds when mono was zero, as of then
	highest atomic.Int64
}

// resync is the longest time between two readings of both clocks.
const resync = 10 * time.Millisecond

// New returns a Clock that reads now, or the clocks of the system if now is nil.
func New(now func() time.Time) *Clock {
	if now == nil {
		start := time.Now()
		return newSystem(func() (time.Time, time.Duration) {
			t := time.Now()
			return t, t.Sub(start)
		}, func() time.Duration { return time.Since(start) })
	}
	start := now()
	return &Clock{both: func() (time.Time, time.Duration) {
		t := now()
		return t, t.Sub(start)
	}}
}

func newSystem(both func() (time.Time, time.Duration), mono func() time.Duration) *Clock {
	c := &Clock{both: both, mono: mono}
	c.sync()
	return c
}

// Read returns the time.
func (c *Clock) Read() Instant {
	if c.mono == nil {
		wall, mono := c.both()
		return Instant{Wall: c.atLeast(wall.UnixMilli()), Mono: mono}
	}
	mono := c.mono()
	if mono-time.Duration(c.synced.Load()) >= resync {
		mono = c.sync()
	}
	return Instant{Wall: c.atLeast((c.ahead.Load() + int64(mono)) / int64(time.Millisecond)), Mono: mono}
}

// Now returns the time in the precision that stores keep: milliseconds, in UTC.
func (c *Clock) Now() time.Time { return time.UnixMilli(c.Read().Wall).UTC() }

func (c *Clock) sync() time.Duration {
	wall, mono := c.both()
	c.ahead.Store(wall.UnixNano() - int64(mono))
	c.synced.Store(int64(mono))
	return mono
}

// atLeast returns wall, or the highest value that it returned before.
func (c *Clock) atLeast(wall int64) int64 {
	for {
		highest := c.highest.Load()
		if wall <= highest {
			return highest
		}
		if c.highest.CompareAndSwap(highest, wall) {
			return wall
		}
	}
}
