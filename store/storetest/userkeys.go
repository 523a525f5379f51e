package storetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

func userKeyCases() []testCase {
	return []testCase{
		{name: "a key of an unknown user returns ErrNotFound even if its ID exists, and nothing is stored", run: keyOfUnknownUser},
		{name: "the successor of a key keeps the user, and is a conflict if the user does not exist", run: successorOfUser},
		{name: "an update of a key does not change its user", run: updateLeavesUser},
		{name: "VerifyKey returns the state of the user as soon as it is committed", run: verifyReturnsUserState},
		{name: "Key and every list return the state of the user as soon as it is committed", run: keysReturnUserState},
		{name: "the field UserDisabled is read and never written", run: userDisabledIsNotWritten},
		{name: "user IDs are compared byte by byte: trailing space, case, normalization", run: userIDsAreOpaque},
		{name: "a list by user contains only their keys, newest first, page by page", run: listByUser},
		{name: "usage by user is that of the keys which are theirs now", run: usageByUser},
		{name: "the deletion of a user deletes all keys, totals and one-time tokens", run: userDeletionTakesAll},
		{name: "the deletion of a user writes one change row, and an audit row for each key", run: userDeletionWritesRows},
		{name: "a user with hundreds of keys is deleted in one transaction", run: largeUserDeletion},
		{name: "the names of a deleted user can be used again", run: deletionFreesNames},
		{name: "of eight concurrent deletions of a user one succeeds", run: racingUserDeletions},
		{name: "a key that is created during the deletion of its user does not verify", run: keysRaceDeletion},
		{name: "rotations during the deletion of their user succeed, or return ErrNotFound or ErrConflict", run: rotationsRaceDeletion},
		{name: "a key that is created while its user is disabled is refused like the others", run: keysRaceDisabling},
	}
}

// of sets the user of a key.
func of(user keyfold.UserRecord) func(*keyfold.KeyRecord) {
	return func(key *keyfold.KeyRecord) { key.UserID = user.ID }
}

// wantUserOfKey checks the user in the result of VerifyKey.
func (t *trial) wantUserOfKey(what, keyID, userID string, disabled bool) {
	t.Helper()
	record, err := t.store.VerifyKey(t.ctx, keyID)
	t.wantNoError("VerifyKey", err)
	if record.UserID != userID || record.UserDisabled != disabled {
		t.Errorf("%s: VerifyKey tells user %+q, disabled %t, want %+q, %t", what, record.UserID, record.UserDisabled, userID, disabled)
	}
}

func keyOfUnknownUser(t *trial) {
	taken := t.create()
	for _, userID := range []string{t.id(), " ", "'"} {
		for _, key := range []keyfold.KeyRecord{t.record(), taken} {
			key.UserID = userID
			m := t.mutation(t.action(), key.ID)
			cursor := t.cursor()
			t.wantError("CreateKey of an unknown user", t.store.CreateKey(t.ctx, key, m), keyfold.ErrNotFound)
			t.wantNoRows(cursor, m)
			if key.ID != taken.ID {
				t.wantNoKey(key.ID)
			}
		}
	}
	t.wantEqual("the key whose id it was", t.wantKey(taken.ID), taken)
	taken.UserID = t.addUser().ID
	t.wantError("CreateKey of an id that exists", t.store.CreateKey(t.ctx, taken, t.mutation("key.create", taken.ID)), keyfold.ErrConflict)
}

func successorOfUser(t *trial) {
	user := t.addUser()
	old := t.create(of(user))
	r := t.rotation(old)
	r.New.UserID = t.id()
	t.wantRotationRefused(r, t.mutation(t.action(), old.ID), keyfold.ErrConflict)
	r.New.UserID = user.ID
	t.wantNoError("RotateKey", t.store.RotateKey(t.ctx, r, t.mutation("key.rotate", old.ID)))
	t.wantEqual("the successor", t.wantKey(r.New.ID), r.New)
	t.wantUserOfKey("the successor", r.New.ID, user.ID, false)
}

