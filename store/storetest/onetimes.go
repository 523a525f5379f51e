package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

func oneTimeCases() []testCase {
	return []testCase{
		{name: "a value in every column of a token is returned", run: everyTokenColumn},
		{name: "an unknown token returns ErrNotFound, and whole sums are compared", run: unknownToken},
		{name: "a new token replaces only the user's token for the same purpose", run: tokenReplaces},
		{name: "a token of an unknown user returns ErrNotFound even if its sum exists", run: tokenOfUnknownUser},
		{name: "an existing sum is a conflict, and nothing of the second token is stored", run: duplicateToken},
		{name: "a use changes the user according to the purpose and deletes the token", run: usesByPurpose},
		{name: "a use writes one change row and one audit row with the user's ID", run: useWritesRows},
		{name: "a token works once", run: usedToken},
		{name: "a token can be used until one millisecond before it expires", run: tokenExpires},
		{name: "a token does not work for another purpose, or for a user who changed or is disabled", run: uselessTokens},
		{name: "a use for an address of another user is a conflict and keeps the token", run: useOfTakenAddress},
		{name: "of fifty concurrent uses one succeeds", run: racingUses},
		{name: "of two users who change to the same address at the same time one succeeds", run: racingChangesOfAddress},
		{name: "a reset never overwrites a password that is set at the same time", run: resetRacesPassword},
		{name: "a use during the deletion of its user leaves no user behind", run: useRacesDeletion},
		{name: "only expired tokens are pruned", run: pruneTokensBound},
		{name: "pruning tokens respects the limit and reports whether more remain", run: pruneTokensInSteps},
	}
}

// purposes returns all purposes of tokens.
func purposes() []keyfold.OneTimePurpose {
	return []keyfold.OneTimePurpose{keyfold.PurposeVerifyEmail, keyfold.PurposeResetPassword, keyfold.PurposeChangeEmail}
}

// token returns a token for the current state of a user. It does not store the token.
func (t *trial) token(user keyfold.UserRecord, purpose keyfold.OneTimePurpose) keyfold.OneTimeTokenRecord {
	id, at := t.id(), t.now()
	token := keyfold.OneTimeTokenRecord{
		Sum: sha256.Sum256([]byte(id)), Purpose: purpose, UserID: user.ID,
		PasswordVersion: user.PasswordVersion, EmailKey: user.EmailKey, CreatedAt: at, ExpiresAt: at.Add(time.Hour),
	}
	if purpose == keyfold.PurposeChangeEmail {
		token.NewEmail, token.NewEmailKey = "New@"+id, "new@"+id
	}
	return token
}

// addToken stores a token that token returns.
func (t *trial) addToken(user keyfold.UserRecord, purpose keyfold.OneTimePurpose) keyfold.OneTimeTokenRecord {
	t.Helper()
	token := t.token(user, purpose)
	t.wantNoError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, token, t.mutation("user.one_time", user.ID)))
	return token
}

// wantToken checks that a token exists unchanged.
func (t *trial) wantToken(token keyfold.OneTimeTokenRecord) {
	t.Helper()
	got, err := t.store.OneTimeToken(t.ctx, token.Sum)
	t.wantNoError("OneTimeToken", err)
	t.wantEqual("OneTimeToken", got, token)
}

// wantNoToken checks that a token does not exist.
func (t *trial) wantNoToken(token keyfold.OneTimeTokenRecord) {
	t.Helper()
	_, err := t.store.OneTimeToken(t.ctx, token.Sum)
	t.wantError("OneTimeToken", err, keyfold.ErrNotFound)
}

// use returns the use of a token. It always contains a password hash, which a store must
// ignore for the other purposes.
func use(token keyfold.OneTimeTokenRecord) keyfold.OneTimeTokenUse {
	return keyfold.OneTimeTokenUse{Sum: token.Sum, Purpose: token.Purpose, PasswordHash: "hash of the new password"}
}

// became returns the record of a user after the use of a token.
func became(user keyfold.UserRecord, token keyfold.OneTimeTokenRecord, at time.Time) keyfold.UserRecord {
	user.EmailVerifiedAt, user.UpdatedAt = at, at
	user.Version++
	switch token.Purpose {
	case keyfold.PurposeResetPassword:
		user.PasswordHash, user.HasPassword, user.PasswordChangedAt = use(token).PasswordHash, true, at
		user.PasswordVersion++
	case keyfold.PurposeChangeEmail:
		user.Email, user.EmailKey = token.NewEmail, token.NewEmailKey
	}
	return user
}

