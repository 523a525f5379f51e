package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/cidr"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/column"
)

// recordMutation writes the change row and the audit row of a mutation.
func recordMutation(ctx context.Context, q Querier, target string, m keyfold.Mutation) error {
	if err := addChange(ctx, q, target, m); err != nil {
		return err
	}
	return addAudit(ctx, q, m)
}

// addChange writes the change row of a mutation.
func addChange(ctx context.Context, q Querier, target string, m keyfold.Mutation) error {
	return q.AddChange(ctx, m.At.UnixMilli(), m.Action, target)
}

// addAudit writes the audit row of a mutation.
func addAudit(ctx context.Context, q Querier, m keyfold.Mutation) error {
	return q.AddAudit(ctx, m.At.UnixMilli(), column.Clean(m.Actor, 512), column.FormatIP(m.IP), m.Action, m.Target,
		m.Before, m.After, column.Clean(m.RequestID, 256))
}

// CreateKey implements keyfold.KeyStore.
func (s *Store) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	return s.write(ctx, "create key", writeDeadline, func(ctx context.Context, session *Session) error {
		err := holdUser(ctx, session.Querier, key.UserID)
		if err == nil {
			err = addKey(ctx, session.Querier, &key)
		}
		if err != nil {
			return err
		}
		return recordMutation(ctx, session.Querier, key.ID, m)
	})
}

func addKey(ctx context.Context, q Querier, key *keyfold.KeyRecord) error {
	metadata, err := column.EncodeMetadata(key.Metadata)
	if err != nil {
		return err
	}
	err = q.AddKey(ctx, key.ID, key.Secret.Alg, key.Secret.PepperID, key.Secret.Sum[:], key.Hint, key.Prefix,
		key.Environment, key.Name, key.Notes, key.OwnerID, key.Tenant, strings.Join(key.Scopes, " "),
		cidr.Join(key.Networks), metadata, key.CreatedAt.UnixMilli(), key.UpdatedAt.UnixMilli(),
		column.Optional(key.ExpiresAt), key.IdleTimeout.Milliseconds(), key.ActiveAt.UnixMilli(), column.Optional(key.DisabledAt),
		key.DisabledReason, column.Optional(key.RevokedAt), key.RevokedReason, key.LineageID, key.RotatedFrom, key.RotatedTo,
		key.Version, key.UserID)
	if err != nil {
		return err
	}
	return q.AddTotal(ctx, key.ID)
}

// Key implements keyfold.KeyStore.
func (s *Store) Key(ctx context.Context, id string) (keyfold.KeyRecord, error) {
	var record keyfold.KeyRecord
	err := s.read(ctx, "read key", func(session *Session) error {
		row, err := session.Querier.KeyRow(ctx, id)
		if err == nil {
			record, err = keyRecord(&row)
		}
		return err
	})
	return record, err
}

// VerifyKey implements keyfold.KeyStore.
func (s *Store) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	var record keyfold.VerifyRecord
	err := s.read(ctx, "verify key", func(session *Session) error {
		row, err := s.verifyRow(ctx, session, id)
		if err == nil {
			record, err = verifyRecord(&row)
		}
		return err
	})
	return record, err
}

// Keys implements keyfold.KeyStore.
func (s *Store) Keys(ctx context.Context, scan keyfold.KeyScan) ([]keyfold.KeyRecord, error) {
	var records []keyfold.KeyRecord
	err := s.read(ctx, "list keys", func(session *Session) error {
		rows, err := keyRows(ctx, session.Querier, scan)
		if err == nil {
			records, err = keyRecords(rows)
		}
		return err
	})
	return records, err
}

