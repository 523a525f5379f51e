package keyfold_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// These passwords satisfy the default policy for every username.
const (
	password = "seven otters juggle 41 plums"
	another  = "a cello under 9 wet blankets"
)

// join creates a user. If that fails, the test ends.
func join(t testing.TB, svc *keyfold.Service, n keyfold.NewUser) keyfold.User {
	t.Helper()
	user, err := svc.CreateUser(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// must ends the test if a preparing step returns an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantUser checks the stored user.
func wantUser(t testing.TB, svc *keyfold.Service, what string, want keyfold.User) {
	t.Helper()
	got, err := svc.User(t.Context(), want.ID)
	if err != nil || got != want {
		t.Errorf("%s: %+v, %v; want %+v", what, got, err, want)
	}
}

// atOnce calls fn n times concurrently and returns the results.
func atOnce(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			<-start
			errs[i] = fn(i)
		})
	}
	close(start)
	group.Wait()
	return errs
}

// countErrors returns how many of the errors are want.
func countErrors(errs []error, want error) (n int) {
	for _, err := range errs {
		if errors.Is(err, want) {
			n++
		}
	}
	return n
}

func wantField(t testing.TB, what string, err error, field string) {
	t.Helper()
	if invalid, ok := errors.AsType[*keyfold.InvalidError](err); !ok || invalid.Field != field {
		t.Errorf("%s: %v, want an InvalidError for %s", what, err, field)
	}
}

func TestLifeOfAUser(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		clock := newClock()
		svc := newService(t, store, &keyfold.Options{Now: clock.now})
		ctx := t.Context()
		user := join(t, svc, keyfold.NewUser{Username: "Ann", Email: "ann@example.com"})
		if user.Username != "Ann" || user.Email != "ann@example.com" || user.HasPassword || user.State(user.CreatedAt) != keyfold.UserActive ||
			user.Version != 1 || !user.EmailVerifiedAt.IsZero() || !user.CreatedAt.Equal(clock.now()) {
			t.Errorf("created: %+v", user)
		}
		wantUser(t, svc, "created", user)
		for _, login := range []string{"Ann", "ann", "ann@example.com"} {
			if found, err := svc.UserByIdentifier(ctx, login); err != nil || found != user {
				t.Errorf("by %q: %+v, %v", login, found, err)
			}
		}

		clock.add(time.Minute)
		must(t, svc.SetPassword(ctx, user.ID, password))
		user.HasPassword, user.PasswordChangedAt, user.UpdatedAt, user.Version = true, clock.now(), clock.now(), 2
		wantUser(t, svc, "with a password", user)

		clock.add(time.Minute)
		name, none := "Anna", ""
		updated, err := svc.UpdateUser(ctx, user.ID, keyfold.UserUpdate{Version: 2, Username: &name, Email: &none})
		must(t, err)
		user.Username, user.Email, user.UpdatedAt, user.Version = "Anna", "", clock.now(), 3
		if updated != user {
			t.Errorf("updated: %+v, want %+v", updated, user)
		}
		wantUser(t, svc, "updated", user)
		for _, login := range []string{"Ann", "ann@example.com"} {
			_, err := svc.UserByIdentifier(ctx, login)
			wantErr(t, "by a name given up", err, keyfold.ErrNotFound)
		}

		clock.add(time.Minute)
		for range 2 { // again changes nothing
			must(t, svc.DisableUser(ctx, user.ID, "on holiday"))
			if user.DisabledAt.IsZero() {
				user.DisabledAt, user.DisabledReason, user.UpdatedAt, user.Version = clock.now(), "on holiday", clock.now(), 4
			}
			wantUser(t, svc, "disabled", user)
			clock.add(time.Minute)
		}
		for range 2 {
			must(t, svc.EnableUser(ctx, user.ID))
			if !user.DisabledAt.IsZero() {
				user.DisabledAt, user.DisabledReason, user.UpdatedAt, user.Version = time.Time{}, "", clock.now(), 5
			}
			wantUser(t, svc, "enabled", user)
			clock.add(time.Minute)
		}

		must(t, svc.DeleteUser(ctx, user.ID))
		_, err = svc.User(ctx, user.ID)
		wantErr(t, "deleted", err, keyfold.ErrNotFound)
		join(t, svc, keyfold.NewUser{Username: "Anna"})
	})
}

