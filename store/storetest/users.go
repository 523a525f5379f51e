package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

func userCases() []testCase {
	return []testCase{
		{name: "a value in every column of a user is returned", run: everyUserColumn},
		{name: "times of a user are exact, and zero times stay zero", run: userTimes},
		{name: "HasPassword follows the hash, and not the record", run: hasPasswordFollowsHash},
		{name: "texts of a user are returned byte for byte", run: userTextsAreOpaque},
		{name: "an existing ID, username or address is a conflict, and nothing of the second user is stored", run: duplicateUser},
		{name: "of eight concurrent creations of a username or an address one succeeds", run: racingUserCreations},
		{name: "an unknown user returns ErrNotFound", run: unknownUser},
		{name: "usernames and addresses are compared byte by byte: trailing space, case, normalization", run: namesAreOpaque},
		{name: "users are listed newest first, by time and then the bytes of the ID, page by page", run: usersAreOrdered, alone: true},
		{name: "a walk returns every remaining user exactly once while other users are created and deleted", run: userWalkIsStable, alone: true},
		{name: "an update of a user writes only names and addresses", run: userUpdateWritesItsFields},
		{name: "other users can use the names that an update has replaced", run: userUpdateFreesNames},
		{name: "an update of a user returns ErrNotFound before ErrStale before ErrConflict", run: userUpdateRefusals},
		{name: "of eight concurrent updates of one version one succeeds", run: racingUserUpdates},
		{name: "of eight users who change to one username or address at the same time one succeeds", run: racingRenames},
		{name: "a state change of a user sets its fields if the state allows it, and reports whether it did", run: userStates},
		{name: "a state change of an unknown user returns ErrNotFound", run: userStateOfUnknown},
		{name: "of eight concurrent state changes of a user one applies", run: racingUserStates},
		{name: "every change of a user writes one change row and one audit row with every field", run: userChangesWriteRows},
		{name: "a refused change of a user writes no rows", run: userRefusalsWriteNoRows},
	}
}

// newUser returns a user with few values. It does not store the user.
func (t *trial) newUser(edits ...func(*keyfold.UserRecord)) keyfold.UserRecord {
	id, at := t.id(), t.now()
	user := keyfold.UserRecord{
		User:        keyfold.User{ID: id, Username: "User " + id, CreatedAt: at, UpdatedAt: at, Version: 1},
		UsernameKey: "user " + id,
		EmailKey:    "-" + id,
	}
	for _, edit := range edits {
		edit(&user)
	}
	return user
}

// addUser stores a user that newUser returns.
func (t *trial) addUser(edits ...func(*keyfold.UserRecord)) keyfold.UserRecord {
	t.Helper()
	user := t.newUser(edits...)
	t.wantNoError("CreateUser", t.store.CreateUser(t.ctx, user, t.mutation("user.create", user.ID)))
	return user
}

// fullUser returns a user with a distinct value in every field.
func (t *trial) fullUser() keyfold.UserRecord {
	id, at := t.id(), t.now()
	day := func(n int) time.Time { return at.AddDate(0, 0, n).Add(time.Duration(n) * time.Millisecond) }
	return keyfold.UserRecord{
		User: keyfold.User{
			ID: id, Username: "Username " + id, Email: "E-Mail@" + id, EmailVerifiedAt: day(1),
			HasPassword: true, PasswordChangedAt: day(2), CreatedAt: day(3), UpdatedAt: day(4),
			DisabledAt: day(5), DisabledReason: "disabled " + id, Version: 6,
		},
		UsernameKey: "username " + id, EmailKey: "e-mail@" + id, PasswordHash: "hash " + id, PasswordVersion: 7,
	}
}

// addFullUser stores a user that fullUser returns.
func (t *trial) addFullUser() keyfold.UserRecord {
	t.Helper()
	return t.addUser(func(user *keyfold.UserRecord) { *user = t.fullUser() })
}

// wantStoredUser returns a user, who must exist.
func (t *trial) wantStoredUser(id string) keyfold.UserRecord {
	t.Helper()
	user, err := t.store.User(t.ctx, id)
	t.wantNoError("User", err)
	return user
}

