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

// throttleDoc is a stored throttle. Every change sets a new Mark, and has a condition
// on the previous one.
type throttleDoc struct {
	Name         string `bson:"_id"`
	Attempts     int64  `bson:"attempts"`
	BlockedUntil *int64 `bson:"blocked_until"`
	ExpiresAt    int64  `bson:"expires_at"`
	Mark         string `bson:"mark"`
}

func newThrottleDoc(t keyfold.Throttle) throttleDoc {
	return throttleDoc{
		Name: t.Name, Attempts: t.Attempts, BlockedUntil: column.Optional(t.BlockedUntil),
		ExpiresAt: t.ExpiresAt.UnixMilli(), Mark: rand.Text(),
	}
}

func throttleRecord(d *throttleDoc) keyfold.Throttle {
	return keyfold.Throttle{
		Name: d.Name, Attempts: d.Attempts, BlockedUntil: column.OptionalMoment(d.BlockedUntil),
		ExpiresAt: column.Moment(d.ExpiresAt),
	}
}

// DatabaseID implements keyfold.ThrottleStore.
func (s *Store) DatabaseID(ctx context.Context) (string, error) {
	meta, err := s.readMeta(ctx)
	if err != nil {
		return "", wrap("read database id", err)
	}
	return meta.Feed, nil
}

// Throttle implements keyfold.ThrottleStore.
func (s *Store) Throttle(ctx context.Context, name string) (keyfold.Throttle, error) {
	doc, err := first[throttleDoc](ctx, s.throttles, byID(name))
	if err != nil {
		return keyfold.Throttle{}, wrap("read throttle", err)
	}
	if doc == nil {
		return keyfold.Throttle{}, keyfold.ErrNotFound
	}
	return throttleRecord(doc), nil
}

// ReserveAttempt implements keyfold.ThrottleStore. It counts the attempt under one name
// after the other. If a name turns out to be blocked, it refunds the earlier names. If
// the process stops in between, an attempt that was not made may stay counted, but an
// attempt that was made is never missed.
func (s *Store) ReserveAttempt(ctx context.Context, names []keyfold.ThrottleReservation, at time.Time) (blocking keyfold.Throttle, err error) {
	err = s.write(ctx, "reserve attempt", namesOf(names), func(ctx context.Context) error {
		blocking, err = s.blocking(ctx, namesOf(names), at)
		if err != nil || !blocking.BlockedUntil.IsZero() {
			return err
		}
		for i, reserved := range names {
			blocking, err = s.reserve(ctx, reserved, at)
			if err != nil {
				return err
			}
			if !blocking.BlockedUntil.IsZero() {
				return s.refund(ctx, names[:i])
			}
		}
		return nil
	})
	if err != nil {
		return keyfold.Throttle{}, err
	}
	return blocking, nil
}

func namesOf(reserved []keyfold.ThrottleReservation) []string {
	names := make([]string, len(reserved))
	for i := range reserved {
		names[i] = reserved[i].Name
	}
	return names
}

// blocking returns the throttle that blocks for the longest time, or the zero Throttle
// if none blocks.
func (s *Store) blocking(ctx context.Context, names []string, at time.Time) (longest keyfold.Throttle, err error) {
	if len(names) == 0 {
		return longest, ctx.Err()
	}
	docs, err := list[throttleDoc](ctx, s.throttles, among(names))
	for i := range docs {
		if t := throttleRecord(&docs[i]); blocks(t, at) && t.BlockedUntil.After(longest.BlockedUntil) {
			longest = t
		}
	}
	return longest, err
}

func blocks(t keyfold.Throttle, at time.Time) bool {
	return t.ExpiresAt.After(at) && t.BlockedUntil.After(at)
}

// reserve counts an attempt under one name, or returns the throttle if it blocks.
func (s *Store) reserve(ctx context.Context, r keyfold.ThrottleReservation, at time.Time) (blocking keyfold.Throttle, err error) {
	err = s.changeThrottle(ctx, r.Name, func(t keyfold.Throttle, _ bool) (keyfold.Throttle, bool) {
		blocking = keyfold.Throttle{}
		if blocks(t, at) {
			blocking = t
			return t, false
		}
		return r.Rule.Next(t, at), true
	})
	return blocking, err
}