func TestInvalidUsersAreRefusedByField(t *testing.T) {
	l := newLifecycle(t)
	ctx := t.Context()
	user := join(t, l.Service, keyfold.NewUser{Username: "ann"})
	none := ""
	for _, row := range []struct {
		what, field string
		do          func() error
	}{
		{"nameless", "username", func() error { _, err := l.CreateUser(ctx, keyfold.NewUser{Password: password}); return err }},
		{"left nameless", "username", func() error {
			_, err := l.UpdateUser(ctx, user.ID, keyfold.UserUpdate{Version: 1, Username: &none})
			return err
		}},
		{"without a version", "version", func() error { _, err := l.UpdateUser(ctx, user.ID, keyfold.UserUpdate{}); return err }},
		{"no id", "id", func() error { _, err := l.User(ctx, "ann"); return err }},
		{"no id to disable", "id", func() error { return l.DisableUser(ctx, "'", "") }},
		{"no id to enable", "id", func() error { return l.EnableUser(ctx, "") }},
		{"no id to delete", "id", func() error { return l.DeleteUser(ctx, "*") }},
		{"a long reason", "reason", func() error { return l.DisableUser(ctx, user.ID, strings.Repeat("x", 257)) }},
		{"no state", "state", func() error { _, err := l.Users(ctx, keyfold.UserQuery{State: "asleep"}); return err }},
		{"a key of no id", "user_id", func() error { _, _, err := l.Service.CreateKey(ctx, keyfold.NewKey{UserID: "ann"}); return err }},
		{"keys of no id", "user_id", func() error { _, err := l.Keys(ctx, keyfold.KeyQuery{UserID: keyfold.Only("ann")}); return err }},
		{"usage together with an owner", "user_id", func() error {
			_, err := l.Usage(ctx, keyfold.UsageQuery{UserID: keyfold.Only(user.ID), OwnerID: keyfold.Only("o")})
			return err
		}},
	} {
		wantField(t, row.what, row.do(), row.field)
	}
	unknown := strings.Repeat("0", 16)
	for what, err := range map[string]error{
		"password": l.SetPassword(ctx, unknown, password), "disable": l.DisableUser(ctx, unknown, ""),
		"enable": l.EnableUser(ctx, unknown), "delete": l.DeleteUser(ctx, unknown),
	} {
		wantErr(t, what+" of an unknown user", err, keyfold.ErrNotFound)
	}
	_, _, err := l.Service.CreateKey(ctx, keyfold.NewKey{UserID: unknown})
	wantField(t, "a key of an unknown user", err, "user_id")
}

func TestCheckPasswordAgreesWithCreateUser(t *testing.T) {
	t.Parallel()
	svc, err := keyfold.New(memory.New(), &keyfold.Options{PasswordPolicy: keyfold.PasswordPolicy{MinLength: 20}})
	must(t, err)
	for _, chosen := range []string{"", "nineteen otters 1 2", "password password password", "ann@example.com and 42 otters", another} {
		t.Run(chosen, func(t *testing.T) {
			names := keyfold.NewUser{Username: "ann", Email: "ann@example.com", Password: chosen}
			checked := svc.CheckPassword(chosen, names.Username, names.Email)
			if chosen == "" { // which asks CreateUser for a user without one
				wantInvalid(t, "no password", checked, "password")
				return
			}
			user, created := svc.CreateUser(t.Context(), names)
			if fmt.Sprint(checked) != fmt.Sprint(created) {
				t.Errorf("%q: checked %v, created %v", chosen, checked, created)
			}
			if created == nil {
				must(t, svc.DeleteUser(t.Context(), user.ID))
			}
		})
	}
	page, err := svc.Users(t.Context(), keyfold.UserQuery{})
	if err != nil || len(page.Users) != 0 {
		t.Errorf("%d users are stored, %v", len(page.Users), err)
	}
}

