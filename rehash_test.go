package keyfold_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/bcrypt"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// The time of an answer must not tell an account that exists from one that does
// not. Tried: returning before the hash for an unknown user, and where the
// password is absurd; the test failed for each.
func TestEveryRefusalOfALogInCostsOneHash(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	svc := newService(t, memory.New(), nil)
	join(t, svc, keyfold.NewUser{Username: "ann", Password: password})
	join(t, svc, keyfold.NewUser{Username: "without"})
	off := join(t, svc, keyfold.NewUser{Username: "disabled", Password: password})
	must(t, svc.DisableUser(ctx, off.ID, ""))
	kdfs := keyfold.CountKDFs(svc)
	for _, row := range []struct{ what, login, secret string }{
		{"unknown user", "nobody", password},
		{"unknown address", "nobody@example.com", password},
		{"disabled user, right password", "disabled", password},
		{"disabled user, wrong password", "disabled", another},
		{"user without a password", "without", password},
		{"no password for one without", "without", ""},
		{"5 000 characters", "ann", strings.Repeat("x", 5000)},
		{"5 000 characters for nobody", "nobody2", strings.Repeat("x", 5000)},
		{"no UTF-8", "ann", "\xff" + password},
		{"wrong password", "ann", another},
	} {
		t.Run(row.what, func(t *testing.T) {
			before := kdfs.Computed.Load()
			_, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: row.login, Password: row.secret})
			if !errors.Is(err, keyfold.ErrUnauthenticated) {
				t.Errorf("%s: %v, want it refused", row.what, err)
			}
			if got := kdfs.Computed.Load() - before; got != 1 {
				t.Errorf("%s: %d hashes were computed, want 1", row.what, got)
			}
			if with := kdfs.Last.Load(); with == nil || with.Memory != 19456 || with.Time != 2 || with.Threads != 1 {
				t.Errorf("%s: the hash was %+v, want argon2id with m=19456, t=2, p=1", row.what, with)
			}
		})
	}
}

// insertHash gives a user the hash of another system.
func insertHash(t *testing.T, store keyfold.Store, userID, hash string) {
	t.Helper()
	must(t, store.SetPassword(t.Context(), userID, hash, keyfold.AnyPassword, keyfold.Mutation{Action: "user.set_password", Target: userID}))
}

func TestHashOfThePredecessorIsUpgradedAtLogIn(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		ctx := t.Context()
		svc := newService(t, store, nil)
		ann := join(t, svc, keyfold.NewUser{Username: "ann"})
		old, err := bcrypt.GenerateFromPassword([]byte("Short1!x"), bcrypt.MinCost)
		must(t, err)
		insertHash(t, store, ann.ID, string(old))
		if _, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: "Short1!y"}); keyfold.OutcomeOf(err) != keyfold.OutcomeWrongSecret {
			t.Errorf("a wrong password: %v", err)
		}
		for range 2 { // by bcrypt, and by what it was replaced with
			if _, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: "Short1!x"}); err != nil {
				t.Errorf("the right password: %v", err)
			}
		}
		record, err := store.User(ctx, ann.ID)
		must(t, err)
		if !strings.HasPrefix(record.PasswordHash, "$argon2id$") || record.PasswordVersion != 1 {
			t.Errorf("the hash is %.10s… at version %d, want argon2id at 1: the password is the same", record.PasswordHash, record.PasswordVersion)
		}
	})
}

// slowRehash is a store in which a password is changed before a rehash arrives.
type slowRehash struct {
	keyfold.Store
	change func(ctx context.Context)
}

func (s slowRehash) RehashPassword(ctx context.Context, id, old, new string) error {
	s.change(ctx)
	return s.Store.RehashPassword(ctx, id, old, new)
}

func TestChangeOfPasswordWinsOverTheRehashOfALogIn(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		ctx := t.Context()
		other := newService(t, store, nil)
		ann := join(t, other, keyfold.NewUser{Username: "ann"})
		old, err := bcrypt.GenerateFromPassword([]byte("Short1!x"), bcrypt.MinCost)
		must(t, err)
		insertHash(t, store, ann.ID, string(old))
		changed := false
		svc := newService(t, slowRehash{store, func(ctx context.Context) {
			changed = true
			must(t, other.SetPassword(ctx, ann.ID, another))
		}}, nil)
		if _, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: "Short1!x"}); err != nil || !changed {
			t.Fatalf("the old password while it is changed: %v", err)
		}
		if _, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: "Short1!x"}); keyfold.OutcomeOf(err) != keyfold.OutcomeWrongSecret {
			t.Errorf("the old password afterwards: %v, want it refused", err)
		}
		if _, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: another}); err != nil {
			t.Errorf("the new password: %v", err)
		}
	})
}