func updateLeavesUser(t *trial) {
	user, other := t.addUser(), t.addUser()
	for _, key := range []keyfold.KeyRecord{t.create(of(user)), t.create()} {
		edit := key
		edit.UserID = other.ID
		t.wantNoError("UpdateKey", t.store.UpdateKey(t.ctx, edit, t.mutation("key.update", key.ID)))
		key.Version++
		t.wantEqual("the key", t.wantKey(key.ID), key)
		t.wantUserOfKey("the key", key.ID, key.UserID, false)
	}
}

func verifyReturnsUserState(t *trial) {
	user, other := t.addUser(), t.addUser()
	theirs, others, nobodys := t.create(of(user)), t.create(of(other)), t.create()
	for _, row := range []struct {
		change   keyfold.StateChange
		disabled bool
	}{{0, false}, {keyfold.DisableChange, true}, {keyfold.EnableChange, false}, {keyfold.DisableChange, true}} {
		if row.change != 0 {
			t.setUser(user.ID, row.change)
		}
		t.wantUserOfKey("a key of the user", theirs.ID, user.ID, row.disabled)
		t.wantUserOfKey("a key of another user", others.ID, other.ID, false)
		t.wantUserOfKey("a key of no user", nobodys.ID, "", false)
	}
	added := t.create(of(user))
	t.wantUserOfKey("a key that was created for a disabled user", added.ID, user.ID, true)
	t.setUser(user.ID, keyfold.EnableChange)
	t.wantUserOfKey("that key after the user was enabled", added.ID, user.ID, false)
}

func keysReturnUserState(t *trial) {
	user, other := t.addUser(), t.addUser()
	owner, tenant := t.id(), t.id()
	end := t.now().Add(time.Hour)
	listed := func(key *keyfold.KeyRecord) { key.OwnerID, key.Tenant, key.ExpiresAt = owner, tenant, end }
	keys := []keyfold.KeyRecord{t.create(of(user), listed), t.create(of(other), listed), t.create(listed), t.create(of(user), listed)}
	byID := map[string]*keyfold.KeyRecord{}
	for i := range keys {
		byID[keys[i].ID] = &keys[i]
	}
	for _, change := range []keyfold.StateChange{0, keyfold.DisableChange, keyfold.EnableChange, keyfold.DisableChange} {
		if change != 0 {
			t.setUser(user.ID, change)
		}
		for i := range keys {
			key := &keys[i]
			key.UserDisabled = key.UserID == user.ID && change == keyfold.DisableChange
			t.wantEqual("a key", t.wantKey(key.ID), *key)
		}
		for _, row := range []struct {
			name string
			scan keyfold.KeyScan
			want int
		}{
			{"all keys", keyfold.KeyScan{Index: keyfold.KeysAll}, 4},
			{"keys of an owner", keyfold.KeyScan{Index: keyfold.KeysByOwner, Value: owner}, 4},
			{"keys of a tenant", keyfold.KeyScan{Index: keyfold.KeysByTenant, Value: tenant}, 4},
			{"keys of the user", keyfold.KeyScan{Index: keyfold.KeysByUser, Value: user.ID}, 2},
			{"keys of another user", keyfold.KeyScan{Index: keyfold.KeysByUser, Value: other.ID}, 1},
			{"keys that expire", keyfold.KeyScan{Index: keyfold.KeysExpiring, From: end, To: end.Add(time.Millisecond)}, 4},
		} {
			row.scan.Limit = 3 // more than one page
			found := 0
			for _, got := range t.walk(row.scan, nil) {
				if want := byID[got.ID]; want != nil {
					t.wantEqual("among "+row.name, got, *want)
					found++
				}
			}
			if found != row.want {
				t.Errorf("the list of %s shows %d of the keys, want %d", row.name, found, row.want)
			}
		}
	}
}

