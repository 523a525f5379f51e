package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

func Example() {
	ctx := context.Background()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		panic(err)
	}
	defer svc.Close(ctx)

	_, token, err := svc.CreateKey(ctx, keyfold.NewKey{Name: "ci", OwnerID: "cust_42"})
	if err != nil {
		panic(err)
	}
	id, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()})
	if err != nil {
		panic(err)
	}
	fmt.Println(id.OwnerID())
	// Output: cust_42
}

func ExampleStore_Begin() {
	ctx := context.Background()
	store := memory.New()
	svc, err := keyfold.New(store, nil)
	if err != nil {
		panic(err)
	}
	defer svc.Close(ctx)

	tx, err := store.Begin(ctx)
	if err != nil {
		panic(err)
	}
	defer tx.Rollback()
	key, _, err := svc.With(tx.Tx()).CreateKey(ctx, keyfold.NewKey{Name: "ci"})
	if err != nil {
		panic(err)
	}
	_, before := svc.Key(ctx, key.ID)
	if err := tx.Commit(); err != nil {
		panic(err)
	}
	_, after := svc.Key(ctx, key.ID)
	fmt.Println(before, after)
	// Output: keyfold: not found <nil>
}

func record(id string) keyfold.KeyRecord {
	return keyfold.KeyRecord{Key: keyfold.Key{ID: id, Name: "name of " + id, Version: 1}}
}

func begin(t *testing.T, store *memory.Store) *memory.Tx {
	t.Helper()
	tx, err := store.Begin(t.Context())
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return tx
}

func TestTxIsSeenOutsideOnlyAfterCommit(t *testing.T) {
	t.Parallel()
	store := memory.New()
	tx := begin(t, store)
	bound := tx.Tx().Store
	if err := bound.CreateKey(t.Context(), record("k1"), keyfold.Mutation{Target: "k1"}); err != nil {
		t.Fatalf("CreateKey: %v", err)
	}
	if _, err := bound.Key(t.Context(), "k1"); err != nil {
		t.Errorf("Key inside: got error %v, want none", err)
	}
	if _, err := store.Key(t.Context(), "k1"); !errors.Is(err, keyfold.ErrNotFound) {
		t.Errorf("Key outside before Commit: got error %v, want %v", err, keyfold.ErrNotFound)
	}
	if err := tx.Commit(); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	if _, err := store.Key(t.Context(), "k1"); err != nil {
		t.Errorf("Key outside after Commit: got error %v, want none", err)
	}
}

func TestRollbackDiscardsEverything(t *testing.T) {
	t.Parallel()
	store := memory.New()
	tx := begin(t, store)
	if err := tx.Tx().Store.CreateKey(t.Context(), record("k1"), keyfold.Mutation{Target: "k1"}); err != nil {
		t.Fatalf("CreateKey: %v", err)
	}
	for range 2 {
		if err := tx.Rollback(); err != nil {
			t.Errorf("Rollback: got error %v, want none", err)
		}
	}
	if _, err := store.Key(t.Context(), "k1"); !errors.Is(err, keyfold.ErrNotFound) {
		t.Errorf("Key after Rollback: got error %v, want %v", err, keyfold.ErrNotFound)
	}
	if err := tx.Commit(); err == nil {
		t.Errorf("Commit after Rollback: got no error, want one")
	}
	if err := begin(t, store).Commit(); err != nil {
		t.Errorf("the next transaction: got error %v, want none", err)
	}
}

func TestSecondWriterWaitsUntilItsContextIsDone(t *testing.T) {
	t.Parallel()
	store := memory.New()
	tx := begin(t, store)
	defer tx.Rollback()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := store.CreateKey(ctx, record("k1"), keyfold.Mutation{Target: "k1"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("CreateKey during a transaction: got error %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestFailedCallHasNoEffectOnTransaction(t *testing.T) {
	t.Parallel()
	store := memory.New()
	tx := begin(t, store)
	bound := tx.Tx().Store
	for _, step := range []struct {
		id   string
		want error
	}{{"k1", nil}, {"k1", keyfold.ErrConflict}, {"k2", nil}} {
		err := bound.CreateKey(t.Context(), record(step.id), keyfold.Mutation{Action: "create", Target: step.id})
		if !errors.Is(err, step.want) {
			t.Fatalf("CreateKey of %s: got error %v, want %v", step.id, err, step.want)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatalf("Commit: %v", err)
	}
	entries, err := store.Audit(t.Context(), keyfold.AuditScan{Limit: 10})
	if err != nil || len(entries) != 2 {
		t.Errorf("Audit: got %d entries and error %v, want 2 and none", len(entries), err)
	}
}

func TestTransactionOfClosedStoreKeepsNothing(t *testing.T) {
	t.Parallel()
	store := memory.New()
	tx := begin(t, store)
	if err := tx.Tx().Store.Close(); err != nil {
		t.Errorf("Close of a bound store: got error %v, want none", err)
	}
	if err := tx.Tx().Store.Ping(t.Context()); err != nil {
		t.Errorf("Ping after Close of a bound store: got error %v, want none", err)
	}
	if err := store.Close(); err != nil {
		t.Errorf("Close: got error %v, want none", err)
	}
	if err := tx.Commit(); err == nil {
		t.Errorf("Commit after Close: got no error, want one")
	}
}

func BenchmarkVerifyKey(b *testing.B) {
	store := memory.New()
	if err := store.CreateKey(b.Context(), record("k1"), keyfold.Mutation{Target: "k1"}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := store.VerifyKey(b.Context(), "k1"); err != nil {
			b.Fatal(err)
		}
	}
}
