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

// LogLimit is the size of the log of a database, the -wal file, above which the Store
// truncates the log after a commit: 8 MiB. The log can become larger, because a read
// needs the log as it was when the read began. If reads do not end in time, the Store
// tries again, first after two seconds and later after up to twenty. After a long read,
// such as a backup, the next change truncates the log.
//
// SQLite itself copies the log to the database when it has 1000 pages (4 MiB), but
// restarts it at the start of the file only if no read is active at a commit. Under a
// steady load of reads the file would grow without limit.
const LogLimit = 8 << 20

const (
	// While a checkpoint waits for reads to end, other writers wait too, for at most
	// twice this time. That is less than their busy_timeout.
	shortestLogWait = 100 * time.Millisecond
	longestLogWait  = time.Second

	// logPause is the pause after a failed checkpoint as a multiple of its wait. It
	// limits the share of time that writers lose because of long reads.
	logPause = 20
)

// logKeeper keeps the log of a database small.
type logKeeper struct {
	pool *sql.DB
	path string // of the log

	state struct {
		sync.Mutex
		wait time.Duration // of the next checkpoint
		next time.Time     // earliest time of the next checkpoint
	}
}

func newLogKeeper(pool *sql.DB, path string) *logKeeper {
	k := &logKeeper{pool: pool, path: path + "-wal"}
	k.state.wait = shortestLogWait
	return k
}

// committed truncates the log if it has become too large. It is called after each
// commit. It reports no errors, because a later commit tries again.
func (k *logKeeper) committed(ctx context.Context) {
	info, err := os.Stat(k.path)
	if err != nil || info.Size() <= LogLimit {
		return
	}
	s := &k.state
	if !s.TryLock() {
		return // another goroutine is truncating the log
	}
	defer s.Unlock()
	if time.Now().Before(s.next) {
		return
	}
	if k.truncate(context.WithoutCancel(ctx), s.wait) {
		s.wait, s.next = shortestLogWait, time.Time{}
		return
	}
	s.next = time.Now().Add(logPause * s.wait)
	s.wait = min(2*s.wait, longestLogWait)
}

// truncate copies the log to the database and truncates the file. wait is the maximum
// time that it waits for a connection, and for reads to end. It reports success.
func (k *logKeeper) truncate(ctx context.Context, wait time.Duration) bool {
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
			// With the wrong timeout, the next user of the connection would not wait
			// for other writers.
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
