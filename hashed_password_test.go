package keyfold_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/sqlite"
)

const hashedSecret = "violet tractor 71 on the moon"

func signUp(ctx context.Context, svc *keyfold.Service, username string) (user keyfold.User, token keyfold.Token, err error) {
	hashed, err := svc.HashPassword(ctx, hashedSecret, username)
	if err != nil {
		return user, token, err
	}
	err = svc.InTx(ctx, func(k *keyfold.Service) (err error) {
		if user, err = k.CreateUser(ctx, keyfold.NewUser{Username: username, HashedPassword: hashed}); err == nil {
			_, token, err = k.CreateKey(ctx, keyfold.NewKey{UserID: user.ID})
		}
		return err
	})
	return user, token, err
}

func TestHashedPasswordMakesAUserAndAKeyTogether(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		svc := newService(t, store, nil)
		user, token, err := signUp(t.Context(), svc, "olga")
		if err != nil || !user.HasPassword || user.PasswordChangedAt.IsZero() {
			t.Fatalf("got %+v, %v", user, err)
		}
		if got := outcome(svc, token.Reveal()); got != keyfold.OutcomeAllowed {
			t.Errorf("the key: %v, want allowed", got)
		}
		if got, err := svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: "olga", Password: hashedSecret}); err != nil || got.ID != user.ID {
			t.Errorf("the log-in: %v, %v", got, err)
		}
		if _, _, err := signUp(t.Context(), svc, "olga"); !errors.Is(err, keyfold.ErrConflict) {
			t.Errorf("the same name again: %v, want a conflict", err)
		}
		if page, err := svc.Keys(t.Context(), keyfold.KeyQuery{}); err != nil || len(page.Keys) != 1 {
			t.Errorf("%d keys, %v; want 1: the second sign-up left one", len(page.Keys), err)
		}
	}, "mongodb") // it has no transactions
}

// SQLite has one connection that writes, so a transaction that waits for a slot
// stops every other write. Mutation tried: HashPassword that a bound Service
// allows, called inside the transaction of signUp: on SQLite, CreateKey then fails
// after five seconds.
func TestPasswordThatWaitsForASlotStopsNoOtherWrite(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		svc := newService(t, store, nil)
		user, err := svc.CreateUser(t.Context(), keyfold.NewUser{Username: "piet", Email: "piet@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		mail, err := svc.CreateOneTimeToken(t.Context(), keyfold.PurposeResetPassword, user.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		hashing := make(chan struct{})
		begun := make(chan struct{}, 4)
		keyfold.NarrowGate(svc, 8, 4).Replace(func() any { begun <- struct{}{}; <-hashing; return nil })
		calls := []func() error{
			func() error { _, _, err := signUp(t.Context(), svc, "olga"); return err },
			func() error {
				_, err := svc.CreateUser(t.Context(), keyfold.NewUser{Username: "anna", Password: hashedSecret})
				return err
			},
			func() error { return svc.SetPassword(t.Context(), user.ID, hashedSecret) },
			func() error {
				_, err := svc.ResetPassword(t.Context(), mail.Token.Reveal(), hashedSecret, keyfold.ResetOptions{RevokeKeys: true})
				return err
			},
		}
		ended := make(chan error, len(calls))
		for _, call := range calls {
			go func() { ended <- call() }()
			<-begun // it holds a slot, and whatever else it holds while it hashes
		}
		if _, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{}); err != nil {
			t.Errorf("a key, while all slots are taken: %v", err)
		}
		close(hashing)
		failed := 0
		for range calls {
			if err := <-ended; errors.Is(err, keyfold.ErrUnauthenticated) {
				failed++ // SetPassword came first, so the one-time token is void
			} else if err != nil {
				t.Error(err)
			}
		}
		if failed > 1 {
			t.Errorf("%d calls were refused", failed)
		}
	}, "mongodb") // it has no transactions
}

