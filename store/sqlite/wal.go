package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"os"
	"strconv"
	"sync"
	"time"
)

// LogLimit is the size in bytes, 8 MiB, above which the log of a database, the file
// that ends in -wal, is emptied after a commit. It is not a hard bound: a read needs
// the log as it was when it began, and if reads do not end in time, the log grows until
// the next try, at first two seconds later and at most twenty. After a read that takes
// longer than that, such as a backup, a later change empties the log.
//
// SQLite itself copies the log to the database once it has 1000 pages (4 MiB), but
// it begins again at the start of the file only when a commit finds no read at work.
// Under a steady load of reads it finds none, and the file would grow without end.
const LogLimit = 8 << 20

const (
	// A checkpoint holds up other writers while it waits for reads to end, at most
	// twice this long. That is less than the busy_timeout of theirs.
	shortestLogWait = 100 * time.Millisecond
	longestLogWait  = time.Second

	// logPause is the number of waits between one that was in vain and the next, so
	// that writers lose a small part of their time to reads that are too long.
	logPause = 20
)

// logKeeper keeps the log of a database small.
type logKeeper struct {
	pool *sql.DB
	path string // of the log

	state struct {
		sync.Mutex
		wait time.Duration // of the next checkpoint
		next time.Time     // none before it
	}
}

func newLogKeeper(pool *sql.DB, path string) *logKeeper {
	k := &logKeeper{pool: pool, path: path + "-wal"}
	k.state.wait = shortestLogWait
	return k
}

// committed empties the log if it has become too large. It is called after a commit,
// which stays as it is whatever happens here: a checkpoint that fails is tried again
// after a later one.
func (k *logKeeper) committed(ctx context.Context) {
	info, err := os.Stat(k.path)
	if err != nil || info.Size() <= LogLimit {
		return
	}
	s := &k.state
	if !s.TryLock() {
		return // another transaction of a pool with several connections does it
	}
	defer s.Unlock()
	if time.Now().Before(s.next) {
		return
	}
	if k.empty(context.WithoutCancel(ctx), s.wait) {
		s.wait, s.next = shortestLogWait, time.Time{}
		return
	}
	s.next = time.Now().Add(logPause * s.wait)
	s.wait = min(2*s.wait, longestLogWait)
}

// empty copies the log to the database and cuts the file to nothing. It reports
// whether it did. It waits so long for a connection, and for reads to end.
func (k *logKeeper) empty(ctx context.Context, wait time.Duration) bool {
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	conn, err := k.pool.Conn(bounded)
	if err != nil {
		return false
	}
	defer conn.Close()
	var before int64
	if conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&before) != nil {
		return false
	}
	defer func() {
		if setBusyTimeout(ctx, conn, before) != nil {
			// The next one to use the connection would not wait for other writers.
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}()
	var busy, pages, copied int64
	return setBusyTimeout(ctx, conn, wait.Milliseconds()) == nil &&
		conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &copied) == nil && busy == 0
}

func setBusyTimeout(ctx context.Context, conn *sql.Conn, milliseconds int64) error {
	_, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = "+strconv.FormatInt(milliseconds, 10))
	return err
}
