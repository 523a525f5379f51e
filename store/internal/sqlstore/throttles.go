package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// DatabaseID implements keyfold.ThrottleStore.
func (s *Store) DatabaseID(ctx context.Context) (string, error) {
	var id string
	err := s.read(ctx, "read database id", func(session *Session) error {
		meta, err := session.Querier.Meta(ctx)
		id = meta.FeedID
		return err
	})
	return id, err
}

// Throttle implements keyfold.ThrottleStore.
func (s *Store) Throttle(ctx context.Context, name string) (keyfold.Throttle, error) {
	var throttle keyfold.Throttle
	err := s.readIn(ctx, laneAttempt, "read throttle", func(session *Session) error {
		row, err := session.Querier.ThrottleRow(ctx, name)
		if err != nil {
			return err
		}
		throttle = throttleRecord(&row)
		return nil
	})
	return throttle, err
}

// ReserveAttempt implements keyfold.ThrottleStore. It locks rows in the order of their
// names, so that concurrent calls cannot deadlock. An attempt that is already blocked
// writes nothing, so that clients that ignore their waiting time do not cause writes.
func (s *Store) ReserveAttempt(ctx context.Context, names []keyfold.ThrottleReservation, at time.Time) (blocking keyfold.Throttle, err error) {
	names = slices.SortedFunc(slices.Values(names), func(a, b keyfold.ThrottleReservation) int { return strings.Compare(a.Name, b.Name) })
	if blocking, err = s.blocking(ctx, names, at); err != nil || !blocking.BlockedUntil.IsZero() {
		return blocking, err
	}
	err = s.writeIn(ctx, laneAttempt, "reserve attempt", writeDeadline, func(ctx context.Context, session *Session) error {
		q := session.Querier
		blocking = keyfold.Throttle{}
		throttles := make([]keyfold.Throttle, len(names))
		for i, reserved := range names {
			row, err := lockThrottle(ctx, q, reserved.Name, true)
			if err != nil {
				return err
			}
			throttles[i] = *row
			if blocksLonger(row, &blocking, at) {
				blocking = *row
			}
		}
		if !blocking.BlockedUntil.IsZero() {
			return errBlocked // rolls back the rows that were inserted to be locked
		}
		for i, throttle := range throttles {
			if err := setThrottle(ctx, q, names[i].Rule.Next(throttle, at)); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errBlocked) {
		return blocking, nil
	}
	return keyfold.Throttle{}, err
}

var errBlocked = errors.New("blocked")

// blocking returns the throttle that blocks for the longest time, or the zero Throttle
// if none blocks.
func (s *Store) blocking(ctx context.Context, names []keyfold.ThrottleReservation, at time.Time) (blocking keyfold.Throttle, err error) {
	err = s.readIn(ctx, laneAttempt, "read throttles", func(session *Session) error {
		blocking = keyfold.Throttle{}
		for _, reserved := range names {
			row, err := session.Querier.ThrottleRow(ctx, reserved.Name)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			if throttle := throttleRecord(&row); blocksLonger(&throttle, &blocking, at) {
				blocking = throttle
			}
		}
		return nil
	})
	return blocking, err
}

// blocksLonger reports whether row blocks at the time at, and for longer than other.
func blocksLonger(row, other *keyfold.Throttle, at time.Time) bool {
	return row.ExpiresAt.After(at) && row.BlockedUntil.After(at) && row.BlockedUntil.After(other.BlockedUntil)
}

// lockThrottle locks a row until the transaction ends and returns it. If the row does
// not exist, lockThrottle inserts it if create is true, and returns nil otherwise.
func lockThrottle(ctx context.Context, q Querier, name string, create bool) (*keyfold.Throttle, error) {
	if create {
		// One statement inserts and locks the row. With two, TiDB loses an update if
		// another transaction inserts the row between them.
		if err := q.EnsureThrottle(ctx, name); err != nil {
			return nil, err
		}
	} else if n, err := q.LockThrottle(ctx, name); err != nil || n == 0 {
		return nil, err
	}
	row, err := q.ThrottleRow(ctx, name)
	if err != nil {
		return nil, err
	}
	throttle := throttleRecord(&row)
	return &throttle, nil
}

func setThrottle(ctx context.Context, q Querier, t keyfold.Throttle) error {
	return q.SetThrottle(ctx, t.Attempts, column.Used(t.BlockedUntil), t.ExpiresAt.UnixMilli(), t.Name)
}

// RecordAttemptResult implements keyfold.ThrottleStore.
func (s *Store) RecordAttemptResult(ctx context.Context, result keyfold.AttemptResult) error {
	return s.writeIn(ctx, laneAttempt, "record attempt result", writeDeadline, func(ctx context.Context, session *Session) error {
		return applyResult(ctx, session.Querier, result)
	})
}

// UnlockUser implements keyfold.ThrottleStore.
func (s *Store) UnlockUser(ctx context.Context, id string, result keyfold.AttemptResult, m keyfold.Mutation) error {
	return s.changeUser(ctx, "unlock user", id, m, func(ctx context.Context, q Querier) error {
		if _, err := q.UserRow(ctx, id); err != nil {
			return err
		}
		return applyResult(ctx, q, result)
	})
}

// applyResult applies a result in the order of the names, as ReserveAttempt does.
func applyResult(ctx context.Context, q Querier, result keyfold.AttemptResult) error {
	actions := make(map[string]func(keyfold.Throttle) error)
	for _, name := range result.Clear {
		actions[name] = func(keyfold.Throttle) error { return q.DeleteThrottle(ctx, name) }
	}
	for _, refund := range result.Refund {
		actions[refund.Name] = func(row keyfold.Throttle) error { return setThrottle(ctx, q, refund.Rule.Refund(row)) }
	}
	for _, name := range result.Trusted {
		actions[name] = func(keyfold.Throttle) error {
			return setThrottle(ctx, q, keyfold.Throttle{Name: name, ExpiresAt: result.TrustedUntil})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(actions)) {
		row, err := lockThrottle(ctx, q, name, slices.Contains(result.Trusted, name))
		if err != nil {
			return err
		}
		if row == nil {
			continue
		}
		if err := actions[name](*row); err != nil {
			return err
		}
	}
	return nil
}

// PruneThrottles implements keyfold.ThrottleStore.
func (s *Store) PruneThrottles(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error) {
	err = s.writeIn(ctx, laneWork, "prune throttles", usageDeadline, func(ctx context.Context, session *Session) error {
		rows, err := session.Querier.ThrottlesExpired(ctx, at.UnixMilli(), int64(limit)+1)
		if err != nil {
			return err
		}
		deleted, more = 0, len(rows) > limit
		for i := range rows[:min(len(rows), limit)] {
			n, err := session.Querier.DeleteExpiredThrottle(ctx, rows[i].Name, at.UnixMilli())
			if err != nil {
				return err
			}
			deleted += int(n)
		}
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}