func ExampleService_CheckPassword() {
	svc, _ := keyfold.New(memory.New(), nil)
	fmt.Println(svc.CheckPassword("otter plums", "ann", "ann@example.com"))
	fmt.Println(svc.CheckPassword("seven otters juggle 41 plums", "ann", "ann@example.com"))
	// Output:
	// keyfold: password must have at least 15 characters
	// <nil>
}

func TestConflictSaysWhichNameIsTaken(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		svc := newService(t, store, nil)
		ctx := t.Context()
		join(t, svc, keyfold.NewUser{Username: "Ann", Email: "ann@example.com"})
		bob := join(t, svc, keyfold.NewUser{Username: "bob", Email: "bob@example.com"})
		name, address := "ANN", "ann@example.com"
		_, byName := svc.CreateUser(ctx, keyfold.NewUser{Username: name, Email: "new@example.com"})
		_, byAddress := svc.CreateUser(ctx, keyfold.NewUser{Username: "new", Email: address})
		_, toName := svc.UpdateUser(ctx, bob.ID, keyfold.UserUpdate{Version: 1, Username: &name})
		_, toAddress := svc.UpdateUser(ctx, bob.ID, keyfold.UserUpdate{Version: 1, Email: &address})
		for what, row := range map[string]struct {
			err  error
			word string
		}{
			"created by name": {byName, "username"}, "updated to a name": {toName, "username"},
			"created by address": {byAddress, "e-mail address"}, "updated to an address": {toAddress, "e-mail address"},
		} {
			wantErr(t, what, row.err, keyfold.ErrConflict)
			if row.err != nil && !strings.Contains(row.err.Error(), row.word) {
				t.Errorf("%s: %q does not say that the %s is taken", what, row.err, row.word)
			}
		}
		wantUser(t, svc, "who wanted the names", bob)
		_, err := svc.UpdateUser(ctx, bob.ID, keyfold.UserUpdate{Version: 2, Username: &name})
		wantErr(t, "another version", err, keyfold.ErrStale)
	})
}

func TestOneOfRacingSignUpsWins(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		svc := newService(t, store, nil)
		errs := atOnce(8, func(i int) error {
			_, err := svc.CreateUser(t.Context(), keyfold.NewUser{Username: []string{"Ann", "ann"}[i%2]})
			return err
		})
		if countErrors(errs, nil) != 1 || countErrors(errs, keyfold.ErrConflict) != 7 {
			t.Errorf("eight sign up by one name: %v", errs)
		}
	})
}

// served makes a key of a user that two Services on one store serve from memory.
func served(t *testing.T, store keyfold.Store, opts keyfold.Options) (here, there *keyfold.Service, watch *spy, user keyfold.User, token string) {
	t.Helper()
	watch = &spy{Store: store}
	here, there = newService(t, store, &opts), newService(t, watch, &opts)
	user = join(t, here, keyfold.NewUser{Username: "ann"})
	_, token = create(t, here, keyfold.NewKey{UserID: user.ID})
	for _, svc := range []*keyfold.Service{here, there} {
		remembers(t, svc, token)
	}
	reads := watch.reads.Load()
	if got := outcome(there, token); got != keyfold.OutcomeAllowed || watch.reads.Load() != reads {
		t.Fatalf("the key is not served from memory (%v): this test shows nothing", got)
	}
	return here, there, watch, user, token
}

// remembers waits until a Service follows the feed and has cached a key.
func remembers(t *testing.T, svc *keyfold.Service, token string) {
	t.Helper()
	outcome(svc, token) // begins to follow the feed
	must(t, svc.Sync(t.Context()))
	outcome(svc, token)
}

// seldom polls so rarely that a Service notices changes only through Sync.
func seldom() keyfold.Options {
	return keyfold.Options{PollInterval: time.Minute, PollAfter: keyfold.Never, MaxStaleness: time.Hour, CacheMaxAge: time.Hour}
}

