// Package sqlite keeps Keyfold's state in a SQLite file, by modernc.org/sqlite,
// which needs no C compiler.
//
// One process at a time writes; others wait for it, up to five seconds. Every
// commit is on disk when it returns (synchronous=FULL).
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
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
)

const (
	name        = "keyfold/sqlite"
	openTimeout = 10 * time.Second
	lookupWait  = 250 // ms
	feedConns   = 2   // one that stays open to read data_version, and one for the rows
)

// Store is a [keyfold.Store] in a SQLite file. It is safe for concurrent use.
type Store struct {
	keyfold.Store
	writer   *sql.DB
	from, to int64 // versions of the schema
}

// Open opens the file, which it creates with mode 0600 where there is none, and
// brings the schema up to date. SQLite gives the files that it puts next to it,
// ending in -wal and -shm, the same mode. A file that exists keeps its mode.
//
// The directory must be on a local disk: the file locks of network file systems
// do not hold. An in-memory database is refused, because every connection of a
// pool would have one of its own.
//
// The process must be able to write to the file and to its directory. If it is
// not, the error names the one to correct.
//
// Open takes at most ten seconds unless ctx has a deadline of its own. Errors
// name the file. The caller must call Close.
func Open(ctx context.Context, path string) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if path == "" || strings.HasPrefix(path, ":memory:") || strings.HasPrefix(path, "file:") {
		return nil, errors.New(name + ": want the path of a file, not a URI or an in-memory database")
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
	// mode=rw: a connection that is opened later must not create the file anew.
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

// create makes the file where there is none: SQLite would make it with whatever
// mode the umask leaves. A file that exists is not opened, because closing it again
// would end all locks that this process holds on it by other connections, see
// https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_.
func create(path string) error {
	if info, err := os.Stat(path); err == nil {
		switch {
		case info.IsDir():
			return errors.New("the path must name a file, but it is a directory")
		case info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket) != 0:
			return errors.New("the path must name a file, but it is a device, a pipe or a socket")
		}
		return nil
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		return file.Close()
	}
	if obstacle := obstacle(path); obstacle != nil {
		return obstacle
	}
	return reason(err) // the caller names the file
}

// New returns a Store in a database that the program has open, by the driver
// modernc.org/sqlite, and brings the schema up to date. It refuses a
// pool that is not in WAL mode or has no busy_timeout, because verifies would fail
// during every write, and one with the pragmas synchronous(OFF), query_only,
// read_uncommitted or locking_mode(EXCLUSIVE). With synchronous(NORMAL) the last
// changes before a power failure may be lost. Open one like this:
//
//	sql.Open("sqlite", "file:/path/app.db?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_txlock=immediate")
//
// On Windows the file is "file:///C:/path/app.db", or "file:////server/share/app.db";
// the characters "%", "?" and "#" of a path have to be written as %25, %3F and %23.
//
// The pool stays the caller's: Close leaves it open.
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
		if path, unknown := mainFile(ctx, db); unknown == nil {
			err = explain(path, err)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return store, nil
}

// fit refuses settings of a host's pool that only show under load, or once the
// machine loses its power. It looks at one connection: a data source name sets all.
func fit(ctx context.Context, db *sql.DB) error {
	for _, setting := range []struct {
		pragma string
		isFit  func(value string) bool
		want   string
	}{
		{"journal_mode", func(v string) bool { return strings.EqualFold(v, "wal") }, "add _pragma=journal_mode(WAL) to the data source name, and use a file"},
		{"busy_timeout", func(v string) bool { return v != "0" }, "add _pragma=busy_timeout(5000) to the data source name"},
		// 0 is OFF: a revocation that was acknowledged could be lost with the power,
		// and the file with it.
		{"synchronous", func(v string) bool { return v != "0" }, "add _pragma=synchronous(FULL) to the data source name"},
		{"locking_mode", func(v string) bool { return strings.EqualFold(v, "normal") }, "other connections would be locked out; remove _pragma=locking_mode"},
		{"query_only", func(v string) bool { return v == "0" }, "nothing could be changed; remove _pragma=query_only"},
		{"read_uncommitted", func(v string) bool { return v == "0" }, "verifies would see what is rolled back later; remove _pragma=read_uncommitted"},
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

// source is the way to a database.
type source struct {
	writer, readers *sql.DB
	// These are not set where the pool is the program's own: it may have one
	// connection, which is then not kept from it.
	seen   *dataVersion
	path   string
	reopen func()
	// lookups must read by a pool of its own.
	lookups *sqlstore.Lookups
}

// newLookups returns [sqlstore.Lookups] over a pool of that size. In WAL mode a read
// waits for no write, and it takes microseconds: its context is looked at before it
// begins, not while it runs. The few locks that a read can meet, such as that of
// another process which recovers the log, are waited for in steps of lookupWait; the
// context is looked at between them.
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
		Close:     closeAll,
	}
	if seen != nil {
		watched := sqlitedb.New(sqlstore.NewPrepared(seen.db))
		engine.Reserve = &sqlstore.Reserve{Pool: sqlstore.Session{Querier: watched, Feed: feed{sequence(watched), seen}}}
		engine.State = seen.read
	} else {
		engine.Attempts = sqlstore.Share(writer.Stats().MaxOpenConnections)
	}
	return &Store{Store: sqlstore.New(engine), writer: writer, from: found, to: to}, nil
}

// Migration returns the version of the schema that was found when the Store was
// made, 0 where there was none, and the one that it has since then.
func (s *Store) Migration() (from, to int64) { return s.from, s.to }

// Probe implements [keyfold.ProbingStore].
func (s *Store) Probe(ctx context.Context) error { return sqlstore.Probe(ctx, s.Store) }

// DB returns the pool that writes, for the program's own tables and for
// transactions that Keyfold takes part in by [Tx]. It holds one connection: a
// transaction that is not ended stops every write, and a call of this Store
// from within one waits for it in vain; use the one that [Tx] returns there.
// The pool belongs to the Store, unless that was made by [New].
func (s *Store) DB() *sql.DB { return s.writer }

// Tx returns a [keyfold.Tx] for a transaction that the caller began on the
// database of a Store and will end. Begin it with _txlock=immediate, as those of
// [Store.DB] do: a transaction that reads first and writes later fails at once
// when another one wrote meanwhile.
func Tx(tx *sql.Tx) keyfold.Tx {
	return sqlstore.Bind(sqlstore.Engine{Name: name, Migrations: migrations.SQLite(), Class: class}, session(tx))
}

// begin begins a transaction that may write from the start. A pool of the
// program's own may begin deferred ones; a statement that writes, though it
// changes nothing, makes such a one wait for its turn here and not fail later.
//
// The files are compared before and after: a change that went into a file which
// was deleted or replaced must not be acknowledged.
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

// sequence reads the changes by their number, which is the order of commits:
// one transaction writes at a time.
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

// patiently calls fn again while other processes keep it from the lock. The
// switch to WAL does not wait for busy_timeout.
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