// activeUser stores a user who is not disabled, with a value in every other field.
func (t *trial) activeUser() keyfold.UserRecord {
	t.Helper()
	return t.addUser(func(user *keyfold.UserRecord) {
		*user = t.fullUser()
		user.DisabledAt, user.DisabledReason = time.Time{}, ""
	})
}

// wantUseRefused checks that a use fails and changes nothing.
func (t *trial) wantUseRefused(what string, u keyfold.OneTimeTokenUse, token keyfold.OneTimeTokenRecord, at time.Time, reason error) {
	t.Helper()
	before := t.wantStoredUser(token.UserID)
	m := t.mutation(t.action(), "replaced")
	m.At = at
	cursor := t.cursor()
	_, err := t.store.UseOneTimeToken(t.ctx, u, m)
	t.wantError("UseOneTimeToken "+what, err, reason)
	t.wantUser("the user after a use "+what, before)
	t.wantToken(token)
	t.wantNoRows(cursor, m)
	m.Target = token.UserID
	t.wantNoRows(cursor, m)
}

func everyTokenColumn(t *trial) {
	user := t.activeUser()
	token := t.token(user, keyfold.PurposeChangeEmail)
	token.Sum[0], token.Sum[1], token.Sum[2], token.Sum[31] = 0, 255, '\'', '\\'
	token.PasswordVersion, token.EmailKey = 41, "another@"+user.ID // a creation must not compare these
	for _, field := range zeroFields("OneTimeTokenRecord", reflect.ValueOf(token)) {
		t.Errorf("the suite's own token has nothing in %s: give it a value in token", field)
	}
	t.wantNoError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, token, t.mutation("user.one_time", user.ID)))
	t.wantToken(token)
	t.wantToken(t.addToken(user, keyfold.PurposeVerifyEmail))
	t.wantUser("the user", user)
}

func unknownToken(t *trial) {
	token := t.addToken(t.activeUser(), keyfold.PurposeVerifyEmail)
	for _, i := range []int{0, 15, 31} {
		other := token
		other.Sum[i]++
		t.wantNoToken(other)
		t.wantUseRefused("of an unknown sum", use(other), token, t.now(), keyfold.ErrNotFound)
	}
	t.wantNoToken(keyfold.OneTimeTokenRecord{})
}

func tokenReplaces(t *trial) {
	user, other := t.activeUser(), t.activeUser()
	kept := []keyfold.OneTimeTokenRecord{
		t.addToken(user, keyfold.PurposeVerifyEmail), t.addToken(user, keyfold.PurposeChangeEmail), t.addToken(other, keyfold.PurposeResetPassword),
	}
	for range 3 {
		first := t.addToken(user, keyfold.PurposeResetPassword)
		t.wantToken(first)
		second := t.addToken(user, keyfold.PurposeResetPassword)
		t.wantNoToken(first)
		t.wantToken(second)
	}
	for _, token := range kept {
		t.wantToken(token)
	}
}

func tokenOfUnknownUser(t *trial) {
	kept := t.addToken(t.activeUser(), keyfold.PurposeVerifyEmail)
	unknown := t.newUser()
	fresh := t.token(unknown, keyfold.PurposeVerifyEmail)
	taken := fresh
	taken.Sum = kept.Sum
	for _, token := range []keyfold.OneTimeTokenRecord{fresh, taken} {
		m := t.mutation(t.action(), unknown.ID)
		cursor := t.cursor()
		t.wantError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, token, m), keyfold.ErrNotFound)
		t.wantNoRows(cursor, m)
	}
	t.wantNoToken(fresh)
	t.wantToken(kept)
}

func duplicateToken(t *trial) {
	user, other := t.activeUser(), t.activeUser()
	reset, theirs := t.addToken(user, keyfold.PurposeResetPassword), t.addToken(other, keyfold.PurposeResetPassword)
	verify := t.addToken(user, keyfold.PurposeVerifyEmail)
	for _, taken := range []keyfold.OneTimeTokenRecord{verify, theirs} {
		token := t.token(user, keyfold.PurposeResetPassword)
		token.Sum = taken.Sum
		m := t.mutation(t.action(), user.ID)
		cursor := t.cursor()
		t.wantError("CreateOneTime of a sum that exists", t.store.CreateOneTimeToken(t.ctx, token, m), keyfold.ErrConflict)
		t.wantNoRows(cursor, m)
		t.wantToken(verify)
		t.wantToken(theirs)
		t.wantToken(reset) // the previous token for that purpose
	}
}

