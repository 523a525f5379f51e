package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// CreateKey implements keyfold.KeyStore.
func (s *Store) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	return s.write(ctx, "create key", []string{key.ID}, func(ctx context.Context) error {
		row, err := newKeyRow(&key)
		if err != nil {
			return err
		}
		if owned, err := s.ownerExists(ctx, key.UserID); err != nil || !owned {
			return orNotFound(err)
		}
		if err := s.checkUnused(ctx, s.keys, byID(key.ID)); err != nil {
			return err
		}
		c := newChange(s.keys, creation, m, key.ID)
		if err := s.create(ctx, c, row); err != nil {
			return err
		}
		// The user may have been deleted since the first check.
		owned, err := s.ownerExists(ctx, key.UserID)
		if err != nil {
			return s.recover(ctx, c, err)
		}
		if !owned {
			if _, err := s.keys.remove(ctx, bson.D{is("_id", key.ID), is("change", c.ID)}); err != nil {
				return s.recover(ctx, c, err)
			}
			return s.refuse(ctx, c, keyfold.ErrNotFound)
		}
		if err := s.finish(ctx, c, c.Subjects); err != nil {
			return s.recover(ctx, c, err)
		}
		return nil
	})
}

// orNotFound returns err, or ErrNotFound if err is nil.
func orNotFound(err error) error {
	if err == nil {
		return keyfold.ErrNotFound
	}
	return err
}

// refuse withdraws a change that was not applied, and returns the reason.
func (s *Store) refuse(ctx context.Context, c *changeDoc, reason error) error {
	if err := s.withdraw(ctx, c); err != nil {
		return err
	}
	return reason
}

// checkUnused returns ErrConflict if a document matches the filter. It first completes
// deletions of matching documents.
func (s *Store) checkUnused(ctx context.Context, in collection, filter bson.D) error {
	for range maxTries {
		docs, err := list[bson.Raw](ctx, in, filter)
		if err != nil {
			return err
		}
		if len(docs) == 0 {
			return nil
		}
		settled, err := s.settle(ctx, in, docs)
		if err != nil {
			return err
		}
		if settled {
			return keyfold.ErrConflict
		}
	}
	return keyfold.ErrRetry
}

// create begins the change and inserts the document. The caller must finish the change.
func (s *Store) create(ctx context.Context, c *changeDoc, doc interface{ head() *head }) error {
	if err := s.begin(ctx, c); err != nil {
		return s.recover(ctx, c, err)
	}
	doc.head().Change = c.ID
	switch err := c.on.insert(ctx, doc); {
	case errors.Is(err, errTaken):
		return s.refuse(ctx, c, keyfold.ErrConflict)
	case err != nil:
		return s.recover(ctx, c, err)
	}
	return nil
}

// ownerExists reports whether a key may have this UserID: it must be empty or the ID
// of a user.
func (s *Store) ownerExists(ctx context.Context, userID string) (bool, error) {
	if userID == "" {
		return true, nil
	}
	user, err := first[head](ctx, s.users, byID(userID), options.FindOne().SetProjection(bson.D{is("live", 1)}))
	return user != nil && user.Live, err
}

// Key implements keyfold.KeyStore.
func (s *Store) Key(ctx context.Context, id string) (keyfold.KeyRecord, error) {
	row, err := first[keyRow](ctx, s.keys, byID(id))
	if err != nil {
		return keyfold.KeyRecord{}, wrap("read key", err)
	}
	if row == nil || !row.Key.Head.Live {
		return keyfold.KeyRecord{}, keyfold.ErrNotFound
	}
	keys, err := s.keyRecords(ctx, []keyRow{*row})
	if err != nil {
		return keyfold.KeyRecord{}, wrap("read key", err)
	}
	return keys[0], nil
}

// VerifyKey implements keyfold.KeyStore.
func (s *Store) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	record, err := s.verifyKey(ctx, id)
	return record, wrap("verify key", err)
}

func (s *Store) verifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	row, err := first[keyRow](ctx, s.keys, byID(id), options.FindOne().SetProjection(verifyFields()))
	if err != nil {
		return keyfold.VerifyRecord{}, err
	}
	if row == nil || !row.Key.Head.Live {
		return keyfold.VerifyRecord{}, keyfold.ErrNotFound
	}
	record, err := verifyRecord(row)
	if err != nil || record.UserID == "" {
		return record, err
	}
	user, err := first[userDoc](ctx, s.users, byID(record.UserID), options.FindOne().SetProjection(userStateFields()))
	record.UserDisabled = user == nil || !user.enabled()
	return record, err
}

