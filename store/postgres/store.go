// Package postgres keeps Keyfold's state in PostgreSQL, by pgx.
//
// It works in every mode in which pgx runs queries, and so behind a pooler that
// does not keep prepared statements. A hot standby is refused: it answers with
// an older state of the database, and a revoked key would pass.
//
// Every session is checked each time that it is used, from what the server has
// reported. [Open] asks for the settings that Keyfold needs; a pool of the
// program's own must have them, or the error names the setting and its value.
//
// Every change of a key sends a NOTIFY with its commit, which lets other
// processes hear of it within milliseconds. PostgreSQL commits transactions
// that notify one at a time, in all databases of the server, so a transaction
// of the program's own that changes keys should not be one of thousands a
// second. And it refuses to prepare one for a two-phase commit.
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

	// A connection lives no longer, so that a process moves with a name or a load
	// balancer even while the old server still answers.
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

// Open connects to the database that dsn names, as a URL or as key=value
// pairs, and brings the schema up to date. A role that may not create tables
// can open a database whose schema is current.
//
// Open sets client_encoding and standard_conforming_strings for its sessions,
// and a lifetime of five minutes for its connections unless dsn says otherwise.
// Of several hosts it uses the first that takes writes. Where it finds a pooler,
// queries run in the mode "exec" unless dsn sets default_query_exec_mode.
//
// In addition to the connections of the pool, Open makes up to three for the
// change feed and for changes.
//
// Open takes at most ten seconds unless ctx has a deadline of its own. Errors
// never hold the DSN or the password. The caller must call Close.
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
	if err == nil && pooled && !asks(dsn, "default_query_exec_mode") {
		// A pooler may hand connections out by the transaction, where statements
		// that were prepared before are missing.
		pool.Close()
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
		pool, _, err = connect(ctx, config)
	}
	if err != nil {
		return nil, err
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

// connect makes a pool and checks that it can be used. It returns whether a
// pooler stands between.
func connect(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, bool, error) {
	// The pool must outlive ctx.
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, false, fmt.Errorf("%s: open: %w", name, err)
	}
	pooled, err := try(ctx, pool)
	if err != nil {
		pool.Close()
		return nil, false, err
	}
	return pool, pooled, nil
}

// try checks a session of the pool.
func try(ctx context.Context, pool *pgxpool.Pool) (pooled bool, err error) {
	conn, err := sessions{pool: pool}.acquire(ctx, true)
	if err == nil {
		defer conn.Release()
		pooled, err = inspect(ctx, conn.Conn().PgConn())
	}
	if refused, ok := errors.AsType[*unfit](err); ok && !namesSeveralHosts(pool.Config().ConnConfig) {
		return false, fmt.Errorf("%s: %w", name, refused)
	}
	if err != nil {
		return false, unanswered(explain(err))
	}
	return pooled, nil
}

// unanswered wraps an error of a connection that could not be made or checked.
func unanswered(err error) error {
	refused, answered := errors.AsType[*pgconn.PgError](err)
	if answered && refused.Code == statementCanceled {
		return fmt.Errorf("%s: statement_timeout must be 0 or at least %v: %w", name, leastLimit, err)
	}
	if answered {
		return fmt.Errorf("%s: the server refuses the connection: %w", name, err)
	}
	return fmt.Errorf("%s: the server does not answer: %w", name, err)
}

// malformed names the parameter of the pool that is at fault, if one is. The
// driver's own error may quote a part of its input.
func malformed(dsn string) error {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return errors.New(name + ": the data source name is malformed; " +
			"want postgres://user:password@host:5432/database or host=… user=… dbname=…")
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
	return errors.New(name + ": a parameter of the data source name has a value that it cannot have; see pgxpool.ParseConfig and pgx.ParseConfig")
}

// asks tells whether a data source name, which has been parsed before, sets a
// parameter.
func asks(dsn, parameter string) bool {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return true
	}
	_, set := config.RuntimeParams[parameter]
	return set
}

const (
	feedConns   = 1 // set apart for the feed
	changeConns = 2 // set apart for changes
)

// newReserve returns a pool for the feed and for changes, whose connections are
// made as those of the other pool.
func newReserve(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Pool, error) {
	config := pool.Config()
	config.MaxConns, config.MinConns, config.MinIdleConns = feedConns+changeConns, 0, 0
	return pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
}