func usesByPurpose(t *trial) {
	for _, purpose := range purposes() {
		user := t.activeUser()
		other := t.addToken(user, purpose%3+1) // for the next purpose
		token := t.addToken(user, purpose)
		m := t.mutation(t.action(), "")
		got, err := t.store.UseOneTimeToken(t.ctx, use(token), m)
		t.wantNoError("UseOneTimeToken to "+purpose.String(), err)
		want := became(user, token, m.At)
		t.wantEqual("UseOneTimeToken to "+purpose.String(), got, want)
		t.wantUser("the user after "+purpose.String(), want)
		t.wantNoToken(token)
		t.wantToken(other)
		if purpose == keyfold.PurposeChangeEmail {
			t.wantNoName(t.id(), user.EmailKey)
		}
	}
	// An address may change to another spelling of the same address.
	user := t.activeUser()
	token := t.token(user, keyfold.PurposeChangeEmail)
	token.NewEmail, token.NewEmailKey = "ANOTHER FORM", user.EmailKey
	m := t.mutation("user.one_time", user.ID)
	t.wantNoError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, token, m))
	_, err := t.store.UseOneTimeToken(t.ctx, use(token), m)
	t.wantNoError("UseOneTimeToken to change an address to itself", err)
	t.wantUser("the user", became(user, token, m.At))
}

func useWritesRows(t *trial) {
	for _, purpose := range purposes() {
		user := t.activeUser()
		token := t.addToken(user, purpose)
		m := t.mutation(t.action(), "replaced")
		cursor := t.cursor()
		_, err := t.store.UseOneTimeToken(t.ctx, use(token), m)
		t.wantNoError("UseOneTimeToken", err)
		if entries := t.audited(m); len(entries) != 0 {
			t.Errorf("%d audit rows keep the target of the mutation, want the id of the user instead", len(entries))
		}
		m.Target = user.ID
		t.wantRows(cursor, m, user.ID)
	}
}

func usedToken(t *trial) {
	for _, purpose := range purposes() {
		token := t.addToken(t.activeUser(), purpose)
		_, err := t.store.UseOneTimeToken(t.ctx, use(token), t.mutation("user.used", ""))
		t.wantNoError("UseOneTimeToken", err)
		after := t.wantStoredUser(token.UserID)
		for range 2 {
			m := t.mutation(t.action(), token.UserID)
			cursor := t.cursor()
			_, err := t.store.UseOneTimeToken(t.ctx, use(token), m)
			t.wantError("UseOneTimeToken of a token that was used", err, keyfold.ErrNotFound)
			t.wantUser("the user after a second use", after)
			t.wantNoRows(cursor, m)
		}
	}
}

func tokenExpires(t *trial) {
	for _, purpose := range purposes() {
		user := t.activeUser()
		token := t.addToken(user, purpose)
		for _, delay := range []time.Duration{0, time.Millisecond, 1000 * time.Hour} {
			t.wantUseRefused(fmt.Sprint("that comes ", delay, " after the expiry"), use(token), token, token.ExpiresAt.Add(delay), keyfold.ErrNotFound)
		}
		m := t.mutation("user.used", "")
		m.At = token.ExpiresAt.Add(-time.Millisecond)
		_, err := t.store.UseOneTimeToken(t.ctx, use(token), m)
		t.wantNoError("UseOneTimeToken just before the end", err)
		t.wantUser("the user", became(user, token, m.At))
	}
}

func uselessTokens(t *trial) {
	for _, row := range []struct {
		name  string
		spoil func(user keyfold.UserRecord)
	}{
		{"with a new password", func(user keyfold.UserRecord) {
			t.wantNoError("SetPassword", t.store.SetPassword(t.ctx, user.ID, "hash", keyfold.AnyPassword, t.mutation("user.set_password", user.ID)))
		}},
		{"with the same password set anew", func(user keyfold.UserRecord) {
			t.wantNoError("SetPassword", t.store.SetPassword(t.ctx, user.ID, user.PasswordHash, keyfold.AnyPassword, t.mutation("user.set_password", user.ID)))
		}},
		{"with another address", func(user keyfold.UserRecord) {
			user.EmailKey += " "
			t.wantNoError("UpdateUser", t.store.UpdateUser(t.ctx, user, t.mutation("user.update", user.ID)))
		}},
		{"who is disabled", func(user keyfold.UserRecord) { t.setUser(user.ID, keyfold.DisableChange) }},
	} {
		for _, purpose := range purposes() {
			user := t.activeUser()
			token := t.addToken(user, purpose)
			row.spoil(user)
			t.wantUseRefused("by a user "+row.name, use(token), token, t.now(), keyfold.ErrNotFound)
		}
	}
	for _, purpose := range purposes() {
		user := t.activeUser()
		token := t.addToken(user, purpose)
		for _, other := range purposes() {
			if other != purpose {
				u := use(token)
				u.Purpose = other
				t.wantUseRefused("for another purpose", u, token, t.now(), keyfold.ErrNotFound)
			}
		}
		// Changes that are undone keep the token usable.
		t.setUser(user.ID, keyfold.DisableChange)
		t.setUser(user.ID, keyfold.EnableChange)
		t.wantNoError("RehashPassword", t.store.RehashPassword(t.ctx, user.ID, user.PasswordHash, "rehashed"))
		user = t.wantStoredUser(user.ID)
		m := t.mutation("user.used", "")
		_, err := t.store.UseOneTimeToken(t.ctx, use(token), m)
		t.wantNoError("UseOneTimeToken after the user was enabled", err)
		t.wantUser("the user", became(user, token, m.At))
	}
}

