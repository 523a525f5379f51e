package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// TestFeedAndChangesNeedNoConnectionOfThePool checks that the feed and changes work while
// all connections for verifies and log-ins are in use.
func TestFeedAndChangesNeedNoConnectionOfThePool(t *testing.T, store keyfold.Store, exhaust func(testing.TB)) {
	key := Create(t, store)
	l := Listen(t, store)
	exhaust(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := store.VerifyKey(ctx, key.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("VerifyKey: got %v, want context.DeadlineExceeded: the pool still has a connection", err)
	}
	for range 3 {
		created := Create(t, store)
		if got := l.Poll(t); !slices.Equal(got, []string{created.ID}) {
			t.Errorf("the feed returned %q, want %q", got, created.ID)
		}
	}
	if err := store.InTx(t.Context(), func(tx keyfold.Store) error { Create(t, tx); return nil }); err != nil {
		t.Errorf("InTx: %v", err)
	}
	if err := store.Ping(t.Context()); err != nil {
		t.Errorf("Ping: %v", err)
	}
}

// TestAttemptsLeaveConnectionsToOthers checks that attempts that wait for a locked row do
// not use up the pool. lock locks a row until unlock is called, held returns the number
// of connections in use, and size is the size of the pool.
func TestAttemptsLeaveConnectionsToOthers(t *testing.T, store keyfold.Store, size int, held func() int, lock func(name string) (unlock func())) {
	key := Create(t, store)
	l := Listen(t, store)
	at := time.Now()
	rule := keyfold.ThrottleRule{Burst: 1000, InitialDelay: time.Second, MaxDelay: time.Second, ResetAfter: time.Hour}
	const name = "account.00"
	reserve := func() error {
		_, err := store.ReserveAttempt(t.Context(), []keyfold.ThrottleReservation{{Name: name, Rule: rule}}, at)
		return err
	}
	if err := reserve(); err != nil {
		t.Fatal(err)
	}
	unlock := lock(name) // on another pool
	var attempts sync.WaitGroup
	for range 4 * size {
		attempts.Go(func() {
			if err := reserve(); err != nil {
				t.Errorf("ReserveAttempt: %v", err)
			}
		})
	}
	for held() < size/2 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	for range 20 {
		if _, err := store.VerifyKey(ctx, key.ID); err != nil {
			t.Errorf("VerifyKey: %v", err)
			break
		}
		created := Create(t, store)
		if got := l.Poll(t); !slices.Equal(got, []string{created.ID}) {
			t.Errorf("the feed returned %q, want %q", got, created.ID)
		}
	}
	unlock()
	attempts.Wait()
}

// LockThrottle returns a function that locks a row in a transaction on db.
func LockThrottle(t testing.TB, db *sql.DB) func(name string) (unlock func()) {
	return func(name string) func() {
		t.Helper()
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var found string
		if err := tx.QueryRowContext(t.Context(), "SELECT name FROM keyfold_throttles WHERE name = '"+name+"' FOR UPDATE").Scan(&found); err != nil {
			t.Fatal(err)
		}
		return func() { _ = tx.Rollback() }
	}
}