// New returns a Store in the database of a pool, and brings the schema up to
// date. The pool stays the caller's: Close leaves it open.
//
// Sessions of the pool must have client_encoding UTF8, standard_conforming_strings
// on, and must not be read-only. A session that does not fit is closed. A pool
// that goes through a pooler which hands connections out by the transaction needs
// the DefaultQueryExecMode [pgx.QueryExecModeExec].
func New(ctx context.Context, pool *pgxpool.Pool) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if _, err := try(ctx, pool); err != nil {
		return nil, err
	}
	return start(ctx, pool, nil, func() {})
}

// start returns a Store. reserve is nil where the pool is the program's own.
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
		Close:      func() error { close(closed); closePools(); return nil },
	}
	if reserve != nil {
		apart := sessions{pool: reserve, schema: db.schema}
		reserved := postgresdb.New(apart)
		engine.Check = apart.Check
		engine.Reserve = &sqlstore.Reserve{
			Pool:    sqlstore.Session{Querier: reserved, Feed: feed{reserved}},
			Begin:   func(ctx context.Context) (sqlstore.Session, error) { return begin(ctx, apart) },
			Changes: changeConns,
			Idle:    func() bool { return pool.Stat().AcquiredConns() < size },
		}
	}
	store := sqlstore.New(engine)
	return &Store{Store: store, pool: pool, log: log, closed: closed, from: from, to: to}, nil
}

// Migration returns the version of the schema that was found when the Store was
// made, 0 where there was none, and the one that it has since then.
func (s *Store) Migration() (from, to int64) { return s.from, s.to }

// Probe implements [keyfold.ProbingStore].
func (s *Store) Probe(ctx context.Context) error { return sqlstore.Probe(ctx, s.Store) }

// SetLogger implements [keyfold.LoggingStore]. The messages are about connections
// that the server refuses.
func (s *Store) SetLogger(logger *slog.Logger) { s.log.SetLogger(logger) }

// Pool returns the pool of connections, for the program's own use and for
// transactions that Keyfold takes part in by [Tx]. It belongs to the Store,
// unless that was made by [New].
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// Tx returns a [keyfold.Tx] for a transaction that the caller began and will
// end. Every change runs behind a savepoint, so one that fails, such as a
// duplicate, does not abort the caller's work. In a session that [New] would
// refuse every call fails.
func Tx(tx pgx.Tx) keyfold.Tx {
	db := &checkedTx{DBTX: tx, check: func(ctx context.Context) error {
		conn := tx.Conn()
		if conn == nil {
			return nil // a Tx of the program's own making
		}
		readBothForms(conn.TypeMap())
		return fit(ctx, conn.PgConn(), false)
	}}
	return bind(db, tx)
}

// SQLTx is [Tx] for a transaction of database/sql, on any driver of PostgreSQL.
// It costs one more query for each transaction, which checks the session.
func SQLTx(tx *sql.Tx) keyfold.Tx {
	return bind(&checkedTx{DBTX: sqlTx{tx}, check: func(ctx context.Context) error { return checkSQL(ctx, tx) }}, nil)
}

func bind(db *checkedTx, copier copier) keyfold.Tx {
	return sqlstore.Bind(sqlstore.Engine{Name: name, Migrations: migrations.Postgres(), Class: class, Hint: hint}, session(db, copier))
}

func begin(ctx context.Context, db sessions) (sqlstore.Session, error) {
	tx, err := db.begin(ctx)
	if err != nil {
		return sqlstore.Session{}, err
	}
	session := session(tx, tx)
	session.Commit, session.Rollback = tx.Commit, tx.Rollback
	return session, nil
}

func session(db postgresdb.DBTX, copier copier) sqlstore.Session {
	queries := postgresdb.New(db)
	return sqlstore.Session{
		Querier: queries, Bulk: bulk{queries, copier}, Feed: feed{queries},
		Exec: func(ctx context.Context, statement string) error {
			_, err := db.Exec(ctx, statement)
			return err
		},
	}
}

// logged returns the class of an error, and tells the log of a pool that is too
// large for the server.
func logged(log *storelog.Log, err error) sqlstore.Class {
	class := class(err)
	if class == sqlstore.Full {
		log.Warn("keyfold: the database server allows fewer connections than the pool may open; requests wait for those that are open",
			slog.Any("error", err))
	}
	return class
}

// class reads the SQLSTATE, which every driver tells.
// See https://www.postgresql.org/docs/current/errcodes-appendix.html.
func class(err error) sqlstore.Class {
	if errors.Is(err, errReadOnly) { // found before the server refused a change
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
