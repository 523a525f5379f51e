package keyfold

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/keyfold/keyfold/internal/wire"
)

// staleTries is the number of attempts of a change for which the caller gave no version.
// An attempt fails if another change comes in between.
const staleTries = 16

// onLatest calls fn with the current key. It calls fn again with the newer key if the
// key changed in the meantime.
func (s *Service) onLatest(ctx context.Context, id string, fn func(KeyRecord) error) error {
	for try := 1; ; try++ {
		record, err := s.key(ctx, id)
		if err != nil {
			return err
		}
		err = storeError(ctx, fn(record))
		if !errors.Is(err, ErrStale) || try == staleTries {
			return err
		}
	}
}

// RenewOptions sets the new expiry time of a key. The zero value means Options.KeyTTL
// from now.
type RenewOptions struct {
	// TTL is the time from now until the key expires. Zero means Options.KeyTTL; with
	// [Never] the key does not expire.
	TTL time.Duration
	// ExpiresAt is an exact expiry time, to use instead of TTL, from 1970 to 9999. It may
	// be earlier than the old one. A time in the past ends the key.
	ExpiresAt time.Time
}

// RenewKey gives a key more time and restarts its idle timeout. A TTL never
// shortens the life of the key; an exact expiry time can. An expired key becomes
// active again, a disabled key stays disabled, and a revoked key cannot be
// renewed. Errors: [InvalidError], [ErrNotFound], [ErrConflict] if the key is
// revoked or has been rotated, [ErrUnavailable].
func (s *Service) RenewKey(ctx context.Context, id string, o RenewOptions) (Key, error) {
	now := s.now()
	expires, err := deadline(now, o.TTL, o.ExpiresAt, s.opts.KeyTTL)
	if err != nil {
		return Key{}, err
	}
	var renewed Key
	err = s.onLatest(ctx, id, func(record KeyRecord) error {
		if err := record.checkRenew(); err != nil {
			return err
		}
		before := keyFields(&record.Key)
		if !o.ExpiresAt.IsZero() || later(expires, record.ExpiresAt) {
			record.ExpiresAt = expires
		}
		record.UpdatedAt = now
		m := newMutation(ctx, now, "key.renew", id, before, keyFields(&record.Key))
		err := s.store.RenewKey(ctx, id, record.Version, record.ExpiresAt, m)
		s.changed(id)
		if err != nil {
			return err
		}
		record.Version++
		renewed = record.Key
		return nil
	})
	return renewed, err
}

// replaced reports whether the key has a successor and was not revoked for another
// reason.
func (k *Key) replaced() bool {
	return k.RotatedTo != "" && (k.RevokedAt.IsZero() || k.RevokedReason == RotatedReason)
}

// checkRenew returns an [ErrConflict] if the key cannot be renewed.
func (k *Key) checkRenew() error {
	switch {
	case !k.RevokedAt.IsZero() && !k.replaced():
		return conflict("revoked_at", "key %s is revoked", k.ID)
	case k.RotatedTo != "":
		return conflict("rotated_to", "key %s was rotated; renew %s instead", k.ID, k.RotatedTo)
	}
	return nil
}

// later reports whether expiry time a is after b. The zero time means never.
func later(a, b time.Time) bool { return !b.IsZero() && (a.IsZero() || a.After(b)) }

// RotateOptions sets the overlap of a rotation and the expiry time of the new key. The
// zero value means an overlap of 24 hours and the expiry time of the old key.
type RotateOptions struct {
	// Overlap is how long the old key continues to work next to the new one, at most
	// Options.MaxOverlap. Zero = 24 hours. With [NoOverlap] the old key is revoked in
	// the same step, with the reason [RotatedReason].
	Overlap time.Duration
	// TTL and ExpiresAt set the expiry time of the new key. At most one may be set, and
	// ExpiresAt must be in the future. By default, the new key expires with the old one.
	TTL       time.Duration
	ExpiresAt time.Time
}

// NoOverlap is the overlap of a rotation that revokes the old key at once. With any other
// overlap, the old key expires, which happens later on a machine whose clock is slow.
const NoOverlap = time.Duration(-1)

