package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/sqliteuri"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/sqlite"
	"github.com/keyfold/keyfold/store/storetest"
)

func engine() sqltest.Engine {
	return sqltest.Engine{
		New:  testdb.SQLite,
		Open: func(ctx context.Context, dsn string) (keyfold.Store, error) { return sqlite.Open(ctx, dsn) },
		SQL: func(t testing.TB, dsn string) *sql.DB {
			return pool(t, dsn, "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
		},
		Schema: "SELECT type || ' ' || name || ' ' || COALESCE(sql, '') FROM sqlite_master ORDER BY type, name",
		Rounds: 20,
	}
}

func pool(t testing.TB, path, options string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", sqliteuri.Of(path)+"?"+options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestMain(m *testing.M) { sqltest.Main(m, engine()) }

func TestManyProcesses(t *testing.T)   { t.Parallel(); engine().TestManyProcesses(t) }
func TestKilledMigration(t *testing.T) { t.Parallel(); engine().TestKilledMigration(t) }
func TestNewerSchema(t *testing.T)     { t.Parallel(); engine().TestNewerSchema(t) }
func TestMigration(t *testing.T)       { t.Parallel(); engine().TestMigration(t) }
func TestBrokenFeed(t *testing.T)      { t.Parallel(); engine().TestBrokenFeed(t) }

func TestHostTransaction(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.SQLite(t))
	sqltest.TestHostTransaction(t, store, func(t testing.TB) sqltest.Host { return begin(t, store.DB()) })
}

func begin(t testing.TB, db *sql.DB) sqltest.Host {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return sqltest.Host{
		Store: sqlite.Tx(tx).Store, Commit: tx.Commit, Rollback: tx.Rollback,
		Exec: func(ctx context.Context, statement string) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		},
	}
}

// A transaction that began with a read cannot write after another transaction has.
func TestOutdatedTransactionMustBeRetried(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store := open(t, path)
	key := sqltest.Create(t, store)
	deferred := begin(t, pool(t, path, "_pragma=busy_timeout(5000)"))
	if _, err := deferred.Store.Key(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	sqltest.Create(t, store)
	mine := sqltest.Key()
	for range 2 { // the second call must not use the connection
		err := deferred.Store.CreateKey(t.Context(), mine, sqltest.Mutation("key.create", mine.ID))
		if !errors.Is(err, keyfold.ErrRetry) {
			t.Errorf("CreateKey in an outdated transaction: got %v, want ErrRetry", err)
		}
	}
	if err := deferred.Rollback(); err != nil {
		t.Error(err)
	}
}

func TestFilesArePrivateAndPathsAreNotInterpreted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?c=d#e%20f&_query_only=1.db")
	store := open(t, path)
	sqltest.Create(t, store)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("file %q has mode %o, want 600", suffix, got)
		}
	}
}

func TestOpenRefusesPathsThatAreNotFiles(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", ":memory:", "file::memory:?cache=shared", filepath.Join(t.TempDir(), "no", "such", "dir.db"), t.TempDir()} {
		t.Run(path, func(t *testing.T) {
			store, err := sqlite.Open(t.Context(), path)
			if err != nil {
				return
			}
			_ = store.Close()
			t.Errorf("Open(%q): got no error", path)
		})
	}
	if files, _ := filepath.Glob("*memory*"); len(files) > 0 {
		t.Errorf("Open created %q", files)
	}
}