// changeThrottle replaces a throttle by the result of change. change receives the
// throttle and whether it exists, and returns false to leave it unchanged.
func (s *Store) changeThrottle(ctx context.Context, name string, change func(keyfold.Throttle, bool) (keyfold.Throttle, bool)) error {
	for range maxTries {
		doc, err := first[throttleDoc](ctx, s.throttles, byID(name))
		if err != nil {
			return err
		}
		throttle := keyfold.Throttle{Name: name}
		if doc != nil {
			throttle = throttleRecord(doc)
		}
		throttle, changed := change(throttle, doc != nil)
		if !changed {
			return nil
		}
		next := newThrottleDoc(throttle)
		if doc == nil {
			if err := s.throttles.insert(ctx, next); !errors.Is(err, errTaken) {
				return err
			}
			continue
		}
		updated, err := s.throttles.update(ctx, bson.D{is("_id", name), is("mark", doc.Mark)}, set(
			is("attempts", next.Attempts), is("blocked_until", next.BlockedUntil), is("expires_at", next.ExpiresAt), is("mark", next.Mark)))
		if err != nil || updated {
			return err
		}
	}
	return keyfold.ErrRetry
}

// RecordAttemptResult implements keyfold.ThrottleStore.
func (s *Store) RecordAttemptResult(ctx context.Context, result keyfold.AttemptResult) error {
	names := slices.Concat(result.Trusted, result.Clear, namesOf(result.Refund))
	return s.write(ctx, "record attempt result", names, func(ctx context.Context) error {
		return s.applyResult(ctx, result)
	})
}

// UnlockUser implements keyfold.ThrottleStore. It records the change before it unlocks.
// If the process stops in between, there may be an audit entry of an unlock that did
// not happen, but never an unlock without an audit entry.
func (s *Store) UnlockUser(ctx context.Context, id string, result keyfold.AttemptResult, m keyfold.Mutation) error {
	err := s.changeUser(ctx, "unlock user", newChange(s.users, plain, m, id), func(context.Context, *userDoc) error { return nil })
	if err != nil {
		return err
	}
	return s.RecordAttemptResult(ctx, result)
}

// applyResult applies a result. It stores the trusted throttles first, so that a call
// that stops in between only leaves attempts counted.
func (s *Store) applyResult(ctx context.Context, result keyfold.AttemptResult) error {
	for _, name := range result.Trusted {
		trusted := newThrottleDoc(keyfold.Throttle{Name: name, ExpiresAt: result.TrustedUntil})
		if err := s.throttles.put(ctx, name, trusted); err != nil {
			return err
		}
	}
	if len(result.Clear) > 0 {
		if _, err := s.throttles.remove(ctx, among(result.Clear)); err != nil {
			return err
		}
	}
	return s.refund(ctx, result.Refund)
}

func (s *Store) refund(ctx context.Context, names []keyfold.ThrottleReservation) error {
	for _, r := range names {
		err := s.changeThrottle(ctx, r.Name, func(t keyfold.Throttle, exists bool) (keyfold.Throttle, bool) {
			return r.Rule.Refund(t), exists
		})
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// PruneThrottles implements keyfold.ThrottleStore.
func (s *Store) PruneThrottles(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error) {
	expired := is("expires_at", bson.D{is("$lte", at.UnixMilli())})
	docs, err := list[throttleDoc](ctx, s.throttles, bson.D{expired},
		options.Find().SetSort(bson.D{is("expires_at", 1)}).SetLimit(int64(limit)+1))
	if err != nil || len(docs) == 0 {
		return 0, false, wrap("prune throttles", err)
	}
	names := make([]string, min(len(docs), limit))
	for i := range names {
		names[i] = docs[i].Name
	}
	deleted, err = s.throttles.remove(ctx, append(among(names), expired))
	if err != nil {
		return 0, false, wrap("prune throttles", err)
	}
	return deleted, len(docs) > limit, nil
}
