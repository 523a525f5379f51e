package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// migrator runs each step in an immediate transaction. Other processes wait for it, and
// a crash leaves no part of the step behind.
type migrator struct{ db *sql.DB }

func (m migrator) Version(ctx context.Context) (sqlstore.Version, error) { return version(ctx, m.db) }

// querier is a *sql.DB or a *sql.Conn.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func version(ctx context.Context, db querier) (version sqlstore.Version, err error) {
	var tables int64
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'keyfold_meta'").
		Scan(&tables)
	if err != nil || tables == 0 {
		return version, err
	}
	err = db.QueryRowContext(ctx, "SELECT schema_version, oldest_version FROM keyfold_meta WHERE id = 1").
		Scan(&version.Schema, &version.Oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return version, sqlstore.ErrNoMeta
	}
	return version, err
}

func (m migrator) Lock(ctx context.Context) (sqlstore.Migration, error) {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	err = patiently(ctx, func(ctx context.Context) error {
		_, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE")
		return err
	})
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &migration{conn: conn}, nil
}

type migration struct {
	conn  *sql.Conn
	ended bool
}

func (m *migration) Version(ctx context.Context) (sqlstore.Version, error) {
	return version(ctx, m.conn)
}

func (m *migration) Exec(ctx context.Context, statement string) error {
	_, err := m.conn.ExecContext(ctx, statement)
	return err
}

func (m *migration) Commit(ctx context.Context) error {
	_, err := m.conn.ExecContext(ctx, "COMMIT")
	m.ended = err == nil
	return err
}

func (m *migration) Rollback(ctx context.Context) {
	if !m.ended {
		if _, err := m.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
			// The pool must not hand out a connection that is in a transaction.
			_ = m.conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}
	_ = m.conn.Close()
}
