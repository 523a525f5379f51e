// Package loglimit limits how often messages that clients can cause are logged.
package loglimit

import (
	"sync"
	"sync/atomic"
	"time"
)

// Interval permits one message in each interval and counts the others. It needs no lock,
// so that a flood of messages costs little.
type Interval struct {
	length  time.Duration
	next    atomic.Int64 // unix milliseconds: no message passes before
	omitted atomic.Int64 // messages since the last that passed
}

// NewInterval returns an Interval of that length.
func NewInterval(length time.Duration) *Interval { return &Interval{length: length} }

// Take reports whether a message may be logged at that time, in unix milliseconds, and how
// many were omitted since the last one.
func (l *Interval) Take(now int64) (omitted int64, ok bool) {
	next := l.next.Load()
	if now < next || !l.next.CompareAndSwap(next, now+l.length.Milliseconds()) {
		l.omitted.Add(1)
		return 0, false
	}
	return l.omitted.Swap(0), true
}

// PerSecond permits a number of messages in each second.
type PerSecond struct {
	limit int
	state struct {
		sync.Mutex
		second int64
		left   int
	}
}

// NewPerSecond returns a PerSecond for that many messages.
func NewPerSecond(limit int) *PerSecond { return &PerSecond{limit: limit} }

// Take reports whether a message may be logged at that time.
func (l *PerSecond) Take(now time.Time) bool {
	l.state.Lock()
	defer l.state.Unlock()
	if second := now.Unix(); second != l.state.second {
		l.state.second, l.state.left = second, l.limit
	}
	l.state.left--
	return l.state.left >= 0
}
