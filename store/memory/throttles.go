package memory

import (
	"context"
	"time"

	"github.com/keyfold/keyfold"
)

// DatabaseID implements keyfold.ThrottleStore.
func (s *Store) DatabaseID(ctx context.Context) (id string, err error) {
	err = s.read(ctx, func(*state) error { id = s.db.feedID; return nil })
	return id, err
}

// Throttle implements keyfold.ThrottleStore.
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

// ReserveAttempt implements keyfold.ThrottleStore.
func (s *Store) ReserveAttempt(ctx context.Context, names []keyfold.ThrottleReservation, at time.Time) (blocking keyfold.Throttle, err error) {
	err = s.write(ctx, func(st *state) error {
		for _, reserved := range names {
			row, _ := st.throttles.get(reserved.Name)
			if blocksLonger(row, blocking, at) {
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

// blocksLonger reports whether row blocks at the time at, and for longer than other.
func blocksLonger(row, other keyfold.Throttle, at time.Time) bool {
	return row.ExpiresAt.After(at) && row.BlockedUntil.After(at) && row.BlockedUntil.After(other.BlockedUntil)
}

// RecordAttemptResult implements keyfold.ThrottleStore.
func (s *Store) RecordAttemptResult(ctx context.Context, result keyfold.AttemptResult) error {
	return s.write(ctx, func(st *state) error {
		st.applyResult(result)
		return nil
	})
}

// UnlockUser implements keyfold.ThrottleStore.
func (s *Store) UnlockUser(ctx context.Context, id string, result keyfold.AttemptResult, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		if _, err := st.user(id); err != nil {
			return err
		}
		st.applyResult(result)
		st.recordMutation(id, m)
		return nil
	})
}

func (s *state) applyResult(result keyfold.AttemptResult) {
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

// PruneThrottles implements keyfold.ThrottleStore.
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