// RotateKey replaces a key with a new one. The new key has a new id and secret and
// inherits everything else. The old key keeps working for the overlap, but never
// longer than its own expiry time; with [NoOverlap] it is revoked in the same
// step. A key whose user is disabled can be rotated, but the new key is refused as
// well. Errors: [InvalidError], [ErrNotFound], [ErrConflict] if the key is
// revoked, disabled, expired or already rotated, [ErrUnavailable].
func (s *Service) RotateKey(ctx context.Context, id string, o RotateOptions) (Key, Token, error) {
	now := s.now()
	overlap, err := s.overlap(o.Overlap)
	if err != nil {
		return Key{}, Token{}, err
	}
	expires, err := newDeadline(now, o.TTL, o.ExpiresAt, Never)
	if err != nil {
		return Key{}, Token{}, err
	}
	var successor KeyRecord
	var token Token
	err = s.onLatest(ctx, id, func(old KeyRecord) error {
		if err := old.checkRotate(now); err != nil {
			return err
		}
		inherited := old.Key
		if o.TTL != 0 || !o.ExpiresAt.IsZero() {
			inherited.ExpiresAt = expires
		}
		inherited.RotatedFrom, inherited.Uses, inherited.LastUsedAt = id, 0, time.Time{}
		successor, token = s.issue(inherited, now)

		before, after := keyFields(&old.Key), fieldsOf{}
		var end time.Time
		if overlap == 0 {
			before["revoked_at"] = nil
			after["revoked_at"], after["revoked_reason"] = now, RotatedReason
		} else {
			if end = now.Add(overlap); later(end, old.ExpiresAt) {
				end = old.ExpiresAt
			}
			old.ExpiresAt = end
		}
		old.RotatedTo, old.UpdatedAt = successor.ID, now
		maps.Copy(after, keyFields(&old.Key))
		m := newMutation(ctx, now, "key.rotate", id, before, after)
		err := s.store.RotateKey(ctx, Rotation{OldID: id, OldVersion: old.Version, OldEnd: end, New: successor}, m)
		s.changed(id)
		return err
	})
	if err != nil {
		return Key{}, Token{}, err
	}
	return successor.Key, token, nil
}

// checkRotate returns an [ErrConflict] if the key cannot be rotated at that time. A key
// can be rotated while its user is disabled, as a key can be created then.
func (k *Key) checkRotate(at time.Time) error {
	own := *k
	own.UserDisabled = false
	switch state := own.State(at); {
	case k.replaced():
		return conflict("rotated_to", "key %s was rotated to %s", k.ID, k.RotatedTo)
	case state != KeyActive:
		return conflict(state.field(), "key %s is %s", k.ID, state)
	}
	return nil
}

// field returns the JSON name of the field that causes the state.
func (s KeyState) field() string {
	switch s {
	case KeyRevoked:
		return "revoked_at"
	case KeyDisabled:
		return "disabled_at"
	}
	return "expires_at"
}

func (s *Service) overlap(wanted time.Duration) (time.Duration, error) {
	if wanted == NoOverlap {
		return 0, nil
	}
	if wanted == 0 {
		return min(defaultOverlap, s.opts.MaxOverlap), nil
	}
	if wanted < time.Millisecond || wanted > s.opts.MaxOverlap {
		return 0, invalid("overlap", "must be between 1 ms and "+daysText(s.opts.MaxOverlap)+", or none")
	}
	return wanted, nil
}

