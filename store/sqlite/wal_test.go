package sqlite_test

import (
	"context"
	"database/sql"
	"os"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/sqlite"
)

func logSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path + "-wal")
	must(t, err)
	return info.Size()
}

// grow makes the log larger than the limit by writes on another connection.
func grow(t *testing.T, raw *sql.DB, path string) {
	t.Helper()
	for range 3 {
		_, err := raw.ExecContext(t.Context(), "INSERT INTO grown VALUES (zeroblob(4 << 20))")
		must(t, err)
	}
	if size := logSize(t, path); size <= sqlite.LogLimit {
		t.Fatalf("the log has %d bytes, too few for this test", size)
	}
}

// awaitSmallLog makes changes until the log is small again.
func awaitSmallLog(t *testing.T, store *sqlite.Store, path string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		sqltest.Create(t, store)
		size := logSize(t, path)
		if size <= sqlite.LogLimit {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the log has %d bytes, want at most %d", size, sqlite.LogLimit)
		}
		time.Sleep(time.Millisecond)
	}
}

// beginRead begins a read transaction.
func beginRead(raw *sql.DB) (*sql.Tx, error) {
	tx, err := raw.BeginTx(context.Background(), nil)
	if err != nil {
		return nil, err
	}
	var rows int
	return tx, tx.QueryRowContext(context.Background(), "SELECT count(*) FROM keyfold_meta").Scan(&rows)
}

// Each read begins before the previous one ends, so that SQLite itself can never restart
// the log.
//
// Mutations tried: no checkpoint after a commit; a checkpoint that does not wait for
// reads.
func TestLogIsSmallAgainAfterABurstDuringReads(t *testing.T) {
	t.Parallel()
	for name, open := range opens(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := testdb.SQLite(t)
			store := open(path)
			raw := pool(t, path, "_pragma=busy_timeout(20000)")
			_, err := raw.ExecContext(t.Context(), "CREATE TABLE grown (a)")
			must(t, err)
			stop, stopped := make(chan struct{}), make(chan struct{})
			read, err := beginRead(raw)
			must(t, err)
			go func() {
				defer close(stopped)
				defer func() { _ = read.Rollback() }()
				for {
					select {
					case <-stop:
						return
					case <-time.After(20 * time.Millisecond):
						next, err := beginRead(raw)
						if err != nil {
							t.Errorf("a read: %v", err)
							return
						}
						_ = read.Rollback()
						read = next
					}
				}
			}()
			for range 3 {
				grow(t, raw, path)
				awaitSmallLog(t, store, path)
			}
			close(stop)
			<-stopped
			var timeout int64
			must(t, store.DB().QueryRowContext(t.Context(), "PRAGMA busy_timeout").Scan(&timeout))
			if timeout != 5000 {
				t.Errorf("busy_timeout is %d after a checkpoint, want 5000 as before", timeout)
			}
		})
	}
}

// A backup is such a read.
func TestLogIsSmallAgainAfterALongRead(t *testing.T) {
	t.Parallel()
	path := testdb.SQLite(t)
	store := open(t, path)
	raw := pool(t, path, "_pragma=busy_timeout(20000)")
	_, err := raw.ExecContext(t.Context(), "CREATE TABLE grown (a)")
	must(t, err)
	read, err := beginRead(raw)
	must(t, err)
	grow(t, raw, path)
	sqltest.Create(t, store) // must succeed although the log cannot be truncated
	if size := logSize(t, path); size <= sqlite.LogLimit {
		t.Errorf("the log has %d bytes during a read that needs it", size)
	}
	must(t, read.Rollback())
	awaitSmallLog(t, store, path)
	must(t, store.Check(t.Context()))
}
