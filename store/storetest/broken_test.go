package storetest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// Each store in this file breaks one rule. Calls in InTx work correctly, so that the
// defects do not affect the rules about transactions.

// lostUpdate ignores the version that the caller has read.
type lostUpdate struct{ keyfold.Store }

func newLostUpdate() keyfold.Store { return &lostUpdate{memory.New()} }

func (s *lostUpdate) UpdateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	for {
		now, err := s.Key(ctx, key.ID)
		if err != nil {
			return err
		}
		key.Version = now.Version
		if err := s.Store.UpdateKey(ctx, key, m); !errors.Is(err, keyfold.ErrStale) {
			return err
		}
	}
}

// staleRead uses a cache that is never invalidated.
type staleRead struct {
	keyfold.Store
	cache sync.Map
}

func newStaleRead() keyfold.Store { return &staleRead{Store: memory.New()} }

func (s *staleRead) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	if record, ok := s.cache.Load(id); ok {
		return record.(keyfold.VerifyRecord), nil
	}
	record, err := s.Store.VerifyKey(ctx, id)
	if err == nil {
		s.cache.Store(id, record)
	}
	return record, err
}

// fold returns the form of a string that a collation compares, without case and trailing
// spaces.
func fold(text string) string { return strings.ToLower(strings.TrimRight(text, " ")) }

// wrongCollation treats IDs with the same fold as equal.
type wrongCollation struct {
	keyfold.Store
	first sync.Map // from the fold of an id to the id that came first
}

func newWrongCollation() keyfold.Store { return &wrongCollation{Store: memory.New()} }

func (s *wrongCollation) stored(id string) string {
	if first, ok := s.first.Load(fold(id)); ok {
		return first.(string)
	}
	return id
}

func (s *wrongCollation) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	key.ID = s.stored(key.ID)
	err := s.Store.CreateKey(ctx, key, m)
	if err == nil {
		s.first.Store(fold(key.ID), key.ID)
	}
	return err
}

func (s *wrongCollation) Key(ctx context.Context, id string) (keyfold.KeyRecord, error) {
	return s.Store.Key(ctx, s.stored(id))
}

func (s *wrongCollation) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	return s.Store.VerifyKey(ctx, s.stored(id))
}

// ownerCollation lists the keys of all owners with the same fold.
type ownerCollation struct{ keyfold.Store }

func newOwnerCollation() keyfold.Store { return &ownerCollation{memory.New()} }

func (s *ownerCollation) Keys(ctx context.Context, scan keyfold.KeyScan) ([]keyfold.KeyRecord, error) {
	if scan.Index != keyfold.KeysByOwner {
		return s.Store.Keys(ctx, scan)
	}
	all := scan
	all.Index, all.Limit = keyfold.KeysAll, 1<<30
	keys, err := s.Store.Keys(ctx, all)
	keys = slices.DeleteFunc(keys, func(key keyfold.KeyRecord) bool { return fold(key.OwnerID) != fold(scan.Value) })
	return keys[:min(len(keys), scan.Limit)], err
}

// silentCreation commits a key without its change row.
type silentCreation struct {
	keyfold.Store
	actions sync.Map // by the ids of keys that were created
}

func newSilentCreation() keyfold.Store { return &silentCreation{Store: memory.New()} }

func (s *silentCreation) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	err := s.Store.CreateKey(ctx, key, m)
	if err == nil {
		s.actions.Store(key.ID, m.Action)
	}
	return err
}

func (s *silentCreation) Changes(ctx context.Context, cursor string) ([]keyfold.Change, string, error) {
	changes, next, err := s.Store.Changes(ctx, cursor)
	return slices.DeleteFunc(changes, func(change keyfold.Change) bool {
		action, ok := s.actions.Load(change.Target)
		return ok && action == change.Action
	}), next, err
}

// halfRotation ends the old key before it finds that the new ID exists.
type halfRotation struct{ keyfold.Store }

func newHalfRotation() keyfold.Store { return &halfRotation{memory.New()} }

func (s *halfRotation) RotateKey(ctx context.Context, r keyfold.Rotation, m keyfold.Mutation) error {
	if _, err := s.Key(ctx, r.New.ID); err == nil {
		taken := r
		taken.New.ID += "'"
		if err := s.Store.RotateKey(ctx, taken, m); err != nil {
			return err
		}
		if err := s.DeleteKey(ctx, taken.New.ID, m); err != nil {
			return err
		}
	}
	return s.Store.RotateKey(ctx, r, m)
}

// deafFeed prunes the newest change row too. It only changes the count, because memory
// keeps the row.
type deafFeed struct{ keyfold.Store }

func newDeafFeed() keyfold.Store { return &deafFeed{memory.New()} }

