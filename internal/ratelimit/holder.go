package ratelimit

import "time"

const (
	// lifetime is how long a process may spend units that it holds, from before the
	// call that brought them. A row charges them a second epoch later at the earliest.
	lifetime = epoch
	// giveBack is how long before that end the rest is given back.
	giveBack = 200 * time.Millisecond
	// ahead is how long the units that a process holds should last.
	ahead = 50 * time.Millisecond
	// share is the part of the bucket that one process may hold, as a divisor: what it
	// holds, others cannot use.
	share = 16
	// pause is the longest time for which a process asks for nothing after it was
	// refused, unless the wait for the next unit is longer.
	pause = 50 * time.Millisecond
)

// Holder is what one process holds of one [Row]. Its methods must not be called
// concurrently, and it does no I/O: its user asks the store and passes the answers
// on. Times are durations of one monotonic clock. The zero Holder holds nothing.
type Holder struct {
	left   int64         // units that may be spent now
	until  time.Duration // and when that ends
	epoch  int64         // in which the row counts them
	leased int64         // units that the row counts as held

	asking bool  // the store was asked and has not answered
	used   int64 // units spent since then

	demand     int64         // units wanted since counted
	counted    time.Duration // when demand began
	perSecond  float64       // the demand before that
	pauseUntil time.Duration
	pauseCost  int64 // the lowest cost for which the pause holds
}

// Spend spends units that the process holds. If it holds too few, it spends none.
func (h *Holder) Spend(cost int64, now time.Duration) bool {
	h.demand += cost
	if cost > h.left || now >= h.until {
		return false
	}
	h.left -= cost
	h.used += cost
	return true
}

// Refund takes back units that were just spent, while what they came from lives.
func (h *Holder) Refund(cost int64, now time.Duration) {
	if now < h.until && !h.asking && h.leased-h.left >= cost {
		h.left += cost
	}
}

// Paused reports whether a request of that cost must be refused without asking the
// store, and for how long.
func (h *Holder) Paused(r Rate, cost int64, now time.Duration) (time.Duration, bool) {
	if now >= h.pauseUntil || cost < h.pauseCost {
		return 0, false
	}
	return h.pauseUntil - now + time.Duration((cost-h.pauseCost)*r.one), true
}

// Low reports whether so little is left that the process should ask for more
// before a request has to wait.
func (h *Holder) Low(now time.Duration) bool {
	return !h.asking && h.leased > 0 && now >= h.pauseUntil && now < h.until && h.left <= h.leased/4
}

// Ending reports whether the units end soon or have ended, so that the rest should
// be given back by an Ask without costs.
func (h *Holder) Ending(now time.Duration) bool {
	return !h.asking && h.leased > 0 && now >= h.until-giveBack
}

// Idle reports whether the Holder can be forgotten.
func (h *Holder) Idle(now time.Duration) bool {
	return !h.asking && h.leased == 0 && now >= h.pauseUntil
}

// Ask returns what to ask the store for, with the costs of the requests that wait,
// the lowest first. Until Granted or Failed is called, requests may go on spending
// what the process keeps.
func (h *Holder) Ask(r Rate, costs []int64, now time.Duration) Reservation {
	if elapsed := now - h.counted; elapsed >= ahead || h.perSecond == 0 {
		h.perSecond = float64(h.demand) / max(elapsed, ahead).Seconds()
		h.demand, h.counted = 0, now
	}
	want := min(int64(h.perSecond*ahead.Seconds()), r.Burst()/share)
	ask := h.settle(want, now)
	ask.Costs, ask.Ahead = costs, want-ask.Keep
	return ask
}

// Release returns the Reservation that gives everything back.
func (h *Holder) Release(now time.Duration) Reservation { return h.settle(0, now) }

// settle returns the Reservation that reports what was spent and keeps at most so
// many units.
func (h *Holder) settle(keep int64, now time.Duration) Reservation {
	ask := Reservation{Epoch: h.epoch, Held: h.leased, Spent: h.leased - h.left}
	if now < h.until {
		ask.Keep = min(h.left, keep)
	}
	h.asking, h.left, h.used = true, ask.Keep, 0
	return ask
}

// Granted takes the answer of the store, which was asked at the time called.
func (h *Holder) Granted(r Rate, ask Reservation, got Grant, called, now time.Duration) {
	h.asking = false
	h.epoch, h.until = got.Epoch, called+lifetime
	h.leased = got.Keep + got.Ahead
	h.left = h.leased - min(h.used, got.Keep) // less than used if the row had charged them
	if got.Taken < len(ask.Costs) {
		h.pauseUntil = now + max(got.Wait, min(pause, r.RefillTime()/4))
		h.pauseCost = ask.Costs[got.Taken]
	}
}

// Failed forgets what is held: whether the call had an effect is unknown. The row
// charges it all when its time is over.
func (h *Holder) Failed() {
	*h = Holder{demand: h.demand, counted: h.counted, perSecond: h.perSecond}
}