// wantUser checks the user in the result of every method.
func (t *trial) wantUser(what string, user keyfold.UserRecord) {
	t.Helper()
	t.wantEqual(what+": User", t.wantStoredUser(user.ID), user)
	got, err := t.store.UserByUsername(t.ctx, user.UsernameKey)
	t.wantNoError("UserByUsername", err)
	t.wantEqual(what+": UserByUsername", got, user)
	got, err = t.store.UserByEmail(t.ctx, user.EmailKey)
	t.wantNoError("UserByEmail", err)
	t.wantEqual(what+": UserByEmail", got, user)
	// "~" sorts after every character of an ID.
	page, err := t.store.Users(t.ctx, keyfold.UserScan{After: keyfold.Position{At: user.CreatedAt, ID: user.ID + "~"}, Limit: 1})
	t.wantNoError("Users", err)
	t.wantEqual(what+": Users", page, []keyfold.UserRecord{user})
}

// wantNoUser checks that no method finds the user by ID or name.
func (t *trial) wantNoUser(user keyfold.UserRecord) {
	t.Helper()
	_, err := t.store.User(t.ctx, user.ID)
	t.wantError("User", err, keyfold.ErrNotFound)
	t.wantNoName(user.UsernameKey, user.EmailKey)
}

// wantNoName checks that no user has the names.
func (t *trial) wantNoName(usernameKey, emailKey string) {
	t.Helper()
	_, err := t.store.UserByUsername(t.ctx, usernameKey)
	t.wantError(fmt.Sprintf("UserByUsername of %+q", usernameKey), err, keyfold.ErrNotFound)
	_, err = t.store.UserByEmail(t.ctx, emailKey)
	t.wantError(fmt.Sprintf("UserByEmail of %+q", emailKey), err, keyfold.ErrNotFound)
}

func everyUserColumn(t *trial) {
	user := t.addFullUser()
	for _, field := range zeroFields("UserRecord", reflect.ValueOf(user)) {
		t.Errorf("the suite's own user has nothing in %s: give it a value in fullUser", field)
	}
	t.wantUser("a full user", user)
}

func userTimes(t *trial) {
	t.wantUser("a user with few times", t.addUser())
	for _, at := range []time.Time{
		time.UnixMilli(1), time.UnixMilli(-1), time.UnixMilli(-2_208_988_800_001), time.UnixMilli(1_767_225_599_999),
		time.UnixMilli(1<<31*1000 + 7), time.UnixMilli(253_402_300_799_999),
	} {
		user := t.addUser(func(user *keyfold.UserRecord) {
			user.EmailVerifiedAt, user.PasswordChangedAt, user.DisabledAt = at.UTC(), at.UTC(), at.UTC()
			user.CreatedAt, user.UpdatedAt = at.UTC(), at.UTC()
		})
		t.wantUser(fmt.Sprint("a user of ", at.UTC()), user)
	}
}

func hasPasswordFollowsHash(t *trial) {
	without := t.addUser(func(user *keyfold.UserRecord) { user.HasPassword = true })
	without.HasPassword = false
	t.wantUser("a user without a hash", without)
	with := t.addUser(func(user *keyfold.UserRecord) { user.PasswordHash = "hash" })
	with.HasPassword = true
	t.wantUser("a user with a hash", with)
}

func userTextsAreOpaque(t *trial) {
	for _, text := range texts() {
		user := t.addUser(func(user *keyfold.UserRecord) {
			user.Username, user.Email, user.DisabledReason = text, text, text
			user.UsernameKey, user.EmailKey = text, text
			user.PasswordHash, user.HasPassword = text, true
		})
		t.wantUser(fmt.Sprintf("a user with text %+q", text), user)
	}
}

func duplicateUser(t *trial) {
	user := t.addFullUser()
	for name, edit := range map[string]func(*keyfold.UserRecord){
		"id":       func(other *keyfold.UserRecord) { other.ID = user.ID },
		"username": func(other *keyfold.UserRecord) { other.UsernameKey = user.UsernameKey },
		"address":  func(other *keyfold.UserRecord) { other.EmailKey = user.EmailKey },
	} {
		other := t.fullUser()
		free := other
		edit(&other)
		m := t.mutation(t.action(), other.ID)
		cursor := t.cursor()
		t.wantError("CreateUser with an "+name+" that exists", t.store.CreateUser(t.ctx, other, m), keyfold.ErrConflict)
		t.wantNoRows(cursor, m)
		t.wantNoUser(free)
		t.wantUser("the user who was there", user)
	}
	// A username may equal the address of another user.
	crossed := t.addUser(func(other *keyfold.UserRecord) { other.UsernameKey, other.EmailKey = user.EmailKey, user.UsernameKey })
	t.wantUser("a user named by the address of another", crossed)
}

