package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	driver "modernc.org/sqlite"

	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/sqlite"
)

// A poll that finds the database as it was reads no table. It must not take
// for that what anybody committed, on whatever connection.
//
// Mutation tried: a version that is compared with nothing but itself.
func TestEveryWayToCommitIsHeard(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store, other := open(t, path), open(t, path)
	raw := pool(t, path, "_pragma=busy_timeout(5000)")
	for name, commit := range map[string]func(t *testing.T) string{
		"by the store":          func(t *testing.T) string { return sqltest.Create(t, store).ID },
		"by another store":      func(t *testing.T) string { return sqltest.Create(t, other).ID },
		"in a host transaction": func(t *testing.T) string { return hosted(t, store.DB()) },
		"on a connection of the host's own": func(t *testing.T) string {
			return hosted(t, raw)
		},
		"by a statement": func(t *testing.T) string {
			if _, err := raw.ExecContext(t.Context(), "INSERT INTO keyfold_changes (tx, at, action, target) VALUES (0, 1, 'a', 'raw')"); err != nil {
				t.Fatal(err)
			}
			return "raw"
		},
	} {
		l := sqltest.Listen(t, store)
		for range 3 {
			if got := l.Poll(t); len(got) > 0 {
				t.Errorf("%s: an idle poll told %q", name, got)
			}
		}
		id := commit(t)
		if got := l.Poll(t); !slices.Equal(got, []string{id}) {
			t.Errorf("%s: heard of %q, want %q", name, got, id)
		}
	}
}

func hosted(t *testing.T, db *sql.DB) string {
	t.Helper()
	tx := begin(t, db)
	key := sqltest.Create(t, tx.Store)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	return key.ID
}

// Mutation tried: a version that is read after the rows.
func TestCommitInTheMiddleOfAPollIsHeardByTheNext(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	l := sqltest.Listen(t, open(t, path))
	raw := pool(t, path, "_pragma=busy_timeout(5000)&_pragma=synchronous(OFF)")
	for round := range 300 {
		committed := make(chan error, 1)
		go func() { // the first makes the poll read, the second comes while it does
			var errs error
			for range 2 {
				_, err := raw.ExecContext(t.Context(), "INSERT INTO keyfold_changes (tx, at, action, target) VALUES (0, 1, 'a', 'x')")
				errs = errors.Join(errs, err)
			}
			committed <- errs
		}()
		heard := 0
		for done := false; !done; {
			heard += len(l.Poll(t))
			select {
			case err := <-committed:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
			}
		}
		if heard += len(l.Poll(t)); heard != 2 {
			t.Fatalf("round %d: heard of %d changes, want 2", round, heard)
		}
	}
}

func TestPollIsRightAfterOneThatWasCutShort(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store, other := open(t, path), open(t, path)
	l := sqltest.Listen(t, store)
	for range 20 {
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := store.Changes(gone, ""); err == nil {
			t.Fatal("a poll whose context is done got no error")
		}
		key := sqltest.Create(t, other)
		if got := l.Poll(t); !slices.Equal(got, []string{key.ID}) {
			t.Fatalf("heard of %q, want %q", got, key.ID)
		}
	}
}

// SQLite's own way to bring a backup back while programs run.
func TestRestoreOverAnOpenDatabaseIsHeard(t *testing.T) {
	t.Parallel()
	path, backup := testdb.SQLite(t), testdb.SQLite(t)
	store := open(t, path)
	sqltest.Create(t, store)
	if _, err := store.DB().ExecContext(t.Context(), "VACUUM INTO ?", backup); err != nil {
		t.Fatal(err)
	}
	sqltest.Create(t, store)
	l := sqltest.Listen(t, store)
	conn, err := pool(t, path, "_pragma=busy_timeout(5000)").Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Raw(func(conn any) error {
		restore, err := conn.(interface {
			NewRestore(string) (*driver.Backup, error)
		}).NewRestore(backup)
		if err != nil {
			return err
		}
		if _, err := restore.Step(-1); err != nil {
			return err
		}
		return restore.Finish()
	}); err != nil {
		t.Fatal(err)
	}
	if got := l.Poll(t); !slices.Equal(got, []string{""}) {
		t.Errorf("after the restore: heard of %q, want that anything may have changed", got)
	}
}

func BenchmarkIdlePoll(b *testing.B) {
	for _, row := range []struct {
		name string
		open func(path string) (*sqlite.Store, error)
	}{
		{"of a store that Open made", func(path string) (*sqlite.Store, error) { return sqlite.Open(b.Context(), path) }},
		{"of a store that New made", func(path string) (*sqlite.Store, error) {
			return sqlite.New(b.Context(), pool(b, path, "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"))
		}},
	} {
		b.Run(row.name, func(b *testing.B) {
			store, err := row.open(testdb.SQLite(b))
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			for range 10 {
				sqltest.Create(b, store)
			}
			_, cursor, err := store.Changes(b.Context(), "")
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, cursor, err = store.Changes(b.Context(), cursor); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