func keyRows(ctx context.Context, q Querier, scan keyfold.KeyScan) ([]model.KeyRow, error) {
	first := scan.After == keyfold.Position{}
	before, limit := int64(math.MaxInt64), int64(scan.Limit)
	if !first {
		before = scan.After.At.UnixMilli()
	}
	switch scan.Index {
	case keyfold.KeysAll:
		return q.KeysAll(ctx, before, before, scan.After.ID, limit)
	case keyfold.KeysByOwner:
		return q.KeysByOwner(ctx, scan.Value, before, before, scan.After.ID, limit)
	case keyfold.KeysByTenant:
		return q.KeysByTenant(ctx, scan.Value, before, before, scan.After.ID, limit)
	case keyfold.KeysByUser:
		return q.KeysByUser(ctx, scan.Value, before, before, scan.After.ID, limit)
	case keyfold.KeysExpiring:
		from, to, after := scan.From.UnixMilli(), scan.To.UnixMilli(), int64(math.MinInt64)
		if !first {
			after = scan.After.At.UnixMilli()
			from = max(from, after)
		}
		return q.KeysExpiring(ctx, &from, &to, &after, scan.After.ID, limit)
	}
	return nil, errors.New("unknown index")
}

// UpdateKey implements keyfold.KeyStore.
func (s *Store) UpdateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	return s.write(ctx, "update key", writeDeadline, func(ctx context.Context, session *Session) error {
		metadata, err := column.EncodeMetadata(key.Metadata)
		if err != nil {
			return err
		}
		n, err := session.Querier.UpdateKey(ctx, key.Name, key.Notes, key.OwnerID, key.Tenant,
			strings.Join(key.Scopes, " "), cidr.Join(key.Networks), metadata, key.IdleTimeout.Milliseconds(),
			key.UpdatedAt.UnixMilli(), key.ID, key.Version)
		if err == nil && n == 0 {
			err = refused(ctx, session.Querier, key.ID, func(*model.KeyRow) bool { return false })
		}
		if err != nil {
			return err
		}
		return recordMutation(ctx, session.Querier, key.ID, m)
	})
}

// refused says why a guarded update changed no row: the key is gone, its state
// forbids the change, or its version is another.
func refused(ctx context.Context, q Querier, id string, forbidden func(*model.KeyRow) bool) error {
	row, err := q.KeyRow(ctx, id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return keyfold.ErrNotFound
	case err != nil:
		return err
	case row.RevokedAt != nil || forbidden(&row):
		return keyfold.ErrConflict
	}
	return keyfold.ErrStale
}

// RenewKey implements keyfold.KeyStore.
func (s *Store) RenewKey(ctx context.Context, id string, version int64, expiresAt time.Time, m keyfold.Mutation) error {
	return s.write(ctx, "renew key", writeDeadline, func(ctx context.Context, session *Session) error {
		at := m.At.UnixMilli()
		n, err := session.Querier.RenewKey(ctx, column.Optional(expiresAt), at, at, id, version)
		if err == nil && n == 0 {
			err = refused(ctx, session.Querier, id, func(row *model.KeyRow) bool { return row.RotatedTo != "" })
		}
		if err != nil {
			return err
		}
		return recordMutation(ctx, session.Querier, id, m)
	})
}

// RotateKey implements keyfold.KeyStore. Its user is held before the key is
// changed, in the order in which DeleteUser takes them.
func (s *Store) RotateKey(ctx context.Context, r keyfold.Rotation, m keyfold.Mutation) error {
	return s.write(ctx, "rotate key", writeDeadline, func(ctx context.Context, session *Session) error {
		q, at := session.Querier, m.At.UnixMilli()
		userGone := false
		switch err := holdUser(ctx, q, r.New.UserID); {
		case errors.Is(err, keyfold.ErrNotFound):
			userGone = true // and if the key is gone with it, that comes first
		case err != nil:
			return err
		}
		var n int64
		var err error
		if r.OldEnd.IsZero() {
			n, err = q.RevokeRotated(ctx, &at, keyfold.RotatedReason, r.New.ID, at, r.OldID, r.OldVersion, &at)
		} else {
			n, err = q.EndKey(ctx, column.Optional(r.OldEnd), r.New.ID, at, r.OldID, r.OldVersion, &at)
		}
		if err == nil && n == 0 {
			err = refused(ctx, q, r.OldID, func(row *model.KeyRow) bool {
				return row.DisabledAt != nil || row.RotatedTo != "" || row.ExpiresAt != nil && *row.ExpiresAt <= at
			})
		}
		if err == nil && userGone {
			err = keyfold.ErrConflict
		}
		if err == nil {
			err = addKey(ctx, q, &r.New)
		}
		if err == nil {
			err = addChange(ctx, q, r.New.ID, m)
		}
		if err != nil {
			return err
		}
		return recordMutation(ctx, q, r.OldID, m)
	})
}

