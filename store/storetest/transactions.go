package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/keyfold/keyfold"
)

func transactionCases() []testCase {
	return []testCase{
		{name: "a store without transactions returns ErrUnsupported and does not call the function", run: noTransactions},
		{name: "everything is committed if the function returns nil", run: txCommits, tx: true},
		{name: "everything is rolled back if the function fails, and its error is returned", run: txRollsBack, tx: true},
		{name: "everything is rolled back if the function panics, and the panic continues", run: txPanics, tx: true},
		{name: "users, one-time tokens and throttles are rolled back too", run: txRollsUsersBack, tx: true},
		{name: "users, one-time tokens and throttles are visible inside and committed too", run: txCommitsUsers, tx: true},
		{name: "a refused change of a user does not affect the rest of the transaction", run: txSurvivesUserRefusals, tx: true},
		{name: "a transaction reads its own writes", run: txSeesItself, tx: true},
		{name: "other readers see nothing before the commit", run: txIsIsolated, tx: true},
		{name: "a bound store calls the function with itself", run: txNests, tx: true},
		{name: "a conflict does not affect the rest of the transaction", run: txSurvivesConflict, tx: true},
		{name: "a refused change in a transaction leaves nothing behind", run: txRefusals, tx: true},
		{name: "concurrent transactions lose no changes", run: racingTransactions, tx: true},
		{name: "a bound store cannot be used after its transaction", run: txEnds, tx: true},
		{name: "a transaction may only read", run: txReads, tx: true},
	}
}

func noTransactions(t *trial) {
	called := false
	err := t.store.InTx(t.ctx, func(keyfold.Store) error { called = true; return nil })
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("InTx: got error %v, want none, or one that is errors.ErrUnsupported", err)
	}
	if called != (err == nil) {
		t.Errorf("InTx returned %v, and called the function: %t", err, called)
	}
}

func txCommits(t *trial) {
	a, b := t.record(), t.create()
	ma, mb := t.mutation(t.action(), a.ID), t.mutation(t.action(), b.ID)
	batch := t.used(b.ID)
	cursor := t.cursor()
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		if err := tx.CreateKey(t.ctx, a, ma); err != nil {
			return err
		}
		if _, err := tx.SetKeyState(t.ctx, []string{b.ID}, keyfold.RevokeChange, "", mb); err != nil {
			return err
		}
		_, err := tx.RecordUsage(t.ctx, batch)
		return err
	}))
	t.wantEqual("the key created", t.wantKey(a.ID), a)
	if t.wantKey(b.ID).RevokedAt.IsZero() {
		t.Errorf("the key revoked in the transaction is not revoked")
	}
	t.wantUses("after the transaction", b.ID, 1)
	t.wantRows(cursor, mb, b.ID)
	if len(t.audited(ma)) != 1 {
		t.Errorf("the creation in the transaction has %d audit rows, want 1", len(t.audited(ma)))
	}
}

// attempt makes several changes through tx.
func (t *trial) attempt(tx keyfold.Store, created, old keyfold.KeyRecord, m keyfold.Mutation) error {
	if err := tx.CreateKey(t.ctx, created, m); err != nil {
		return err
	}
	if err := tx.RenewKey(t.ctx, old.ID, old.Version, time.Time{}, m); err != nil {
		return err
	}
	_, err := tx.RecordUsage(t.ctx, t.used(old.ID))
	return err
}

// wantRolledBack checks that no change of attempt is left.
func (t *trial) wantRolledBack(cursor string, created, old keyfold.KeyRecord, m keyfold.Mutation) {
	t.Helper()
	t.wantNoKey(created.ID)
	t.wantEqual("the key renewed in the transaction", t.wantKey(old.ID), old)
	t.wantUses("after the transaction", old.ID, 0)
	t.wantNoRows(cursor, m)
}

