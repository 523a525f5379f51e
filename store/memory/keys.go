package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/cidr"
)

// keyRow is a key twice: as it was given, and as verifying reads it, so that
// VerifyKey is a map read. Rows are never changed in place: a transaction's
// row may share slices and maps with the committed one.
type keyRow struct {
	record keyfold.KeyRecord // Uses and LastUsedAt are zero: see total
	verify keyfold.VerifyRecord
}

// total counts the uses of a key, apart from the key: counting must not
// disturb those who edit it.
type total struct {
	uses       int64
	lastUsedAt time.Time
}

// CreateKey inserts the key.
func (s *Store) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		if !st.mayOwn(key.UserID) {
			return keyfold.ErrNotFound
		}
		if _, exists := st.keys.get(key.ID); exists {
			return keyfold.ErrConflict
		}
		st.putKey(clone(key))
		st.addChange(m, m.Target)
		st.addAudit(m)
		return nil
	})
}

// Key returns the key with its totals.
func (s *Store) Key(ctx context.Context, id string) (key keyfold.KeyRecord, err error) {
	err = s.read(ctx, func(st *state) error {
		row, ok := st.keys.get(id)
		if !ok {
			return keyfold.ErrNotFound
		}
		key = st.whole(row)
		return nil
	})
	return key, err
}

// VerifyKey returns what a verify decides on.
func (s *Store) VerifyKey(ctx context.Context, id string) (record keyfold.VerifyRecord, err error) {
	err = s.read(ctx, func(st *state) error {
		row, ok := st.keys.get(id)
		if !ok {
			return keyfold.ErrNotFound
		}
		record = row.verify
		if record.IdleTimeout > 0 {
			if sum, used := st.totals.get(id); used && !sum.lastUsedAt.IsZero() {
				record.LastUsedAt = sum.lastUsedAt.UnixMilli()
			}
		}
		record.UserDisabled = st.userDisabled(record.UserID)
		return nil
	})
	return record, err
}

// UpdateKey writes the fields that an edit may change.
func (s *Store) UpdateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		row, ok := st.keys.get(key.ID)
		switch {
		case !ok:
			return keyfold.ErrNotFound
		case revoked(row):
			return keyfold.ErrConflict
		case row.record.Version != key.Version:
			return keyfold.ErrStale
		}
		given, record := clone(key), row.record
		record.Name, record.Notes = given.Name, given.Notes
		record.OwnerID, record.Tenant = given.OwnerID, given.Tenant
		record.Scopes, record.Networks, record.Metadata = given.Scopes, given.Networks, given.Metadata
		record.IdleTimeout = given.IdleTimeout
		st.changeKey(record, given.UpdatedAt)
		st.addChange(m, m.Target)
		st.addAudit(m)
		return nil
	})
}

// RenewKey moves the deadline of the key.
func (s *Store) RenewKey(ctx context.Context, id string, version int64, expiresAt time.Time, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		row, ok := st.keys.get(id)
		switch {
		case !ok:
			return keyfold.ErrNotFound
		case revoked(row), row.record.RotatedTo != "":
			return keyfold.ErrConflict
		case row.record.Version != version:
			return keyfold.ErrStale
		}
		record := row.record
		record.ExpiresAt, record.ActiveAt = milli(expiresAt), milli(m.At)
		st.changeKey(record, m.At)
		st.addChange(m, m.Target)
		st.addAudit(m)
		return nil
	})
}

// RotateKey gives the old key its end and inserts the new one.
func (s *Store) RotateKey(ctx context.Context, r keyfold.Rotation, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		old, ok := st.keys.get(r.OldID)
		_, taken := st.keys.get(r.New.ID)
		switch {
		case !ok:
			return keyfold.ErrNotFound
		case revoked(old), disabled(old), old.record.RotatedTo != "", expired(old, m.At), taken,
			!st.mayOwn(r.New.UserID):
			return keyfold.ErrConflict
		case old.record.Version != r.OldVersion:
			return keyfold.ErrStale
		}
		record := old.record
		record.RotatedTo = r.New.ID
		if r.OldEnd.IsZero() {
			record.RevokedAt, record.RevokedReason = milli(m.At), keyfold.RotatedReason
		} else {
			record.ExpiresAt = milli(r.OldEnd)
		}
		st.changeKey(record, m.At)
		st.putKey(clone(r.New))
		st.addChange(m, r.OldID)
		st.addChange(m, r.New.ID)
		st.addAudit(m)
		return nil
	})
}