func userDisabledIsNotWritten(t *trial) {
	user := t.addUser()
	claimed := func(key *keyfold.KeyRecord) { key.UserDisabled = true }
	for _, key := range []keyfold.KeyRecord{t.create(of(user), claimed), t.create(claimed)} {
		key.UserDisabled = false
		t.wantEqual("a key created as of a disabled user", t.wantKey(key.ID), key)
		edit := key
		edit.UserDisabled = true
		t.wantNoError("UpdateKey", t.store.UpdateKey(t.ctx, edit, t.mutation("key.update", key.ID)))
		key.Version++
		t.wantEqual("a key updated as of a disabled user", t.wantKey(key.ID), key)
		r := t.rotation(key)
		r.New.UserID, r.New.UserDisabled = key.UserID, true
		t.wantNoError("RotateKey", t.store.RotateKey(t.ctx, r, t.mutation("key.rotate", key.ID)))
		if t.wantKey(r.New.ID).UserDisabled {
			t.Errorf("a successor rotated as of a disabled user is read as one of a disabled user")
		}
	}
}

func userIDsAreOpaque(t *trial) {
	ids := variants()
	keys := make([]keyfold.KeyRecord, len(ids))
	for i, id := range ids {
		user := t.addUser(func(user *keyfold.UserRecord) { user.ID = id })
		keys[i] = t.create(of(user))
		t.wantNoError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, t.token(user, keyfold.PurposeVerifyEmail), t.mutation("user.one_time", id)))
	}
	for i, id := range ids {
		if got := t.wantStoredUser(id).ID; got != id {
			t.Errorf("User(%+q) returned user %+q", id, got)
		}
		got := t.walk(keyfold.KeyScan{Index: keyfold.KeysByUser, Value: id, Limit: 50}, nil)
		t.wantEqual(fmt.Sprintf("keys of user %+q", id), got, []keyfold.KeyRecord{keys[i]})
	}
	t.setUser(ids[0], keyfold.DisableChange)
	for i, key := range keys {
		t.wantUserOfKey("after the first was disabled", key.ID, ids[i], i == 0)
	}
	t.wantNoError("DeleteUser", t.store.DeleteUser(t.ctx, ids[0], t.mutation("user.delete", ids[0])))
	t.wantNoKey(keys[0].ID)
	for i, key := range keys[1:] {
		t.wantUserOfKey("after the first was deleted", key.ID, ids[i+1], false)
	}
}

func listByUser(t *trial) {
	user, other, unknown := t.addUser(), t.addUser(), t.addUser()
	begin := t.now()
	keys := t.createMany(13, of(user), func(key *keyfold.KeyRecord) {
		key.CreatedAt = begin.Add(time.Duration(key.ID[0]%4) * time.Millisecond)
	})
	slices.SortFunc(keys, newestFirst)
	t.create(of(other), func(key *keyfold.KeyRecord) { key.OwnerID, key.Tenant = user.ID, user.ID })
	t.create(func(key *keyfold.KeyRecord) { key.OwnerID, key.Tenant = user.ID, user.ID })
	for _, limit := range []int{1, 2, 5, 13, 200} {
		got := t.walk(keyfold.KeyScan{Index: keyfold.KeysByUser, Value: user.ID, Limit: limit}, nil)
		t.wantEqual(fmt.Sprintf("keys of a user in pages of %d", limit), got, keys)
	}
	for _, id := range []string{unknown.ID, t.id()} {
		if got := t.walk(keyfold.KeyScan{Index: keyfold.KeysByUser, Value: id, Limit: 10}, nil); len(got) != 0 {
			t.Errorf("a user without keys has %d", len(got))
		}
	}
}

