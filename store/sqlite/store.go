// Package sqlite is a [keyfold.Store] in a SQLite file. It uses modernc.org/sqlite, which
// needs no C compiler.
//
// One process at a time can write; others wait for up to five seconds. Every commit is
// on disk when it returns (synchronous=FULL).
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/sqliteuri"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/sqlitedb"
	migrations "github.com/keyfold/keyfold/sql"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
	"github.com/keyfold/keyfold/store/internal/storelog"
)

const (
	name        = "keyfold/sqlite"
	openTimeout = 10 * time.Second
	lookupWait  = 250 // milliseconds
	feedConns   = 2   // one to read data_version, which stays open, and one to read rows
)

// Store is a [keyfold.Store] in a SQLite file. It is safe for concurrent use.
type Store struct {
	keyfold.Store
	writer   *sql.DB
	log      *storelog.Log
	from, to int64 // versions of the schema
	watched  bool  // whether the feed has connections of its own
}

var (
	_ keyfold.PollingStore = (*Store)(nil)
	_ keyfold.LoggingStore = (*Store)(nil)
)

// Open opens the file at path and migrates the schema. It creates a missing file with
// mode 0600; an existing file keeps its mode. SQLite creates two files with the same
// mode next to it, which end in -wal and -shm.
//
// The file must be on a local disk, because file locks are unreliable on network file
// systems. In-memory databases are refused, because each connection would have its own.
//
// The process must be able to write to the file and to its directory. Otherwise the
// error names the one to correct.
//
// Open takes at most ten seconds unless ctx has a deadline of its own. Errors contain
// the path. The caller must call Close.
func Open(ctx context.Context, path string) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if path == "" || strings.HasPrefix(path, ":memory:") || strings.HasPrefix(path, "file:") {
		return nil, errors.New(name + ": the path must name a file, and not be empty, a URI or an in-memory database")
	}
	store, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("%s: open %q: %w", name, path, err)
	}
	return store, nil
}

func open(ctx context.Context, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := create(path); err != nil {
		return nil, err
	}
	// With mode=rw, later connections do not create the file again if it was deleted.
	file := sqliteuri.Of(path) + "?mode=rw"
	common := file + "&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_pragma=synchronous(FULL)"
	writer, err := sql.Open("sqlite", common+"&_pragma=journal_mode(WAL)&_pragma=journal_size_limit("+strconv.Itoa(LogLimit)+")&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	writer.SetMaxOpenConns(1)
	readers, err := sql.Open("sqlite", common+"&_query_only=1")
	if err != nil {
		_ = writer.Close()
		return nil, err
	}
	count := max(4, runtime.GOMAXPROCS(0))
	readers.SetMaxOpenConns(count)
	readers.SetMaxIdleConns(count)
	lookups, err := sql.Open("sqlite", file+"&_pragma=busy_timeout("+strconv.Itoa(lookupWait)+")&_query_only=1")
	if err != nil {
		_ = errors.Join(readers.Close(), writer.Close())
		return nil, err
	}
	lookups.SetMaxOpenConns(count)
	lookups.SetMaxIdleConns(count)
	watcher, err := sql.Open("sqlite", common+"&_query_only=1")
	if err != nil {
		_ = errors.Join(lookups.Close(), readers.Close(), writer.Close())
		return nil, err
	}
	watcher.SetMaxOpenConns(feedConns)
	watcher.SetMaxIdleConns(feedConns)
	seen := &dataVersion{db: watcher}
	closeAll := func() error {
		seen.close()
		return errors.Join(watcher.Close(), lookups.Close(), readers.Close(), writer.Close())
	}
	reopen := func() {
		seen.renew()
		for db, idle := range map[*sql.DB]int{readers: count, lookups: count, watcher: feedConns} {
			db.SetMaxIdleConns(0)
			db.SetMaxIdleConns(idle)
		}
	}
	store, err := start(ctx, source{writer, readers, seen, path, reopen, newLookups(lookups, count)}, closeAll)
	if err != nil {
		_ = closeAll()
		return nil, explain(path, err)
	}
	return store, nil
}

// create creates a missing file with mode 0600; with SQLite the mode would depend on
// the umask. It does not open an existing file, because closing it would release the
// locks of other connections of this process, see
// https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_.
func create(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return createFile(path)
	}
	switch {
	case info.IsDir():
		return errors.New("the path must name a file, but it is a directory")
	case info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) != 0:
		return errors.New("the path must name a file, but it is a device, a pipe or a socket")
	}
	return nil
}

func createFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		if obstacle := obstacle(path); obstacle != nil {
			return obstacle
		}
		return reason(err)
	}
	return file.Close()
}