func racingUserCreations(t *trial) {
	const racers = 8
	for round := range t.scale(30) {
		name := t.id()
		users := make([]keyfold.UserRecord, racers)
		for i := range users {
			users[i] = t.newUser(func(user *keyfold.UserRecord) {
				if round%2 == 0 {
					user.UsernameKey = name
				} else {
					user.EmailKey = name
				}
			})
		}
		m := t.mutation(t.action(), name)
		cursor := t.cursor()
		errs := race(racers, func(i int) error {
			own := m
			own.Target = users[i].ID
			return again(func() error { return t.store.CreateUser(t.ctx, users[i], own) })
		})
		winner := slices.Index(errs, nil)
		if count(errs, keyfold.ErrConflict) != racers-1 || winner < 0 {
			t.Fatalf("racing creations: got %v, want one nil and %d conflicts", errs, racers-1)
		}
		t.wantUser("the winner", users[winner])
		for i, user := range users {
			if i != winner {
				_, err := t.store.User(t.ctx, user.ID)
				t.wantError("User of a loser", err, keyfold.ErrNotFound)
			}
		}
		m.Target = users[winner].ID
		t.wantRows(cursor, m, m.Target)
	}
}

func unknownUser(t *trial) {
	t.addUser()
	for _, text := range []string{t.id(), "", " ", "%", "-", "x' OR ''='"} {
		_, err := t.store.User(t.ctx, text)
		t.wantError(fmt.Sprintf("User(%q)", text), err, keyfold.ErrNotFound)
		t.wantNoName(text, text)
	}
}

func namesAreOpaque(t *trial) {
	names := variants()
	users := make([]keyfold.UserRecord, len(names))
	for i, name := range names {
		t.wantNoName(name, name)
		users[i] = t.addUser(func(user *keyfold.UserRecord) { user.UsernameKey, user.EmailKey = name, name })
	}
	for _, user := range users {
		t.wantUser(fmt.Sprintf("the user %+q", user.UsernameKey), user)
	}
	t.wantNoError("DeleteUser", t.store.DeleteUser(t.ctx, users[0].ID, t.mutation("user.delete", users[0].ID)))
	t.wantNoUser(users[0])
	for _, user := range users[1:] {
		t.wantUser(fmt.Sprintf("the user %+q", user.UsernameKey), user)
	}
}

// walkUsers reads all pages of users.
func (t *trial) walkUsers(limit int, between func()) []keyfold.UserRecord {
	t.Helper()
	scan := keyfold.UserScan{Limit: limit}
	var all []keyfold.UserRecord
	for range 1000 {
		page, err := t.store.Users(t.ctx, scan)
		t.wantNoError("Users", err)
		if len(page) > limit {
			t.Fatalf("Users returned %d users, want at most %d", len(page), limit)
		}
		all = append(all, page...)
		if len(page) < limit {
			return all
		}
		scan.After = keyfold.Position{At: page[limit-1].CreatedAt, ID: page[limit-1].ID}
		if between != nil {
			between()
		}
	}
	t.Fatalf("a walk over %d users does not end", len(all))
	return nil
}

func usersAreOrdered(t *trial) {
	if users := t.walkUsers(10, nil); len(users) != 0 {
		t.Errorf("a store without users lists %d", len(users))
	}
	at := t.now()
	var want []keyfold.UserRecord
	for _, id := range []string{"0", "鍵", "-a", "aa", "Zb", "é", "B1", " x", "_c"} {
		for n := range 2 {
			want = append(want, t.addUser(func(user *keyfold.UserRecord) {
				user.ID, user.CreatedAt = fmt.Sprint(id, n), at.Add(time.Duration(n)*time.Millisecond)
			}))
		}
	}
	slices.SortFunc(want, func(a, b keyfold.UserRecord) int {
		if order := b.CreatedAt.Compare(a.CreatedAt); order != 0 {
			return order
		}
		return strings.Compare(b.ID, a.ID)
	})
	for _, limit := range []int{1, 4, len(want), 200} {
		t.wantEqual(fmt.Sprintf("in pages of %d", limit), t.walkUsers(limit, nil), want)
	}
}