func txRollsBack(t *trial) {
	created, old := t.record(), t.create()
	m := t.mutation(t.action(), old.ID)
	cursor := t.cursor()
	refused := errors.New("refused")
	err := t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		if err := t.attempt(tx, created, old, m); err != nil {
			return err
		}
		return fmt.Errorf("in the function: %w", refused)
	})
	t.wantError("InTx", err, refused)
	t.wantRolledBack(cursor, created, old, m)
	t.wantNoError("CreateKey after the rollback", t.store.CreateKey(t.ctx, created, t.mutation("key.create", created.ID)))
}

// attemptOnUsers makes every kind of change of users, tokens and throttles through tx, and
// returns the new record of on.user.
func (t *trial) attemptOnUsers(tx keyfold.Store, on subjects, m keyfold.Mutation) (keyfold.UserRecord, error) {
	key := on.fresh
	key.UserID = on.newcomer.ID
	edit := on.user
	edit.UsernameKey += " edited"
	edit.Version += 2
	var changed keyfold.UserRecord
	for _, step := range []func() error{
		func() error { return tx.CreateUser(t.ctx, on.newcomer, m) },
		func() error { return tx.CreateKey(t.ctx, key, m) },
		func() error { _, err := tx.UseOneTimeToken(t.ctx, use(on.token), m); return err },
		func() error { return tx.SetPassword(t.ctx, on.user.ID, "hash", keyfold.AnyPassword, m) },
		func() error { return tx.RehashPassword(t.ctx, on.user.ID, "hash", "rehashed") },
		func() error { return tx.UpdateUser(t.ctx, edit, m) },
		func() (err error) { changed, err = tx.UserByUsername(t.ctx, edit.UsernameKey); return err },
		func() error { return tx.CreateOneTimeToken(t.ctx, on.newToken, m) },
		func() error { return tx.DeleteUser(t.ctx, on.off.ID, m) },
		func() error {
			_, err := tx.SetUserState(t.ctx, on.newcomer.ID, keyfold.DisableChange, "", m)
			return err
		},
		func() error {
			_, err := tx.ReserveAttempt(t.ctx, reservations(lax, on.throttle.Name), m.At)
			return err
		},
		func() error {
			return tx.RecordAttemptResult(t.ctx, keyfold.AttemptResult{Trusted: []string{on.newcomer.ID}, TrustedUntil: m.At})
		},
		func() error {
			return tx.UnlockUser(t.ctx, on.newcomer.ID, keyfold.AttemptResult{Trusted: []string{on.user.ID}, TrustedUntil: m.At}, m)
		},
	} {
		if err := step(); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func txRollsUsersBack(t *trial) {
	on := t.subjects()
	m := t.mutation(t.action(), on.user.ID)
	cursor := t.cursor()
	refused := errors.New("refused")
	err := t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		if _, err := t.attemptOnUsers(tx, on, m); err != nil {
			return err
		}
		return refused
	})
	t.wantError("InTx", err, refused)
	t.wantUnchanged(on)
	t.wantNoName(on.user.UsernameKey+" edited", t.id())
	t.wantNoThrottle(on.newcomer.ID)
	t.wantNoThrottle(on.user.ID)
	t.wantNoRows(cursor, m)
}