// daysText formats a duration as adapters read it: "7d" for whole days, otherwise the
// form of [time.Duration.String].
func daysText(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// RevokeKey revokes a key permanently. Revoking a key twice has no effect; the
// first reason is kept. Errors: [InvalidError], [ErrNotFound], [ErrUnavailable].
func (s *Service) RevokeKey(ctx context.Context, id, reason string) error {
	return s.setState(ctx, id, RevokeChange, reason)
}

// DisableKey disables a key until [Service.EnableKey]. Disabling a key twice has
// no effect. Errors: [InvalidError], [ErrNotFound], [ErrConflict] if the key is
// revoked, [ErrUnavailable].
func (s *Service) DisableKey(ctx context.Context, id, reason string) error {
	return s.setState(ctx, id, DisableChange, reason)
}

// EnableKey enables a disabled key and restarts its idle timeout. It has no effect
// on a key that is enabled. Errors: [InvalidError], [ErrNotFound], [ErrConflict]
// if the key is revoked, [ErrUnavailable].
func (s *Service) EnableKey(ctx context.Context, id string) error {
	return s.setState(ctx, id, EnableChange, "")
}

func (s *Service) setState(ctx context.Context, id string, change StateChange, reason string) error {
	if err := checkID(id); err != nil {
		return err
	}
	if err := checkReason(reason); err != nil {
		return err
	}
	changed, err := s.store.SetKeyState(ctx, []string{id}, change, reason, s.stateMutation(ctx, change, reason))
	s.changed(id)
	if err != nil || len(changed) == 1 {
		return storeError(ctx, err)
	}
	key, err := s.Key(ctx, id)
	if err != nil {
		return err
	}
	if change == RevokeChange {
		return nil
	}
	return key.checkEdit()
}

func (s *Service) stateMutation(ctx context.Context, change StateChange, reason string) Mutation {
	now := s.now()
	type fields = map[string]any
	switch change {
	case RevokeChange:
		return newMutation(ctx, now, "key.revoke", "", fields{"revoked_at": nil}, fields{"revoked_at": now, "revoked_reason": wire.Text(reason)})
	case DisableChange:
		return newMutation(ctx, now, "key.disable", "", fields{"disabled_at": nil}, fields{"disabled_at": now, "disabled_reason": wire.Text(reason)})
	default:
		return newMutation(ctx, now, "key.enable", "", fields{"state": KeyDisabled}, fields{"disabled_at": nil, "disabled_reason": nil})
	}
}

// DeleteKey deletes a key and its totals. Its usage events stay until they are
// pruned. Errors: [InvalidError], [ErrNotFound], [ErrUnavailable].
func (s *Service) DeleteKey(ctx context.Context, id string) error {
	record, err := s.key(ctx, id)
	if err != nil {
		return err
	}
	m := newMutation(ctx, s.now(), "key.delete", id, keyFields(&record.Key), nil)
	err = s.store.DeleteKey(ctx, id, m)
	s.changed(id)
	return storeError(ctx, err)
}

// KeyFilter selects keys for a bulk change. A key must match every field that is set.
// At least one field must be set.
type KeyFilter struct {
	// IDs are at most 1000 key ids; nil for any. A list that is empty but not nil is
	// refused with an InvalidError, so that it never matches every key of an owner.
	IDs     []string
	OwnerID Filter
	UserID  Filter
	Tenant  Filter
}

const (
	maxBulkIDs = 1000
	bulkStep   = 200 // keys per transaction, so that it stays short even on a slow server
)

// RevokeKeys revokes all keys that match the filter when the call begins, and
// returns how many it revoked. It works in batches: after an error, finished
// batches stay revoked, and the call can be repeated. Errors: [InvalidError],
// [ErrUnavailable].
func (s *Service) RevokeKeys(ctx context.Context, filter KeyFilter, reason string) (int, error) {
	return s.setStates(ctx, filter, RevokeChange, reason)
}

// DisableKeys disables all keys that match the filter, and returns how many it
// disabled. It works in batches and returns the same errors as [Service.RevokeKeys].
func (s *Service) DisableKeys(ctx context.Context, filter KeyFilter, reason string) (int, error) {
	return s.setStates(ctx, filter, DisableChange, reason)
}

func (s *Service) setStates(ctx context.Context, filter KeyFilter, change StateChange, reason string) (int, error) {
	if err := filter.check(); err != nil {
		return 0, err
	}
	if err := checkReason(reason); err != nil {
		return 0, err
	}
	m := s.stateMutation(ctx, change, reason)
	total := 0
	for ids, err := range s.matching(ctx, filter) {
		if err != nil {
			return total, err
		}
		changed, err := s.store.SetKeyState(ctx, ids, change, reason, m)
		s.changed(ids...)
		if err != nil {
			return total, storeError(ctx, err)
		}
		total += len(changed)
	}
	return total, nil
}

func (f *KeyFilter) conditions() *keyConditions {
	return &keyConditions{owner: f.OwnerID, user: f.UserID, tenant: f.Tenant}
}

func (f *KeyFilter) check() error {
	if f.IDs != nil && len(f.IDs) == 0 {
		return invalid("ids", "must not be empty; omit it to match every value")
	}
	if f.IDs == nil && f.conditions().areNone() {
		return invalid("filter", "must contain at least one of ids, owner_id, user_id and tenant")
	}
	if len(f.IDs) > maxBulkIDs {
		return invalid("ids", fmt.Sprintf("must contain at most %d ids", maxBulkIDs))
	}
	for i, id := range f.IDs {
		if checkID(id) != nil {
			return invalid(fmt.Sprintf("ids[%d]", i), idRule)
		}
	}
	return f.conditions().check()
}

func (f *KeyFilter) matches(k *Key) bool {
	return (f.IDs == nil || slices.Contains(f.IDs, k.ID)) && f.conditions().admits(k)
}

// matching yields the ids of the keys that match, at most bulkStep at a time.
func (s *Service) matching(ctx context.Context, filter KeyFilter) func(yield func([]string, error) bool) {
	return func(yield func([]string, error) bool) {
		if filter.conditions().areNone() {
			for ids := range slices.Chunk(filter.IDs, bulkStep) {
				if !yield(ids, nil) {
					return
				}
			}
			return
		}
		scan := filter.conditions().scan()
		scan.Limit = bulkStep
		for {
			records, err := s.store.Keys(ctx, scan)
			if err != nil {
				yield(nil, storeError(ctx, err))
				return
			}
			var ids []string
			for i := range records {
				if filter.matches(&records[i].Key) {
					ids = append(ids, records[i].ID)
				}
			}
			if len(ids) > 0 && !yield(ids, nil) || len(records) < scan.Limit {
				return
			}
			last := &records[len(records)-1]
			scan.After = Position{At: last.CreatedAt, ID: last.ID}
		}
	}
}

// DisableUser disables a user until [Service.EnableUser]. Log-ins and all keys of
// the user are refused: in this process at once, in others as soon as after a
// revocation. Disabling a user twice has no effect. Errors: [InvalidError],
// [ErrNotFound], [ErrUnavailable].
func (s *Service) DisableUser(ctx context.Context, id, reason string) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	now := s.now()
	return s.setUserState(ctx, id, DisableChange, reason, newMutation(ctx, now, actionUserDisable, id,
		fieldsOf{"disabled_at": nil}, fieldsOf{"disabled_at": now, "disabled_reason": wire.Text(reason)}))
}

