package keyfold

import (
	"sync/atomic"
	"time"
)

// instant is one reading of the clock.
type instant struct {
	wall int64         // unix milliseconds
	mono time.Duration // since the clock was made, by the monotonic clock if there is one
}

// age is how long ago at was, by the clock that moved further: one stands still
// while a machine sleeps, the other can be set back.
func (at instant) age(now instant) time.Duration {
	return max(time.Duration(now.wall-at.wall)*time.Millisecond, now.mono-at.mono)
}

// clock never goes back, so that a key found expired stays expired in this
// process whatever happens to the system's clock.
//
// The system has two clocks, and reading one costs half of reading both. So the
// monotonic one is read each time, and what the other is ahead of it only every
// resync: a clock that was set, or a machine that slept, is noticed that late.
type clock struct {
	both    func() (wall time.Time, mono time.Duration)
	mono    func() time.Duration // nil: both are read each time
	synced  atomic.Int64         // mono when both were last read
	ahead   atomic.Int64         // unix nanoseconds when mono was zero, as of then
	highest atomic.Int64
}

const resync = 10 * time.Millisecond

// newClock returns a clock that reads now, or the system's if that is nil.
func newClock(now func() time.Time) *clock {
	if now == nil {
		start := time.Now()
		return newSystemClock(func() (time.Time, time.Duration) {
			t := time.Now()
			return t, t.Sub(start)
		}, func() time.Duration { return time.Since(start) })
	}
	start := now()
	return &clock{both: func() (time.Time, time.Duration) {
		t := now()
		return t, t.Sub(start)
	}}
}

// isReplaced reports whether this is not the system's clock.
func (c *clock) isReplaced() bool { return c.mono == nil }

func newSystemClock(both func() (time.Time, time.Duration), mono func() time.Duration) *clock {
	c := &clock{both: both, mono: mono}
	c.sync()
	return c
}

func (c *clock) read() instant {
	if c.mono == nil {
		wall, mono := c.both()
		return instant{wall: c.atLeast(wall.UnixMilli()), mono: mono}
	}
	mono := c.mono()
	if mono-time.Duration(c.synced.Load()) >= resync {
		mono = c.sync()
	}
	return instant{wall: c.atLeast((c.ahead.Load() + int64(mono)) / int64(time.Millisecond)), mono: mono}
}

func (c *clock) sync() time.Duration {
	wall, mono := c.both()
	c.ahead.Store(wall.UnixNano() - int64(mono))
	c.synced.Store(int64(mono))
	return mono
}

// atLeast returns wall, or the highest that was ever returned.
func (c *clock) atLeast(wall int64) int64 {
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

// now is the clock as stores keep it: milliseconds, UTC.
func (s *Service) now() time.Time { return time.UnixMilli(s.clock.read().wall).UTC() }
