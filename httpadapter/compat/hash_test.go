package compat_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/sqlite"
)

// transactions counts those that are open.
type transactions struct {
	keyfold.Store
	open *atomic.Int64
}

func (s transactions) InTx(ctx context.Context, fn func(keyfold.Store) error) error {
	s.open.Add(1)
	defer s.open.Add(-1)
	return s.Store.InTx(ctx, fn)
}

// A transaction that waits for a slot to hash in stops every other write on SQLite.
// The policy is asked right before a password is hashed.
func TestNewHashesThePasswordBeforeTheTransactionBegins(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]func() (keyfold.Store, error){
		"memory": func() (keyfold.Store, error) { return memory.New(), nil },
		"sqlite": func() (keyfold.Store, error) { return sqlite.Open(t.Context(), testdb.SQLite(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			opened, err := store()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = opened.Close() })
			var open, asked, inside atomic.Int64
			s := newServerOn(t, transactions{opened, &open}, changes{service: []func(*keyfold.Options){func(o *keyfold.Options) {
				o.PasswordPolicy.Check = func(string) error {
					asked.Add(1)
					inside.Add(open.Load())
					return nil
				}
			}}})
			if a := s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password); a.status != 200 {
				t.Fatalf("%s: got %d %s", name, a.status, a.body)
			}
			if asked.Load() == 0 || inside.Load() != 0 {
				t.Errorf("%s: the policy was asked %d times, and %d transactions were open", name, asked.Load(), inside.Load())
			}
		})
	}
}