// EnableUser enables a disabled user and thereby the user's keys. It has no effect
// on a user who is enabled. Errors: [InvalidError], [ErrNotFound],
// [ErrUnavailable].
func (s *Service) EnableUser(ctx context.Context, id string) error {
	return s.setUserState(ctx, id, EnableChange, "", newMutation(ctx, s.now(), actionUserEnable, id,
		fieldsOf{"state": UserDisabled}, fieldsOf{"disabled_at": nil, "disabled_reason": nil}))
}

func (s *Service) setUserState(ctx context.Context, id string, change StateChange, reason string, m Mutation) error {
	if err := checkID(id); err != nil {
		return err
	}
	_, err := s.store.SetUserState(ctx, id, change, reason, m)
	s.changedUser(id)
	return storeError(ctx, err)
}

// DeleteUser deletes a user and, in the same step, all keys of the user. Errors:
// [InvalidError], [ErrNotFound], [ErrUnavailable].
func (s *Service) DeleteUser(ctx context.Context, id string) error {
	record, err := s.user(ctx, id)
	if err != nil {
		return err
	}
	err = s.store.DeleteUser(ctx, id, newMutation(ctx, s.now(), actionUserDelete, id, userFields(&record.User), nil))
	s.changedUser(id)
	return storeError(ctx, err)
}