func txCommitsUsers(t *trial) {
	on := t.subjects()
	m := t.mutation(t.action(), on.user.ID)
	var changed keyfold.UserRecord
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) (err error) {
		if changed, err = t.attemptOnUsers(tx, on, m); err != nil {
			return err
		}
		record, err := tx.VerifyKey(t.ctx, on.fresh.ID)
		t.wantNoError("VerifyKey inside", err)
		if !record.UserDisabled {
			t.Errorf("VerifyKey inside does not tell that the user was disabled in the transaction")
		}
		row, err := tx.Throttle(t.ctx, on.throttle.Name)
		t.wantNoError("Throttle inside", err)
		if row.Attempts != on.throttle.Attempts+1 {
			t.Errorf("Throttle inside has %d attempts, want %d", row.Attempts, on.throttle.Attempts+1)
		}
		_, err = tx.OneTimeToken(t.ctx, on.newToken.Sum)
		t.wantNoError("OneTime inside", err)
		_, err = tx.User(t.ctx, on.off.ID)
		t.wantError("User inside of one who was deleted", err, keyfold.ErrNotFound)
		return nil
	}))
	if changed.PasswordHash != "rehashed" || changed.Version != on.user.Version+3 {
		t.Errorf("inside, the user had hash %q and version %d, want %q and %d",
			changed.PasswordHash, changed.Version, "rehashed", on.user.Version+3)
	}
	t.wantUser("the user who was changed", changed)
	t.wantNoUser(on.off)
	t.wantNoToken(on.token)
	t.wantToken(on.newToken)
	t.wantUserOfKey("the key made in the transaction", on.fresh.ID, on.newcomer.ID, true)
	if got := t.wantThrottle(on.throttle.Name).Attempts; got != on.throttle.Attempts+1 {
		t.Errorf("the throttle has %d attempts, want %d", got, on.throttle.Attempts+1)
	}
	t.wantThrottles("the good throttles", keyfold.Throttle{Name: on.newcomer.ID, ExpiresAt: m.At}, keyfold.Throttle{Name: on.user.ID, ExpiresAt: m.At})
}

func txSurvivesUserRefusals(t *trial) {
	on := t.subjects()
	taken := on.newcomer
	taken.UsernameKey = on.user.UsernameKey
	m := t.mutation(t.action(), on.user.ID)
	after := t.newUser()
	change := t.token(on.off, keyfold.PurposeChangeEmail)
	change.UserID, change.EmailKey, change.NewEmailKey = on.user.ID, on.user.EmailKey, on.off.EmailKey
	t.wantNoError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, change, t.mutation("user.one_time", on.user.ID)))
	cursor := t.cursor()
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		t.wantError("CreateUser of a name that is taken", tx.CreateUser(t.ctx, taken, m), keyfold.ErrConflict)
		edit := on.user
		edit.EmailKey = on.off.EmailKey
		t.wantError("UpdateUser to an address that is taken", tx.UpdateUser(t.ctx, edit, m), keyfold.ErrConflict)
		edit.Version++
		t.wantError("UpdateUser of another version", tx.UpdateUser(t.ctx, edit, m), keyfold.ErrStale)
		_, err := tx.UseOneTimeToken(t.ctx, use(change), m)
		t.wantError("UseOneTimeToken for an address that is taken", err, keyfold.ErrConflict)
		_, err = tx.UseOneTimeToken(t.ctx, use(on.newToken), m)
		t.wantError("UseOneTimeToken of an unknown token", err, keyfold.ErrNotFound)
		token := on.newToken
		token.Sum = change.Sum
		t.wantError("CreateOneTime of a sum that exists", tx.CreateOneTimeToken(t.ctx, token, m), keyfold.ErrConflict)
		t.wantError("DeleteUser of an unknown user", tx.DeleteUser(t.ctx, t.id(), m), keyfold.ErrNotFound)
		key := on.fresh
		key.UserID = t.id()
		t.wantError("CreateKey of an unknown user", tx.CreateKey(t.ctx, key, m), keyfold.ErrNotFound)
		return tx.CreateUser(t.ctx, after, t.mutation("user.create", after.ID))
	}))
	t.wantUnchanged(on)
	t.wantToken(change)
	t.wantUser("who came after the refusals", after)
	t.wantNoRows(cursor, m)
}

func txPanics(t *trial) {
	created, old := t.record(), t.create()
	m := t.mutation(t.action(), old.ID)
	cursor := t.cursor()
	recovered := func() (value any) {
		defer func() { value = recover() }()
		_ = t.store.InTx(t.ctx, func(tx keyfold.Store) error {
			if err := t.attempt(tx, created, old, m); err != nil {
				return err
			}
			panic("in the function")
		})
		return nil
	}()
	if recovered != "in the function" {
		t.Errorf("InTx panicked with %v, want the panic of the function", recovered)
	}
	t.wantRolledBack(cursor, created, old, m)
	t.wantNoError("CreateKey after the panic", t.store.CreateKey(t.ctx, created, t.mutation("key.create", created.ID)))
}