func userWalkIsStable(t *trial) {
	begin := t.now()
	some := func() []keyfold.UserRecord {
		users := make([]keyfold.UserRecord, 12)
		for i := range users {
			users[i] = t.addUser(func(user *keyfold.UserRecord) { user.CreatedAt = begin.Add(time.Duration(i%3) * time.Millisecond) })
		}
		return users
	}
	stay, leave := some(), some()
	got := t.walkUsers(2, func() {
		// Between two pages one user is created and one is deleted.
		if len(leave) > 0 {
			t.addUser(func(user *keyfold.UserRecord) { user.CreatedAt = begin.Add(time.Millisecond) })
			t.wantNoError("DeleteUser", t.store.DeleteUser(t.ctx, leave[0].ID, t.mutation("user.delete", leave[0].ID)))
			leave = leave[1:]
		}
	})
	seen := map[string]int{}
	for _, user := range got {
		seen[user.ID]++
	}
	for _, user := range stay {
		if seen[user.ID] == 0 {
			t.Errorf("the walk passed over user %s, who existed throughout", user.ID)
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("the walk showed user %s %d times", id, n)
		}
	}
}

func userUpdateWritesItsFields(t *trial) {
	want := t.addFullUser()
	was := want
	edit := t.fullUser() // differs in every field
	edit.ID, edit.Version = want.ID, want.Version
	edit.PasswordVersion, edit.HasPassword = 99, false
	t.wantNoError("UpdateUser", t.store.UpdateUser(t.ctx, edit, t.mutation("user.update", want.ID)))
	want.Username, want.UsernameKey, want.Email, want.EmailKey = edit.Username, edit.UsernameKey, edit.Email, edit.EmailKey
	want.EmailVerifiedAt, want.UpdatedAt = edit.EmailVerifiedAt, edit.UpdatedAt
	want.Version++
	t.wantUser("after the update", want)
	t.wantNoName(was.UsernameKey, was.EmailKey)

	edit = want
	edit.Username, edit.UsernameKey, edit.Email, edit.EmailKey = "", "-"+want.ID, "", "-"+want.ID
	edit.EmailVerifiedAt, edit.UpdatedAt = time.Time{}, t.now()
	t.wantNoError("UpdateUser", t.store.UpdateUser(t.ctx, edit, t.mutation("user.update", want.ID)))
	edit.Version++
	t.wantUser("after everything was emptied", edit)
	t.wantNoError("UpdateUser that changes nothing", t.store.UpdateUser(t.ctx, edit, t.mutation("user.update", want.ID)))
	edit.Version++
	t.wantUser("after an update that changes nothing", edit)
}

func userUpdateFreesNames(t *trial) {
	first, second := t.addFullUser(), t.addFullUser()
	names := first
	first.UsernameKey, first.EmailKey = "-"+first.ID, "-"+first.ID
	t.wantNoError("UpdateUser", t.store.UpdateUser(t.ctx, first, t.mutation("user.update", first.ID)))
	first.Version++
	second.UsernameKey, second.EmailKey = names.UsernameKey, names.EmailKey
	t.wantNoError("UpdateUser to names that were given up", t.store.UpdateUser(t.ctx, second, t.mutation("user.update", second.ID)))
	second.Version++
	t.wantUser("who gave the names up", first)
	t.wantUser("who took them", second)
}

func userUpdateRefusals(t *trial) {
	user, other, unknown := t.addFullUser(), t.addFullUser(), t.fullUser()
	for _, row := range []struct {
		name string
		edit func(*keyfold.UserRecord)
		want error
	}{
		{"of an unknown user", func(u *keyfold.UserRecord) { u.ID = unknown.ID }, keyfold.ErrNotFound},
		{"of an unknown user, to a name that is taken", func(u *keyfold.UserRecord) { u.ID, u.UsernameKey = unknown.ID, other.UsernameKey }, keyfold.ErrNotFound},
		{"of an older version", func(u *keyfold.UserRecord) { u.Version-- }, keyfold.ErrStale},
		{"of a newer version", func(u *keyfold.UserRecord) { u.Version++ }, keyfold.ErrStale},
		{"of another version, to a name that is taken", func(u *keyfold.UserRecord) { u.Version, u.UsernameKey = 0, other.UsernameKey }, keyfold.ErrStale},
		{"to a name that is taken", func(u *keyfold.UserRecord) { u.UsernameKey = other.UsernameKey }, keyfold.ErrConflict},
		{"to an address that is taken", func(u *keyfold.UserRecord) { u.EmailKey = other.EmailKey }, keyfold.ErrConflict},
	} {
		edit := user
		edit.Username, edit.Email, edit.UpdatedAt = "edited", "edited", t.now()
		row.edit(&edit)
		m := t.mutation(t.action(), edit.ID)
		cursor := t.cursor()
		t.wantError("UpdateUser "+row.name, t.store.UpdateUser(t.ctx, edit, m), row.want)
		t.wantNoRows(cursor, m)
		t.wantUser("the user after an update "+row.name, user)
		t.wantUser("the other after an update "+row.name, other)
	}
	t.wantNoUser(unknown)
}