func usageByUser(t *trial) {
	user, other := t.addUser(), t.addUser()
	a, b, gone := t.create(of(user)), t.create(of(user)), t.create(of(user))
	theirs, nobodys := t.create(of(other)), t.create(func(key *keyfold.KeyRecord) { key.OwnerID = user.ID })
	batch := t.used(a.ID, b.ID, gone.ID, theirs.ID, nobodys.ID)
	for i := range batch.Events {
		batch.Events[i].Route = []string{"a", "b", "gone", "theirs", "of an unknown user"}[i]
		batch.Events[i].At = batch.Events[i].At.Add(time.Duration(i) * time.Millisecond)
	}
	batch.Events[1].Outcome, batch.Hours[1].Outcome = keyfold.OutcomeScope, keyfold.OutcomeScope
	t.recordBatch(batch)
	t.delete(gone.ID)
	hour := batch.Hours[0].HourAt
	allowed := keyfold.UsageHour{HourAt: hour, Count: 1}
	refused := keyfold.UsageHour{HourAt: hour, Outcome: keyfold.OutcomeScope, Count: 1}
	for _, row := range []struct {
		name, userID string
		codes        []keyfold.Outcome
		events       []string
		hours        []keyfold.UsageHour
	}{
		{"the user", user.ID, nil, []string{"b", "a"}, []keyfold.UsageHour{allowed, refused}},
		{"the user, by code", user.ID, []keyfold.Outcome{keyfold.OutcomeScope}, []string{"b"}, []keyfold.UsageHour{refused}},
		{"another user", other.ID, nil, []string{"theirs"}, []keyfold.UsageHour{allowed}},
		{"an unknown user", t.id(), nil, nil, nil},
	} {
		scan := keyfold.UsageScan{UserID: row.userID, Outcomes: row.codes, From: hour, To: hour.Add(2 * time.Hour)}
		hours, err := t.store.UsageHours(t.ctx, scan)
		t.wantNoError("UsageHours", err)
		t.wantEqual("hours of "+row.name, hours, row.hours)
		for _, limit := range []int{1, 50} {
			scan.Limit = limit
			if got := routes(t.events(scan, nil)); !slices.Equal(got, row.events) {
				t.Errorf("events of %s in pages of %d: got %q, want %q", row.name, limit, got, row.events)
			}
		}
	}
}

func userDeletionTakesAll(t *trial) {
	user, other := t.addUser(), t.addUser()
	mine := []keyfold.KeyRecord{t.create(of(user)), t.create(of(user)), t.create(of(user))}
	theirs, nobodys := t.create(of(other)), t.create()
	t.recordBatch(t.used(mine[0].ID, mine[1].ID, mine[2].ID, theirs.ID, nobodys.ID))
	t.set(mine[1].ID, keyfold.DisableChange)
	t.set(mine[2].ID, keyfold.RevokeChange)
	theirs, nobodys = t.wantKey(theirs.ID), t.wantKey(nobodys.ID)
	tokens := []keyfold.OneTimeTokenRecord{t.addToken(user, keyfold.PurposeVerifyEmail), t.addToken(user, keyfold.PurposeResetPassword)}
	kept := t.addToken(other, keyfold.PurposeResetPassword)

	t.wantNoError("DeleteUser", t.store.DeleteUser(t.ctx, user.ID, t.mutation("user.delete", user.ID)))
	t.wantNoUser(user)
	for _, key := range mine {
		t.wantNoKey(key.ID)
		_, err := t.store.VerifyKey(t.ctx, key.ID)
		t.wantError("VerifyKey of a deleted user's key", err, keyfold.ErrNotFound)
	}
	if keys := t.walk(keyfold.KeyScan{Index: keyfold.KeysByUser, Value: user.ID, Limit: 10}, nil); len(keys) != 0 {
		t.Errorf("a deleted user has %d keys", len(keys))
	}
	for _, token := range tokens {
		t.wantNoToken(token)
	}
	t.wantUser("the other user", other)
	t.wantEqual("a key of another user", t.wantKey(theirs.ID), theirs)
	t.wantEqual("a key of no user", t.wantKey(nobodys.ID), nobodys)
	t.wantToken(kept)

	scan := day(t.clock)
	scan.From, scan.To, scan.KeyID = scan.From.Add(-24*time.Hour), scan.To.Add(24*time.Hour), mine[0].ID
	hours, err := t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	if events := t.events(scan, nil); len(events) != 1 || len(hours) != 1 {
		t.Errorf("of a deleted user's key %d events and %d hours are left, want 1 and 1", len(events), len(hours))
	}

	again := mine[0]
	again.UserID = ""
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, again, t.mutation("key.create", again.ID)))
	t.wantEqual("a new key of the same id", t.wantKey(again.ID), again)
	t.wantError("DeleteUser again", t.store.DeleteUser(t.ctx, user.ID, t.mutation("user.delete", user.ID)), keyfold.ErrNotFound)
	t.wantKey(again.ID)
}