func (s *deafFeed) PruneChanges(ctx context.Context, before time.Time, limit int) (int, bool, error) {
	newest, err := s.Audit(ctx, keyfold.AuditScan{Limit: 1})
	if err != nil {
		return 0, false, err
	}
	deleted, more, err := s.Store.PruneChanges(ctx, before, limit)
	if deleted < limit && len(newest) == 1 && newest[0].At.Before(before) {
		deleted++
	}
	return deleted, more, err
}

// hastyPruning prunes one step and reports that there is no more to prune.
type hastyPruning struct{ keyfold.Store }

func newHastyPruning() keyfold.Store { return hastyPruning{memory.New()} }

func (s hastyPruning) PruneChanges(ctx context.Context, before time.Time, limit int) (int, bool, error) {
	deleted, _, err := s.Store.PruneChanges(ctx, before, limit)
	return deleted, false, err
}

func (s hastyPruning) PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (int, bool, error) {
	deleted, _, err := s.Store.PruneOneTimeTokens(ctx, at, limit)
	return deleted, false, err
}

func (s hastyPruning) PruneThrottles(ctx context.Context, at time.Time, limit int) (int, bool, error) {
	deleted, _, err := s.Store.PruneThrottles(ctx, at, limit)
	return deleted, false, err
}

// doubleCounting applies a repeated batch again.
type doubleCounting struct {
	keyfold.Store
	mu    sync.Mutex
	extra int64
}

func newDoubleCounting() keyfold.Store { return &doubleCounting{Store: memory.New()} }

func (s *doubleCounting) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	result, err := s.Store.RecordUsage(ctx, batch)
	if err != nil || !result.Duplicate {
		return result, err
	}
	s.mu.Lock()
	s.extra--
	batch.Number = s.extra
	s.mu.Unlock()
	_, err = s.Store.RecordUsage(ctx, batch)
	return result, err
}

// undoneRevocation lets an update overwrite a revocation, like a store that checks the
// state before an update and then writes the whole row.
type undoneRevocation struct{ keyfold.Store }

func newUndoneRevocation() keyfold.Store { return &undoneRevocation{memory.New()} }

func (s *undoneRevocation) UpdateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	err := s.Store.UpdateKey(ctx, key, m)
	if !errors.Is(err, keyfold.ErrConflict) {
		return err
	}
	if err := s.DeleteKey(ctx, key.ID, m); err != nil {
		return err
	}
	key.RevokedAt = time.Time{}
	return s.CreateKey(ctx, key, m)
}

// leakyFeed loses the changes of transactions that ran at the same time, like a
// feed that takes the highest number for its end. It keeps every transaction
// open for a moment and remembers the overlap until the next poll: whether a
// poll happens to run during one must not decide whether the defect shows.
type leakyFeed struct {
	keyfold.Store
	open       atomic.Int32
	overlapped atomic.Bool
}

func newLeakyFeed() keyfold.Store { return &leakyFeed{Store: memory.New()} }

func (s *leakyFeed) InTx(ctx context.Context, fn func(keyfold.Store) error) error {
	defer s.open.Add(-1)
	if s.open.Add(1) > 1 {
		s.overlapped.Store(true)
	}
	time.Sleep(time.Millisecond)
	return s.Store.InTx(ctx, fn)
}

func (s *leakyFeed) Changes(ctx context.Context, cursor string) ([]keyfold.Change, string, error) {
	changes, next, err := s.Store.Changes(ctx, cursor)
	if s.overlapped.Swap(false) {
		changes = nil
	}
	return changes, next, err
}

// usedTwice checks a token before the step that uses it, and not in that step.
type usedTwice struct{ keyfold.Store }

func newUsedTwice() keyfold.Store { return &usedTwice{memory.New()} }

func (s *usedTwice) UseOneTimeToken(ctx context.Context, use keyfold.OneTimeTokenUse, m keyfold.Mutation) (keyfold.UserRecord, error) {
	token, looked := s.OneTimeToken(ctx, use.Sum)
	time.Sleep(time.Millisecond) // so that other calls check too
	user, err := s.Store.UseOneTimeToken(ctx, use, m)
	if _, gone := s.OneTimeToken(ctx, use.Sum); looked == nil && errors.Is(err, keyfold.ErrNotFound) && gone != nil {
		return s.User(ctx, token.UserID)
	}
	return user, err
}

// tokenOfDisabled lets a disabled user use a token.
type tokenOfDisabled struct{ keyfold.Store }

func newTokenOfDisabled() keyfold.Store { return &tokenOfDisabled{memory.New()} }

