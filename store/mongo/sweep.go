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
	sweepLimit = 100 // changes, and batches, that one sweep looks at
)

// sweepNowAndThen ends what processes that are gone left in the middle. It is
// called when the feed is polled; its errors are left to the next sweep.
func (s *Store) sweepNowAndThen(ctx context.Context) {
	now := time.Now().UnixMilli()
	last := s.sweeps.Load()
	if now-last < sweepEvery.Milliseconds() || !s.sweeps.CompareAndSwap(last, now) {
		return
	}
	_ = s.sweep(ctx, s.patient)
}

// sweep ends the open changes and batches that are older than age.
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

// resolve finishes a change where it was applied, and makes sure that it never
// will be where it was not.
func (s *Store) resolve(ctx context.Context, c *changeDoc) error {
	applied, err := s.decide(ctx, c)
	if err != nil {
		return err
	}
	if len(applied) == 0 {
		// Its process may have written the audit row, and deleted the document.
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

// decide returns the subjects that the change was applied to. It puts a fence
// on the others: an update that is on its way to the server comes too late.
func (s *Store) decide(ctx context.Context, c *changeDoc) (applied []string, err error) {
	wanted := c.Subjects
	for range maxTries {
		docs, err := list[bson.Raw](ctx, c.on, among(wanted))
		if err != nil {
			return nil, err
		}
		wanted = nil
		for _, doc := range docs {
			id, last := doc.Lookup("_id").StringValue(), doc.Lookup("change").StringValue()
			if last == c.ID {
				applied = append(applied, id)
				continue
			}
			if fenced, err := s.fence(ctx, c.on, doc, id, last); err != nil {
				return nil, err
			} else if !fenced {
				wanted = append(wanted, id)
			}
		}
		if len(wanted) == 0 {
			return applied, nil
		}
	}
	return nil, keyfold.ErrRetry
}

// fence takes the place of a document's last change, which makes every update
// fail that was prepared before. It returns false where the document changed.
func (s *Store) fence(ctx context.Context, on collection, doc bson.Raw, id, last string) (bool, error) {
	if settled, err := s.settle(ctx, on, []bson.Raw{doc}); err != nil || !settled {
		return false, err
	}
	return on.update(ctx, bson.D{is("_id", id), is("change", last)}, set(is("change", "~"+rand.Text())))
}
