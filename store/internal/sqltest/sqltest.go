// Package sqltest contains tests of the SQL stores that go beyond the contract.
package sqltest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// Engine contains the functions by which the tests use a database engine.
type Engine struct {
	// New returns the data source name of a fresh database.
	New func(t testing.TB) string
	// Open opens a store.
	Open func(ctx context.Context, dsn string) (keyfold.Store, error)
	// SQL opens a pool for statements of the test.
	SQL func(t testing.TB, dsn string) *sql.DB
	// Schema is a query that returns a description of the schema. Equal schemas have
	// equal descriptions.
	Schema string
	// Cautious is true if a poll may return a change without a target after recent
	// changes were pruned while a transaction was open, even in another database of the
	// server.
	Cautious bool
	// Rounds is the number of times that 20 processes are started together.
	Rounds int
}

// Key returns a key that can be stored.
func Key() keyfold.KeyRecord {
	id, now := rand.Text()[:16], time.Now().UTC().Truncate(time.Millisecond)
	return keyfold.KeyRecord{
		Key: keyfold.Key{
			ID: id, Hint: "kf_" + id[:4], Prefix: "kf", Name: "key " + id, OwnerID: "owner", LineageID: id, Version: 1,
			CreatedAt: now, UpdatedAt: now, ExpiresAt: now.Add(time.Hour),
		},
		Secret:   keyfold.SecretHash{Alg: "kf2", Sum: [32]byte{1}},
		ActiveAt: now,
	}
}

// Mutation describes a change of a key.
func Mutation(action, target string) keyfold.Mutation {
	return keyfold.Mutation{At: time.Now().UTC(), Actor: "test", Action: action, Target: target}
}

// Create stores a key and returns it.
func Create(t testing.TB, store keyfold.Store) keyfold.KeyRecord {
	t.Helper()
	key := Key()
	if err := store.CreateKey(t.Context(), key, Mutation("key.create", key.ID)); err != nil {
		t.Fatalf("CreateKey: %v", err)
	}
	return key
}

func (e Engine) open(t testing.TB, dsn string) keyfold.Store {
	t.Helper()
	store, err := e.Open(t.Context(), dsn)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// mustExec runs statements. It ends the test if one fails.
func mustExec(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
