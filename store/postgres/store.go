// Package postgres is a [keyfold.Store] in PostgreSQL. It uses pgx.
//
// It works in every query mode of pgx, and therefore behind poolers that do not keep
// prepared statements. A hot standby is refused, because it returns an older state of
// the database in which a revoked key may still be valid.
//
// Every session is checked each time it is used, by the settings that the server
// reports. [Open] requests the settings that Keyfold needs. A pool of the program must
// have them; otherwise the error names the setting and the required value.
//
// Every change of a key sends a NOTIFY at its commit, so that other processes learn of
// it within milliseconds. PostgreSQL commits notifying transactions one at a time, in
// all databases of a server, so a program should not change keys in thousands of
// transactions per second. PostgreSQL also cannot prepare a notifying transaction for a
// two-phase commit.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/postgresdb"
	migrations "github.com/keyfold/keyfold/sql"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
	"github.com/keyfold/keyfold/store/internal/storelog"
)

const (
	name        = "keyfold/postgres"
	openTimeout = 10 * time.Second

	// maxConnLifetime makes a process follow a DNS name or a load balancer to a new
	// server, even if the old server still answers.
	maxConnLifetime = 5 * time.Minute
)

// Store is a [keyfold.Store] in a PostgreSQL database. It is safe for
// concurrent use.
type Store struct {
	keyfold.Store
	pool     *pgxpool.Pool
	log      *storelog.Log
	closed   chan struct{} // ends Listen
	from, to int64         // versions of the schema
}

var _ keyfold.LoggingStore = (*Store)(nil)

// Open connects to the database of dsn, which is a URL or a list of key=value pairs, and
// migrates the schema. A role without the right to create tables can open a database
// whose schema is current.
//
// Open sets client_encoding and standard_conforming_strings for its sessions. The
// lifetime of its connections is five minutes, unless dsn sets another. If dsn names
// several hosts, Open uses the first that accepts writes. If Open detects a pooler,
// queries run in the mode "exec", unless dsn sets default_query_exec_mode.
//
// In addition to the connections of the pool, the Store uses up to three connections for
// the change feed and for changes.
//
// Open takes at most ten seconds unless ctx has a deadline of its own. Errors never
// contain the DSN or the password. The caller must call Close.
func Open(ctx context.Context, dsn string) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, malformed(dsn)
	}
	if err := prepare(config.ConnConfig); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !asks(dsn, "pool_max_conn_lifetime") {
		config.MaxConnLifetime = maxConnLifetime
	}
	pool, pooled, err := connect(ctx, config)
	if err != nil {
		return nil, err
	}
	if pooled && !asks(dsn, "default_query_exec_mode") {
		// The pooler may use another server connection for each transaction, which does
		// not know earlier prepared statements.
		pool.Close()
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
		if pool, _, err = connect(ctx, config); err != nil {
			return nil, err
		}
	}
	reserve, err := newReserve(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("%s: open: %w", name, err)
	}
	closeAll := func() { reserve.Close(); pool.Close() }
	store, err := start(ctx, pool, reserve, closeAll)
	if err != nil {
		closeAll()
		return nil, err
	}
	return store, nil
}

// connect makes a pool and checks one of its sessions. pooled reports whether the
// session goes through a pooler.
func connect(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, bool, error) {
	// The pool must outlive ctx.
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, false, fmt.Errorf("%s: open: %w", name, err)
	}
	pooled, err := checkPool(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, false, err
	}
	return pool, pooled, nil
}

// checkPool checks one session of the pool.
func checkPool(ctx context.Context, pool *pgxpool.Pool) (pooled bool, err error) {
	pooled, err = inspectSession(ctx, pool)
	if err == nil {
		return pooled, nil
	}
	if refused, ok := errors.AsType[*unfit](err); ok && !namesSeveralHosts(pool.Config().ConnConfig) {
		return false, fmt.Errorf("%s: %w", name, refused)
	}
	return false, connectError(explain(err))
}

func inspectSession(ctx context.Context, pool *pgxpool.Pool) (pooled bool, err error) {
	conn, err := sessions{pool: pool}.acquire(ctx, true)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	return inspect(ctx, conn.Conn().PgConn())
}