func TestDisabledUsersKeysStopHereAtOnceAndElsewhereWithTheNextPoll(t *testing.T) {
	// Mutation tried: DisableUser without changedUser goes on serving here; forget
	// without the user actions goes on serving there.
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		here, there, _, user, token := served(t, store, seldom())
		bystander, other := create(t, here, keyfold.NewKey{})
		for range 2 {
			remembers(t, here, other)
			must(t, here.DisableUser(t.Context(), user.ID, "on holiday"))
			for range 3 {
				wants(t, here, token, keyfold.OutcomeUserDisabled, "disabled, here")
			}
			must(t, there.Sync(t.Context()))
			for range 3 {
				wants(t, there, token, keyfold.OutcomeUserDisabled, "disabled, elsewhere")
			}
			wants(t, here, other, keyfold.OutcomeAllowed, "a key without a user")

			must(t, here.EnableUser(t.Context(), user.ID))
			wants(t, here, token, keyfold.OutcomeAllowed, "enabled, here")
			must(t, there.Sync(t.Context()))
			wants(t, there, token, keyfold.OutcomeAllowed, "enabled, elsewhere")
		}
		late, lateToken := create(t, here, keyfold.NewKey{UserID: user.ID})
		must(t, here.DisableUser(t.Context(), user.ID, ""))
		wants(t, here, lateToken, keyfold.OutcomeUserDisabled, "a key that was never verified before")
		if key, err := here.Key(t.Context(), late.ID); err != nil || key.State(time.Now()) != keyfold.KeyUserDisabled {
			t.Errorf("the key of a disabled user is %v, %v; want %v", key.State(time.Now()), err, keyfold.KeyUserDisabled)
		}
		added, addedToken := create(t, here, keyfold.NewKey{UserID: user.ID})
		wants(t, here, addedToken, keyfold.OutcomeUserDisabled, "a key that a disabled user was given")
		next, _, err := here.RotateKey(t.Context(), added.ID, keyfold.RotateOptions{})
		must(t, err)
		for what, key := range map[string]keyfold.Key{"a key that a disabled user was given": added, "its successor": next} {
			if key.State(time.Now()) != keyfold.KeyUserDisabled {
				t.Errorf("%s is %v, want %v", what, key.State(time.Now()), keyfold.KeyUserDisabled)
			}
		}
		must(t, here.DeleteKey(t.Context(), next.ID))
		must(t, here.DeleteKey(t.Context(), added.ID))
		must(t, here.DeleteKey(t.Context(), bystander.ID))
	})
}

func TestDeletedUsersKeysAreUnknown(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		here, there, _, user, token := served(t, store, seldom())
		more := make([]string, 5)
		for i := range more {
			_, more[i] = create(t, here, keyfold.NewKey{UserID: user.ID})
			remembers(t, here, more[i])
			remembers(t, there, more[i])
		}
		must(t, here.DeleteUser(t.Context(), user.ID))
		must(t, there.Sync(t.Context()))
		for _, token := range append(more, token) {
			wants(t, here, token, keyfold.OutcomeUnknown, "deleted, here")
			wants(t, there, token, keyfold.OutcomeUnknown, "deleted, elsewhere")
		}
		page, err := here.Keys(t.Context(), keyfold.KeyQuery{UserID: keyfold.Only(user.ID)})
		if err != nil || len(page.Keys) != 0 {
			t.Errorf("%d keys of a user who is gone, %v", len(page.Keys), err)
		}
	})
}

func TestKeysOfAUserChangedInATransactionStopWithItsCommit(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		here, _, _, user, token := served(t, store, seldom())
		refused := errors.New("refused")
		err := here.InTx(t.Context(), func(k *keyfold.Service) error {
			must(t, k.DisableUser(t.Context(), user.ID, ""))
			return refused
		})
		wantErr(t, "InTx", err, refused)
		wants(t, here, token, keyfold.OutcomeAllowed, "rolled back")
		must(t, here.InTx(t.Context(), func(k *keyfold.Service) error { return k.DisableUser(t.Context(), user.ID, "") }))
		wants(t, here, token, keyfold.OutcomeUserDisabled, "committed")
	}, "mongodb") // it has no transactions
}

