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
	"github.com/keyfold/keyfold/query/model"
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
		if err == nil {
			throttle = throttleOf(&row)
		}
		return err
	})
	return throttle, err
}

func throttleOf(row *model.Throttle) keyfold.Throttle {
	throttle := keyfold.Throttle{Name: row.Name, Attempts: row.Attempts, ExpiresAt: column.Moment(row.ExpiresAt)}
	if row.BlockedUntil != 0 {
		throttle.BlockedUntil = column.Moment(row.BlockedUntil)
	}
	return throttle
}

// ReserveAttempt implements keyfold.ThrottleStore. Rows are locked in the order
// of their names, so that two of these never wait for each other. An attempt that
// is blocked when it comes writes nothing: clients that do not heed their wait
// would otherwise keep the database busy.
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
			return errBlocked // takes the rows back that were made to be locked
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

// blocking returns the throttle that blocks for longest, or the zero Throttle.
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
			if throttle := throttleOf(&row); blocksLonger(&throttle, &blocking, at) {
				blocking = throttle
			}
		}
		return nil
	})
	return blocking, err
}

// blocksLonger reports whether row blocks at that time, and for longer than other.
func blocksLonger(row, other *keyfold.Throttle, at time.Time) bool {
	return row.ExpiresAt.After(at) && row.BlockedUntil.After(at) && row.BlockedUntil.After(other.BlockedUntil)
}

// lockThrottle returns a row that no other transaction changes until the transaction
// ends, or nil where there is none and none is to be made.
func lockThrottle(ctx context.Context, q Querier, name string, make bool) (*keyfold.Throttle, error) {
	if make {
		// In one statement: TiDB loses what is written to a row that it was asked
		// for in vain before, when another transaction makes it meanwhile.
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
	throttle := throttleOf(&row)
	return &throttle, nil
}

func setThrottle(ctx context.Context, q Querier, t keyfold.Throttle) error {
	return q.SetThrottle(ctx, t.Attempts, column.Used(t.BlockedUntil), t.ExpiresAt.UnixMilli(), t.Name)
}

// RecordAttemptResult implements keyfold.ThrottleStore.
func (s *Store) RecordAttemptResult(ctx context.Context, result keyfold.AttemptResult) error {
	return s.writeIn(ctx, laneAttempt, "settle attempt", writeDeadline, func(ctx context.Context, session *Session) error {
		return settle(ctx, session.Querier, result)
	})
}

// UnlockUser implements keyfold.ThrottleStore.
func (s *Store) UnlockUser(ctx context.Context, id string, result keyfold.AttemptResult, m keyfold.Mutation) error {
	return s.changeUser(ctx, "unlock user", id, m, func(ctx context.Context, q Querier) error {
		if _, err := q.UserRow(ctx, id); err != nil {
			return err
		}
		return settle(ctx, q, result)
	})
}

// settle applies a result, in the order of the names as ReserveAttempt does.
func settle(ctx context.Context, q Querier, result keyfold.AttemptResult) error {
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
		if err == nil && row != nil {
			err = actions[name](*row)
		}
		if err != nil {
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