// connectError wraps an error of a connection that could not be made or checked.
func connectError(err error) error {
	refused, answered := errors.AsType[*pgconn.PgError](err)
	if answered && refused.Code == statementCanceled {
		return fmt.Errorf("%s: statement_timeout must be 0 or at least %v: %w", name, leastLimit, err)
	}
	if answered {
		return fmt.Errorf("%s: the server refuses the connection: %w", name, err)
	}
	return fmt.Errorf("%s: the server does not answer: %w", name, err)
}

// malformed returns the error for a data source name that cannot be parsed. It names the
// invalid parameter of the pool, if there is one. The driver's error may contain a part
// of the password.
func malformed(dsn string) error {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return errors.New(name + ": the data source name is malformed; " +
			"it must look like postgres://user:password@host:5432/database or host=… user=… dbname=…")
	}
	for _, parameter := range slices.Sorted(maps.Keys(config.RuntimeParams)) {
		value := config.RuntimeParams[parameter]
		switch parameter {
		case "pool_max_conns":
			if n, err := strconv.ParseInt(value, 10, 32); err != nil || n < 1 {
				return fmt.Errorf("%s: %s must be a whole number of at least 1", name, parameter)
			}
		case "pool_min_conns", "pool_min_idle_conns":
			if _, err := strconv.ParseInt(value, 10, 32); err != nil {
				return fmt.Errorf("%s: %s must be a whole number", name, parameter)
			}
		default:
			if _, err := time.ParseDuration(value); err != nil && strings.HasPrefix(parameter, "pool_") {
				return fmt.Errorf("%s: %s must be a duration, such as 90s or 5m", name, parameter)
			}
		}
	}
	return errors.New(name + ": each parameter of the data source name must have a valid value; see pgxpool.ParseConfig and pgx.ParseConfig")
}

// asks reports whether a valid data source name sets a parameter.
func asks(dsn, parameter string) bool {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return true
	}
	_, set := config.RuntimeParams[parameter]
	return set
}

const (
	feedConns   = 1 // reserved for the feed
	changeConns = 2 // reserved for changes
)

// newReserve returns a pool for the feed and for changes with the configuration of the
// other pool.
func newReserve(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Pool, error) {
	config := pool.Config()
	config.MaxConns, config.MinConns, config.MinIdleConns = feedConns+changeConns, 0, 0
	return pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
}

// New returns a Store in the database of a pool, and migrates the schema. The pool still
// belongs to the caller; Close does not close it.
//
// Sessions of the pool must have client_encoding UTF8 and standard_conforming_strings
// on, and must not be read-only. The Store closes other sessions. Behind a pooler that
// assigns server connections by transaction, the pool needs the DefaultQueryExecMode
// [pgx.QueryExecModeExec].
func New(ctx context.Context, pool *pgxpool.Pool) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if _, err := checkPool(ctx, pool); err != nil {
		return nil, err
	}
	return start(ctx, pool, nil, func() {})
}

// start returns a Store. reserve is nil if the program supplied the pool.
func start(ctx context.Context, pool, reserve *pgxpool.Pool, closePools func()) (*Store, error) {
	db := sessions{pool: pool}
	from, to, err := sqlstore.Migrate(ctx, migrator{db}, migrations.Postgres())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, explain(err))
	}
	if err := db.check(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", name, explain(err))
	}
	if db.schema, err = findSchema(ctx, db); err != nil {
		return nil, fmt.Errorf("%s: find the schema: %w", name, explain(err))
	}
	queries := postgresdb.New(db)
	log := new(storelog.Log)
	closed := make(chan struct{})
	size := pool.Config().MaxConns
	engine := sqlstore.Engine{
		Name:       name,
		Migrations: migrations.Postgres(),
		Pool:       sqlstore.Session{Querier: queries, Feed: feed{queries}},
		Begin:      func(ctx context.Context) (sqlstore.Session, error) { return begin(ctx, db) },
		Attempts:   sqlstore.Share(int(size)),
		Check:      db.Check,
		Class:      func(err error) sqlstore.Class { return logged(log, err) },
		Hint:       hint,
		Warn:       log.Warn,
		Close:      func() error { close(closed); closePools(); return nil },
	}
	if reserve != nil {
		reserved := sessions{pool: reserve, schema: db.schema}
		queries := postgresdb.New(reserved)
		engine.Check = reserved.Check
		engine.Reserve = &sqlstore.Reserve{
			Pool:    sqlstore.Session{Querier: queries, Feed: feed{queries}},
			Begin:   func(ctx context.Context) (sqlstore.Session, error) { return begin(ctx, reserved) },
			Changes: changeConns,
			Idle:    func() bool { return pool.Stat().AcquiredConns() < size },
		}
	}
	store := sqlstore.New(engine)
	return &Store{Store: store, pool: pool, log: log, closed: closed, from: from, to: to}, nil
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

