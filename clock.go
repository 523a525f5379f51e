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

// clock never goes back, so that a key found expired stays expired in this
// process whatever happens to the system's clock.
type clock struct {
	now     func() time.Time
	start   time.Time
	highest atomic.Int64
}

func newClock(now func() time.Time) *clock { return &clock{now: now, start: now()} }

func (c *clock) read() instant {
	t := c.now()
	at := instant{wall: t.UnixMilli(), mono: t.Sub(c.start)}
	for {
		highest := c.highest.Load()
		if at.wall <= highest {
			at.wall = highest
			return at
		}
		if c.highest.CompareAndSwap(highest, at.wall) {
			return at
		}
	}
}

// now is the clock as stores keep it: milliseconds, UTC.
func (s *Service) now() time.Time { return time.UnixMilli(s.clock.read().wall).UTC() }
