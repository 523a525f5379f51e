// Package ratelimit has the arithmetic of rate limits and the memory in which one
// process counts them.
//
// The algorithm is the generic cell rate algorithm (GCRA): a bucket of Burst units
// that refills continuously. Its whole state is one time, the theoretical arrival
// time: the moment at which the bucket is full again.
package ratelimit

import "time"

// Rate says how many units may be used.
type Rate struct {
	one  int64 // nanoseconds in which one unit comes back
	full int64 // nanoseconds in which an empty bucket refills
}

// New returns the rate of so many units per period, and so many at once. All three
// must be positive, and the time in which an empty bucket refills must fit 64 bits
// of nanoseconds. A unit takes a whole number of nanoseconds to come back, rounded
// up, so that a Rate never allows more than it says.
func New(units int64, per time.Duration, burst int64) Rate {
	one := (int64(per) + units - 1) / units
	return Rate{one: one, full: one * burst}
}

// Burst returns how many units a full bucket has.
func (r Rate) Burst() int64 { return r.full / r.one }

// RefillTime returns how long an empty bucket takes to refill.
func (r Rate) RefillTime() time.Duration { return time.Duration(r.full) }

// State is what is known of a bucket after a request. Its durations count from the
// time of the request.
type State struct {
	Left  int64         // units that the bucket has now
	Wait  time.Duration // until a refused request would be allowed; 0 if it was allowed, or if it never will be
	Reset time.Duration // until the bucket is full
}

// take takes units from the bucket that is full at the given time, and returns when
// it is full then. If the bucket has too few, it takes none.
func (r Rate) take(fullAt, now, units int64) (int64, bool) {
	fullAt = max(fullAt, now)
	if units > (r.full-(fullAt-now))/r.one {
		return fullAt, false
	}
	return fullAt + units*r.one, true
}

// state describes the bucket that is full at the given time.
func (r Rate) state(fullAt, now int64) State {
	behind := max(fullAt-now, 0)
	return State{Left: max(r.full-behind, 0) / r.one, Reset: time.Duration(behind)}
}

// wait returns how long it takes until the bucket has so many units; 0 if it never
// has so many.
func (r Rate) wait(fullAt, now, units int64) time.Duration {
	if units > r.Burst() {
		return 0
	}
	return time.Duration(max(max(fullAt, now)+units*r.one-r.full-now, 0))
}