// Mutation tried: each setting left out of the list in turn.
func TestNewRefusesAnUnfitPoolAndSuggestsAFix(t *testing.T) {
	t.Parallel()
	const fit = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"
	for options, fix := range map[string]string{
		"_pragma=busy_timeout(5000)":                                    "_pragma=journal_mode(WAL)",
		"_pragma=journal_mode(WAL)":                                     "_pragma=busy_timeout(5000)",
		"mode=memory&_pragma=busy_timeout(1)&_pragma=journal_mode(WAL)": "use a file",
		fit + "&_pragma=synchronous(OFF)":                               "_pragma=synchronous(FULL)",
		fit + "&_pragma=query_only(1)":                                  "remove _pragma=query_only",
		fit + "&_pragma=read_uncommitted(1)":                            "remove _pragma=read_uncommitted",
		fit + "&_pragma=locking_mode(EXCLUSIVE)":                        "remove _pragma=locking_mode",
	} {
		t.Run(options, func(t *testing.T) {
			t.Parallel()
			_, err := sqlite.New(t.Context(), pool(t, testdb.SQLite(t), options))
			if err == nil || !strings.Contains(err.Error(), fix) {
				t.Errorf("New of a pool with %q: got %v, want the fix %q", options, err, fix)
			}
		})
	}
}

// The program may use other settings.
func TestConformanceWithPragmasOfTheProgram(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) keyfold.Store {
		store, err := sqlite.New(t.Context(), pool(t, testdb.SQLite(t), "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&"+
			"_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&_pragma=case_sensitive_like(1)&_pragma=reverse_unordered_selects(1)&"+
			"_pragma=recursive_triggers(1)&_pragma=trusted_schema(0)&_pragma=secure_delete(1)&_pragma=cell_size_check(1)&"+
			"_pragma=temp_store(2)&_pragma=automatic_index(0)&_pragma=cache_size(10)&_pragma=mmap_size(1048576)"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return store
	})
}

// A pool of the program may begin deferred transactions.
func TestStoreOfNewWritesConcurrently(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	db := pool(t, path, "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	store, err := sqlite.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	const writers, keys = 4, 25
	for range writers {
		go func() {
			var err error
			for range keys {
				key := sqltest.Key()
				err = errors.Join(err, store.CreateKey(t.Context(), key, sqltest.Mutation("key.create", key.ID)))
			}
			errs <- err
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	all, err := store.Keys(t.Context(), keyfold.KeyScan{Limit: 200})
	if err != nil || len(all) != writers*keys {
		t.Errorf("%d keys (%v), want %d", len(all), err, writers*keys)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Errorf("Close of the store closed the caller's pool: %v", err)
	}
}

func TestLargeBatch(t *testing.T) {
	t.Parallel()
	sqltest.TestLargeBatch(t, open(t, testdb.SQLite(t)))
}

// Mutation tried: ReserveAttempt without the read before the transaction.
func TestBlockedAttemptDoesNotWaitForTheWriter(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.SQLite(t))
	at := time.Now()
	rule := keyfold.ThrottleRule{Burst: 1, InitialDelay: time.Minute, MaxDelay: time.Minute, ResetAfter: time.Hour}
	names := []keyfold.ThrottleReservation{{Name: "account.00", Rule: rule}, {Name: "address.00", Rule: rule}}
	for range 2 {
		if _, err := store.ReserveAttempt(t.Context(), names[1:], at); err != nil {
			t.Fatal(err)
		}
	}
	tx := begin(t, store.DB()) // holds the connection that writes
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	blocking, err := store.ReserveAttempt(ctx, names, at)
	if err != nil || blocking.Name != "address.00" || !blocking.BlockedUntil.After(at) {
		t.Errorf("got %+v, %v; want the throttle of the address", blocking, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
}

func TestProbe(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.SQLite(t))
	sqltest.TestProbe(t, store, store.DB())
}

func TestMerging(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store := open(t, path)
	sqltest.TestMerging(t, store, open(t, path), store.DB())
}

func TestProbeFailsIfTheDatabaseIsReadOnly(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.SQLite(t))
	_, err := store.DB().ExecContext(t.Context(), "PRAGMA query_only = 1")
	must(t, err)
	if err := store.Probe(t.Context()); !errors.Is(err, keyfold.ErrReadOnly) {
		t.Errorf("Probe: got %v, want ErrReadOnly", err)
	}
}
