// Package postgres keeps Keyfold's state in PostgreSQL, by pgx.
//
// It works in every mode in which pgx runs queries, so also behind a pooler
// that forbids prepared statements. Do not point it at a standby: a standby
// answers with what was true a moment ago, and a revoked key would pass.
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
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/postgresdb"
	migrations "github.com/keyfold/keyfold/sql"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

const (
	name        = "keyfold/postgres"
	openTimeout = 10 * time.Second
)

// Store is a [keyfold.Store] in a PostgreSQL database. It is safe for
// concurrent use.
type Store struct {
	keyfold.Store
	pool     *pgxpool.Pool
	closed   chan struct{} // ends Listen
	from, to int64         // versions of the schema
}

// Open connects to the database that dsn names, as a URL or as key=value
// pairs, and brings the schema up to date. A role that may not create tables
// can open a database whose schema is current.
//
// Open takes at most ten seconds unless ctx has a deadline of its own. Errors
// never hold the DSN or the password. The caller must call Close.
func Open(ctx context.Context, dsn string) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		// The driver's error may quote a part of its input.
		return nil, errors.New(name + ": the data source name is malformed; " +
			"want postgres://user:password@host:5432/database or host=… user=… dbname=…")
	}
	// The pool must outlive ctx.
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, fmt.Errorf("%s: open: %w", name, err)
	}
	store, err := start(ctx, pool, pool.Close)
	if err != nil {
		pool.Close()
		return nil, err
	}
	return store, nil
}

// New returns a Store in the database of a pool, and brings the schema up to
// date. The pool stays the caller's: Close leaves it open.
func New(ctx context.Context, pool *pgxpool.Pool) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	return start(ctx, pool, func() {})
}

func start(ctx context.Context, pool *pgxpool.Pool, closePool func()) (*Store, error) {
	if err := pool.Ping(ctx); err != nil {
		return nil, fmt.Errorf("%s: the server does not answer: %w", name, err)
	}
	from, to, err := sqlstore.Migrate(ctx, migrator{pool}, migrations.Postgres())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	queries := postgresdb.New(pool)
	closed := make(chan struct{})
	store := sqlstore.New(sqlstore.Engine{
		Name:       name,
		Migrations: migrations.Postgres(),
		Pool:       sqlstore.Session{Querier: queries, Feed: feed{queries}},
		Begin:      func(ctx context.Context) (sqlstore.Session, error) { return begin(ctx, pool) },
		Class:      class,
		Close:      func() error { close(closed); closePool(); return nil },
	})
	return &Store{Store: store, pool: pool, closed: closed, from: from, to: to}, nil
}

// Migration returns the version of the schema that was found when the Store was
// made, 0 where there was none, and the one that it has since then.
func (s *Store) Migration() (from, to int64) { return s.from, s.to }

// Pool returns the pool of connections, for the program's own use and for
// transactions that Keyfold takes part in by [Tx]. It belongs to the Store,
// unless that was made by [New].
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// Tx returns a [keyfold.Tx] for a transaction that the caller began and will
// end. Every change runs behind a savepoint, so one that fails, such as a
// duplicate, does not abort the caller's work.
func Tx(tx pgx.Tx) keyfold.Tx {
	return sqlstore.Bind(sqlstore.Engine{Name: name, Migrations: migrations.Postgres(), Class: class}, session(tx, func(ctx context.Context, statement string) error {
		_, err := tx.Exec(ctx, statement)
		return err
	}))
}

// SQLTx is [Tx] for a transaction of database/sql, on any driver of PostgreSQL.
func SQLTx(tx *sql.Tx) keyfold.Tx {
	return sqlstore.Bind(sqlstore.Engine{Name: name, Migrations: migrations.Postgres(), Class: class}, session(sqlTx{tx}, func(ctx context.Context, statement string) error {
		_, err := tx.ExecContext(ctx, statement)
		return err
	}))
}

func begin(ctx context.Context, pool *pgxpool.Pool) (sqlstore.Session, error) {
	tx, err := pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return sqlstore.Session{}, err
	}
	session := session(tx, func(ctx context.Context, statement string) error {
		_, err := tx.Exec(ctx, statement)
		return err
	})
	session.Commit, session.Rollback = tx.Commit, tx.Rollback
	return session, nil
}

func session(db postgresdb.DBTX, exec func(context.Context, string) error) sqlstore.Session {
	queries := postgresdb.New(db)
	copier, _ := db.(copier)
	return sqlstore.Session{Querier: queries, Bulk: bulk{queries, copier}, Feed: feed{queries}, Exec: exec}
}

// class reads the SQLSTATE, which every driver tells.
// See https://www.postgresql.org/docs/current/errcodes-appendix.html.
func class(err error) sqlstore.Class {
	var detail interface{ SQLState() string }
	if !errors.As(err, &detail) {
		return sqlstore.Other
	}
	switch detail.SQLState() {
	case "23505": // unique_violation
		return sqlstore.Conflict
	case "40001", "40P01", "55P03": // serialization_failure, deadlock_detected, lock_not_available
		return sqlstore.Lost
	}
	return sqlstore.Other
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, openTimeout)
}