// SetKeyState applies the change where its guard holds.
func (s *Store) SetKeyState(ctx context.Context, ids []string, change keyfold.StateChange, reason string,
	m keyfold.Mutation,
) (changed []string, err error) {
	err = s.write(ctx, func(st *state) error {
		for _, id := range ids {
			row, ok := st.keys.get(id)
			if !ok || !guard(row, change) {
				continue
			}
			record := row.record
			switch change {
			case keyfold.RevokeChange:
				record.RevokedAt, record.RevokedReason = milli(m.At), reason
			case keyfold.DisableChange:
				record.DisabledAt, record.DisabledReason = milli(m.At), reason
			case keyfold.EnableChange:
				record.DisabledAt, record.DisabledReason = time.Time{}, ""
				record.ActiveAt = milli(m.At)
			}
			st.changeKey(record, m.At)
			changed = append(changed, id)
		}
		if len(changed) > keyfold.MaxFeedTargets {
			st.addChange(m, "")
		}
		for _, id := range changed {
			m.Target = id
			if len(changed) <= keyfold.MaxFeedTargets {
				st.addChange(m, id)
			}
			st.addAudit(m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// guard reports whether the change applies to a key in this state.
func guard(row keyRow, change keyfold.StateChange) bool {
	switch change {
	case keyfold.RevokeChange:
		return !revoked(row)
	case keyfold.DisableChange:
		return !revoked(row) && !disabled(row)
	case keyfold.EnableChange:
		return !revoked(row) && disabled(row)
	}
	return false
}

// DeleteKey removes the key and its totals. Its events and hours stay.
func (s *Store) DeleteKey(ctx context.Context, id string, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		if _, ok := st.keys.get(id); !ok {
			return keyfold.ErrNotFound
		}
		st.keys.delete(id)
		st.totals.delete(id)
		st.addChange(m, m.Target)
		st.addAudit(m)
		return nil
	})
}

// RehashKey replaces the stored hash where it is still the old one. A key that
// is gone has no hash to replace.
func (s *Store) RehashKey(ctx context.Context, id string, old, new keyfold.SecretHash) error {
	return s.write(ctx, func(st *state) error {
		row, ok := st.keys.get(id)
		if ok && row.record.Secret == old {
			record := row.record
			record.Secret = new
			st.putKey(record)
		}
		return nil
	})
}

// Keys returns one page of a scan.
func (s *Store) Keys(ctx context.Context, scan keyfold.KeyScan) (page []keyfold.KeyRecord, err error) {
	err = s.read(ctx, func(st *state) error {
		for _, row := range st.keys.all() {
			if inScan(row.record, scan) {
				page = append(page, row.record)
			}
		}
		slices.SortFunc(page, func(a, b keyfold.KeyRecord) int {
			return compare(scan.Index, place(scan.Index, a), place(scan.Index, b))
		})
		page = page[:min(len(page), scan.Limit)]
		for i, record := range page {
			row, _ := st.keys.get(record.ID)
			page[i] = st.whole(row)
		}
		return nil
	})
	return page, err
}

// inScan reports whether the scan shows the key, on this page or a later one.
func inScan(key keyfold.KeyRecord, scan keyfold.KeyScan) bool {
	switch scan.Index {
	case keyfold.KeysByOwner:
		if key.OwnerID != scan.Value {
			return false
		}
	case keyfold.KeysByTenant:
		if key.Tenant != scan.Value {
			return false
		}
	case keyfold.KeysByUser:
		if key.UserID != scan.Value {
			return false
		}
	case keyfold.KeysExpiring:
		if key.ExpiresAt.IsZero() || key.ExpiresAt.Before(milli(scan.From)) || !key.ExpiresAt.Before(milli(scan.To)) {
			return false
		}
	}
	after := keyfold.Position{At: milli(scan.After.At), ID: scan.After.ID}
	return after == keyfold.Position{} || compare(scan.Index, place(scan.Index, key), after) > 0
}

// place is where a key stands in a scan. A walk is stable because it goes on
// from a place, and neither CreatedAt nor ID ever changes.
func place(index keyfold.KeyIndex, key keyfold.KeyRecord) keyfold.Position {
	if index == keyfold.KeysExpiring {
		return keyfold.Position{At: key.ExpiresAt, ID: key.ID}
	}
	return keyfold.Position{At: key.CreatedAt, ID: key.ID}
}

// compare orders places: soonest first where the index is KeysExpiring, newest
// first otherwise. Ids are compared byte by byte.
func compare(index keyfold.KeyIndex, a, b keyfold.Position) int {
	order := cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID))
	if index == keyfold.KeysExpiring {
		return order
	}
	return -order
}

func revoked(row keyRow) bool  { return !row.record.RevokedAt.IsZero() }
func disabled(row keyRow) bool { return !row.record.DisabledAt.IsZero() }

// expired reports whether the deadline has come: it is exclusive.
func expired(row keyRow, at time.Time) bool {
	return !row.record.ExpiresAt.IsZero() && !milli(at).Before(row.record.ExpiresAt)
}

// mayOwn reports whether a key may have that UserID: none, or one of a user.
func (s *state) mayOwn(userID string) bool {
	_, exists := s.users.get(userID)
	return exists || userID == ""
}

// userDisabled reports whether a key with that UserID has a user who is disabled or
// does not exist.
func (s *state) userDisabled(userID string) bool {
	if userID == "" {
		return false
	}
	user, exists := s.users.get(userID)
	return !exists || !user.DisabledAt.IsZero()
}

// changeKey puts a key that changed.
func (s *state) changeKey(record keyfold.KeyRecord, at time.Time) {
	record.UpdatedAt = milli(at)
	record.Version++
	s.putKey(record)
}

// putKey puts the key in both of its forms. The totals and the state of its user are
// not part of it.
func (s *state) putKey(record keyfold.KeyRecord) {
	record.Uses, record.LastUsedAt, record.UserDisabled = 0, time.Time{}, false
	s.keys.put(record.ID, keyRow{record: record, verify: narrow(record)})
}

// whole returns a copy of the key with its totals and the state of its user.
func (s *state) whole(row keyRow) keyfold.KeyRecord {
	key := clone(row.record)
	sum, _ := s.totals.get(key.ID)
	key.Uses, key.LastUsedAt = sum.uses, sum.lastUsedAt
	key.UserDisabled = s.userDisabled(key.UserID)
	return key
}

// narrow returns the form that VerifyKey reads.
func narrow(key keyfold.KeyRecord) keyfold.VerifyRecord {
	record := keyfold.VerifyRecord{
		KeyID:       key.ID,
		Secret:      key.Secret,
		Prefix:      key.Prefix,
		Environment: key.Environment,
		Name:        key.Name,
		OwnerID:     key.OwnerID,
		UserID:      key.UserID,
		Tenant:      key.Tenant,
		Scopes:      strings.Join(key.Scopes, " "),
		Networks:    cidr.Join(key.Networks),
		ExpiresAt:   keyfold.NoDeadline,
		IdleTimeout: key.IdleTimeout.Milliseconds(),
		ActiveAt:    key.ActiveAt.UnixMilli(),
		Disabled:    !key.DisabledAt.IsZero(),
		Revoked:     !key.RevokedAt.IsZero(),
	}
	if !key.ExpiresAt.IsZero() {
		record.ExpiresAt = key.ExpiresAt.UnixMilli()
	}
	if len(key.Metadata) > 0 {
		text, _ := json.Marshal(key.Metadata) // a map of strings always encodes
		record.Metadata = string(text)
	}
	return record
}

// clone returns a copy that shares nothing with the original, as if it had
// been to a database and back: a caller may write to what it gave or got.
func clone(key keyfold.KeyRecord) keyfold.KeyRecord {
	key.Scopes = slices.Clone(key.Scopes)
	key.Networks = slices.Clone(key.Networks)
	key.Metadata = maps.Clone(key.Metadata)
	for _, at := range []*time.Time{
		&key.CreatedAt, &key.UpdatedAt, &key.ExpiresAt, &key.DisabledAt, &key.RevokedAt, &key.ActiveAt,
	} {
		*at = milli(*at)
	}
	key.IdleTimeout = key.IdleTimeout.Truncate(time.Millisecond)
	return key
}
