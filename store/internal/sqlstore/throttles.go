package sqlstore

import (
	"context"
	"errors"
	"slices"
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
	err := s.read(ctx, "read throttle", func(session *Session) error {
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
// of their names, so that two of these never wait for each other.
func (s *Store) ReserveAttempt(ctx context.Context, names []string, rule keyfold.ThrottleRule, at time.Time) (until time.Time, err error) {
	names = slices.Sorted(slices.Values(names))
	err = s.write(ctx, "reserve attempt", writeDeadline, func(ctx context.Context, session *Session) error {
		q := session.Querier
		until = time.Time{}
		throttles := make([]keyfold.Throttle, len(names))
		for i, name := range names {
			row, err := lockThrottle(ctx, q, name, true)
			if err != nil {
				return err
			}
			throttles[i] = *row
			if blocked := row.BlockedUntil; at.Before(row.ExpiresAt) && at.Before(blocked) && blocked.After(until) {
				until = blocked
			}
		}
		if !until.IsZero() {
			return errBlocked // takes the rows back that were made to be locked
		}
		for _, throttle := range throttles {
			if err := setThrottle(ctx, q, rule.Next(throttle, at)); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errBlocked) {
		return until, nil
	}
	return time.Time{}, err
}

var errBlocked = errors.New("blocked")

// lockThrottle returns a row that nobody else changes until the transaction
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

// SettleAttempt implements keyfold.ThrottleStore.
func (s *Store) SettleAttempt(ctx context.Context, settlement keyfold.Settlement, rule keyfold.ThrottleRule) error {
	names := slices.Concat(settlement.Forget, settlement.Refund, settlement.Good)
	slices.Sort(names)
	return s.write(ctx, "settle attempt", writeDeadline, func(ctx context.Context, session *Session) error {
		q := session.Querier
		for _, name := range names {
			good := slices.Contains(settlement.Good, name)
			row, err := lockThrottle(ctx, q, name, good)
			switch {
			case err != nil || row == nil:
			case good:
				err = setThrottle(ctx, q, keyfold.Throttle{Name: name, ExpiresAt: settlement.GoodUntil})
			case slices.Contains(settlement.Refund, name):
				err = setThrottle(ctx, q, rule.Refund(*row))
			default:
				err = q.DeleteThrottle(ctx, name)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// PruneThrottles implements keyfold.ThrottleStore.
func (s *Store) PruneThrottles(ctx context.Context, at time.Time, limit int) (deleted int, err error) {
	err = s.write(ctx, "prune throttles", usageDeadline, func(ctx context.Context, session *Session) error {
		deleted = 0
		rows, err := session.Querier.ThrottlesExpired(ctx, at.UnixMilli(), int64(limit))
		for i := range rows {
			if err == nil {
				var n int64
				n, err = session.Querier.DeleteExpiredThrottle(ctx, rows[i].Name, at.UnixMilli())
				deleted += int(n)
			}
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}
