package ratelimit

import "time"

// epoch is the unit in which a row remembers what processes hold: units are held
// for at most this long, so that those of an epoch have ended when the next one has.
const epoch = time.Second

// Row is the bucket that all processes share, as a store keeps it. The zero Row is
// a full bucket.
//
// FullAt counts only what was spent. Units that a process holds in advance are kept
// apart, and are charged when the process reports them as spent, or when they can no
// longer be spent. If they were charged when the process takes them, the bucket
// would refill while they are held, and the sum could pass the limit.
type Row struct {
	FullAt     int64 // when the bucket is full, in unix nanoseconds
	At         int64 // the latest time at which the row was changed, in unix nanoseconds
	Epoch      int64 // the epoch of At
	Held       int64 // units that processes took in advance in this epoch
	HeldBefore int64 // in the epoch before
}

// Reservation is what a process asks of a Row.
type Reservation struct {
	// Costs are those of the requests that wait, the lowest first. They are granted in
	// that order while the bucket has enough.
	Costs []int64
	// Ahead is how many more units the process wants to hold.
	Ahead int64

	// Epoch, Held, Spent and Keep are about what the process got earlier: it has held
	// so many units since that epoch, has spent some of them, and wants to keep others.
	// The rest is given back.
	Epoch, Held, Spent, Keep int64
}

// Grant is the answer to a Reservation.
type Grant struct {
	Taken int   // how many of the costs, from the first; they are charged
	Ahead int64 // units that the process may spend until a second after it asked
	Keep  int64 // likewise, of those that it held before
	Epoch int64 // the epoch of Ahead and Keep
	State       // Wait is for the first cost that was not granted
}

// Reserve changes the row as the reservation asks, at a time in unix nanoseconds.
// A time before that of the row counts as the row's, so that a process whose clock
// is slow gets what is free now.
func (r Rate) Reserve(row Row, at int64, ask Reservation) (Row, Grant) {
	row = r.advance(row, at)
	now, grant := row.At, Grant{Epoch: row.Epoch}
	row, grant.Keep = r.settle(row, ask)
	for _, cost := range ask.Costs {
		// A request that costs nothing is granted even while others hold everything.
		if cost > max(r.free(row), 0) {
			grant.Wait = r.wait(row.FullAt, now, cost+row.Held+row.HeldBefore)
			if grant.Wait == 0 && cost <= r.Burst() { // others hold units that it must wait for
				grant.Wait = epoch
			}
			break
		}
		row.FullAt, grant.Taken = r.charge(row.FullAt, now, cost), grant.Taken+1
	}
	if grant.Taken == len(ask.Costs) {
		grant.Ahead = max(min(ask.Ahead, r.free(row)), 0)
		row.Held += grant.Ahead
	}
	wait := grant.Wait
	grant.State = r.state(row.FullAt, now)
	grant.Left, grant.Wait = max(r.free(row), 0), wait
	return row, grant
}

// advance moves the row to that time. Units of an epoch cannot be spent any more
// when the next one has ended. How many of them were spent is unknown, so all are
// charged.
func (r Rate) advance(row Row, at int64) Row {
	row.At = max(row.At, at)
	now := row.At / int64(epoch)
	if now > row.Epoch {
		row.FullAt = r.charge(row.FullAt, (row.Epoch+1)*int64(epoch), row.HeldBefore)
		row.HeldBefore, row.Held = row.Held, 0
	}
	if now > row.Epoch+1 {
		row.FullAt = r.charge(row.FullAt, (row.Epoch+2)*int64(epoch), row.HeldBefore)
		row.HeldBefore = 0
	}
	row.Epoch = now
	return row
}

// charge takes units that were free, and returns when the bucket is full then.
func (r Rate) charge(fullAt, at, units int64) int64 {
	if units == 0 {
		return fullAt
	}
	return max(fullAt, at) + units*r.one
}

// settle takes back what the process held, charges what it spent, and returns how
// much of the rest it keeps. If the units were charged already, because their time
// is over, it keeps none.
func (r Rate) settle(row Row, ask Reservation) (Row, int64) {
	held := &row.Held
	switch ask.Epoch {
	case row.Epoch:
	case row.Epoch - 1:
		held = &row.HeldBefore
	default:
		return row, 0
	}
	settled := min(ask.Held, *held) // less if the row was reset meanwhile
	*held -= settled
	spent := min(ask.Spent, settled)
	keep := min(ask.Keep, settled-spent)
	row.Held += keep
	row.FullAt = r.charge(row.FullAt, row.At, spent)
	return row, keep
}

// free returns how many units of the row are neither spent nor held.
func (r Rate) free(row Row) int64 {
	return (r.full-(max(row.FullAt, row.At)-row.At))/r.one - row.Held - row.HeldBefore
}

// ExpiresAt returns when the row says no more than no row would: the bucket is full,
// and nothing is held. In unix nanoseconds.
func (r Rate) ExpiresAt(row Row) int64 {
	held := row.Held + row.HeldBefore
	if held == 0 {
		return row.FullAt
	}
	// The held units are charged at the latest when the next epoch has ended.
	return max(row.FullAt, (row.Epoch+2)*int64(epoch)) + held*r.one
}