func racingUserUpdates(t *trial) {
	const racers = 8
	user := t.addUser()
	m := t.mutation(t.action(), user.ID)
	cursor := t.cursor()
	edits := make([]keyfold.UserRecord, racers)
	for i := range edits {
		edits[i] = user
		edits[i].Username, edits[i].UsernameKey = fmt.Sprint("Name ", i), fmt.Sprint("name ", i, user.ID)
	}
	errs := race(racers, func(i int) error {
		return again(func() error { return t.store.UpdateUser(t.ctx, edits[i], m) })
	})
	winner := slices.Index(errs, nil)
	if winner < 0 || count(errs, keyfold.ErrStale) != racers-1 {
		t.Fatalf("racing updates: got %v, want one nil and %d stale", errs, racers-1)
	}
	edits[winner].Version++
	t.wantUser("the user as the winner wrote it", edits[winner])
	t.wantNoName(user.UsernameKey, t.id())
	t.wantRows(cursor, m, user.ID)
}

func racingRenames(t *trial) {
	rounds, racers := t.scale(10), 8
	for round := range rounds {
		name := t.id()
		users, edits := make([]keyfold.UserRecord, racers), make([]keyfold.UserRecord, racers)
		for i := range users {
			users[i] = t.addUser()
			edits[i] = users[i]
			if round%2 == 0 {
				edits[i].UsernameKey = name
			} else {
				edits[i].EmailKey = name
			}
		}
		m := t.mutation(t.action(), name)
		errs := race(racers, func(i int) error {
			return again(func() error { return t.store.UpdateUser(t.ctx, edits[i], m) })
		})
		if count(errs, nil) != 1 || count(errs, keyfold.ErrConflict) != racers-1 {
			t.Fatalf("racing renames: got %v, want one nil and %d conflicts", errs, racers-1)
		}
		for i, err := range errs {
			want := users[i]
			if err == nil {
				want = edits[i]
				want.Version++
			}
			t.wantUser("who raced for a name", want)
		}
	}
}

// setUser changes the state of a user. The change must apply.
func (t *trial) setUser(id string, change keyfold.StateChange) {
	t.Helper()
	changed, err := t.store.SetUserState(t.ctx, id, change, "because", t.mutation("user.state", id))
	t.wantNoError("SetUserState", err)
	if !changed {
		t.Fatalf("SetUserState %d of user %s did not apply", change, id)
	}
}

func userStates(t *trial) {
	const disable, enable = keyfold.DisableChange, keyfold.EnableChange
	want := t.fullUser()
	want.DisabledAt, want.DisabledReason = time.Time{}, ""
	t.wantNoError("CreateUser", t.store.CreateUser(t.ctx, want, t.mutation("user.create", want.ID)))
	for i, row := range []struct {
		change  keyfold.StateChange
		reason  string
		applies bool
	}{
		{enable, "", false},
		{disable, "on holiday", true},
		{disable, "again", false},
		{enable, "", true},
		{enable, "", false},
		{disable, "", true},
		{disable, "", false},
		{enable, "a reason that is not kept", true},
	} {
		m := t.mutation(t.action(), want.ID)
		cursor := t.cursor()
		changed, err := t.store.SetUserState(t.ctx, want.ID, row.change, row.reason, m)
		t.wantNoError("SetUserState", err)
		if changed != row.applies {
			t.Errorf("step %d: SetUserState %d said %t, want %t", i, row.change, changed, row.applies)
		}
		if row.applies {
			want.DisabledAt, want.DisabledReason, want.UpdatedAt = m.At, row.reason, m.At
			if row.change == enable {
				want.DisabledAt, want.DisabledReason = time.Time{}, ""
			}
			want.Version++
			t.wantRows(cursor, m, want.ID)
		} else {
			t.wantNoRows(cursor, m)
		}
		t.wantUser(fmt.Sprint("after step ", i), want)
	}
}

