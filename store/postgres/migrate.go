package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// migrator runs each step in a transaction that holds an advisory lock. Other processes
// wait for it, and a crash leaves no part of the step behind.
type migrator struct{ db sessions }

func (m migrator) Version(ctx context.Context) (sqlstore.Version, error) { return version(ctx, m.db) }

type querier interface {
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
}

func version(ctx context.Context, db querier) (version sqlstore.Version, err error) {
	// to_regclass may use a cache from before the lock.
	var exists bool
	err = db.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM pg_catalog.pg_class "+
		"WHERE relname = 'keyfold_meta' AND pg_catalog.pg_table_is_visible(oid))").Scan(&exists)
	if err != nil || !exists {
		return version, err
	}
	err = db.QueryRow(ctx, "SELECT schema_version, oldest_version FROM keyfold_meta WHERE id = 1").
		Scan(&version.Schema, &version.Oldest)
	if errors.Is(err, pgx.ErrNoRows) {
		return version, sqlstore.ErrNoMeta
	}
	return version, err
}

func (m migrator) Lock(ctx context.Context) (sqlstore.Migration, error) {
	tx, err := m.db.begin(ctx)
	if err != nil {
		return nil, err
	}
	// The number is "keyfold" in ASCII, so that it differs from the locks of other
	// programs.
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(30229394592066660)"); err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx))
		return nil, err
	}
	return migration{tx}, nil
}

type migration struct{ tx pgx.Tx }

func (m migration) Version(ctx context.Context) (sqlstore.Version, error) { return version(ctx, m.tx) }

func (m migration) Exec(ctx context.Context, statement string) error {
	_, err := m.tx.Exec(ctx, statement)
	return err
}

func (m migration) Commit(ctx context.Context) error { return m.tx.Commit(ctx) }

func (m migration) Rollback(ctx context.Context) { _ = m.tx.Rollback(ctx) }
