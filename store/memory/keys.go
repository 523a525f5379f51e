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

// keyRow contains a key in two forms: as the caller stored it, and as VerifyKey
// returns it. Rows are never changed in place, because the row of a transaction may
// share slices and maps with the committed row.
type keyRow struct {
	record keyfold.KeyRecord // without Uses and LastUsedAt, which are in total
	verify keyfold.VerifyRecord
}

// total contains the usage totals of a key. They are not part of the key, so that
// recording usage does not conflict with edits of the key.
type total struct {
	uses       int64
	lastUsedAt time.Time
}

// CreateKey implements keyfold.KeyStore.
func (s *Store) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		if !st.ownerExists(key.UserID) {
			return keyfold.ErrNotFound
		}
		if _, exists := st.keys.get(key.ID); exists {
			return keyfold.ErrConflict
		}
		st.putKey(clone(key))
		st.recordMutation(m.Target, m)
		return nil
	})
}

// Key implements keyfold.KeyStore.
func (s *Store) Key(ctx context.Context, id string) (key keyfold.KeyRecord, err error) {
	err = s.read(ctx, func(st *state) error {
		row, ok := st.keys.get(id)
		if !ok {
			return keyfold.ErrNotFound
		}
		key = st.keyRecord(row)
		return nil
	})
	return key, err
}

// VerifyKey implements keyfold.KeyStore.
func (s *Store) VerifyKey(ctx context.Context, id string) (record keyfold.VerifyRecord, err error) {
	err = s.read(ctx, func(st *state) error {
		row, ok := st.keys.get(id)
		if !ok {
			return keyfold.ErrNotFound
		}
		record = row.verify
		if record.IdleTimeout > 0 {
			if sum, exists := st.totals.get(id); exists && !sum.lastUsedAt.IsZero() {
				record.LastUsedAt = sum.lastUsedAt.UnixMilli()
			}
		}
		record.UserDisabled = st.userDisabled(record.UserID)
		return nil
	})
	return record, err
}

// UpdateKey implements keyfold.KeyStore.
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
		edited, record := clone(key), row.record
		record.Name, record.Notes = edited.Name, edited.Notes
		record.OwnerID, record.Tenant = edited.OwnerID, edited.Tenant
		record.Scopes, record.Networks, record.Metadata = edited.Scopes, edited.Networks, edited.Metadata
		record.IdleTimeout = edited.IdleTimeout
		st.changeKey(record, edited.UpdatedAt)
		st.recordMutation(m.Target, m)
		return nil
	})
}

// RenewKey implements keyfold.KeyStore.
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
		st.recordMutation(m.Target, m)
		return nil
	})
}

// RotateKey implements keyfold.KeyStore.
func (s *Store) RotateKey(ctx context.Context, r keyfold.Rotation, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		old, ok := st.keys.get(r.OldID)
		_, taken := st.keys.get(r.New.ID)
		switch {
		case !ok:
			return keyfold.ErrNotFound
		case revoked(old), disabled(old), old.record.RotatedTo != "", expired(old, m.At), taken,
			!st.ownerExists(r.New.UserID):
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
		st.addChange(r.OldID, m)
		st.addChange(r.New.ID, m)
		st.addAudit(m)
		return nil
	})
}