func TestBoundServiceHashesNoPassword(t *testing.T) {
	t.Parallel()
	store, err := sqlite.Open(t.Context(), testdb.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	svc := newService(t, store, nil)
	user, err := svc.CreateUser(t.Context(), keyfold.NewUser{Username: "olga", Email: "olga@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	mail, err := svc.CreateOneTimeToken(t.Context(), keyfold.PurposeResetPassword, user.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	kdfs := keyfold.CountKDFs(svc)
	ctx := t.Context()
	refused := func(call, field string, err error) {
		t.Helper()
		var bad *keyfold.InvalidError
		if !errors.As(err, &bad) || bad.Field != field {
			t.Errorf("%s: got %v, want an InvalidError for %s", call, err, field)
		}
	}
	err = svc.InTx(ctx, func(k *keyfold.Service) error {
		_, err := k.CreateUser(ctx, keyfold.NewUser{Username: "anna", Password: hashedSecret})
		refused("CreateUser", "password", err)
		refused("SetPassword", "password", k.SetPassword(ctx, user.ID, hashedSecret))
		_, err = k.HashPassword(ctx, hashedSecret)
		refused("HashPassword", "password", err)
		_, err = k.ResetPassword(ctx, mail.Token.Reveal(), hashedSecret, keyfold.ResetOptions{})
		refused("ResetPassword", "Service", err)
		_, err = k.CreateUser(ctx, keyfold.NewUser{Username: "anna"})
		return err
	})
	if err != nil {
		t.Errorf("a user without a password: %v", err)
	}
	if n := kdfs.Computed.Load(); n != 0 {
		t.Errorf("%d passwords were hashed inside the transaction", n)
	}
	if _, err := svc.ResetPassword(ctx, mail.Token.Reveal(), hashedSecret, keyfold.ResetOptions{}); err != nil {
		t.Errorf("the refusal used the one-time token up: %v", err)
	}
}

func TestHashedPasswordIsCheckedAgainstThePolicy(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	ctx := t.Context()
	for _, row := range []struct {
		password string
		names    []string
	}{
		{"", nil}, {"short", nil}, {"olga.smith on the moon 71", []string{"olga.smith", ""}}, {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", nil},
	} {
		t.Run(row.password, func(t *testing.T) {
			var bad *keyfold.InvalidError
			if hashed, err := svc.HashPassword(ctx, row.password, row.names...); !errors.As(err, &bad) || bad.Field != "password" || !hashed.IsZero() {
				t.Errorf("%q: got %v, want an InvalidError for password", row.password, err)
			}
		})
	}
	const own = "olga.smith on the moon 71"
	nameless, err := svc.HashPassword(ctx, own)
	if err != nil {
		t.Fatal(err)
	}
	user, err := svc.CreateUser(ctx, keyfold.NewUser{Username: "olga.smith", Email: "olga.smith@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for call, err := range map[string]error{
		"CreateUser with a name that was not checked": second(svc.CreateUser(ctx, keyfold.NewUser{Username: "Olga.Smith2", HashedPassword: nameless})),
		"SetHashedPassword likewise":                  svc.SetHashedPassword(ctx, user.ID, nameless),
		"SetHashedPassword with none":                 svc.SetHashedPassword(ctx, user.ID, keyfold.HashedPassword{}),
		"both":                                        second(svc.CreateUser(ctx, keyfold.NewUser{Username: "anna", Password: own, HashedPassword: nameless})),
	} {
		t.Run(call, func(t *testing.T) {
			var bad *keyfold.InvalidError
			if !errors.As(err, &bad) || bad.Field != "password" {
				t.Errorf("%s: got %v, want an InvalidError for password", call, err)
			}
		})
	}
	const address = "olga@bücher.example" // kept as olga@xn--bcher-kva.example
	abroad, err := svc.HashPassword(ctx, hashedSecret, address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := svc.CreateUser(ctx, keyfold.NewUser{Email: address, HashedPassword: abroad}); err != nil {
		t.Errorf("an address that is kept in another form: %v", err)
	}
	good, err := svc.HashPassword(ctx, hashedSecret, "OLGA.SMITH", "Olga.Smith@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.InTx(ctx, func(k *keyfold.Service) error { return k.SetHashedPassword(ctx, user.ID, good) }); err != nil {
		t.Fatal(err)
	}
	if _, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: "olga.smith", Password: hashedSecret}); err != nil {
		t.Errorf("the log-in with the new password: %v", err)
	}
	if err := svc.SetHashedPassword(ctx, "0000000000000000", good); !errors.Is(err, keyfold.ErrNotFound) {
		t.Errorf("a user who does not exist: %v, want ErrNotFound", err)
	}

	anyName := newService(t, memory.New(), &keyfold.Options{PasswordPolicy: keyfold.PasswordPolicy{AllowOwnName: true}})
	if _, err := anyName.CreateUser(ctx, keyfold.NewUser{Username: "olga.smith", HashedPassword: nameless}); err != nil {
		t.Errorf("where own names are allowed: %v", err)
	}
	if text, err := json.Marshal(good); err != nil || string(text) != `"[hashed password]"` || fmt.Sprint(good) != "[hashed password]" {
		t.Errorf("shown as %s, %v, %v", text, good, err)
	}
}

func second[T any](_ T, err error) error { return err }
