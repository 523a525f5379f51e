package storetest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/keyfold/keyfold"
)

func passwordCases() []testCase {
	return []testCase{
		{name: "a new password with AnyPassword is always written, and increments both versions", run: passwordIsSet},
		{name: "a new password for an outdated version returns ErrStale and changes nothing", run: passwordCompares},
		{name: "of concurrent new passwords for one version one succeeds", run: racingPasswordVersions},
		{name: "concurrent changes of a password each increment the versions", run: racingPasswords},
		{name: "a password of an unknown user returns ErrNotFound", run: passwordOfUnknown},
		{name: "a rehash of a password replaces only the hash", run: passwordRehash},
		{name: "a rehash of an outdated password changes nothing and returns no error", run: passwordRehashCompares},
		{name: "a rehash never overwrites a password that is set at the same time", run: passwordRehashRaces},
	}
}

func passwordIsSet(t *trial) {
	want := t.addFullUser()
	for _, hash := range []string{"another hash", "", "", "a third hash"} {
		m := t.mutation("user.set_password", want.ID)
		t.wantNoError("SetPassword", t.store.SetPassword(t.ctx, want.ID, hash, keyfold.AnyPassword, m))
		want.PasswordHash, want.HasPassword = hash, hash != ""
		want.PasswordChangedAt, want.UpdatedAt = m.At, m.At
		want.PasswordVersion++
		want.Version++
		t.wantUser(fmt.Sprintf("with the hash %q", hash), want)
	}
}

func passwordCompares(t *trial) {
	user := t.addFullUser()
	for _, version := range []int64{0, user.PasswordVersion - 1, user.PasswordVersion + 1, user.Version + 1000} {
		m := t.mutation(t.action(), user.ID)
		cursor := t.cursor()
		t.wantError("SetPassword", t.store.SetPassword(t.ctx, user.ID, "another hash", version, m), keyfold.ErrStale)
		t.wantUser(fmt.Sprintf("after a new password in place of version %d", version), user)
		t.wantNoRows(cursor, m)
	}
	t.wantNoError("RehashPassword", t.store.RehashPassword(t.ctx, user.ID, user.PasswordHash, "rehashed"))
	m := t.mutation("user.set_password", user.ID)
	t.wantNoError("SetPassword after a rehash", t.store.SetPassword(t.ctx, user.ID, "another hash", user.PasswordVersion, m))
	user.PasswordHash, user.PasswordChangedAt, user.UpdatedAt = "another hash", m.At, m.At
	user.PasswordVersion++
	user.Version++
	t.wantUser("after a new password in place of its version", user)
	unknown := t.newUser()
	t.wantError("SetPassword of an unknown user", t.store.SetPassword(t.ctx, unknown.ID, "hash", unknown.PasswordVersion, m), keyfold.ErrNotFound)
}

func racingPasswordVersions(t *trial) {
	const racers = 8
	user := t.addFullUser()
	m := t.mutation(t.action(), user.ID)
	errs := race(racers, func(i int) error {
		return again(func() error {
			return t.store.SetPassword(t.ctx, user.ID, fmt.Sprint("hash ", i), user.PasswordVersion, m)
		})
	})
	if count(errs, nil) != 1 || count(errs, keyfold.ErrStale) != racers-1 {
		t.Errorf("racing new passwords: got %v, want one nil and %d stale", errs, racers-1)
	}
	if got := t.wantStoredUser(user.ID); got.PasswordVersion != user.PasswordVersion+1 {
		t.Errorf("racing new passwords raised the version of the password by %d, want 1", got.PasswordVersion-user.PasswordVersion)
	}
	if entries := t.audited(m); len(entries) != 1 {
		t.Errorf("racing new passwords wrote %d audit rows, want 1", len(entries))
	}
}

func racingPasswords(t *trial) {
	const racers = 8
	user := t.addFullUser()
	m := t.mutation(t.action(), user.ID)
	errs := race(racers, func(i int) error {
		return again(func() error {
			return t.store.SetPassword(t.ctx, user.ID, fmt.Sprint("hash ", i), keyfold.AnyPassword, m)
		})
	})
	t.wantNoError("racing passwords", errors.Join(errs...))
	got := t.wantStoredUser(user.ID)
	if got.PasswordVersion != user.PasswordVersion+racers || got.Version != user.Version+racers {
		t.Errorf("%d new passwords raised the versions by %d and %d", racers,
			got.PasswordVersion-user.PasswordVersion, got.Version-user.Version)
	}
	if entries := t.audited(m); len(entries) != racers {
		t.Errorf("%d new passwords wrote %d audit rows", racers, len(entries))
	}
}

func passwordOfUnknown(t *trial) {
	user := t.newUser()
	m := t.mutation(t.action(), user.ID)
	cursor := t.cursor()
	t.wantError("SetPassword", t.store.SetPassword(t.ctx, user.ID, "hash", keyfold.AnyPassword, m), keyfold.ErrNotFound)
	t.wantNoUser(user)
	t.wantNoRows(cursor, m)
}

func passwordRehash(t *trial) {
	user := t.addFullUser()
	audit := t.entries(keyfold.AuditScan{Target: user.ID, Limit: 50}, nil)
	cursor := t.nextCursor(t.cursor())
	t.wantNoError("RehashPassword", t.store.RehashPassword(t.ctx, user.ID, user.PasswordHash, "rehashed"))
	user.PasswordHash = "rehashed"
	t.wantUser("after the rehash", user)
	if wrote := len(t.entries(keyfold.AuditScan{Target: user.ID, Limit: 50}, nil)) - len(audit); wrote != 0 {
		t.Errorf("the rehash wrote %d audit rows, want none", wrote)
	}
	changes, _, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	for _, change := range changes {
		// Only the creation may be retried.
		if change.Target == user.ID && change.Action != "user.create" {
			t.Errorf("the rehash wrote a change row %q, want none", change.Action)
		}
	}
}

func passwordRehashCompares(t *trial) {
	user := t.addFullUser()
	for _, old := range []string{
		"", "hash", user.PasswordHash + " ", strings.ToUpper(user.PasswordHash), user.PasswordHash[:len(user.PasswordHash)-1],
	} {
		t.wantNoError("RehashPassword", t.store.RehashPassword(t.ctx, user.ID, old, "rehashed"))
		t.wantUser(fmt.Sprintf("after a rehash of %q", old), user)
	}
	unknown := t.newUser()
	t.wantNoError("RehashPassword of an unknown user", t.store.RehashPassword(t.ctx, unknown.ID, "hash", "rehashed"))
	t.wantNoUser(unknown)
}

func passwordRehashRaces(t *trial) {
	for range t.scale(30) {
		user := t.addFullUser()
		m := t.mutation("user.set_password", user.ID)
		errs := race(2, func(i int) error {
			return again(func() error {
				if i == 0 {
					return t.store.SetPassword(t.ctx, user.ID, "the new password", keyfold.AnyPassword, m)
				}
				return t.store.RehashPassword(t.ctx, user.ID, user.PasswordHash, "the old password")
			})
		})
		t.wantNoError("changing and rehashing", errors.Join(errs...))
		if got := t.wantStoredUser(user.ID).PasswordHash; got != "the new password" {
			t.Errorf("after a change that races with a rehash the hash is of %s", got)
		}
	}
}
