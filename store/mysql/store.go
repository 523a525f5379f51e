// Package mysql is a [keyfold.Store] in MariaDB or MySQL. It uses go-sql-driver/mysql. It
// is tested on MariaDB 10.11, and not on MySQL.
//
// On a Galera cluster, reads wait for the commits of other nodes (wsrep_sync_wait=1).
// Without that setting a node may return an older state, in which a revoked key is still
// valid.
package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/mysqldb"
	migrations "github.com/keyfold/keyfold/sql"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

const (
	name        = "keyfold/mysql"
	openTimeout = 10 * time.Second
)

// Store is a [keyfold.Store] in a MariaDB or MySQL database. It is safe for
// concurrent use.
type Store struct {
	keyfold.Store
	db       *sql.DB
	shared   *connections
	from, to int64 // versions of the schema
}

var (
	_ keyfold.LoggingStore = (*Store)(nil)
	_ keyfold.PollingStore = (*Store)(nil)
)

// Open connects to the database of dsn and migrates the schema. dsn has the form of the
// driver, user:password@tcp(host:3306)/database, or is a URL,
// mysql://user:password@host:3306/database. An account without the right to create
// tables can open a database whose schema is current. The driver inserts arguments into
// the text of queries (interpolateParams), which saves two round trips for each query.
// On a Galera cluster Open sets wsrep_sync_wait to 1, unless dsn sets it.
//
// The settings of each session are checked, and corrected if possible; see
// [NewConnector].
//
// These parameters of dsn configure the pool: pool_max_conns is the maximum number of
// connections (default 32), pool_max_conn_lifetime is the age at which a connection is
// closed (default 5m), and pool_max_conn_idle_time is the idle time after which it is
// closed (default 1m).
//
// With tls=true the certificate must be valid for the host in dsn. Open refuses
// parameters that would let the server read files, or that could reveal the password:
// allowAllFiles, allowOldPasswords, allowFallbackToPlaintext, multiStatements, and
// allowCleartextPasswords without a verified certificate.
//
// In a pool of at least eight connections, three are reserved for the change feed and
// for changes.
//
// Open takes at most ten seconds unless ctx has a deadline of its own. Errors never
// contain the DSN or the password. The caller must call Close.
func Open(ctx context.Context, dsn string) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	set, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	shared := &connections{pool: set.pool}
	looksUp := canLookUp(set.config)
	connector, err := newConnector(set.config, shared)
	if err != nil {
		return nil, err
	}
	db := connect(connector, set.pool)
	var reserve *access
	closeAll := db.Close
	shared.setMax = func(n int) { setMax(db, n) }
	if _, reserved := split(set.pool.maxConns); reserved > 0 {
		reserveDB := connect(connector, set.pool)
		access := checkedPool(reserveDB)
		reserve = &access
		closeAll = func() error { return errors.Join(reserveDB.Close(), db.Close()) }
		shared.setMax = func(n int) {
			ordinary, reserved := split(n)
			if reserved == 0 { // the server refused connections, so n is small now
				ordinary, reserved = max(1, n-1), 1
			}
			setMax(db, ordinary)
			setMax(reserveDB, reserved)
		}
	}
	shared.setMax(set.pool.maxConns)
	ordinary := checkedPool(db)
	if looksUp {
		ordinary.lookups = &sqlstore.Lookups{Find: lookups(db, ordinary.pool.Querier)}
	}
	store, err := start(ctx, ordinary, reserve, closeAll)
	if err != nil {
		_ = closeAll()
		return nil, err
	}
	return store, nil
}

// split divides connections between the ordinary pool and the reserve for the feed and
// for changes. A small pool has no reserve.
func split(conns int) (ordinary, reserved int) {
	if conns < leastToSplit {
		return conns, 0
	}
	return conns - reservedConns, reservedConns
}

const (
	reservedConns = 3 // one for the feed, and two for changes
	leastToSplit  = 8
)

func connect(connector driver.Connector, set poolSettings) *sql.DB {
	db := sql.OpenDB(connector)
	db.SetConnMaxLifetime(set.maxLifetime)
	db.SetConnMaxIdleTime(set.maxIdleTime)
	return db
}

func setMax(db *sql.DB, conns int) {
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
}