func txSeesItself(t *trial) {
	owner := t.id()
	created := t.record(func(key *keyfold.KeyRecord) { key.OwnerID, key.IdleTimeout = owner, time.Hour })
	m := t.mutation(t.action(), created.ID)
	batch := t.used(created.ID)
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		if err := tx.CreateKey(t.ctx, created, m); err != nil {
			return err
		}
		key, err := tx.Key(t.ctx, created.ID)
		t.wantNoError("Key inside", err)
		t.wantEqual("Key inside", key, created)
		if _, err := tx.RecordUsage(t.ctx, batch); err != nil {
			return err
		}
		record, err := tx.VerifyKey(t.ctx, created.ID)
		t.wantNoError("VerifyKey inside", err)
		used := created
		used.LastUsedAt, used.Uses = batch.Keys[0].LastUsedAt, 1
		t.wantEqual("VerifyKey inside", record, verifyRecord(used))
		keys, err := tx.Keys(t.ctx, keyfold.KeyScan{Index: keyfold.KeysByOwner, Value: owner, Limit: 10})
		t.wantNoError("Keys inside", err)
		t.wantEqual("Keys inside", keys, []keyfold.KeyRecord{used})
		entries, err := tx.Audit(t.ctx, keyfold.AuditScan{Target: created.ID, Limit: 10})
		t.wantNoError("Audit inside", err)
		if len(entries) != 1 {
			t.Errorf("Audit inside returned %d entries, want 1", len(entries))
		}
		return nil
	}))
}

func txIsIsolated(t *trial) {
	created, old := t.record(), t.create()
	m := t.mutation(t.action(), old.ID)
	cursor := t.cursor()
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		if err := t.attempt(tx, created, old, m); err != nil {
			return err
		}
		t.wantRolledBack(cursor, created, old, m)
		return nil
	}))
	if t.wantKey(created.ID).ID != created.ID || t.wantKey(old.ID).Version != 2 {
		t.Errorf("after the commit the changes are not seen")
	}
}

func txNests(t *trial) {
	created, inner := t.record(), t.record()
	refused := errors.New("refused")
	err := t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		if err := tx.CreateKey(t.ctx, created, t.mutation("key.create", created.ID)); err != nil {
			return err
		}
		err := tx.InTx(t.ctx, func(bound keyfold.Store) error {
			if _, err := bound.Key(t.ctx, created.ID); err != nil {
				return fmt.Errorf("the inner function does not see the transaction: %w", err)
			}
			return bound.CreateKey(t.ctx, inner, t.mutation("key.create", inner.ID))
		})
		if err != nil {
			return err
		}
		// The inner InTx must not commit, so its changes are rolled back too.
		return refused
	})
	t.wantError("InTx", err, refused)
	t.wantNoKey(created.ID)
	t.wantNoKey(inner.ID)

	err = t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		return tx.InTx(t.ctx, func(keyfold.Store) error { return refused })
	})
	t.wantError("the error of the inner function", err, refused)
}

func txSurvivesConflict(t *trial) {
	taken, other, after := t.create(), t.record(), t.record()
	second := taken
	second.Name = "another key of that id"
	ma, mb := t.mutation(t.action(), taken.ID), t.mutation(t.action(), after.ID)
	cursor := t.cursor()
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		if err := tx.CreateKey(t.ctx, other, t.mutation("key.create", other.ID)); err != nil {
			return err
		}
		t.wantError("CreateKey of an id that exists", tx.CreateKey(t.ctx, second, ma), keyfold.ErrConflict)
		t.wantError("CreateKey of an id of this transaction", tx.CreateKey(t.ctx, other, ma), keyfold.ErrConflict)
		return tx.CreateKey(t.ctx, after, mb)
	}))
	t.wantEqual("the key that was there", t.wantKey(taken.ID), taken)
	t.wantEqual("the key from before the conflict", t.wantKey(other.ID), other)
	t.wantEqual("the key from after the conflict", t.wantKey(after.ID), after)
	t.wantNoRows(cursor, ma)
}

