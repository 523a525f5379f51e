package sqlite_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/sqlite"
)

// opens returns the two functions that open a store on a file.
func opens(t *testing.T) map[string]func(path string) *sqlite.Store {
	return map[string]func(path string) *sqlite.Store{
		"Open": func(path string) *sqlite.Store { return open(t, path) },
		"New": func(path string) *sqlite.Store {
			store, err := sqlite.New(t.Context(), pool(t, path, "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate"))
			if err != nil {
				t.Fatal(err)
			}
			return store
		},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantRefusals(t *testing.T, store keyfold.Store) {
	t.Helper()
	if err := store.Check(t.Context()); !errors.Is(err, keyfold.ErrCheckFailed) {
		t.Errorf("Check: %v, want ErrCheckFailed", err)
	}
	key := sqltest.Key()
	if err := store.CreateKey(t.Context(), key, sqltest.Mutation("key.create", key.ID)); !errors.Is(err, keyfold.ErrCheckFailed) {
		t.Errorf("CreateKey: %v, want ErrCheckFailed", err)
	}
}

// Mutations tried: a check of only the database file; a check that does not compare the
// file with the one that was opened.
func TestDeletedOrReplacedFileFailsTheCheckAndEveryChange(t *testing.T) {
	t.Parallel()
	for harm, do := range map[string]func(t *testing.T, path string){
		"the file is deleted":        func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"the file is moved away":     func(t *testing.T, path string) { must(t, os.Rename(path, path+".old")) },
		"the log is deleted":         func(t *testing.T, path string) { must(t, os.Remove(path+"-wal")) },
		"the log's index is deleted": func(t *testing.T, path string) { must(t, os.Remove(path+"-shm")) },
		"the file is replaced":       func(t *testing.T, path string) { replace(t, path) },
		"the log is replaced":        func(t *testing.T, path string) { replace(t, path+"-wal") },
		"all are created again":      func(t *testing.T, path string) { removeAll(t, path); must(t, openAndClose(t, path)) },
		"all are created and in use": func(t *testing.T, path string) { removeAll(t, path); sqltest.Create(t, open(t, path)) },
		"the log is created again":   func(t *testing.T, path string) { must(t, os.Remove(path+"-wal")); createEmpty(t, path+"-wal") },
		"the file is created again":  func(t *testing.T, path string) { must(t, os.Rename(path, path+".old")); createEmpty(t, path) },
	} {
		for name, open := range opens(t) {
			t.Run(harm+", "+name, func(t *testing.T) {
				path := testdb.SQLite(t)
				store := open(path)
				sqltest.Create(t, store)
				must(t, store.Check(t.Context()))
				do(t, path)
				wantRefusals(t, store)
			})
		}
	}
}

func removeAll(t *testing.T, path string) {
	t.Helper()
	for _, end := range []string{"", "-wal", "-shm"} {
		must(t, os.Remove(path+end))
	}
}

func createEmpty(t *testing.T, path string) {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o600))
}

// replace replaces a file by a copy, as restoring a backup does.
func replace(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path+".new", text, 0o600))
	must(t, os.Rename(path+".new", path))
}

func openAndClose(t *testing.T, path string) error {
	t.Helper()
	store, err := sqlite.Open(t.Context(), path)
	must(t, err)
	return store.Close()
}

// Mutation tried: a commit without a check of the files after it.
func TestChangeIsNotAcknowledgedAfterTheFileWasDeleted(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store := open(t, path)
	key := sqltest.Key()
	err := store.InTx(t.Context(), func(tx keyfold.Store) error {
		if err := tx.CreateKey(t.Context(), key, sqltest.Mutation("key.create", key.ID)); err != nil {
			return err
		}
		return os.Remove(path)
	})
	if !errors.Is(err, keyfold.ErrCheckFailed) {
		t.Errorf("InTx: %v, want ErrCheckFailed", err)
	}
}

// Mutation tried: a comparison of side files that SQLite has created again.
func TestFilesThatSQLiteItselfReplacesPassTheCheck(t *testing.T) {
	t.Parallel()
	for name, open := range opens(t) {
		t.Run(name, func(t *testing.T) {
			path := testdb.SQLite(t)
			store := open(path)
			raw := pool(t, path, "_pragma=busy_timeout(5000)")
			for what, do := range map[string]func() error{
				"another store closes": func() error { return openAndClose(t, path) },
				"a checkpoint":         func() error { _, err := raw.ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); return err },
				"a vacuum":             func() error { _, err := raw.ExecContext(t.Context(), "VACUUM"); return err },
				"all connections of the pool close": func() error {
					must(t, raw.Close())
					if name == "New" {
						store.DB().SetMaxIdleConns(0)
						if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
							t.Errorf("the log still exists, or cannot be read: %v", err)
						}
					}
					return nil
				},
			} {
				sqltest.Create(t, store)
				must(t, do())
				if err := store.Check(t.Context()); err != nil {
					t.Errorf("%s: Check: %v", what, err)
				}
				sqltest.Create(t, store)
				if what == "all connections of the pool close" {
					raw = pool(t, path, "_pragma=busy_timeout(5000)")
				}
			}
		})
	}
}

// Mutation tried: readers that keep connections to the other file.
func TestFileThatIsMovedBackIsUsedAgain(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store := open(t, path)
	key := sqltest.Create(t, store)
	replacement := testdb.SQLite(t)
	must(t, openAndClose(t, replacement))
	move := func(from, to string) {
		t.Helper()
		for _, end := range []string{"", "-wal", "-shm"} {
			must(t, os.Rename(from+end, to+end))
		}
	}
	move(path, path+".kept")
	must(t, os.Rename(replacement, path))
	wantRefusals(t, store)
	reading := make(chan error, 50)
	for range cap(reading) { // more than the pool has connections, so that some open the other file
		go func() { _, err := store.VerifyKey(t.Context(), key.ID); reading <- err }()
	}
	for range cap(reading) {
		<-reading
	}
	move(path+".kept", path)
	must(t, store.Check(t.Context()))
	for range 20 {
		for range cap(reading) {
			go func() { _, err := store.VerifyKey(t.Context(), key.ID); reading <- err }()
		}
		for range cap(reading) {
			if err := <-reading; err != nil {
				t.Fatalf("VerifyKey after the file was moved back: %v", err)
			}
		}
	}
	sqltest.Create(t, store)
}

func TestServiceOnADeletedFileRefusesCachedKeys(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	svc, err := keyfold.New(open(t, path), &keyfold.Options{
		PollInterval: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	defer svc.Close(ctx)
	key, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{Name: "n"})
	must(t, err)
	verify := func() error {
		_, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()})
		return err
	}
	must(t, verify())
	must(t, os.Remove(path))
	for deadline := time.Now().Add(10 * time.Second); !errors.Is(verify(), keyfold.ErrCheckFailed); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s: %v, want ErrCheckFailed", verify())
		}
	}
	if err := svc.RevokeKey(t.Context(), key.ID, ""); !errors.Is(err, keyfold.ErrCheckFailed) {
		t.Errorf("RevokeKey: %v, want ErrCheckFailed", err)
	}
	if err := svc.Ping(t.Context()); !errors.Is(err, keyfold.ErrCheckFailed) {
		t.Errorf("Ping: %v, want ErrCheckFailed", err)
	}
}