// New returns a Store in an open pool of the driver modernc.org/sqlite, and migrates the
// schema. The pool must be in WAL mode and have a busy_timeout, because otherwise
// verifies would fail during every write. It must not have the pragmas
// synchronous(OFF), query_only, read_uncommitted or locking_mode(EXCLUSIVE). With
// synchronous(NORMAL) a power failure may undo the last changes. Open a pool like this:
//
//	sql.Open("sqlite", "file:/path/app.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate")
//
// On Windows the URI is "file:///C:/path/app.db" or "file:////server/share/app.db". The
// characters "%", "?" and "#" of a path must be written as %25, %3F and %23.
//
// The pool still belongs to the caller; Close does not close it.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if _, ok := db.Driver().(*sqlite.Driver); !ok {
		return nil, errors.New(name + ": the pool must use the driver modernc.org/sqlite")
	}
	if err := fit(ctx, db); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	store, err := start(ctx, source{writer: db, readers: db}, nil)
	if err != nil {
		if path, pathErr := mainFile(ctx, db); pathErr == nil {
			err = explain(path, err)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return store, nil
}

// fit returns an error for settings of a pool whose faults show only under load or after
// a power failure. It checks one connection, because the data source name configures
// all of them.
func fit(ctx context.Context, db *sql.DB) error {
	for _, setting := range []struct {
		pragma string
		isFit  func(value string) bool
		want   string
	}{
		{"journal_mode", func(v string) bool { return strings.EqualFold(v, "wal") }, "add _pragma=journal_mode(WAL) to the data source name, and use a file"},
		{"busy_timeout", func(v string) bool { return v != "0" }, "add _pragma=busy_timeout(5000) to the data source name"},
		// 0 is OFF: a power failure could undo an acknowledged revocation, or damage the
		// file.
		{"synchronous", func(v string) bool { return v != "0" }, "add _pragma=synchronous(FULL) to the data source name"},
		{"locking_mode", func(v string) bool { return strings.EqualFold(v, "normal") }, "it locks out other connections; remove _pragma=locking_mode"},
		{"query_only", func(v string) bool { return v == "0" }, "it prevents all changes; remove _pragma=query_only"},
		{"read_uncommitted", func(v string) bool { return v == "0" }, "verifies would read changes that may be rolled back; remove _pragma=read_uncommitted"},
	} {
		var value string
		if err := db.QueryRowContext(ctx, "PRAGMA "+setting.pragma).Scan(&value); err != nil {
			return err
		}
		if !setting.isFit(value) {
			return fmt.Errorf("the pragma %s of the pool is %q: %s", setting.pragma, value, setting.want)
		}
	}
	return nil
}

// source contains the pools of a database.
type source struct {
	writer, readers *sql.DB
	// The fields below are not set if the program supplied the pool. That pool may have
	// only one connection, which the Store must not keep.
	seen   *dataVersion
	path   string
	reopen func()
	// lookups must have a pool of its own.
	lookups *sqlstore.Lookups
}

// newLookups returns [sqlstore.Lookups] for a pool of the given size. In WAL mode a read
// does not wait for writes and takes microseconds, so Find checks ctx only before the
// query. A read can wait for a few locks, such as that of a process that recovers the
// log. Such a wait ends after lookupWait, and ctx is checked again before the next try.
func newLookups(db *sql.DB, conns int) *sqlstore.Lookups {
	queries := sqlitedb.New(sqlstore.NewPrepared(db))
	return &sqlstore.Lookups{
		Conns: conns,
		Find: func(ctx context.Context, id string) (model.Verify, error) {
			if err := ctx.Err(); err != nil {
				return model.Verify{}, err
			}
			return queries.VerifyRow(context.WithoutCancel(ctx), id)
		},
	}
}

// start returns a Store.
func start(ctx context.Context, from source, closeAll func() error) (*Store, error) {
	writer, seen := from.writer, from.seen
	if err := patiently(ctx, writer.PingContext); err != nil {
		return nil, err
	}
	found, to, err := sqlstore.Migrate(ctx, migrator{writer}, migrations.SQLite())
	if err != nil {
		return nil, err
	}
	guard, err := guardFiles(ctx, writer, from.path, from.reopen)
	if err != nil {
		return nil, err
	}
	if err := writable(ctx, writer, guard.path); err != nil {
		return nil, err
	}
	keeper := newLogKeeper(writer, guard.path)
	pool := sqlitedb.New(sqlstore.NewPrepared(from.readers))
	log := new(storelog.Log)
	engine := sqlstore.Engine{
		Name:       name,
		Migrations: migrations.SQLite(),
		Pool:       sqlstore.Session{Querier: pool, Feed: sequence(pool)},
		Begin: func(ctx context.Context) (sqlstore.Session, error) {
			return begin(ctx, writer, guard, keeper, seen == nil)
		},
		Check:     func(context.Context) error { return guard.check() },
		Lookups:   from.lookups,
		OneWriter: true,
		Class:     class,
		Warn:      log.Warn,
		Close:     closeAll,
	}
	if seen != nil {
		watched := sqlitedb.New(sqlstore.NewPrepared(seen.db))
		engine.Reserve = &sqlstore.Reserve{Pool: sqlstore.Session{Querier: watched, Feed: feed{sequence(watched), seen}}}
		engine.State = seen.read
	} else {
		engine.Attempts = sqlstore.Share(writer.Stats().MaxOpenConnections)
	}
	return &Store{Store: sqlstore.New(engine), writer: writer, log: log, from: found, to: to, watched: seen != nil}, nil
}

// Migration returns the versions of the schema before and after the Store was opened.
// The version of a new database is 0.
func (s *Store) Migration() (from, to int64) { return s.from, s.to }

// SetLogger implements [keyfold.LoggingStore]. The messages are about usage events
// that cannot be read.
func (s *Store) SetLogger(logger *slog.Logger) { s.log.SetLogger(logger) }

// Probe implements [keyfold.ProbingStore].
func (s *Store) Probe(ctx context.Context) error { return sqlstore.Probe(ctx, s.Store) }

// MergeUsage implements [keyfold.UsageMerger].
func (s *Store) MergeUsage(ctx context.Context, before time.Time) (more bool, err error) {
	return sqlstore.MergeUsage(ctx, s.Store, before)
}

// PollPolicy implements [keyfold.PollingStore]. With a Store from [Open] a verify polls
// by itself once the last poll is 20 ms old: it reads a counter in shared memory on a
// connection of its own. In a pool from [New] it could wait for a connection, so polls
// are made in the background there, once the last one is 50 ms old.
func (s *Store) PollPolicy() keyfold.PollPolicy {
	if s.watched {
		return keyfold.PollPolicy{After: 20 * time.Millisecond, Inline: true}
	}
	return keyfold.PollPolicy{After: 50 * time.Millisecond}
}

// DB returns the pool for writes. The program can use it for its own tables and for
// transactions that it shares with Keyfold by [Tx]. It has one connection: an open
// transaction blocks all writes, and a call of this Store during the transaction waits
// until its context is done. Use the Store of [Tx] there. The pool belongs to the Store,
// unless the Store was made by [New].
func (s *Store) DB() *sql.DB { return s.writer }

// Tx returns a [keyfold.Tx] for a transaction on the database of a Store. The caller
// begins and ends the transaction. It must begin with _txlock=immediate, as transactions
// of [Store.DB] do: a deferred transaction that reads first fails to write if another
// transaction has written since.
func Tx(tx *sql.Tx) keyfold.Tx {
	return sqlstore.Bind(sqlstore.Engine{Name: name, Migrations: migrations.SQLite(), Class: class}, session(tx))
}

// begin begins a transaction that holds the write lock. A pool of the program may begin
// deferred transactions; a statement that writes nothing makes them wait for the lock
// here, so that they do not fail later.
//
// The files are compared before the transaction and after the commit, because a change
// in a file that was deleted or replaced must not be acknowledged.
func begin(ctx context.Context, db *sql.DB, guard *fileGuard, keeper *logKeeper, foreign bool) (sqlstore.Session, error) {
	if err := guard.check(); err != nil {
		return sqlstore.Session{}, err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return sqlstore.Session{}, err
	}
	if foreign {
		if _, err := tx.ExecContext(ctx, "DELETE FROM keyfold_meta WHERE id = 0"); err != nil {
			_ = tx.Rollback()
			return sqlstore.Session{}, err
		}
	}
	session := session(tx)
	session.Commit = func(ctx context.Context) error {
		if err := tx.Commit(); err != nil {
			return err
		}
		if err := guard.check(); err != nil {
			return err
		}
		keeper.committed(ctx)
		return nil
	}
	session.Rollback = func(context.Context) error { return tx.Rollback() }
	return session, nil
}

func session(tx *sql.Tx) sqlstore.Session {
	queries := sqlitedb.New(tx)
	return sqlstore.Session{
		Querier: queries,
		Bulk:    newBulk(tx),
		Feed:    sequence(queries),
		Exec: func(ctx context.Context, statement string) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		},
	}
}