func (s *tokenOfDisabled) UseOneTimeToken(ctx context.Context, use keyfold.OneTimeTokenUse, m keyfold.Mutation) (keyfold.UserRecord, error) {
	if token, err := s.OneTimeToken(ctx, use.Sum); err == nil {
		if user, err := s.User(ctx, token.UserID); err == nil && !user.DisabledAt.IsZero() {
			if _, err := s.SetUserState(ctx, user.ID, keyfold.EnableChange, "", m); err != nil {
				return user, err
			}
		}
	}
	return s.Store.UseOneTimeToken(ctx, use, m)
}

// blindRehash overwrites any hash.
type blindRehash struct{ keyfold.Store }

func newBlindRehash() keyfold.Store { return &blindRehash{memory.New()} }

func (s *blindRehash) RehashPassword(ctx context.Context, id, old, new string) error {
	for range 2 {
		time.Sleep(time.Millisecond) // so that it writes last
		if user, err := s.User(ctx, id); err == nil {
			old = user.PasswordHash
		}
	}
	return s.Store.RehashPassword(ctx, id, old, new)
}

// blindPassword compares the version of the password before the write, and not in it.
type blindPassword struct {
	keyfold.Store
	comparing rendezvous
}

func newBlindPassword() keyfold.Store { return &blindPassword{Store: memory.New()} }

func (s *blindPassword) SetPassword(ctx context.Context, id, hash string, version int64, m keyfold.Mutation) error {
	user, err := s.User(ctx, id)
	switch {
	case err != nil:
		return err
	case version != keyfold.AnyPassword && version != user.PasswordVersion:
		return keyfold.ErrStale
	}
	s.comparing.wait() // so that another call compares too
	return s.Store.SetPassword(ctx, id, hash, keyfold.AnyPassword, m)
}

// anyPassword does not compare the version of the password.
type anyPassword struct{ keyfold.Store }

func newAnyPassword() keyfold.Store { return anyPassword{memory.New()} }

func (s anyPassword) SetPassword(ctx context.Context, id, hash string, _ int64, m keyfold.Mutation) error {
	return s.Store.SetPassword(ctx, id, hash, keyfold.AnyPassword, m)
}

// lostAttempts reads a count and writes the incremented count in separate steps.
type lostAttempts struct {
	keyfold.Store
	racing atomic.Int32
}

func newLostAttempts() keyfold.Store { return &lostAttempts{Store: memory.New()} }

func (s *lostAttempts) ReserveAttempt(ctx context.Context, names []keyfold.ThrottleReservation, at time.Time) (keyfold.Throttle, error) {
	racing := s.racing.Add(1) > 1
	defer s.racing.Add(-1)
	time.Sleep(100 * time.Microsecond) // so that other calls read too
	if racing && len(names) > 0 && names[0].Rule.Burst > 1<<30 {
		return keyfold.Throttle{}, ctx.Err() // the count of another is written over this one
	}
	return s.Store.ReserveAttempt(ctx, names, at)
}

// halfReservation reserves the names one by one.
type halfReservation struct{ keyfold.Store }

func newHalfReservation() keyfold.Store { return &halfReservation{memory.New()} }

func (s *halfReservation) ReserveAttempt(ctx context.Context, names []keyfold.ThrottleReservation, at time.Time) (keyfold.Throttle, error) {
	var latest keyfold.Throttle
	for i := range max(1, len(names)) {
		blocking, err := s.Store.ReserveAttempt(ctx, names[i:min(i+1, len(names))], at)
		if err != nil {
			return latest, err
		}
		if blocking.BlockedUntil.After(latest.BlockedUntil) {
			latest = blocking
		}
	}
	return latest, nil
}

// overwritten replaces a setting that exists.
type overwritten struct{ keyfold.Store }

func newOverwritten() keyfold.Store { return &overwritten{memory.New()} }

func (s *overwritten) AddSetting(ctx context.Context, name, value string) (string, error) {
	return value, s.SetSetting(ctx, name, value, keyfold.Mutation{})
}

// silentUnlock clears throttles without a change row and an audit row.
type silentUnlock struct{ keyfold.Store }

func newSilentUnlock() keyfold.Store { return &silentUnlock{memory.New()} }

func (s *silentUnlock) UnlockUser(ctx context.Context, id string, settlement keyfold.AttemptResult, _ keyfold.Mutation) error {
	if _, err := s.User(ctx, id); err != nil {
		return err
	}
	return s.RecordAttemptResult(ctx, settlement)
}

// forcefulUnlock clears throttles of users who do not exist.
type forcefulUnlock struct{ keyfold.Store }

func newForcefulUnlock() keyfold.Store { return &forcefulUnlock{memory.New()} }