func TestReadThatBeganBeforeTheUserWasDisabledIsNotRemembered(t *testing.T) {
	// Mutations tried: evictUsers without the generation remembers the old answer;
	// without forgetting the flights, others join the read.
	t.Parallel()
	opts := seldom()
	store := &slowRead{spy: newSpy(), began: make(chan struct{}), go_: make(chan struct{})}
	svc := newService(t, store, &opts)
	user := join(t, svc, keyfold.NewUser{Username: "ann"})
	_, first := create(t, svc, keyfold.NewKey{UserID: user.ID})
	_, token := create(t, svc, keyfold.NewKey{UserID: user.ID})
	remembers(t, svc, first)

	store.slow.Store(true)
	done := make(chan keyfold.Outcome)
	go func() { done <- outcome(svc, token) }()
	<-store.began
	must(t, svc.DisableUser(t.Context(), user.ID, ""))
	wants(t, svc, token, keyfold.OutcomeUserDisabled, "during the read, which no other verify may join now")
	close(store.go_)
	<-done // either answer is right: it began before
	wants(t, svc, token, keyfold.OutcomeUserDisabled, "after the user was disabled")
}

func TestIdentityNamesTheUserAndRotationKeepsIt(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		svc := newService(t, store, nil)
		user := join(t, svc, keyfold.NewUser{Username: "ann"})
		key, token := create(t, svc, keyfold.NewKey{UserID: user.ID, OwnerID: "cust_42"})
		_, nobodys := create(t, svc, keyfold.NewKey{OwnerID: "cust_42"})
		_, successor, err := svc.RotateKey(t.Context(), key.ID, keyfold.RotateOptions{})
		must(t, err)
		for text, want := range map[string]string{token: user.ID, successor.Reveal(): user.ID, nobodys: ""} {
			for range 2 { // from the store, and from memory
				id, err := svc.Verify(t.Context(), keyfold.Request{Token: text})
				if err != nil || id.UserID() != want || id.OwnerID() != "cust_42" {
					t.Errorf("user %q, owner %q, %v; want user %q", id.UserID(), id.OwnerID(), err, want)
				}
			}
		}
		page, err := svc.Keys(t.Context(), keyfold.KeyQuery{UserID: keyfold.Only(user.ID)})
		if err != nil || len(page.Keys) != 2 || page.Keys[0].UserID != user.ID || page.Keys[1].UserID != user.ID {
			t.Errorf("keys of the user: %+v, %v; want the key and its successor", page.Keys, err)
		}
		n, err := svc.RevokeKeys(t.Context(), keyfold.KeyFilter{UserID: keyfold.Only(user.ID)}, "left")
		if err != nil || n != 2 {
			t.Errorf("revoked %d keys, %v; want both", n, err)
		}
		wants(t, svc, nobodys, keyfold.OutcomeAllowed, "a key of no user")
	})
}

func TestUsersAreListedByPageStateAndName(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		clock := newClock()
		svc := newService(t, store, &keyfold.Options{Now: clock.now})
		var all, off []string // newest first
		for i := range 7 {
			user := join(t, svc, keyfold.NewUser{Username: fmt.Sprint("user", i), Email: fmt.Sprintf("user%d@example.com", i)})
			all = append([]string{user.ID}, all...)
			if i%3 == 0 {
				must(t, svc.DisableUser(t.Context(), user.ID, ""))
				off = append([]string{user.ID}, off...)
			}
			clock.add(time.Second)
		}
		on := slices.DeleteFunc(slices.Clone(all), func(id string) bool { return slices.Contains(off, id) })
		for _, row := range []struct {
			query keyfold.UserQuery
			want  []string
		}{
			{keyfold.UserQuery{}, all},
			{keyfold.UserQuery{Limit: 3}, all},
			{keyfold.UserQuery{Limit: 7}, all},
			{keyfold.UserQuery{State: keyfold.UserDisabled, Limit: 2}, off},
			{keyfold.UserQuery{State: keyfold.UserActive, Limit: 1}, on},
			{keyfold.UserQuery{Username: keyfold.Only("USER2")}, all[4:5]},
			{keyfold.UserQuery{Email: keyfold.Only("user2@example.com")}, all[4:5]},
			{keyfold.UserQuery{Username: keyfold.Only("user2"), Email: keyfold.Only("user2@example.com"), State: keyfold.UserActive}, all[4:5]},
			{keyfold.UserQuery{Username: keyfold.Only("user2"), Email: keyfold.Only("user3@example.com")}, nil},
			{keyfold.UserQuery{Username: keyfold.Only("user2"), State: keyfold.UserDisabled}, nil},
			{keyfold.UserQuery{Username: keyfold.Only("nobody")}, nil},
		} {
			var got []string
			for query := row.query; ; {
				page, err := svc.Users(t.Context(), query)
				must(t, err)
				for _, user := range page.Users {
					got = append(got, user.ID)
				}
				if query.Cursor = page.Next; page.Next == "" || len(got) > len(all) {
					break
				}
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("%+v: %q, want %q", row.query, got, row.want)
			}
		}
	})
}

