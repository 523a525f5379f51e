package sqltest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/keyfold/keyfold"
)

// TestHostTransaction checks that a store in a transaction of the host neither ends the
// transaction nor damages its other work.
func TestHostTransaction(t *testing.T, store keyfold.Store, begin Begin) {
	existing := Create(t, store)
	tx := begin(t)
	end(t, func() error { return tx.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS host_rows (n INTEGER NOT NULL)") })
	end(t, tx.Commit) // MySQL ends a transaction at a CREATE

	tx = begin(t)
	end(t, func() error { return tx.Exec(t.Context(), "INSERT INTO host_rows VALUES (1)") })
	if err := tx.Store.CreateKey(t.Context(), existing, Mutation("key.create", existing.ID)); !errors.Is(err, keyfold.ErrConflict) {
		t.Fatalf("CreateKey of an id that exists: got %v, want ErrConflict", err)
	}
	key := Create(t, tx.Store)
	// The rotation changes the old key before it finds that the new ID exists.
	taken := key
	taken.ID = existing.ID
	err := tx.Store.RotateKey(t.Context(), keyfold.Rotation{
		OldID: key.ID, OldVersion: 1, OldEnd: key.ExpiresAt, New: taken,
	}, Mutation("key.rotate", key.ID))
	if !errors.Is(err, keyfold.ErrConflict) {
		t.Fatalf("RotateKey to an id that exists: got %v, want ErrConflict", err)
	}
	if got, err := tx.Store.Key(t.Context(), key.ID); err != nil || got.RotatedTo != "" || got.Version != 1 {
		t.Errorf("after a failed rotation the key is %+v (%v), want it unchanged", got.Key, err)
	}
	if _, err := tx.Store.VerifyKey(t.Context(), "no key"); !errors.Is(err, keyfold.ErrNotFound) {
		t.Errorf("VerifyKey of an unknown id: got %v, want ErrNotFound", err)
	}
	batch := keyfold.UsageBatch{
		RecorderID: key.ID, Number: 1, At: key.CreatedAt,
		Keys:   []keyfold.KeyUses{{KeyID: key.ID, Uses: 3}, {KeyID: `no"bo\dy,{}`, Uses: 4}},
		Events: []keyfold.UsageEvent{{At: key.CreatedAt, KeyID: key.ID, Route: `a "quoted\" {route},`}},
	}
	result, err := tx.Store.RecordUsage(t.Context(), batch)
	if err != nil || result.LostUses != 4 || result.Duplicate {
		t.Errorf("RecordUsage: got %+v, %v, want 4 uses lost", result, err)
	}
	if result, err = tx.Store.RecordUsage(t.Context(), batch); err != nil || !result.Duplicate {
		t.Errorf("RecordUsage again: got %+v, %v, want a duplicate", result, err)
	}
	if err := tx.Store.InTx(t.Context(), func(inner keyfold.Store) error {
		if inner != tx.Store {
			t.Error("InTx of a bound store must pass that store")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if _, err := store.Key(t.Context(), key.ID); !errors.Is(err, keyfold.ErrNotFound) {
		t.Errorf("before the commit, outside: got %v, want ErrNotFound", err)
	}
	if err := tx.Store.Close(); err != nil {
		t.Error(err)
	}
	end(t, tx.Commit)

	got, err := store.Key(t.Context(), key.ID)
	if err != nil || got.Uses != 3 {
		t.Errorf("after the commit: got %d uses, %v, want 3", got.Uses, err)
	}
	events, err := store.UsageEvents(t.Context(), keyfold.UsageScan{
		KeyID: key.ID, From: key.CreatedAt, To: key.ExpiresAt, Limit: 10,
	})
	if err != nil || len(events) != 1 || events[0].Route != batch.Events[0].Route {
		t.Errorf("UsageEvents: got %v, %v, want the one event", events, err)
	}
	tx = begin(t)
	defer tx.Rollback()
	end(t, func() error { return tx.Exec(t.Context(), "DELETE FROM host_rows WHERE n = 1") })
}

// Deadlock starts another transaction that locks the key keyID and waits for the new key
// newID. A transaction that has created newID and then changes keyID is in a deadlock
// with it, and is the one that the database ends.
type Deadlock func(t testing.TB, keyID, newID string)

// Deadlock returns a Deadlock for a database. The other transaction runs the statements
// in first, which can make it win.
func (e Engine) Deadlock(dsn string, first ...string) Deadlock {
	return func(t testing.TB, keyID, newID string) {
		t.Helper()
		tx, err := e.SQL(t, dsn).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		first := slices.Clone(first)
		for n := range 300 { // MySQL ends the transaction with fewer changes
			first = append(first, fmt.Sprintf("INSERT INTO keyfold_words (id, word, used_at) VALUES (%d, '', 0)", n))
		}
		for _, statement := range append(first, "UPDATE keyfold_keys SET notes = 'held' WHERE id = '"+keyID+"'") {
			if _, err := tx.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = tx.Exec("INSERT INTO keyfold_key_totals (key_id, uses, last_used_at) VALUES ('" + newID + "', 0, 0)")
			_ = tx.Rollback()
		}()
		t.Cleanup(func() { <-done })
	}
}

// TestLostTransaction checks that no statement reaches the connection after the database
// has ended the transaction. MySQL would commit it.
func TestLostTransaction(t *testing.T, store keyfold.Store, begin Begin, lose Deadlock) {
	key, other := Create(t, store), Key()
	tx := begin(t)
	mine := Create(t, tx.Store)
	lose(t, key.ID, mine.ID)
	_, err := tx.Store.SetKeyState(t.Context(), []string{key.ID}, keyfold.RevokeChange, "", Mutation("key.revoke", key.ID))
	if !errors.Is(err, keyfold.ErrRetry) {
		t.Fatalf("a mutation in a deadlock: got %v, want ErrRetry", err)
	}
	wantRetries(t, tx.Store, other, key.ID)
	_ = tx.Rollback()
	for _, id := range []string{mine.ID, other.ID} {
		if _, err := store.Key(t.Context(), id); !errors.Is(err, keyfold.ErrNotFound) {
			t.Errorf("a key of a lost transaction: got error %v, want ErrNotFound", err)
		}
	}
}

// wantRetries checks that every call returns ErrRetry.
func wantRetries(t testing.TB, tx keyfold.Store, fresh keyfold.KeyRecord, id string) {
	t.Helper()
	for name, call := range map[string]func() error{
		"CreateKey": func() error { return tx.CreateKey(t.Context(), fresh, Mutation("key.create", fresh.ID)) },
		"Key":       func() error { _, err := tx.Key(t.Context(), id); return err },
		"Ping":      func() error { return tx.Ping(t.Context()) },
		"InTx":      func() error { return tx.InTx(t.Context(), func(keyfold.Store) error { return nil }) },
	} {
		if err := call(); !errors.Is(err, keyfold.ErrRetry) {
			t.Errorf("%s in a lost transaction: got %v, want ErrRetry", name, err)
		}
	}
}

// TestSwallowedRetry checks that InTx runs its function again if the database has ended
// the transaction, even if the function hides the error.
func TestSwallowedRetry(t *testing.T, store keyfold.Store, lose Deadlock) {
	key, mine := Create(t, store), Key()
	runs := 0
	err := store.InTx(t.Context(), func(tx keyfold.Store) error {
		runs++
		if err := tx.CreateKey(t.Context(), mine, Mutation("key.create", mine.ID)); err != nil {
			return err
		}
		if runs == 1 {
			lose(t, key.ID, mine.ID)
		}
		_, err := tx.SetKeyState(t.Context(), []string{key.ID}, keyfold.RevokeChange, "", Mutation("key.revoke", key.ID))
		if runs > 1 {
			return err
		}
		if !errors.Is(err, keyfold.ErrRetry) {
			t.Errorf("a mutation in a deadlock: got %v, want ErrRetry", err)
		}
		wantRetries(t, tx, Key(), key.ID)
		return nil
	})
	if err != nil || runs != 2 {
		t.Fatalf("InTx: %v after %d runs, want success at the second", err, runs)
	}
	if _, err := store.Key(t.Context(), mine.ID); err != nil {
		t.Errorf("the key of the second run: %v", err)
	}
}