// wantKeyDeleted checks that the deletion of a user wrote an audit row for a key.
func (t *trial) wantKeyDeleted(m keyfold.Mutation, id string) {
	t.Helper()
	m.Action, m.Target, m.Before, m.After = "key.delete", id, "", ""
	entries := t.audited(m)
	if len(entries) != 1 {
		t.Errorf("the deletion of a user wrote %d audit rows for a key, want 1", len(entries))
		return
	}
	t.wantEqual("audit row of a key", entries[0].Mutation, m)
}

func userDeletionWritesRows(t *trial) {
	user := t.addUser()
	keys := t.createMany(3, of(user))
	t.set(keys[1].ID, keyfold.RevokeChange)
	m := t.mutation(t.action(), user.ID)
	cursor := t.cursor()
	t.wantNoError("DeleteUser", t.store.DeleteUser(t.ctx, user.ID, m))
	t.wantRows(cursor, m, user.ID)
	deleted := t.changes(cursor, "key.delete")
	for _, key := range keys {
		t.wantKeyDeleted(m, key.ID)
		if slices.ContainsFunc(deleted, func(change keyfold.Change) bool { return change.Target == key.ID }) {
			t.Errorf("the deletion of a user wrote a change row for a key, want the user's alone")
		}
	}
}

func largeUserDeletion(t *trial) {
	user := t.addUser()
	keys := t.createMany(max(keyfold.MaxFeedTargets+1, t.scale(3*keyfold.MaxFeedTargets)), of(user))
	m := t.mutation(t.action(), user.ID)
	cursor := t.cursor()
	t.wantNoError("DeleteUser", t.store.DeleteUser(t.ctx, user.ID, m))
	t.wantRows(cursor, m, user.ID)
	for _, key := range []keyfold.KeyRecord{keys[0], keys[len(keys)/2], keys[len(keys)-1]} {
		t.wantNoKey(key.ID)
		t.wantKeyDeleted(m, key.ID)
	}
	if left := t.walk(keyfold.KeyScan{Index: keyfold.KeysByUser, Value: user.ID, Limit: 200}, nil); len(left) != 0 {
		t.Errorf("%d keys of %d are left", len(left), len(keys))
	}
}

func deletionFreesNames(t *trial) {
	user := t.addFullUser()
	t.wantNoError("DeleteUser", t.store.DeleteUser(t.ctx, user.ID, t.mutation("user.delete", user.ID)))
	heir := t.fullUser()
	heir.UsernameKey, heir.EmailKey = user.UsernameKey, user.EmailKey
	t.wantNoError("CreateUser with the names", t.store.CreateUser(t.ctx, heir, t.mutation("user.create", heir.ID)))
	t.wantUser("who took the names", heir)
	fresh := t.newUser(func(fresh *keyfold.UserRecord) { fresh.ID = user.ID })
	t.wantNoError("CreateUser with the id", t.store.CreateUser(t.ctx, fresh, t.mutation("user.create", fresh.ID)))
	t.wantUser("who took the id", fresh)
}