func TestAuditTellsOfUsersAndNothingOfPasswords(t *testing.T) {
	l := newLifecycle(t)
	ctx := t.Context()
	user := join(t, l.Service, keyfold.NewUser{Username: "ann", Email: "ann@example.com", Password: password})
	l.must(l.SetPassword(ctx, user.ID, another))
	mail, err := l.CreateOneTimeToken(ctx, keyfold.PurposeResetPassword, user.ID, "")
	l.must(err)
	_, err = l.ResetPassword(ctx, mail.Token.Reveal(), password, keyfold.ResetOptions{})
	l.must(err)
	key, _ := l.create(keyfold.NewKey{UserID: user.ID})
	record, err := l.store.User(ctx, user.ID)
	l.must(err)
	l.must(l.DisableUser(ctx, user.ID, "left"))
	l.must(l.DeleteUser(ctx, user.ID))
	var actions []string
	entries, err := l.store.Audit(ctx, keyfold.AuditScan{Limit: 100})
	l.must(err)
	for _, entry := range slices.Backward(entries) {
		actions = append(actions, entry.Action)
		text := fmt.Sprintf("%+v", entry)
		for _, secret := range []string{password, another, record.PasswordHash, mail.Token.Reveal()} {
			if strings.Contains(text, secret) {
				t.Errorf("the entry of %s shows a secret", entry.Action)
			}
		}
		if want := map[bool]string{true: key.ID, false: user.ID}[strings.HasPrefix(entry.Action, "key.")]; entry.Target != want {
			t.Errorf("%s has target %s, want %s", entry.Action, entry.Target, want)
		}
	}
	reset := entries[slices.IndexFunc(entries, func(e keyfold.AuditEntry) bool { return e.Action == "user.reset_password" })]
	if !strings.Contains(reset.Before, `"email_verified_at":null`) || !strings.Contains(reset.After, `"email_verified_at":"`) {
		t.Errorf("the reset went from %s to %s; want it to tell that the address was verified by it", reset.Before, reset.After)
	}
	want := "user.create user.set_password user.one_time user.reset_password key.create user.disable user.delete key.delete"
	if got := strings.Join(actions, " "); got != want {
		t.Errorf("actions %s, want %s", got, want)
	}
}

func TestAnotherAddressIsNotVerified(t *testing.T) {
	// Mutation tried: setEmail that leaves EmailVerifiedAt.
	l := newLifecycle(t)
	ctx := t.Context()
	user := join(t, l.Service, keyfold.NewUser{Username: "ann", Email: "ann@example.com"})
	mail, err := l.CreateOneTimeToken(ctx, keyfold.PurposeVerifyEmail, user.ID, "")
	l.must(err)
	user, err = l.VerifyEmail(ctx, mail.Token.Reveal(), netip.Addr{})
	l.must(err)
	same, other, name := "ANN@example.com", "eve@example.com", "anna"
	for _, row := range []struct {
		what     string
		update   keyfold.UserUpdate
		verified bool
	}{
		{"another name", keyfold.UserUpdate{Username: &name}, true},
		{"the same address in capitals", keyfold.UserUpdate{Email: &same}, true},
		{"another address", keyfold.UserUpdate{Email: &other}, false},
		{"the first address again", keyfold.UserUpdate{Email: &same}, false},
	} {
		t.Run(row.what, func(t *testing.T) {
			row.update.Version = user.Version
			if user, err = l.UpdateUser(ctx, user.ID, row.update); err != nil || user.EmailVerifiedAt.IsZero() == row.verified {
				t.Errorf("%s: verified at %v, %v; want verified to be %t", row.what, user.EmailVerifiedAt, err, row.verified)
			}
		})
	}
}