func (s *forcefulUnlock) UnlockUser(ctx context.Context, id string, settlement keyfold.AttemptResult, m keyfold.Mutation) error {
	return errors.Join(s.RecordAttemptResult(ctx, settlement), s.Store.UnlockUser(ctx, id, keyfold.AttemptResult{}, m))
}

// orphans keeps the keys of a deleted user without their user, like a foreign key with
// ON DELETE SET NULL.
type orphans struct{ keyfold.Store }

func newOrphans() keyfold.Store { return &orphans{memory.New()} }

func (s *orphans) DeleteUser(ctx context.Context, id string, m keyfold.Mutation) error {
	keys, err := s.Keys(ctx, keyfold.KeyScan{Index: keyfold.KeysByUser, Value: id, Limit: 1})
	if err != nil {
		return err
	}
	if err := s.Store.DeleteUser(ctx, id, m); err != nil {
		return err
	}
	for _, key := range keys {
		key.UserID = ""
		if err := s.CreateKey(ctx, key, keyfold.Mutation{At: m.At, Action: "left behind"}); err != nil {
			return err
		}
	}
	return nil
}

// usernameCollation treats usernames with the same fold as equal.
type usernameCollation struct {
	keyfold.Store
	first sync.Map // from the fold of a key to the key that came first
}

func newUsernameCollation() keyfold.Store { return &usernameCollation{Store: memory.New()} }

func (s *usernameCollation) CreateUser(ctx context.Context, user keyfold.UserRecord, m keyfold.Mutation) error {
	err := s.Store.CreateUser(ctx, user, m)
	if err == nil {
		s.first.LoadOrStore(fold(user.UsernameKey), user.UsernameKey)
	}
	return err
}

func (s *usernameCollation) UserByUsername(ctx context.Context, key string) (keyfold.UserRecord, error) {
	if first, ok := s.first.Load(fold(key)); ok {
		if user, err := s.Store.UserByUsername(ctx, first.(string)); err == nil {
			return user, nil
		}
	}
	return s.Store.UserByUsername(ctx, key)
}

// staleUser always returns the first state of a key's user from VerifyKey.
type staleUser struct {
	keyfold.Store
	disabled sync.Map // by the ids of users
}

func newStaleUser() keyfold.Store { return &staleUser{Store: memory.New()} }

func (s *staleUser) CreateUser(ctx context.Context, user keyfold.UserRecord, m keyfold.Mutation) error {
	s.disabled.LoadOrStore(user.ID, !user.DisabledAt.IsZero())
	return s.Store.CreateUser(ctx, user, m)
}

func (s *staleUser) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	record, err := s.Store.VerifyKey(ctx, id)
	if disabled, ok := s.disabled.Load(record.UserID); ok && err == nil {
		record.UserDisabled = disabled.(bool)
	}
	return record, err
}

// activeKeys does not report disabled users in lists of keys.
type activeKeys struct{ keyfold.Store }

func newActiveKeys() keyfold.Store { return activeKeys{memory.New()} }

func (s activeKeys) Keys(ctx context.Context, scan keyfold.KeyScan) ([]keyfold.KeyRecord, error) {
	keys, err := s.Store.Keys(ctx, scan)
	for i := range keys {
		keys[i].UserDisabled = false
	}
	return keys, err
}

// staleKey does not report the disabled user of a single key.
type staleKey struct{ keyfold.Store }

func newStaleKey() keyfold.Store { return staleKey{memory.New()} }

func (s staleKey) Key(ctx context.Context, id string) (keyfold.KeyRecord, error) {
	key, err := s.Store.Key(ctx, id)
	key.UserDisabled = false
	return key, err
}

// writtenUserState stores the field UserDisabled of a record.
type writtenUserState struct {
	keyfold.Store
	claimed sync.Map // by the ids of keys
}

func newWrittenUserState() keyfold.Store { return &writtenUserState{Store: memory.New()} }

func (s *writtenUserState) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	s.claimed.Store(key.ID, key.UserDisabled)
	return s.Store.CreateKey(ctx, key, m)
}

func (s *writtenUserState) Key(ctx context.Context, id string) (keyfold.KeyRecord, error) {
	key, err := s.Store.Key(ctx, id)
	if claimed, ok := s.claimed.Load(id); ok && claimed.(bool) {
		key.UserDisabled = true
	}
	return key, err
}

// rendezvous makes a caller wait for another caller, but only for a limited time. A fixed
// pause would be too short on a busy machine to show the defect.
type rendezvous struct{ inside atomic.Int32 }

func (r *rendezvous) wait() {
	r.inside.Add(1)
	defer r.inside.Add(-1)
	for range 50 {
		if r.inside.Load() > 1 {
			time.Sleep(time.Millisecond) // so that the other caller notices
			return
		}
		time.Sleep(time.Millisecond)
	}
}