func txRefusals(t *trial) {
	old, revoked, taken, after := t.create(), t.create(), t.create(), t.record()
	t.set(revoked.ID, keyfold.RevokeChange)
	revoked = t.wantKey(revoked.ID)
	m := t.mutation(t.action(), old.ID)
	cursor := t.cursor()
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		half := t.rotation(old)
		half.New.ID = taken.ID
		t.wantError("RotateKey to an id that exists", tx.RotateKey(t.ctx, half, m), keyfold.ErrConflict)
		t.wantError("UpdateKey of a revoked key", tx.UpdateKey(t.ctx, revoked, m), keyfold.ErrConflict)
		t.wantError("RenewKey of another version", tx.RenewKey(t.ctx, old.ID, 7, time.Time{}, m), keyfold.ErrStale)
		t.wantError("DeleteKey of an unknown key", tx.DeleteKey(t.ctx, t.id(), m), keyfold.ErrNotFound)
		_, err := tx.Key(t.ctx, t.id())
		t.wantError("Key of an unknown key", err, keyfold.ErrNotFound)
		return tx.CreateKey(t.ctx, after, t.mutation("key.create", after.ID))
	}))
	t.wantEqual("the key that was not rotated", t.wantKey(old.ID), old)
	t.wantEqual("the revoked key", t.wantKey(revoked.ID), revoked)
	t.wantEqual("the key whose id was taken", t.wantKey(taken.ID), taken)
	t.wantKey(after.ID)
	t.wantNoRows(cursor, m)
}

func racingTransactions(t *trial) {
	const racers, rounds = 6, 5
	owner := t.id()
	shared := t.create()
	keys := make([][]keyfold.KeyRecord, racers)
	for i := range keys {
		for range rounds {
			keys[i] = append(keys[i], t.record(func(key *keyfold.KeyRecord) { key.OwnerID = owner }))
		}
	}
	m := t.mutation(t.action(), shared.ID)
	errs := race(racers, func(i int) error {
		for _, key := range keys[i] {
			// Each transaction creates a key and changes the shared key.
			for stale := true; stale; {
				err := again(func() error {
					return t.store.InTx(t.ctx, func(tx keyfold.Store) error {
						now, err := tx.Key(t.ctx, shared.ID)
						if err != nil {
							return err
						}
						if err := tx.CreateKey(t.ctx, key, m); err != nil {
							return err
						}
						return tx.RenewKey(t.ctx, shared.ID, now.Version, time.Time{}, m)
					})
				})
				if stale = errors.Is(err, keyfold.ErrStale); err != nil && !stale {
					return err
				}
			}
		}
		return nil
	})
	t.wantNoError("racing transactions", errors.Join(errs...))
	found := t.walk(keyfold.KeyScan{Index: keyfold.KeysByOwner, Value: owner, Limit: 200}, nil)
	version := t.wantKey(shared.ID).Version
	if len(found) != racers*rounds || version != 1+racers*rounds {
		t.Errorf("%d transactions left %d keys and version %d, want %d and %d",
			racers*rounds, len(found), version, racers*rounds, 1+racers*rounds)
	}
}

func txEnds(t *trial) {
	var bound keyfold.Store
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		bound = tx
		return nil
	}))
	key := t.record()
	if err := bound.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)); err == nil {
		t.Errorf("CreateKey through a transaction that has ended: got no error")
	}
	t.wantNoKey(key.ID)
}

func txReads(t *trial) {
	key := t.create()
	t.wantNoError("InTx", t.store.InTx(t.ctx, func(tx keyfold.Store) error {
		got, err := tx.Key(t.ctx, key.ID)
		t.wantEqual("Key", got, key)
		return err
	}))
	t.wantNoError("InTx that does nothing", t.store.InTx(t.ctx, func(keyfold.Store) error { return nil }))
}