func userStateOfUnknown(t *trial) {
	for _, change := range []keyfold.StateChange{keyfold.DisableChange, keyfold.EnableChange} {
		user := t.newUser()
		m := t.mutation(t.action(), user.ID)
		cursor := t.cursor()
		changed, err := t.store.SetUserState(t.ctx, user.ID, change, "", m)
		t.wantError("SetUserState", err, keyfold.ErrNotFound)
		if changed {
			t.Errorf("SetUserState of an unknown user said that it changed something")
		}
		t.wantNoUser(user)
		t.wantNoRows(cursor, m)
	}
}

func racingUserStates(t *trial) {
	const racers = 8
	user := t.addUser()
	m := t.mutation(t.action(), user.ID)
	cursor := t.cursor()
	changed := make([]bool, racers)
	errs := race(racers, func(i int) error {
		return again(func() (err error) {
			changed[i], err = t.store.SetUserState(t.ctx, user.ID, keyfold.DisableChange, "", m)
			return err
		})
	})
	t.wantNoError("racing state changes", errors.Join(errs...))
	applied := 0
	for _, yes := range changed {
		if yes {
			applied++
		}
	}
	if version := t.wantStoredUser(user.ID).Version; applied != 1 || version != user.Version+1 {
		t.Errorf("%d of %d racing state changes applied, and the version rose by %d, want 1 and 1", applied, racers, version-user.Version)
	}
	t.wantRows(cursor, m, user.ID)
}

// userVerb is a method that changes a user.
type userVerb struct {
	name string
	do   func(t *trial, user keyfold.UserRecord, m keyfold.Mutation) error
}

func userVerbs() []userVerb {
	return []userVerb{
		{"UpdateUser", func(t *trial, user keyfold.UserRecord, m keyfold.Mutation) error {
			user.Username = "updated"
			return t.store.UpdateUser(t.ctx, user, m)
		}},
		{"SetPassword", func(t *trial, user keyfold.UserRecord, m keyfold.Mutation) error {
			return t.store.SetPassword(t.ctx, user.ID, "hash", keyfold.AnyPassword, m)
		}},
		{"SetUserState", func(t *trial, user keyfold.UserRecord, m keyfold.Mutation) error {
			_, err := t.store.SetUserState(t.ctx, user.ID, keyfold.DisableChange, "reason", m)
			return err
		}},
		{"UnlockUser", func(t *trial, user keyfold.UserRecord, m keyfold.Mutation) error {
			return t.store.UnlockUser(t.ctx, user.ID, keyfold.AttemptResult{}, m)
		}},
		{"CreateOneTimeToken", func(t *trial, user keyfold.UserRecord, m keyfold.Mutation) error {
			return t.store.CreateOneTimeToken(t.ctx, t.token(user, keyfold.PurposeResetPassword), m)
		}},
		{"DeleteUser", func(t *trial, user keyfold.UserRecord, m keyfold.Mutation) error {
			return t.store.DeleteUser(t.ctx, user.ID, m)
		}},
	}
}

func userChangesWriteRows(t *trial) {
	user := t.newUser()
	m := t.mutation(t.action(), user.ID)
	cursor := t.cursor()
	t.wantNoError("CreateUser", t.store.CreateUser(t.ctx, user, m))
	t.wantRows(cursor, m, user.ID)
	for _, verb := range userVerbs() {
		user := t.addUser()
		m := t.mutation(t.action(), user.ID)
		cursor := t.cursor()
		t.wantNoError(verb.name, verb.do(t, user, m))
		t.wantRows(cursor, m, user.ID)
	}
}

func userRefusalsWriteNoRows(t *trial) {
	for _, verb := range userVerbs() {
		user := t.newUser()
		m := t.mutation(t.action(), user.ID)
		cursor := t.cursor()
		t.wantError(verb.name+" of an unknown user", verb.do(t, user, m), keyfold.ErrNotFound)
		t.wantNoRows(cursor, m)
	}
}
