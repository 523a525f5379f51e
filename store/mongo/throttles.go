package mongo

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// throttleDoc is a throttle. Mark is another after each change of it, and
// guards the next.
type throttleDoc struct {
	Name         string `bson:"_id"`
	Attempts     int64  `bson:"attempts"`
	BlockedUntil *int64 `bson:"blocked_until"`
	ExpiresAt    int64  `bson:"expires_at"`
	Mark         string `bson:"mark"`
}

func throttleOf(t keyfold.Throttle) throttleDoc {
	return throttleDoc{
		Name: t.Name, Attempts: t.Attempts, BlockedUntil: column.Optional(t.BlockedUntil),
		ExpiresAt: t.ExpiresAt.UnixMilli(), Mark: rand.Text(),
	}
}

func (d *throttleDoc) throttle() keyfold.Throttle {
	return keyfold.Throttle{
		Name: d.Name, Attempts: d.Attempts, BlockedUntil: column.OptionalMoment(d.BlockedUntil),
		ExpiresAt: column.Moment(d.ExpiresAt),
	}
}

// DatabaseID implements keyfold.ThrottleStore.
func (s *Store) DatabaseID(ctx context.Context) (string, error) {
	meta, err := s.feed(ctx)
	if err != nil {
		return "", wrap("read database id", err)
	}
	return meta.Feed, nil
}

// Throttle implements keyfold.ThrottleStore.
func (s *Store) Throttle(ctx context.Context, name string) (keyfold.Throttle, error) {
	doc, err := first[throttleDoc](ctx, s.throttles, byID(name))
	if err == nil && doc == nil {
		err = keyfold.ErrNotFound
	}
	if err != nil {
		return keyfold.Throttle{}, wrap("read throttle", err)
	}
	return doc.throttle(), nil
}

// ReserveAttempt implements keyfold.ThrottleStore. Names are counted one after
// the other; where one turns out to be blocked, those before it get their
// attempt back. A call that is stopped in between leaves an attempt counted
// that was not made, never one uncounted that was.
func (s *Store) ReserveAttempt(ctx context.Context, names []string, rule keyfold.ThrottleRule, at time.Time) (until time.Time, err error) {
	err = s.write(ctx, "reserve attempt", names, func(ctx context.Context) error {
		until, err = s.blockedUntil(ctx, names, at)
		if err != nil || !until.IsZero() {
			return err
		}
		for i, name := range names {
			until, err = s.reserve(ctx, name, rule, at)
			if err != nil {
				return err
			}
			if !until.IsZero() {
				return s.refund(ctx, names[:i], rule)
			}
		}
		return nil
	})
	if err != nil {
		return time.Time{}, err
	}
	return until, nil
}

// blockedUntil returns the latest end of those that are blocked.
func (s *Store) blockedUntil(ctx context.Context, names []string, at time.Time) (until time.Time, err error) {
	if len(names) == 0 {
		return until, ctx.Err()
	}
	docs, err := list[throttleDoc](ctx, s.throttles, among(names))
	for i := range docs {
		if end := blocked(docs[i].throttle(), at); end.After(until) {
			until = end
		}
	}
	return until, err
}

// blocked returns the end of the block, zero where there is none at that time.
func blocked(t keyfold.Throttle, at time.Time) time.Time {
	if at.Before(t.ExpiresAt) && at.Before(t.BlockedUntil) {
		return t.BlockedUntil
	}
	return time.Time{}
}

// reserve counts an attempt under one name, or returns until when it is blocked.
func (s *Store) reserve(ctx context.Context, name string, rule keyfold.ThrottleRule, at time.Time) (until time.Time, err error) {
	err = s.changeThrottle(ctx, name, func(t keyfold.Throttle, _ bool) (keyfold.Throttle, bool) {
		until = blocked(t, at)
		return rule.Next(t, at), until.IsZero()
	})
	return until, err
}

// changeThrottle replaces a throttle by what change makes of it, which is told
// whether there is one, and returns false to leave it.
func (s *Store) changeThrottle(ctx context.Context, name string, change func(keyfold.Throttle, bool) (keyfold.Throttle, bool)) error {
	for range maxTries {
		doc, err := first[throttleDoc](ctx, s.throttles, byID(name))
		if err != nil {
			return err
		}
		was := keyfold.Throttle{Name: name}
		if doc != nil {
			was = doc.throttle()
		}
		became, wanted := change(was, doc != nil)
		if !wanted {
			return nil
		}
		next := throttleOf(became)
		if doc == nil {
			if err := s.throttles.insert(ctx, next); !errors.Is(err, errTaken) {
				return err
			}
			continue
		}
		hit, err := s.throttles.update(ctx, bson.D{is("_id", name), is("mark", doc.Mark)}, set(
			is("attempts", next.Attempts), is("blocked_until", next.BlockedUntil), is("expires_at", next.ExpiresAt), is("mark", next.Mark)))
		if err != nil || hit {
			return err
		}
	}
	return keyfold.ErrRetry
}

// SettleAttempt implements keyfold.ThrottleStore. The addresses that are good
// come first: a call that is stopped in between then leaves attempts counted,
// and no more.
func (s *Store) SettleAttempt(ctx context.Context, settlement keyfold.Settlement, rule keyfold.ThrottleRule) error {
	names := slices.Concat(settlement.Good, settlement.Forget, settlement.Refund)
	return s.write(ctx, "settle attempt", names, func(ctx context.Context) error {
		for _, name := range settlement.Good {
			good := throttleOf(keyfold.Throttle{Name: name, ExpiresAt: settlement.GoodUntil})
			if err := s.throttles.put(ctx, name, good); err != nil {
				return err
			}
		}
		if len(settlement.Forget) > 0 {
			if _, err := s.throttles.remove(ctx, among(settlement.Forget)); err != nil {
				return err
			}
		}
		return s.refund(ctx, settlement.Refund, rule)
	})
}

func (s *Store) refund(ctx context.Context, names []string, rule keyfold.ThrottleRule) error {
	for _, name := range names {
		err := s.changeThrottle(ctx, name, func(t keyfold.Throttle, exists bool) (keyfold.Throttle, bool) {
			return rule.Refund(t), exists
		})
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// PruneThrottles implements keyfold.ThrottleStore.
func (s *Store) PruneThrottles(ctx context.Context, at time.Time, limit int) (int, error) {
	expired := is("expires_at", bson.D{is("$lte", at.UnixMilli())})
	docs, err := list[throttleDoc](ctx, s.throttles, bson.D{expired},
		options.Find().SetSort(bson.D{is("expires_at", 1)}).SetLimit(int64(limit)))
	if err != nil || len(docs) == 0 {
		return 0, wrap("prune throttles", err)
	}
	names := make([]string, len(docs))
	for i := range docs {
		names[i] = docs[i].Name
	}
	deleted, err := s.throttles.remove(ctx, append(among(names), expired))
	return deleted, wrap("prune throttles", err)
}
