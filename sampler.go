package keyfold

import "sync/atomic"

// The bounds of what requests without a valid key leave on disk. A day's
// samples are enough to see where refused requests come from, and 30 days of
// them, the default retention, are 300 000 rows for each process. Counts by
// minute are exact and do not depend on them.
const (
	samplesADay  = 10_000 // in any 24 hours
	samplesBurst = 100    // of them, at once

	// sampleInterval is the time in which the budget regains one sample, in
	// milliseconds, rounded up: burst and refill together stay within a day's
	// budget.
	sampleInterval = (24*60*60*1000 + samplesADay - samplesBurst - 1) / (samplesADay - samplesBurst)
)

// sampler decides which refused requests are kept as samples. It is a token
// bucket in one number, the generic cell rate algorithm (ITU-T I.371): next is
// when the bucket would be full again, and a flood only reads it.
type sampler struct {
	next atomic.Int64 // unix milliseconds
}

// take reports whether a refusal at that time, in unix milliseconds, is kept.
func (s *sampler) take(now int64) bool {
	const full = samplesBurst * sampleInterval
	for {
		next := s.next.Load()
		refilled := max(next, now) + sampleInterval
		if refilled-now > full {
			return false
		}
		if s.next.CompareAndSwap(next, refilled) {
			return true
		}
	}
}