// SetLogger implements [keyfold.LoggingStore]. The messages are about connections
// that the server refuses, and usage events that cannot be read.
func (s *Store) SetLogger(logger *slog.Logger) { s.log.SetLogger(logger) }

// Pool returns the pool. The program can use it for its own tables and for transactions
// that it shares with Keyfold by [Tx]. It belongs to the Store, unless the Store was made
// by [New].
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// Tx returns a [keyfold.Tx] for a transaction that the caller begins and ends. Every
// change runs behind a savepoint, so that a change that fails does not abort the
// transaction. Every call fails in a session that [New] would refuse.
func Tx(tx pgx.Tx) keyfold.Tx {
	db := &checkedTx{DBTX: tx, check: func(ctx context.Context) error {
		conn := tx.Conn()
		if conn == nil {
			return nil // the program's own implementation of pgx.Tx
		}
		readBothForms(conn.TypeMap())
		return fit(ctx, conn.PgConn(), false)
	}}
	return bind(db)
}

// SQLTx is [Tx] for a transaction of database/sql on any PostgreSQL driver. It runs one
// more query in each transaction, which checks the session.
func SQLTx(tx *sql.Tx) keyfold.Tx {
	return bind(&checkedTx{DBTX: sqlTx{tx}, check: func(ctx context.Context) error { return checkSQL(ctx, tx) }})
}

func bind(db *checkedTx) keyfold.Tx {
	return sqlstore.Bind(sqlstore.Engine{Name: name, Migrations: migrations.Postgres(), Class: class, Hint: hint}, session(db))
}

func begin(ctx context.Context, db sessions) (sqlstore.Session, error) {
	tx, err := db.begin(ctx)
	if err != nil {
		return sqlstore.Session{}, err
	}
	session := session(tx)
	session.Commit, session.Rollback = tx.Commit, tx.Rollback
	return session, nil
}

func session(db postgresdb.DBTX) sqlstore.Session {
	queries := postgresdb.New(db)
	return sqlstore.Session{
		Querier: queries, Bulk: bulk{queries}, Feed: feed{queries},
		Exec: func(ctx context.Context, statement string) error {
			_, err := db.Exec(ctx, statement)
			return err
		},
	}
}

// logged returns the class of an error, and logs that a pool is too large for the
// server.
func logged(log *storelog.Log, err error) sqlstore.Class {
	class := class(err)
	if class == sqlstore.Full {
		log.Warn("keyfold: the database server allows fewer connections than the pool may open; requests wait for open connections",
			slog.Any("error", err))
	}
	return class
}

// class reads the SQLSTATE, which the errors of every driver have.
// See https://www.postgresql.org/docs/current/errcodes-appendix.html.
func class(err error) sqlstore.Class {
	if errors.Is(err, errReadOnly) { // the session check failed
		return sqlstore.ReadOnly
	}
	var detail interface{ SQLState() string }
	if !errors.As(err, &detail) {
		return sqlstore.Other
	}
	switch detail.SQLState() {
	case "23505": // unique_violation
		return sqlstore.Conflict
	case "53300": // too_many_connections, of the server, the database or the role
		return sqlstore.Full
	case "40001", "40P01", "55P03": // serialization_failure, deadlock_detected, lock_not_available
		return sqlstore.Lost
	case "53100": // disk_full
		return sqlstore.NoSpace
	case "25006": // read_only_sql_transaction
		return sqlstore.ReadOnly
	}
	return sqlstore.Other
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, openTimeout)
}