func TestAuditTellsWhichAddressATokenChanged(t *testing.T) {
	l := newLifecycle(t)
	ctx := t.Context()
	user := join(t, l.Service, keyfold.NewUser{Username: "ann", Email: "ann@example.com"})
	mail, err := l.CreateOneTimeToken(ctx, keyfold.PurposeChangeEmail, user.ID, "eve@example.com")
	l.must(err)
	_, err = l.ConfirmEmailChange(ctx, mail.Token.Reveal(), netip.Addr{})
	l.must(err)
	entries, err := l.store.Audit(ctx, keyfold.AuditScan{Limit: 1})
	l.must(err)
	if e := entries[0]; e.Action != "user.change_email" || e.Target != user.ID ||
		!strings.Contains(e.Before, `"ann@example.com"`) || !strings.Contains(e.After, `"eve@example.com"`) {
		t.Errorf("the audit log says %+v", e)
	}
}

func TestChangePasswordNeedsTheOldOne(t *testing.T) {
	l := newLifecycle(t)
	ctx := t.Context()
	const old, fresh = "correct horse battery", "staple battery horse"
	for _, n := range []keyfold.NewUser{{Username: "ann", Password: old}, {Email: "bob@example.com", Password: old}} {
		user, err := l.CreateUser(ctx, n)
		l.must(err)
		login := n.Username + n.Email
		wantErr(t, login+": a wrong old password", l.ChangePassword(ctx, user.ID, "wrong horse battery", fresh), keyfold.ErrInvalidCredentials)
		wantField(t, login+": a new password that is too short", l.ChangePassword(ctx, user.ID, old, "short"), "password")
		_, err = l.Authenticate(ctx, keyfold.Credentials{Identifier: login, Password: old})
		l.must(err)
		l.must(l.ChangePassword(ctx, user.ID, old, fresh))
		_, err = l.Authenticate(ctx, keyfold.Credentials{Identifier: login, Password: fresh})
		l.must(err)
		_, err = l.Authenticate(ctx, keyfold.Credentials{Identifier: login, Password: old})
		wantErr(t, login+": the old password afterwards", err, keyfold.ErrInvalidCredentials)
	}
	user, err := l.CreateUser(ctx, keyfold.NewUser{Username: "carol", Password: old})
	l.must(err)
	var limited error
	for range 10 {
		limited = l.ChangePassword(ctx, user.ID, "wrong horse battery", fresh)
	}
	wantErr(t, "ten wrong old passwords", limited, keyfold.ErrRateLimited)
	none, err := l.CreateUser(ctx, keyfold.NewUser{Username: "dave"})
	l.must(err)
	wantErr(t, "a user without a password", l.ChangePassword(ctx, none.ID, "", fresh), keyfold.ErrInvalidCredentials)
	wantErr(t, "an unknown user", l.ChangePassword(ctx, strings.Repeat("0", 16), old, fresh), keyfold.ErrNotFound)
	err = l.InTx(ctx, func(k *keyfold.Service) error { return k.ChangePassword(ctx, user.ID, old, fresh) })
	wantErr(t, "in a transaction", err, keyfold.ErrInvalid)
}

