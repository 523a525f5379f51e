package mongo

import (
	"context"
	"crypto/rand"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
)

const (
	sweepEvery = 5 * time.Second
	sweepLimit = 100 // maximum number of changes and of batches in one sweep
)

// sweepIfDue finishes abandoned changes and batches. Each poll of the feed calls it. It
// ignores errors, because the next sweep tries again.
func (s *Store) sweepIfDue(ctx context.Context) {
	now := time.Now().UnixMilli()
	last := s.sweeps.Load()
	if now-last < sweepEvery.Milliseconds() || !s.sweeps.CompareAndSwap(last, now) {
		return
	}
	_ = s.sweep(ctx, s.abandonedAfter)
}

// sweep finishes or withdraws the open changes and batches that are older than age.
func (s *Store) sweep(ctx context.Context, age time.Duration) error {
	before := time.Now().Add(-age).UnixMilli()
	limit := options.Find().SetSort(bson.D{is("_id", 1)}).SetLimit(sweepLimit)
	changes, err := list[changeDoc](ctx, s.changes, bson.D{is("state", open), less("written_at", before)}, limit)
	if err != nil {
		return err
	}
	for i := range changes {
		c := &changes[i]
		c.on = s.collection(c.Of)
		if err := s.resolve(ctx, c); err != nil {
			return err
		}
	}
	batches, err := list[batchDoc](ctx, s.batches, bson.D{is("open", true), less("written_at", before)}, limit)
	if err != nil {
		return err
	}
	for i := range batches {
		if _, err := s.applyBatch(ctx, &batches[i], nil); err != nil {
			return err
		}
	}
	_, err = s.parts.remove(ctx, bson.D{less("written_at", before-time.Hour.Milliseconds())})
	return err
}

// resolve finishes a change that was applied, and withdraws one that was not. A
// withdrawn change cannot be applied later.
func (s *Store) resolve(ctx context.Context, c *changeDoc) error {
	applied, err := s.decide(ctx, c)
	if err != nil {
		return err
	}
	if len(applied) == 0 {
		// The process may have written the audit entries and deleted the document.
		if applied, err = s.auditedSubjects(ctx, c); err != nil {
			return err
		}
	}
	if len(applied) > 0 {
		return s.finish(ctx, c, applied)
	}
	if c.Kind == rotation {
		successor := bson.D{is("_id", c.Other), is("live", false), is("change", c.ID)}
		if _, err := s.keys.remove(ctx, successor); err != nil {
			return err
		}
	}
	return s.withdraw(ctx, c)
}

// decide returns the subjects to which the change was applied. It fences the others, so
// that a late update of them fails.
func (s *Store) decide(ctx context.Context, c *changeDoc) (applied []string, err error) {
	undecided := c.Subjects
	for range maxTries {
		docs, err := list[bson.Raw](ctx, c.on, among(undecided))
		if err != nil {
			return nil, err
		}
		undecided = nil
		for _, doc := range docs {
			id, last := doc.Lookup("_id").StringValue(), doc.Lookup("change").StringValue()
			if last == c.ID {
				applied = append(applied, id)
				continue
			}
			fenced, err := s.fence(ctx, c.on, doc, id, last)
			if err != nil {
				return nil, err
			}
			if !fenced {
				undecided = append(undecided, id)
			}
		}
		if len(undecided) == 0 {
			return applied, nil
		}
	}
	return nil, keyfold.ErrRetry
}

// fence gives a document a new change ID, so that all updates that were prepared before
// fail. It returns false if the document has changed since it was read.
func (s *Store) fence(ctx context.Context, on collection, doc bson.Raw, id, last string) (bool, error) {
	if settled, err := s.settle(ctx, on, []bson.Raw{doc}); err != nil || !settled {
		return false, err
	}
	return on.update(ctx, bson.D{is("_id", id), is("change", last)}, set(is("change", "~"+rand.Text())))
}
