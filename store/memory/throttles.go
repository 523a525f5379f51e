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
func (s *Store) ReserveAttempt(ctx context.Context, names []keyfold.ThrottleReservation, at time.Time) (blocking keyfold.Throttle, err error) {
	err = s.write(ctx, func(st *state) error {
		for _, reserved := range names {
			row, _ := st.throttles.get(reserved.Name)
			if row.BlockedUntil.After(at) && row.ExpiresAt.After(at) && row.BlockedUntil.After(blocking.BlockedUntil) {
				blocking = row
			}
		}
		if !blocking.BlockedUntil.IsZero() {
			return nil
		}
		for _, reserved := range names {
			row, _ := st.throttles.get(reserved.Name)
			row.Name = reserved.Name
			st.putThrottle(reserved.Rule.Next(row, at))
		}
		return nil
	})
	if err != nil {
		return keyfold.Throttle{}, err
	}
	return blocking, nil
}

// RecordAttemptResult applies the result.
func (s *Store) RecordAttemptResult(ctx context.Context, result keyfold.AttemptResult) error {
	return s.write(ctx, func(st *state) error {
		st.settle(result)
		return nil
	})
}

// UnlockUser applies the result and notes it as a change.
func (s *Store) UnlockUser(ctx context.Context, id string, result keyfold.AttemptResult, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		if _, err := st.user(id); err != nil {
			return err
		}
		st.settle(result)
		st.addChange(m, id)
		st.addAudit(m)
		return nil
	})
}

func (s *state) settle(result keyfold.AttemptResult) {
	for _, name := range result.Clear {
		s.throttles.delete(name)
	}
	for _, refund := range result.Refund {
		if row, ok := s.throttles.get(refund.Name); ok {
			s.putThrottle(refund.Rule.Refund(row))
		}
	}
	for _, name := range result.Trusted {
		s.putThrottle(keyfold.Throttle{Name: name, ExpiresAt: result.TrustedUntil})
	}
}

// PruneThrottles deletes rows that have expired.
func (s *Store) PruneThrottles(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error) {
	err = s.write(ctx, func(st *state) error {
		deleted = pruneExpired(&st.throttles, func(row keyfold.Throttle) time.Time { return row.ExpiresAt }, at, limit, &more)
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}

func (s *state) putThrottle(row keyfold.Throttle) {
	row.BlockedUntil, row.ExpiresAt = milli(row.BlockedUntil), milli(row.ExpiresAt)
	s.throttles.put(row.Name, row)
}