func racingUserDeletions(t *trial) {
	const racers = 8
	user := t.addUser()
	key := t.create(of(user))
	m := t.mutation(t.action(), user.ID)
	cursor := t.cursor()
	errs := race(racers, func(int) error {
		return again(func() error { return t.store.DeleteUser(t.ctx, user.ID, m) })
	})
	if count(errs, nil) != 1 || count(errs, keyfold.ErrNotFound) != racers-1 {
		t.Errorf("racing deletions: got %v, want one nil and %d not found", errs, racers-1)
	}
	t.wantRows(cursor, m, user.ID)
	t.wantKeyDeleted(m, key.ID)
}

// keysRace creates keys of a user, one of them by a rotation, while change changes the
// user. It returns the new keys and the existing one.
func (t *trial) keysRace(change func(user keyfold.UserRecord, m keyfold.Mutation) error) (made []keyfold.KeyRecord) {
	t.Helper()
	user := t.addUser()
	old := t.create(of(user))
	rotation := t.rotation(old)
	rotation.New.UserID = user.ID
	keys := []keyfold.KeyRecord{t.record(of(user)), t.record(of(user)), t.record(of(user)), rotation.New}
	rotating, changing := len(keys)-1, len(keys)
	m := t.mutation(t.action(), user.ID)
	errs := race(len(keys)+1, func(i int) error {
		return again(func() error {
			switch i {
			case changing:
				return change(user, m)
			case rotating:
				return t.store.RotateKey(t.ctx, rotation, m)
			}
			return t.store.CreateKey(t.ctx, keys[i], m)
		})
	})
	t.wantNoError("changing the user", errs[changing])
	made = []keyfold.KeyRecord{old}
	for i, key := range keys {
		switch err := errs[i]; {
		case err == nil:
			made = append(made, key)
		case !errors.Is(err, keyfold.ErrNotFound) && !(i == rotating && errors.Is(err, keyfold.ErrConflict)):
			t.Errorf("creating a key during a change of its user: got error %v", err)
		}
	}
	return made
}

func keysRaceDeletion(t *trial) {
	for range t.scale(30) {
		made := t.keysRace(func(user keyfold.UserRecord, m keyfold.Mutation) error {
			return t.store.DeleteUser(t.ctx, user.ID, m)
		})
		for _, key := range made {
			record, err := t.store.VerifyKey(t.ctx, key.ID)
			if err == nil && !record.UserDisabled {
				t.Errorf("a key that was created during the deletion of its user verifies")
			}
			if err != nil {
				t.wantError("VerifyKey", err, keyfold.ErrNotFound)
			}
		}
	}
}

func rotationsRaceDeletion(t *trial) {
	const rounds, rotations = 10, 8
	for range rounds {
		user := t.addUser()
		var steps []keyfold.Rotation
		for range rotations {
			rotation := t.rotation(t.create(of(user)))
			rotation.New.UserID = user.ID
			steps = append(steps, rotation)
		}
		m := t.mutation(t.action(), user.ID)
		errs := race(rotations+1, func(i int) error {
			return again(func() error {
				if i == rotations {
					return t.store.DeleteUser(t.ctx, user.ID, m)
				}
				return t.store.RotateKey(t.ctx, steps[i], m)
			})
		})
		t.wantNoError("deleting the user", errs[rotations])
		for _, err := range errs[:rotations] {
			if err != nil && !errors.Is(err, keyfold.ErrNotFound) && !errors.Is(err, keyfold.ErrConflict) {
				t.Errorf("RotateKey during the deletion of its user: got error %v, want none, not found or conflict", err)
			}
		}
	}
}

func keysRaceDisabling(t *trial) {
	for range t.scale(30) {
		made := t.keysRace(func(user keyfold.UserRecord, m keyfold.Mutation) error {
			_, err := t.store.SetUserState(t.ctx, user.ID, keyfold.DisableChange, "", m)
			return err
		})
		if len(made) != 5 {
			t.Errorf("during the disabling of a user, %d keys of 4 were created", len(made)-1)
		}
		for _, key := range made {
			t.wantUserOfKey("a key created during the disabling", key.ID, key.UserID, true)
		}
	}
}