// SetKeyState implements keyfold.KeyStore.
func (s *Store) SetKeyState(ctx context.Context, ids []string, change keyfold.StateChange, reason string,
	m keyfold.Mutation,
) (changed []string, err error) {
	err = s.write(ctx, func(st *state) error {
		for _, id := range ids {
			row, ok := st.keys.get(id)
			if !ok || !stateChangeApplies(row, change) {
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
			st.addChange("", m)
		}
		for _, id := range changed {
			m.Target = id
			if len(changed) <= keyfold.MaxFeedTargets {
				st.addChange(id, m)
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

// stateChangeApplies reports whether the change applies to a key in this state.
func stateChangeApplies(row keyRow, change keyfold.StateChange) bool {
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

// DeleteKey implements keyfold.KeyStore. The usage events and hourly counts of the
// key stay.
func (s *Store) DeleteKey(ctx context.Context, id string, m keyfold.Mutation) error {
	return s.write(ctx, func(st *state) error {
		if _, ok := st.keys.get(id); !ok {
			return keyfold.ErrNotFound
		}
		st.keys.delete(id)
		st.totals.delete(id)
		st.recordMutation(m.Target, m)
		return nil
	})
}

// RehashKey implements keyfold.KeyStore.
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

// Keys implements keyfold.KeyStore.
func (s *Store) Keys(ctx context.Context, scan keyfold.KeyScan) (page []keyfold.KeyRecord, err error) {
	err = s.read(ctx, func(st *state) error {
		for _, row := range st.keys.all() {
			if inScan(row.record, scan) {
				page = append(page, row.record)
			}
		}
		slices.SortFunc(page, func(a, b keyfold.KeyRecord) int {
			return comparePositions(scan.Index, positionOf(scan.Index, a), positionOf(scan.Index, b))
		})
		page = page[:min(len(page), scan.Limit)]
		for i, record := range page {
			row, _ := st.keys.get(record.ID)
			page[i] = st.keyRecord(row)
		}
		return nil
	})
	return page, err
}

// inScan reports whether the scan includes the key, on this page or a later one.
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
	return after == keyfold.Position{} || comparePositions(scan.Index, positionOf(scan.Index, key), after) > 0
}

// positionOf returns the position of a key in a scan. The pages of a scan neither
// skip nor repeat keys, because CreatedAt and ID never change.
func positionOf(index keyfold.KeyIndex, key keyfold.KeyRecord) keyfold.Position {
	if index == keyfold.KeysExpiring {
		return keyfold.Position{At: key.ExpiresAt, ID: key.ID}
	}
	return keyfold.Position{At: key.CreatedAt, ID: key.ID}
}

// comparePositions orders positions: earliest first for KeysExpiring, and newest first
// for every other index. IDs are compared byte by byte.
func comparePositions(index keyfold.KeyIndex, a, b keyfold.Position) int {
	order := cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID))
	if index == keyfold.KeysExpiring {
		return order
	}
	return -order
}

func revoked(row keyRow) bool  { return !row.record.RevokedAt.IsZero() }
func disabled(row keyRow) bool { return !row.record.DisabledAt.IsZero() }

// expired reports whether the key has expired. A key expires exactly at ExpiresAt.
func expired(row keyRow, at time.Time) bool {
	return !row.record.ExpiresAt.IsZero() && !milli(at).Before(row.record.ExpiresAt)
}

// ownerExists reports whether a key may have this UserID: it must be empty or the ID
// of a user.
func (s *state) ownerExists(userID string) bool {
	_, exists := s.users.get(userID)
	return exists || userID == ""
}

// userDisabled reports whether the user of a key is disabled or does not exist. It is
// false for a key without a user.
func (s *state) userDisabled(userID string) bool {
	if userID == "" {
		return false
	}
	user, exists := s.users.get(userID)
	return !exists || !user.DisabledAt.IsZero()
}

// changeKey stores a key that was changed at the time at.
func (s *state) changeKey(record keyfold.KeyRecord, at time.Time) {
	record.UpdatedAt = milli(at)
	record.Version++
	s.putKey(record)
}

// putKey stores both forms of the key, without its totals and the state of its user.
func (s *state) putKey(record keyfold.KeyRecord) {
	record.Uses, record.LastUsedAt, record.UserDisabled = 0, time.Time{}, false
	s.keys.put(record.ID, keyRow{record: record, verify: verifyRecord(record)})
}

// keyRecord returns a copy of the key with its totals and the state of its user.
func (s *state) keyRecord(row keyRow) keyfold.KeyRecord {
	key := clone(row.record)
	sum, _ := s.totals.get(key.ID)
	key.Uses, key.LastUsedAt = sum.uses, sum.lastUsedAt
	key.UserDisabled = s.userDisabled(key.UserID)
	return key
}

// verifyRecord returns the form of a key that VerifyKey reads.
func verifyRecord(key keyfold.KeyRecord) keyfold.VerifyRecord {
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

// clone returns a deep copy with the precision that databases keep. Callers may change
// the slices and maps that they pass in or get back.
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
