package memory

import (
	"context"
	"time"

	"github.com/keyfold/keyfold"
)

// DatabaseID returns what tells this store's data from that of every other.
func (s *Store) DatabaseID(ctx context.Context) (id string, err error) {
	err = s.read(ctx, func(*state) error { id = s.db.feedID; return nil })
	return id, err
}

// Throttle returns the row of that name.
func (s *Store) Throttle(ctx context.Context, name string) (row keyfold.Throttle, err error) {
	err = s.read(ctx, func(st *state) error {
		var ok bool
		if row, ok = st.throttles.get(name); !ok {
			return keyfold.ErrNotFound
		}
		return nil
	})
	return row, err
}

// ReserveAttempt counts one attempt on all names, or on none.
func (s *Store) ReserveAttempt(ctx context.Context, names []string, rule keyfold.ThrottleRule, at time.Time) (until time.Time, err error) {
	err = s.write(ctx, func(st *state) error {
		for _, name := range names {
			row, _ := st.throttles.get(name)
			if row.BlockedUntil.After(at) && at.Before(row.ExpiresAt) && row.BlockedUntil.After(until) {
				until = row.BlockedUntil
			}
		}
		if !until.IsZero() {
			return nil
		}
		for _, name := range names {
			row, _ := st.throttles.get(name)
			row.Name = name
			st.putThrottle(rule.Next(row, at))
		}
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	return until, nil
}

// SettleAttempt applies the settlement.
func (s *Store) SettleAttempt(ctx context.Context, settlement keyfold.Settlement, rule keyfold.ThrottleRule) error {
	return s.write(ctx, func(st *state) error {
		for _, name := range settlement.Forget {
			st.throttles.delete(name)
		}
		for _, name := range settlement.Refund {
			if row, ok := st.throttles.get(name); ok {
				st.putThrottle(rule.Refund(row))
			}
		}
		for _, name := range settlement.Good {
			st.putThrottle(keyfold.Throttle{Name: name, ExpiresAt: settlement.GoodUntil})
		}
		return nil
	})
}

// PruneThrottles deletes rows that have expired.
func (s *Store) PruneThrottles(ctx context.Context, at time.Time, limit int) (deleted int, err error) {
	err = s.write(ctx, func(st *state) error {
		deleted = pruneExpired(&st.throttles, func(row keyfold.Throttle) time.Time { return row.ExpiresAt }, at, limit)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}

func (s *state) putThrottle(row keyfold.Throttle) {
	row.BlockedUntil, row.ExpiresAt = milli(row.BlockedUntil), milli(row.ExpiresAt)
	s.throttles.put(row.Name, row)
}
