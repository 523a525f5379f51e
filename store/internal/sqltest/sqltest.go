// Package sqltest holds the tests that the SQL stores have in common beyond
// the contract: what happens to the database itself.
package sqltest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// Engine is how the tests reach one database engine.
type Engine struct {
	// New returns the data source name of a fresh database.
	New func(t testing.TB) string
	// Open opens a store.
	Open func(ctx context.Context, dsn string) (keyfold.Store, error)
	// SQL opens a pool for statements of the test's own.
	SQL func(t testing.TB, dsn string) *sql.DB
	// Schema returns a description of the schema that is equal for equal schemas.
	Schema string
	// Cautious is set where pruning changes so young that transactions of their
	// time are still open, be it in another database of the server, may flush.
	Cautious bool
	// Rounds is how often 20 processes are started at once.
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

// mustExec runs statements and ends the test when one fails.
func mustExec(t testing.TB, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}