func useOfTakenAddress(t *trial) {
	user, other := t.activeUser(), t.activeUser()
	token := t.token(user, keyfold.PurposeChangeEmail)
	token.NewEmailKey = other.EmailKey
	t.wantNoError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, token, t.mutation("user.one_time", user.ID)))
	t.wantUseRefused("for an address that is taken", use(token), token, t.now(), keyfold.ErrConflict)
	t.wantUseRefused("for an address that is taken, after the expiry", use(token), token, token.ExpiresAt, keyfold.ErrNotFound)
	t.wantUser("who has the address", other)
	t.wantNoError("DeleteUser", t.store.DeleteUser(t.ctx, other.ID, t.mutation("user.delete", other.ID)))
	m := t.mutation("user.used", "")
	_, err := t.store.UseOneTimeToken(t.ctx, use(token), m)
	t.wantNoError("UseOneTimeToken for an address that is free again", err)
	t.wantUser("the user", became(user, token, m.At))
}

func racingUses(t *trial) {
	racers := t.scale(50)
	for _, purpose := range purposes() {
		user := t.activeUser()
		token := t.addToken(user, purpose)
		m := t.mutation(t.action(), user.ID)
		cursor := t.cursor()
		errs := race(racers, func(int) error {
			return again(func() error {
				_, err := t.store.UseOneTimeToken(t.ctx, use(token), m)
				return err
			})
		})
		if count(errs, nil) != 1 || count(errs, keyfold.ErrNotFound) != racers-1 {
			t.Errorf("racing uses to %s: %d won, and %d were not found, want 1 and %d: %v", purpose,
				count(errs, nil), count(errs, keyfold.ErrNotFound), racers-1, errs)
		}
		t.wantUser("the user after racing uses", became(user, token, m.At))
		t.wantRows(cursor, m, user.ID)
	}
}

func racingChangesOfAddress(t *trial) {
	for range t.scale(20) {
		users := []keyfold.UserRecord{t.activeUser(), t.activeUser()}
		address := "wanted@" + t.id()
		tokens := make([]keyfold.OneTimeTokenRecord, len(users))
		for i, user := range users {
			tokens[i] = t.token(user, keyfold.PurposeChangeEmail)
			tokens[i].NewEmailKey = address
			t.wantNoError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, tokens[i], t.mutation("user.one_time", user.ID)))
		}
		m := t.mutation("user.used", "")
		errs := race(len(users), func(i int) error {
			return again(func() error {
				_, err := t.store.UseOneTimeToken(t.ctx, use(tokens[i]), m)
				return err
			})
		})
		if count(errs, nil) != 1 || count(errs, keyfold.ErrConflict) != 1 {
			t.Fatalf("racing changes to one address: got %v, want one nil and one conflict", errs)
		}
		winner := slices.Index(errs, nil)
		t.wantUser("who got the address", became(users[winner], tokens[winner], m.At))
		t.wantUser("who did not", users[1-winner])
		t.wantToken(tokens[1-winner])
	}
}

func resetRacesPassword(t *trial) {
	for range t.scale(30) {
		user := t.activeUser()
		token := t.addToken(user, keyfold.PurposeResetPassword)
		m := t.mutation(t.action(), user.ID)
		errs := race(2, func(i int) error {
			return again(func() error {
				if i == 0 {
					return t.store.SetPassword(t.ctx, user.ID, "set", keyfold.AnyPassword, m)
				}
				_, err := t.store.UseOneTimeToken(t.ctx, use(token), m)
				return err
			})
		})
		t.wantNoError("SetPassword", errs[0])
		if errs[1] != nil {
			t.wantError("UseOneTimeToken after SetPassword", errs[1], keyfold.ErrNotFound)
		}
		raised := int64(1 + count(errs[1:], nil))
		if got := t.wantStoredUser(user.ID); got.PasswordHash != "set" || got.PasswordVersion != user.PasswordVersion+raised {
			t.Errorf("after a reset that raced the hash is %q, and its version rose by %d, want %q and %d",
				got.PasswordHash, got.PasswordVersion-user.PasswordVersion, "set", raised)
		}
	}
}