// Mutation tried: the old password as a log-in attempt from an unknown address,
// which strangers keep waiting.
func TestStrangersDoNotKeepAUserFromChangingThePassword(t *testing.T) {
	l := newLifecycle(t)
	ctx := t.Context()
	const old, fresh = "correct horse battery", "staple battery horse"
	user, err := l.CreateUser(ctx, keyfold.NewUser{Username: "ann", Password: old})
	l.must(err)
	for range 10 {
		_, err = l.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: "wrong horse battery"})
	}
	wantErr(t, "ten guesses of a stranger", err, keyfold.ErrRateLimited)
	l.must(l.ChangePassword(ctx, user.ID, old, fresh))

	for range 10 {
		err = l.ChangePassword(ctx, user.ID, old, fresh)
	}
	wantErr(t, "ten wrong old passwords", err, keyfold.ErrRateLimited)
	_, err = l.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: fresh})
	l.must(err)
	l.must(l.UnlockUser(ctx, user.ID, netip.Addr{}))
	l.must(l.ChangePassword(ctx, user.ID, fresh, old))
}

// Full case folding, as by internal/casefold. Tried: lower case in its place.
func TestUsersWhoseNamesDifferInCaseAreOne(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		svc := newService(t, store, nil)
		for name, others := range map[string][]string{
			"Σίσυφος": {"ΣΊΣΥΦΟΣ", "Σίσυφοσ"},
			"Straße":  {"STRASSE", "strasse"},
			"ᎠᏰᎠ":     {"ꭰᏸꭰ"},
			"ısık":    {"ISIK"},
		} {
			user := join(t, svc, keyfold.NewUser{Username: name, Email: name + "@example.com"})
			if user.Username != name {
				t.Errorf("%q is shown as %q", name, user.Username)
			}
			for _, other := range others {
				for _, login := range []string{other, other + "@Example.com"} {
					if found, err := svc.UserByIdentifier(t.Context(), login); err != nil || found.ID != user.ID {
						t.Errorf("%q logs in as %q, %v; want %q", login, found.Username, err, name)
					}
				}
				for _, again := range []keyfold.NewUser{{Username: other}, {Email: other + "@example.com"}} {
					if _, err := svc.CreateUser(t.Context(), again); !errors.Is(err, keyfold.ErrConflict) {
						t.Errorf("%q next to %q: %v, want ErrConflict", other, name, err)
					}
				}
			}
		}
	})
}

func TestNewNamesAreOfOneScriptIfTheOptionSaysSo(t *testing.T) {
	t.Parallel()
	const mixed = "аdmin" // with a Cyrillic а
	store := memory.New()
	lenient := newService(t, store, nil)
	old := join(t, lenient, keyfold.NewUser{Username: mixed, Password: password})
	strict := newService(t, store, &keyfold.Options{SingleScriptUsernames: true})
	wantOneScript := func(what string, err error) {
		t.Helper()
		wantInvalid(t, what, err, "username")
		if err != nil && !strings.Contains(err.Error(), "letters of one script only") {
			t.Errorf("%s: %v, which does not say what the name must be", what, err)
		}
	}
	_, err := strict.CreateUser(t.Context(), keyfold.NewUser{Username: "pаypal"})
	wantOneScript("create", err)
	fine := join(t, strict, keyfold.NewUser{Username: "山田たろう", Email: "аdmin@example.com"})
	other := mixed + "2"
	_, err = strict.UpdateUser(t.Context(), fine.ID, keyfold.UserUpdate{Version: fine.Version, Username: &other})
	wantOneScript("update", err)

	// Existing names work, and can be sent back or dropped.
	if _, err := strict.Authenticate(t.Context(), keyfold.Credentials{Identifier: mixed, Password: password}); err != nil {
		t.Errorf("log-in: %v", err)
	}
	same := strings.ToUpper(mixed)
	old, err = strict.UpdateUser(t.Context(), old.ID, keyfold.UserUpdate{Version: old.Version, Username: &same})
	if err != nil || old.Username != same {
		t.Errorf("the same name in capitals: %q, %v", old.Username, err)
	}
	none, address := "", "old@example.com"
	if _, err := strict.UpdateUser(t.Context(), old.ID, keyfold.UserUpdate{Version: old.Version, Username: &none, Email: &address}); err != nil {
		t.Errorf("no name: %v", err)
	}
}
