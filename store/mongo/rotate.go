package mongo

import (
	"context"
	"errors"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// RotateKey implements keyfold.KeyStore. The successor is inserted first, seen
// by no verify; the update of the old key decides; then the successor comes to
// life. A change of the old key in between begins all of it anew, because the
// process that gave up this rotation removed the successor.
func (s *Store) RotateKey(ctx context.Context, r keyfold.Rotation, m keyfold.Mutation) error {
	return s.write(ctx, "rotate key", []string{r.OldID, r.New.ID}, func(ctx context.Context) error {
		successor, err := newKeyRow(&r.New)
		if err != nil {
			return err
		}
		successor.Key.Head.Live = false
		for range maxTries {
			if err := s.rotate(ctx, r, successor, m); !errors.Is(err, errOvertaken) {
				return err
			}
		}
		return keyfold.ErrRetry
	})
}

var errOvertaken = errors.New("another change came first")

func (s *Store) rotate(ctx context.Context, r keyfold.Rotation, successor *keyRow, m keyfold.Mutation) error {
	c := newChange(s.keys, rotation, m, r.OldID)
	c.Targets, c.Other = []string{r.OldID, r.New.ID}, r.New.ID
	possible, err := s.successorMay(ctx, r.New)
	if err != nil {
		return err
	}
	edits, err := prepare(ctx, s, c, c.Subjects, func(doc *keyDoc) (bool, error) {
		return true, doc.end(r, c.At, possible)
	})
	switch {
	case err != nil:
		return err
	case len(edits) == 0:
		return keyfold.ErrNotFound
	}
	if err := s.begin(ctx, c); err != nil {
		return s.recover(ctx, c, err)
	}
	successor.Key.Head.Change = c.ID
	if err := s.keys.insert(ctx, successor); errors.Is(err, errTaken) {
		return s.refuse(ctx, c, keyfold.ErrConflict)
	} else if err != nil {
		return s.recover(ctx, c, err)
	}
	hit, err := s.update(ctx, c, edits)
	if err == nil && len(hit) == 0 {
		err = errOvertaken
	}
	if err == nil {
		err = s.finish(ctx, c, c.Subjects)
	}
	if err == nil {
		return s.dropOrphan(ctx, r.New.ID, r.New.UserID)
	}
	return s.recover(ctx, c, err)
}

// successorMay reports whether the id of a new key is free and its user exists.
func (s *Store) successorMay(ctx context.Context, key keyfold.KeyRecord) (bool, error) {
	err := s.free(ctx, s.keys, byID(key.ID))
	if errors.Is(err, keyfold.ErrConflict) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.mayOwn(ctx, key.UserID)
}

// end gives a key its end and its successor.
func (d *keyDoc) end(r keyfold.Rotation, at int64, possible bool) error {
	switch {
	case d.RevokedAt != nil, d.DisabledAt != nil, d.RotatedTo != "", d.ExpiresAt != nil && *d.ExpiresAt <= at, !possible:
		return keyfold.ErrConflict
	case d.Version != r.OldVersion:
		return keyfold.ErrStale
	}
	if r.OldEnd.IsZero() {
		d.RevokedAt, d.RevokedReason = &at, keyfold.RotatedReason
	} else {
		d.ExpiresAt = column.Optional(r.OldEnd)
	}
	d.RotatedTo, d.UpdatedAt = r.New.ID, at
	d.Version++
	return nil
}

// dropOrphan deletes a key that was made while its user was deleted.
func (s *Store) dropOrphan(ctx context.Context, id, userID string) error {
	owned, err := s.mayOwn(ctx, userID)
	if err != nil || owned {
		return err
	}
	_, err = s.keys.remove(ctx, byID(id))
	return err
}