// New returns a Store in an open pool of the driver go-sql-driver/mysql, and migrates the
// schema. The pool still belongs to the caller; Close does not close it.
//
// Make the pool with [NewConnector], which sets and checks the settings of each session.
// New cannot change the sessions of other pools. It refuses such a pool if a session is
// unfit, with an error that names the setting and the required value. On a Galera
// cluster wsrep_sync_wait must be 1. On such a pool all statements with arguments are
// prepared, even with interpolateParams, so most calls need one more round trip.
func New(ctx context.Context, db *sql.DB) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	switch db.Driver().(type) {
	case checkedDriver:
		return start(ctx, checkedPool(db), nil, nil)
	case *mysql.MySQLDriver:
		host, err := newHostPool(ctx, db)
		if err != nil {
			return nil, err
		}
		return start(ctx, host.access(), nil, nil)
	}
	return nil, errors.New(name + ": the pool must use the driver github.com/go-sql-driver/mysql")
}

// access contains the functions that use one pool.
type access struct {
	db     *sql.DB
	shared *connections
	pool   sqlstore.Session
	read   func(ctx context.Context, fn func(*sqlstore.Session) error) error // nil if reads can use pool
	begin  func(ctx context.Context) (sqlstore.Session, error)
	check  func(ctx context.Context) error
	// lookups is nil if verifies run as other reads do.
	lookups *sqlstore.Lookups
}

// checkedPool returns the access for a pool of [NewConnector].
func checkedPool(db *sql.DB) access {
	checked := db.Driver().(checkedDriver)
	clock := sqlstore.NewClock()
	begin := func(ctx context.Context) (sqlstore.Session, error) { return begin(ctx, db, clock, checked.shared) }
	return access{
		db:     db,
		shared: checked.shared,
		pool: sqlstore.Session{
			Querier: pool{mysqldb.New(db), mysqldb.New(sqlstore.NewPrepared(db))},
			Feed:    freshFeed{begin},
		},
		begin: begin,
		check: checkFor(db, checked.rules),
	}
}

// connectError wraps an error of a connection that could not be made or used.
func connectError(err error) error {
	if _, unfit := errors.AsType[*sessionError](err); unfit {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, answered := errors.AsType[*mysql.MySQLError](err); answered {
		return fmt.Errorf("%s: the server refuses the connection: %w", name, err)
	}
	return fmt.Errorf("%s: the server does not answer: %w", name, err)
}

// start returns a Store. reserve is nil if there is only one pool.
func start(ctx context.Context, a access, reserve *access, closeAll func() error) (*Store, error) {
	if err := retry(ctx, func() error { return a.db.PingContext(ctx) }); err != nil {
		return nil, connectError(err)
	}
	from, to, err := migrate(ctx, a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, refused(ctx, a.db, err))
	}
	engine := sqlstore.Engine{
		Name:       name,
		Migrations: migrations.MySQL(),
		Pool:       a.pool,
		Read:       a.read,
		Begin:      a.begin,
		Lookups:    a.lookups,
		Attempts:   sqlstore.Share(a.db.Stats().MaxOpenConnections),
		Check:      a.check,
		Class:      class,
		Warn:       a.shared.log.Warn,
		Close:      closeAll,
	}
	if reserve != nil {
		engine.Check = reserve.check
		engine.Reserve = &sqlstore.Reserve{
			Pool:    reserve.pool,
			Begin:   reserve.begin,
			Changes: reservedConns - 1,
			Idle: func() bool {
				stats := a.db.Stats()
				return stats.InUse < stats.MaxOpenConnections
			},
		}
	}
	return &Store{Store: sqlstore.New(engine), db: a.db, shared: a.shared, from: from, to: to}, nil
}

// migrate migrates the schema and checks that the database accepts changes.
func migrate(ctx context.Context, a access) (from, to int64, err error) {
	from, to, err = sqlstore.Migrate(ctx, migrator{a.db}, migrations.MySQL())
	if err != nil {
		return 0, 0, err
	}
	if err := checkEngines(ctx, a.db); err != nil {
		return 0, 0, err
	}
	return from, to, probe(ctx, a)
}

// pool prepares only the query of a verify, because the other queries run rarely.
type pool struct {
	*mysqldb.Queries
	prepared *mysqldb.Queries
}

func (p pool) VerifyRow(ctx context.Context, id string) (model.Verify, error) {
	return p.prepared.VerifyRow(ctx, id)
}

// Migration returns the versions of the schema before and after the Store was opened.
// The version of a new database is 0.
func (s *Store) Migration() (from, to int64) { return s.from, s.to }

// Probe implements [keyfold.ProbingStore].
func (s *Store) Probe(ctx context.Context) error { return sqlstore.Probe(ctx, s.Store) }

// MergeUsage implements [keyfold.UsageMerger].
func (s *Store) MergeUsage(ctx context.Context, before time.Time) (more bool, err error) {
	return sqlstore.MergeUsage(ctx, s.Store, before)
}

