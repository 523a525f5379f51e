package mongo

import (
	"context"
	"errors"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// RotateKey implements keyfold.KeyStore. It first inserts the successor, which is not
// live. The update of the old key decides. The successor then becomes live. If another
// mutation changes the old key in between, the rotation starts again, because that
// mutation may have removed the successor.
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
	possible, err := s.successorPossible(ctx, r.New)
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
	updated, err := s.update(ctx, c, edits)
	if err != nil {
		return s.recover(ctx, c, err)
	}
	if len(updated) == 0 {
		return s.recover(ctx, c, errOvertaken)
	}
	if err := s.finish(ctx, c, c.Subjects); err != nil {
		return s.recover(ctx, c, err)
	}
	return s.removeOrphan(ctx, r.New.ID, r.New.UserID)
}

// successorPossible reports whether the ID of a new key is unused and its user exists.
func (s *Store) successorPossible(ctx context.Context, key keyfold.KeyRecord) (bool, error) {
	err := s.checkUnused(ctx, s.keys, byID(key.ID))
	if errors.Is(err, keyfold.ErrConflict) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.ownerExists(ctx, key.UserID)
}

// end revokes a key, or sets the time when it expires, and stores the ID of its
// successor.
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

// removeOrphan deletes a key whose user was deleted while the key was created.
func (s *Store) removeOrphan(ctx context.Context, id, userID string) error {
	owned, err := s.ownerExists(ctx, userID)
	if err != nil || owned {
		return err
	}
	_, err = s.keys.remove(ctx, byID(id))
	return err
}