// userStateFields is the projection of the fields that enabled reads.
func userStateFields() bson.D { return bson.D{is("live", 1), is("disabled_at", 1)} }

// enabled reports whether the user exists and is not disabled.
func (d *userDoc) enabled() bool { return d.Head.Live && d.DisabledAt == nil }

// keyRecords returns the records of the rows, with the states of their users.
func (s *Store) keyRecords(ctx context.Context, rows []keyRow) ([]keyfold.KeyRecord, error) {
	var userIDs []string
	for i := range rows {
		if id := rows[i].Key.UserID; id != "" {
			userIDs = append(userIDs, id)
		}
	}
	enabled := map[string]bool{}
	if len(userIDs) > 0 {
		users, err := list[userDoc](ctx, s.users, among(once(userIDs)), options.Find().SetProjection(userStateFields()))
		if err != nil {
			return nil, err
		}
		for i := range users {
			enabled[users[i].Head.ID] = users[i].enabled()
		}
	}
	keys := make([]keyfold.KeyRecord, len(rows))
	for i := range rows {
		key, err := keyRecord(&rows[i])
		if err != nil {
			return nil, err
		}
		key.UserDisabled = key.UserID != "" && !enabled[key.UserID]
		keys[i] = key
	}
	return keys, nil
}

// verifyFields is the projection of the fields that a verify reads.
func verifyFields() bson.D {
	var fields bson.D
	for _, field := range []string{
		"live", "secret", "prefix", "environment", "name", "owner_id", "user_id", "tenant", "scopes", "networks",
		"metadata", "expires_at", "idle_timeout", "active_at", "last_used_at", "disabled_at", "revoked_at",
	} {
		fields = append(fields, is(field, 1))
	}
	return fields
}

// Keys implements keyfold.KeyStore.
func (s *Store) Keys(ctx context.Context, scan keyfold.KeyScan) ([]keyfold.KeyRecord, error) {
	filter, order, err := keyScan(scan)
	if err != nil {
		return nil, wrap("list keys", err)
	}
	rows, err := list[keyRow](ctx, s.keys, append(filter, is("live", true)),
		options.Find().SetSort(order).SetLimit(int64(scan.Limit)).SetProjection(bson.D{is("seen", 0)}))
	if err != nil {
		return nil, wrap("list keys", err)
	}
	keys, err := s.keyRecords(ctx, rows)
	return keys, wrap("list keys", err)
}

func keyScan(scan keyfold.KeyScan) (filter, order bson.D, err error) {
	switch scan.Index {
	case keyfold.KeysAll:
	case keyfold.KeysByOwner:
		filter = bson.D{is("owner_id", scan.Value)}
	case keyfold.KeysByTenant:
		filter = bson.D{is("tenant", scan.Value)}
	case keyfold.KeysByUser:
		filter = bson.D{is("user_id", scan.Value)}
	case keyfold.KeysExpiring:
		filter = bson.D{is("expires_at", bson.D{is("$gte", scan.From.UnixMilli()), is("$lt", scan.To.UnixMilli())})}
		return append(filter, after("expires_at", scan.After, "$gt")...), bson.D{is("expires_at", 1), is("_id", 1)}, nil
	default:
		return nil, nil, fmt.Errorf("unknown index %d", scan.Index)
	}
	return append(filter, after("created_at", scan.After, "$lt")...), bson.D{is("created_at", -1), is("_id", -1)}, nil
}

// after matches documents after a position, which is a time and then an ID. The zero
// Position matches all documents. beyond is "$gt" or "$lt". The first condition bounds
// the scan of the index.
func after(field string, position keyfold.Position, beyond string) bson.D {
	if position == (keyfold.Position{}) {
		return nil
	}
	at := position.At.UnixMilli()
	return bson.D{
		is("$and", bson.A{bson.D{is(field, bson.D{is(beyond+"e", at)})}}),
		is("$or", bson.A{
			bson.D{is(field, bson.D{is(beyond, at)})},
			bson.D{is("_id", bson.D{is(beyond, position.ID)})},
		}),
	}
}