// PollPolicy implements [keyfold.PollingStore]. While keys are verified, the feed is
// polled in the background once the last poll is 50 ms old.
func (s *Store) PollPolicy() keyfold.PollPolicy {
	return keyfold.PollPolicy{After: 50 * time.Millisecond}
}

// SetLogger implements [keyfold.LoggingStore]. The messages are those of the driver, and
// warnings about connections that the server refuses or that are replaced and about usage
// events that cannot be read.
func (s *Store) SetLogger(logger *slog.Logger) { s.shared.log.SetLogger(logger) }

// DB returns the pool. The program can use it for its own tables and for transactions
// that it shares with Keyfold by [Tx]. It belongs to the Store, unless the Store was made
// by [New].
func (s *Store) DB() *sql.DB { return s.db }

// Tx returns a [keyfold.Tx] for a transaction that the caller begins and ends. Every
// change runs behind a savepoint, so that a change that fails has no effect on the rest
// of the transaction.
//
// A deadlock ends the whole transaction, and MySQL then commits each statement by itself.
// After [keyfold.ErrRetry] the Store therefore sends no more statements, and the caller
// must roll back and begin again.
//
// Other processes learn of the changes at their first poll after the commit, if the
// transaction commits within ten minutes of the change. They miss changes that are
// committed later, and may use a cached key for up to Options.CacheMaxAge. A process that
// starts during the transaction looks back ten thousand changes.
//
// The session belongs to the caller and may have any character set, so every statement
// with arguments is prepared. Every call fails if the session is unfit; the error names
// the setting. See [NewConnector].
func Tx(tx *sql.Tx) keyfold.Tx {
	return sqlstore.Bind(sqlstore.Engine{Name: name, Migrations: migrations.MySQL(), Class: class},
		session(tx, sqlstore.NewPrepared(&hostTx{Tx: tx}), sqlstore.NewClock(), smallBatches()))
}

func begin(ctx context.Context, db *sql.DB, clock func() int64, shared *connections) (sqlstore.Session, error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		return sqlstore.Session{}, err
	}
	session := session(tx, tx, clock, shared)
	session.Commit = func(context.Context) error { return tx.Commit() }
	session.Rollback = func(context.Context) error { return tx.Rollback() }
	return session, nil
}

// session returns a session in a transaction. db runs the statements with arguments.
func session(tx *sql.Tx, db mysqldb.DBTX, clock func() int64, shared *connections) sqlstore.Session {
	return sqlstore.Session{
		Querier: mysqldb.New(db),
		Bulk:    bulk{db, shared},
		Feed:    sequence(db, clock),
		Exec: func(ctx context.Context, statement string) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		},
	}
}

// Numbers of server errors,
// see https://mariadb.com/kb/en/mariadb-error-code-reference/.
const (
	codeRowChanged    = 1020 // ER_CHECKREAD: another transaction changed a row that this one has read
	codeDuplicate     = 1062 // ER_DUP_ENTRY
	codeNoTable       = 1146 // ER_NO_SUCH_TABLE
	codeColumnExists  = 1060 // ER_DUP_FIELDNAME
	codeIndexExists   = 1061 // ER_DUP_KEYNAME
	codeLockTimeout   = 1205 // ER_LOCK_WAIT_TIMEOUT
	codeDeadlock      = 1213 // ER_LOCK_DEADLOCK, and certification failures of Galera
	codeUnknown       = 1105 // ER_UNKNOWN_ERROR: of TiDB, after too many tries to lock a row; see tooLarge
	codeConflictLate  = 8002 // of TiDB, and the next two as well
	codeRolledBack    = 8022
	codeWriteConflict = 9007
	codeDiskFull      = 1021 // ER_DISK_FULL
	codeTableFull     = 1114 // ER_RECORD_FILE_FULL: the tablespace or its disk
)

func class(err error) sqlstore.Class {
	switch {
	case isRetry(err):
		return sqlstore.Lost
	case tooMany(err):
		return sqlstore.Full
	}
	switch number(err) {
	case codeDuplicate:
		return sqlstore.Conflict
	case codeRowChanged, codeLockTimeout, codeDeadlock, codeUnknown, codeConflictLate, codeRolledBack, codeWriteConflict:
		return sqlstore.Lost
	case codeDiskFull, codeTableFull:
		return sqlstore.NoSpace
	case codeReadOnly, codeReadOnlyTx, codeReadOnlyEngine, codeInnoDBReadOnly:
		return sqlstore.ReadOnly
	}
	return sqlstore.Other
}

func number(err error) uint16 {
	var detail *mysql.MySQLError
	if errors.As(err, &detail) {
		return detail.Number
	}
	return 0
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, openTimeout)
}