func useRacesDeletion(t *trial) {
	for _, purpose := range slices.Repeat(purposes(), t.scale(10)) {
		user := t.activeUser()
		token := t.addToken(user, purpose)
		fresh := t.token(user, purpose%3+1)
		m := t.mutation(t.action(), user.ID)
		errs := race(3, func(i int) error {
			return again(func() (err error) {
				switch i {
				case 0:
					return t.store.DeleteUser(t.ctx, user.ID, m)
				case 1:
					_, err = t.store.UseOneTimeToken(t.ctx, use(token), m)
				case 2:
					err = t.store.CreateOneTimeToken(t.ctx, fresh, m)
				}
				if errors.Is(err, keyfold.ErrNotFound) {
					err = nil
				}
				return err
			})
		})
		t.wantNoError("using and deleting", errors.Join(errs...))
		t.wantNoUser(user)
		t.wantNoName(user.UsernameKey, token.NewEmailKey)
		for _, token := range []keyfold.OneTimeTokenRecord{token, fresh} {
			_, err := t.store.UseOneTimeToken(t.ctx, use(token), t.mutation("user.used", ""))
			t.wantError("UseOneTimeToken of a deleted user's token", err, keyfold.ErrNotFound)
		}
	}
}

// tokensUntil stores tokens that expire at the given times.
func (t *trial) tokensUntil(expire ...time.Time) []keyfold.OneTimeTokenRecord {
	t.Helper()
	tokens := make([]keyfold.OneTimeTokenRecord, len(expire))
	for i, at := range expire {
		user := t.addUser()
		tokens[i] = t.token(user, keyfold.PurposeVerifyEmail)
		tokens[i].CreatedAt, tokens[i].ExpiresAt = at.Add(-time.Hour), at
		t.wantNoError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, tokens[i], t.mutation("user.one_time", user.ID)))
	}
	return tokens
}

func pruneTokensBound(t *trial) {
	at := time.UnixMilli(1_000_000_000_000).UTC() // long before the tokens of other cases
	ms := time.Millisecond
	tokens := t.tokensUntil(at.Add(ms), at.Add(-time.Hour), at, at.Add(time.Hour), at.Add(-ms))
	deleted, _, err := t.store.PruneOneTimeTokens(t.ctx, at, 100)
	t.wantNoError("PruneOneTimeTokens", err)
	if deleted != 3 {
		t.Errorf("PruneOneTime said that it deleted %d tokens, want 3", deleted)
	}
	for i, token := range tokens {
		if i == 0 || i == 3 {
			t.wantToken(token)
			continue
		}
		t.wantNoToken(token)
	}
	deleted, _, err = t.store.PruneOneTimeTokens(t.ctx, at, 100)
	t.wantNoError("PruneOneTimeTokens", err)
	if deleted != 0 {
		t.Errorf("PruneOneTime deleted %d tokens where none was left to delete", deleted)
	}
}

func pruneTokensInSteps(t *trial) {
	const tokens, limit = 12, 5
	at := time.UnixMilli(900_000_000_000).UTC()
	t.tokensUntil(slices.Repeat([]time.Time{at}, tokens)...)
	t.wantSteps("PruneOneTimeTokens", tokens, limit, func() (int, bool, error) { return t.store.PruneOneTimeTokens(t.ctx, at, limit) })
}

// wantSteps checks that pruning deletes about limit rows in each call, reports correctly
// whether more remain, and finally deletes all rows.
func (t *trial) wantSteps(what string, rows, limit int, prune func() (int, bool, error)) {
	t.Helper()
	sum, more := 0, true
	for range rows {
		if !more {
			break
		}
		var deleted int
		var err error
		deleted, more, err = prune()
		t.wantNoError(what, err)
		if deleted > 2*limit {
			t.Errorf("%s deleted %d rows at once, want about %d at most", what, deleted, limit)
		}
		sum += deleted
		if sum < rows && !more {
			t.Errorf("%s reported no more rows after it deleted %d of %d", what, sum, rows)
		}
	}
	if sum != rows || more {
		t.Errorf("%s deleted %d rows in all and reported more=%t, want %d and false", what, sum, more, rows)
	}
}
