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

// A poll of an unchanged database reads no table. It must detect commits on every kind
// of connection.
//
// Mutation tried: a version that is compared only with itself.
func TestPollReturnsChangesOfEveryKindOfCommit(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store, other := open(t, path), open(t, path)
	raw := pool(t, path, "_pragma=busy_timeout(5000)")
	for name, commit := range map[string]func(t *testing.T) string{
		"by the store":          func(t *testing.T) string { return sqltest.Create(t, store).ID },
		"by another store":      func(t *testing.T) string { return sqltest.Create(t, other).ID },
		"in a host transaction": func(t *testing.T) string { return hosted(t, store.DB()) },
		"on a connection of the host": func(t *testing.T) string {
			return hosted(t, raw)
		},
		"by a statement": func(t *testing.T) string {
			if _, err := raw.ExecContext(t.Context(), "INSERT INTO keyfold_changes (tx, at, action, target) VALUES (0, 1, 'a', 'raw')"); err != nil {
				t.Fatal(err)
			}
			return "raw"
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := sqltest.Listen(t, store)
			for range 3 {
				if got := l.Poll(t); len(got) > 0 {
					t.Errorf("a poll of an unchanged database: got changes of %q, want none", got)
				}
			}
			id := commit(t)
			if got := l.Poll(t); !slices.Equal(got, []string{id}) {
				t.Errorf("got changes of %q, want %q", got, id)
			}
		})
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
func TestNextPollReturnsCommitsDuringAPoll(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	l := sqltest.Listen(t, open(t, path))
	raw := pool(t, path, "_pragma=busy_timeout(5000)&_pragma=synchronous(OFF)")
	for round := range 300 {
		committed := make(chan error, 1)
		go func() { // the first commit makes the poll read rows, and the second comes during that read
			var errs error
			for range 2 {
				_, err := raw.ExecContext(t.Context(), "INSERT INTO keyfold_changes (tx, at, action, target) VALUES (0, 1, 'a', 'x')")
				errs = errors.Join(errs, err)
			}
			committed <- errs
		}()
		count := 0
		for done := false; !done; {
			count += len(l.Poll(t))
			select {
			case err := <-committed:
				if err != nil {
					t.Fatal(err)
				}
				done = true
			default:
			}
		}
		if count += len(l.Poll(t)); count != 2 {
			t.Fatalf("round %d: got %d changes, want 2", round, count)
		}
	}
}

func TestPollIsCorrectAfterACanceledPoll(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store, other := open(t, path), open(t, path)
	l := sqltest.Listen(t, store)
	for range 20 {
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := store.Changes(canceled, ""); err == nil {
			t.Fatal("a poll with a canceled context: got no error, want one")
		}
		key := sqltest.Create(t, other)
		if got := l.Poll(t); !slices.Equal(got, []string{key.ID}) {
			t.Fatalf("got changes of %q, want %q", got, key.ID)
		}
	}
}

// SQLite can restore a backup while programs have the database open.
func TestPollDetectsARestoreOverAnOpenDatabase(t *testing.T) {
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
		t.Errorf("after the restore: got changes of %q, want one without a target", got)
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