// UpdateKey implements keyfold.KeyStore.
func (s *Store) UpdateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	return s.changeKey(ctx, "update key", newChange(s.keys, plain, m, key.ID), func(doc *keyDoc) error {
		switch {
		case doc.RevokedAt != nil:
			return keyfold.ErrConflict
		case doc.Version != key.Version:
			return keyfold.ErrStale
		}
		doc.Version++
		return doc.setEditable(&key)
	})
}

// RenewKey implements keyfold.KeyStore.
func (s *Store) RenewKey(ctx context.Context, id string, version int64, expiresAt time.Time, m keyfold.Mutation) error {
	c := newChange(s.keys, plain, m, id)
	return s.changeKey(ctx, "renew key", c, func(doc *keyDoc) error {
		switch {
		case doc.RevokedAt != nil, doc.RotatedTo != "":
			return keyfold.ErrConflict
		case doc.Version != version:
			return keyfold.ErrStale
		}
		doc.ExpiresAt, doc.ActiveAt, doc.UpdatedAt = column.Optional(expiresAt), c.At, c.At
		doc.Version++
		return nil
	})
}

// DeleteKey implements keyfold.KeyStore.
func (s *Store) DeleteKey(ctx context.Context, id string, m keyfold.Mutation) error {
	return s.changeKey(ctx, "delete key", newChange(s.keys, keyRemoval, m, id), func(doc *keyDoc) error {
		doc.Head.Live = false
		return nil
	})
}

// changeKey applies a change to one key. It returns ErrNotFound if the key does not
// exist.
func (s *Store) changeKey(ctx context.Context, operation string, c *changeDoc, edit func(*keyDoc) error) error {
	return s.write(ctx, operation, c.Subjects, func(ctx context.Context) error {
		changed, err := apply(ctx, s, c, func(doc *keyDoc) (bool, error) {
			return true, edit(doc)
		})
		return mustChange(len(changed), err)
	})
}

// mustChange returns ErrNotFound if an operation changed no document.
func mustChange(n int, err error) error {
	if err == nil && n == 0 {
		return keyfold.ErrNotFound
	}
	return err
}

// SetKeyState implements keyfold.KeyStore. Each key changes as a whole or not at all. A
// call that fails may have changed some of the keys, and can be repeated.
func (s *Store) SetKeyState(ctx context.Context, ids []string, change keyfold.StateChange, reason string, m keyfold.Mutation) (changed []string, err error) {
	if !slices.Contains([]keyfold.StateChange{keyfold.RevokeChange, keyfold.DisableChange, keyfold.EnableChange}, change) {
		return nil, wrap("set state of keys", errors.New("unknown state change"))
	}
	c := newChange(s.keys, plain, m, once(ids)...)
	if len(c.Subjects) == 0 {
		return nil, wrap("set state of keys", ctx.Err())
	}
	err = s.write(ctx, "set state of keys", c.Subjects, func(ctx context.Context) error {
		changed, err = apply(ctx, s, c, func(doc *keyDoc) (bool, error) {
			return doc.setState(change, reason, c.At), nil
		})
		return err
	})
	return changed, err
}

// once returns the IDs without duplicates, in the order of their first occurrence.
func once(ids []string) []string {
	seen := make(map[string]bool, len(ids))
	var unique []string
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			unique = append(unique, id)
		}
	}
	return unique
}

// setState applies the change if it applies to the state of the key, and reports
// whether it did.
func (d *keyDoc) setState(change keyfold.StateChange, reason string, at int64) bool {
	disabled := d.DisabledAt != nil
	switch {
	case d.RevokedAt != nil:
		return false
	case change == keyfold.RevokeChange:
		d.RevokedAt, d.RevokedReason = &at, reason
	case change == keyfold.DisableChange && !disabled:
		d.DisabledAt, d.DisabledReason = &at, reason
	case change == keyfold.EnableChange && disabled:
		d.DisabledAt, d.DisabledReason, d.ActiveAt = nil, "", at
	default:
		return false
	}
	d.UpdatedAt = at
	d.Version++
	return true
}

// RehashKey implements keyfold.KeyStore. It is a single conditional update without a
// change, because the secret stays the same.
func (s *Store) RehashKey(ctx context.Context, id string, old, new keyfold.SecretHash) error {
	_, err := s.keys.update(ctx, bson.D{
		is("_id", id), is("secret.alg", old.Alg), is("secret.pepper", old.PepperID), is("secret.sum", old.Sum[:]),
	}, set(is("secret", secretOf(new))))
	return wrap("rehash key", err)
}