// slowPassword is a store in which another change comes before a new password.
type slowPassword struct {
	keyfold.Store
	change func(ctx context.Context)
}

func (s slowPassword) SetPassword(ctx context.Context, id, hash string, version int64, m keyfold.Mutation) error {
	s.change(ctx)
	return s.Store.SetPassword(ctx, id, hash, version, m)
}

// Mutation tried: ChangePassword that gives the store AnyPassword.
func TestChangePasswordReplacesOnlyThePasswordThatItChecked(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		ctx := t.Context()
		other := newService(t, store, nil)
		for name, change := range map[string]func(ctx context.Context, id string) error{
			"changed": func(ctx context.Context, id string) error { return other.ChangePassword(ctx, id, password, another) },
			"set":     func(ctx context.Context, id string) error { return other.SetPassword(ctx, id, another) },
		} {
			user, err := other.CreateUser(ctx, keyfold.NewUser{Username: name, Password: password})
			must(t, err)
			svc := newService(t, slowPassword{store, func(ctx context.Context) { must(t, change(ctx, user.ID)) }}, nil)
			if err := svc.ChangePassword(ctx, user.ID, password, "nine purple herons over the lake"); !errors.Is(err, keyfold.ErrInvalidCredentials) {
				t.Errorf("%s meanwhile: %v, want %v", name, err, keyfold.ErrInvalidCredentials)
			}
			if _, err := other.Authenticate(ctx, keyfold.Credentials{Identifier: name, Password: another}); err != nil {
				t.Errorf("%s meanwhile: the password that came first: %v", name, err)
			}
		}
	})
}

func TestOneOfRacingChangePasswordsWins(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		const racers = 3
		svc := newService(t, store, nil)
		user, err := svc.CreateUser(t.Context(), keyfold.NewUser{Username: "ann", Password: password})
		must(t, err)
		fresh := func(i int) string { return fmt.Sprintf("%d purple herons over the lake", i) }
		errs := make([]error, racers)
		var all sync.WaitGroup
		for i := range racers {
			all.Go(func() { errs[i] = svc.ChangePassword(t.Context(), user.ID, password, fresh(i)) })
		}
		all.Wait()
		won := 0
		for i, err := range errs {
			_, login := svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: "ann", Password: fresh(i)})
			switch {
			case err == nil && login == nil:
				won++
			case !errors.Is(err, keyfold.ErrInvalidCredentials) || !errors.Is(login, keyfold.ErrInvalidCredentials):
				t.Errorf("racer %d ended with %v, and its password with %v", i, err, login)
			}
		}
		if won != 1 {
			t.Errorf("%d of %d racing calls won, want 1", won, racers)
		}
	})
}

func TestDamagedHashRefusesLogInsAsUnavailable(t *testing.T) {
	t.Parallel()
	store := memory.New()
	svc := newService(t, store, nil)
	ann := join(t, svc, keyfold.NewUser{Username: "ann"})
	insertHash(t, store, ann.ID, "$argon2id$v=19$m=19456,t=0,p=0$c2FsdA$aGFzaA")
	for range 7 { // a request without a decision does not count as an attempt
		_, err := svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: "ann", Password: password})
		if !errors.Is(err, keyfold.ErrUnavailable) || errors.Is(err, keyfold.ErrUnauthenticated) {
			t.Fatalf("a damaged hash: %v, want unavailable", err)
		}
	}
}

// A mutation that makes this fail: leave passwordError out of any of the calls.
func TestBusyHasherIsLimitedAndUnavailable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		svc := newService(t, memory.New(), nil)
		ann := join(t, svc, keyfold.NewUser{Username: "ann", Password: password})
		hashing := make(chan struct{})
		defer close(hashing)
		keyfold.NarrowGate(svc, 8, 1).Replace(func() any { <-hashing; return nil })
		go func() { _ = svc.SetPassword(context.WithoutCancel(t.Context()), ann.ID, another) }() // takes the only slot
		synctest.Wait()
		for what, call := range map[string]func() error{
			"Authenticate": func() error {
				_, err := svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: "ann", Password: password})
				return err
			},
			"ChangePassword": func() error { return svc.ChangePassword(t.Context(), ann.ID, password, another) },
			"SetPassword":    func() error { return svc.SetPassword(t.Context(), ann.ID, another) },
		} {
			err := call()
			if !errors.Is(err, keyfold.ErrRateLimited) || !errors.Is(err, keyfold.ErrUnavailable) || keyfold.RetryAfter(err) <= 0 ||
				err.Error() != "keyfold: too many passwords are being checked" {
				t.Errorf("%s: %v, want an error that is limited and unavailable", what, err)
			}
		}
	})
}
