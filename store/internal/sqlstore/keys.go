package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/cidr"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/column"
)

// recordMutation adds the feed entry and the audit entry of a mutation.
func recordMutation(ctx context.Context, q Querier, target string, m keyfold.Mutation) error {
	if err := addChange(ctx, q, target, m); err != nil {
		return err
	}
	return addAudit(ctx, q, m)
}

// addChange adds one entry to the feed.
func addChange(ctx context.Context, q Querier, target string, m keyfold.Mutation) error {
	return q.AddChange(ctx, m.At.UnixMilli(), m.Action, target)
}

// addAudit adds one entry to the audit log.
func addAudit(ctx context.Context, q Querier, m keyfold.Mutation) error {
	return q.AddAudit(ctx, m.At.UnixMilli(), column.Clean(m.Actor, 512), column.FormatIP(m.IP), m.Action, m.Target,
		m.Before, m.After, column.Clean(m.RequestID, 256))
}

// CreateKey implements keyfold.KeyStore.
func (s *Store) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	return s.write(ctx, "create key", writeDeadline, func(ctx context.Context, session *Session) error {
		if err := holdUser(ctx, session.Querier, key.UserID); err != nil {
			return err
		}
		if err := addKey(ctx, session.Querier, &key); err != nil {
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
		if err != nil {
			return err
		}
		record, err = keyRecord(&row)
		return err
	})
	return record, err
}

// VerifyKey implements keyfold.KeyStore.
func (s *Store) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	var record keyfold.VerifyRecord
	err := s.read(ctx, "verify key", func(session *Session) error {
		row, err := s.verifyRow(ctx, session, id)
		if err != nil {
			return err
		}
		record, err = verifyRecord(&row)
		return err
	})
	return record, err
}

// Keys implements keyfold.KeyStore.
func (s *Store) Keys(ctx context.Context, scan keyfold.KeyScan) ([]keyfold.KeyRecord, error) {
	var records []keyfold.KeyRecord
	err := s.read(ctx, "list keys", func(session *Session) error {
		rows, err := keyRows(ctx, session.Querier, scan)
		if err != nil {
			return err
		}
		records, err = keyRecords(rows)
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
	return nil, fmt.Errorf("unknown index %d", scan.Index)
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
		if err != nil {
			return err
		}
		if n == 0 {
			return refusal(ctx, session.Querier, key.ID, func(*model.KeyRow) bool { return false })
		}
		return recordMutation(ctx, session.Querier, key.ID, m)
	})
}

// refusal returns the reason why a conditional update changed no row: ErrNotFound if
// the key does not exist, ErrConflict if it is revoked or forbidden reports true, and
// ErrStale otherwise.
func refusal(ctx context.Context, q Querier, id string, forbidden func(*model.KeyRow) bool) error {
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
		if err != nil {
			return err
		}
		if n == 0 {
			return refusal(ctx, session.Querier, id, func(row *model.KeyRow) bool { return row.RotatedTo != "" })
		}
		return recordMutation(ctx, session.Querier, id, m)
	})
}

// RotateKey implements keyfold.KeyStore. It locks the user before the key, as
// DeleteUser does, so that the two cannot deadlock.
func (s *Store) RotateKey(ctx context.Context, r keyfold.Rotation, m keyfold.Mutation) error {
	return s.write(ctx, "rotate key", writeDeadline, func(ctx context.Context, session *Session) error {
		q := session.Querier
		holdErr := holdUser(ctx, q, r.New.UserID)
		if holdErr != nil && !errors.Is(holdErr, keyfold.ErrNotFound) {
			return holdErr
		}
		if err := endKey(ctx, q, r, m.At.UnixMilli()); err != nil {
			return err
		}
		if holdErr != nil {
			return keyfold.ErrConflict // the user does not exist
		}
		if err := addKey(ctx, q, &r.New); err != nil {
			return err
		}
		if err := addChange(ctx, q, r.New.ID, m); err != nil {
			return err
		}
		return recordMutation(ctx, q, r.OldID, m)
	})
}

// endKey revokes the old key of a rotation, or sets the time when it expires.
func endKey(ctx context.Context, q Querier, r keyfold.Rotation, at int64) (err error) {
	var n int64
	if r.OldEnd.IsZero() {
		n, err = q.RevokeRotated(ctx, &at, keyfold.RotatedReason, r.New.ID, at, r.OldID, r.OldVersion, &at)
	} else {
		n, err = q.EndKey(ctx, column.Optional(r.OldEnd), r.New.ID, at, r.OldID, r.OldVersion, &at)
	}
	if err != nil || n > 0 {
		return err
	}
	return refusal(ctx, q, r.OldID, func(row *model.KeyRow) bool {
		return row.DisabledAt != nil || row.RotatedTo != "" || row.ExpiresAt != nil && *row.ExpiresAt <= at
	})
}

// SetKeyState implements keyfold.KeyStore. It locks rows in the order of their IDs, so
// that concurrent calls cannot deadlock.
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
		audited := m
		for _, audited.Target = range changed {
			if err := addAudit(ctx, q, audited); err != nil {
				return err
			}
		}
		return addChanges(ctx, q, changed, m)
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

// addChanges adds one feed entry for each ID, or a single entry without a target if
// there are too many.
func addChanges(ctx context.Context, q Querier, ids []string, m keyfold.Mutation) error {
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

// inOrder returns the elements of sorted in the order of ids.
func inOrder(ids, sorted []string) []string {
	remaining := make(map[string]struct{}, len(sorted))
	for _, id := range sorted {
		remaining[id] = struct{}{}
	}
	ordered := make([]string, 0, len(sorted))
	for _, id := range ids {
		if _, ok := remaining[id]; ok {
			delete(remaining, id)
			ordered = append(ordered, id)
		}
	}
	return ordered
}

// DeleteKey implements keyfold.KeyStore. It deletes the totals last, because a batch of
// usage locks them until it is committed.
func (s *Store) DeleteKey(ctx context.Context, id string, m keyfold.Mutation) error {
	return s.write(ctx, "delete key", writeDeadline, func(ctx context.Context, session *Session) error {
		if err := mustChange(session.Querier.DeleteKey(ctx, id)); err != nil {
			return err
		}
		if err := session.Querier.DeleteTotal(ctx, id); err != nil {
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