// SetKeyState implements keyfold.KeyStore. Rows are locked in the order of
// their ids, so that two of these never wait for each other.
func (s *Store) SetKeyState(ctx context.Context, ids []string, change keyfold.StateChange, reason string, m keyfold.Mutation) ([]string, error) {
	var changed []string
	err := s.write(ctx, "set state of keys", writeDeadline, func(ctx context.Context, session *Session) error {
		q := session.Querier
		changed = nil
		sorted := slices.Clone(ids)
		slices.Sort(sorted)
		for _, id := range slices.Compact(sorted) {
			n, err := setState(ctx, q, id, change, reason, m.At.UnixMilli())
			if err != nil {
				return err
			}
			if n > 0 {
				changed = append(changed, id)
			}
		}
		each := m
		for _, id := range changed {
			each.Target = id
			if err := addAudit(ctx, q, each); err != nil {
				return err
			}
		}
		return tellAll(ctx, q, changed, m)
	})
	if err != nil {
		return nil, err
	}
	return inOrder(ids, changed), nil
}

func setState(ctx context.Context, q Querier, id string, change keyfold.StateChange, reason string, at int64) (int64, error) {
	switch change {
	case keyfold.RevokeChange:
		return q.RevokeKey(ctx, &at, reason, at, id)
	case keyfold.DisableChange:
		return q.DisableKey(ctx, &at, reason, at, id)
	case keyfold.EnableChange:
		return q.EnableKey(ctx, at, at, id)
	}
	return 0, errors.New("unknown state change")
}

func tellAll(ctx context.Context, q Querier, ids []string, m keyfold.Mutation) error {
	if len(ids) > keyfold.MaxFeedTargets {
		return addChange(ctx, q, "", m)
	}
	for _, id := range ids {
		if err := addChange(ctx, q, id, m); err != nil {
			return err
		}
	}
	return nil
}

// inOrder returns the elements of sorted in the order in which ids names them.
func inOrder(ids, sorted []string) []string {
	left := make(map[string]struct{}, len(sorted))
	for _, id := range sorted {
		left[id] = struct{}{}
	}
	ordered := make([]string, 0, len(sorted))
	for _, id := range ids {
		if _, ok := left[id]; ok {
			delete(left, id)
			ordered = append(ordered, id)
		}
	}
	return ordered
}

// DeleteKey implements keyfold.KeyStore. The totals go last: a batch of usage
// holds on to them until it is in.
func (s *Store) DeleteKey(ctx context.Context, id string, m keyfold.Mutation) error {
	return s.write(ctx, "delete key", writeDeadline, func(ctx context.Context, session *Session) error {
		n, err := session.Querier.DeleteKey(ctx, id)
		if err == nil && n == 0 {
			err = keyfold.ErrNotFound
		}
		if err == nil {
			err = session.Querier.DeleteTotal(ctx, id)
		}
		if err != nil {
			return err
		}
		return recordMutation(ctx, session.Querier, id, m)
	})
}

// RehashKey implements keyfold.KeyStore.
func (s *Store) RehashKey(ctx context.Context, id string, old, new keyfold.SecretHash) error {
	return s.writeIn(ctx, laneWork, "rehash key", writeDeadline, func(ctx context.Context, session *Session) error {
		return session.Querier.RehashKey(ctx, new.Alg, new.PepperID, new.Sum[:], id, old.Alg, old.PepperID, old.Sum[:])
	})
}