// sequence reads the changes by their number. Numbers have the order of commits, because
// one transaction at a time can write.
func sequence(queries *sqlitedb.Queries) sqlstore.SequenceFeed {
	return sqlstore.SequenceFeed{Querier: queries}
}

// Result codes of SQLite, see https://www.sqlite.org/rescode.html.
const (
	codePermission           = 3
	codeBusy                 = 5 // and every extended code of it
	codeLocked               = 6
	codeReadOnly             = 8
	codeIO                   = 10
	codeCorrupt              = 11
	codeFull                 = 13
	codeCannotOpen           = 14
	codeNotADatabase         = 26
	codeConstraintPrimaryKey = 1555
	codeConstraintUnique     = 2067
)

func class(err error) sqlstore.Class {
	var detail *sqlite.Error
	if !errors.As(err, &detail) {
		return sqlstore.Other
	}
	switch code := detail.Code(); {
	case code == codeConstraintPrimaryKey, code == codeConstraintUnique:
		return sqlstore.Conflict
	case code&0xff == codeBusy, code&0xff == codeLocked:
		return sqlstore.Lost
	case code&0xff == codeFull:
		return sqlstore.NoSpace
	case code&0xff == codeReadOnly:
		return sqlstore.ReadOnly
	}
	return sqlstore.Other
}

// patiently repeats fn while other processes hold the lock. It is needed because the
// switch to WAL ignores busy_timeout.
func patiently(ctx context.Context, fn func(context.Context) error) error {
	for {
		err := fn(ctx)
		if class(err) != sqlstore.Lost {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Millisecond + rand.N(20*time.Millisecond)):
		}
	}
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, openTimeout)
}
