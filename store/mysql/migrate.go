package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// migrator migrates under a lock of the connection, and on a Galera cluster under a lease
// as well. MySQL commits each statement by itself, so a crash may leave a migration half
// done. All statements can be repeated, and the version is written last.
type migrator struct{ db *sql.DB }

func (m migrator) Version(ctx context.Context) (sqlstore.Version, error) { return version(ctx, m.db) }

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func version(ctx context.Context, db querier) (version sqlstore.Version, err error) {
	err = retry(ctx, func() error {
		return db.QueryRowContext(ctx, "SELECT schema_version, oldest_version FROM keyfold_meta WHERE id = 1").
			Scan(&version.Schema, &version.Oldest)
	})
	if number(err) == codeNoTable || errors.Is(err, sql.ErrNoRows) {
		return version, nil
	}
	return version, err
}

// Locks belong to the server, so the name contains a hash of the database. It must have
// at most 64 bytes.
const lockName = "CONCAT('keyfold.', SHA1(DATABASE()))"

func (m migrator) Lock(ctx context.Context) (sqlstore.Migration, error) {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var got sql.NullInt64
	err = retry(ctx, func() error { return conn.QueryRowContext(ctx, "SELECT GET_LOCK("+lockName+", 60)").Scan(&got) })
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	if got.Int64 != 1 {
		_ = conn.Close()
		return nil, errors.New("another process holds the lock for migrations, or the data source name does not name a database")
	}
	locked := migration{conn: conn}
	if err := locked.lockCluster(ctx); err != nil {
		locked.Rollback(context.WithoutCancel(ctx))
		return nil, err
	}
	return locked, nil
}

type migration struct {
	conn  *sql.Conn
	lease *lease // nil unless the server is a Galera node
}

func (m *migration) lockCluster(ctx context.Context) error {
	node, err := onGalera(ctx, m.conn)
	if err != nil || !node {
		return err
	}
	lease, err := acquire(ctx, m.conn)
	if err != nil {
		return err
	}
	m.lease = &lease
	return nil
}

func (m migration) Version(ctx context.Context) (sqlstore.Version, error) {
	return version(ctx, m.conn)
}

// Exec ignores errors about columns and indexes that already exist. Statements that ran
// before a crash run again, and MySQL does not have IF NOT EXISTS for them.
func (m migration) Exec(ctx context.Context, statement string) error {
	if m.lease != nil {
		if err := m.lease.keep(ctx); err != nil {
			return err
		}
	}
	err := retry(ctx, func() error {
		_, err := m.conn.ExecContext(ctx, statement)
		return err
	})
	if n := number(err); n == codeColumnExists || n == codeIndexExists {
		return nil
	}
	return err
}

func (m migration) Commit(context.Context) error { return nil }

func (m migration) Rollback(ctx context.Context) {
	if m.lease != nil {
		m.lease.release(ctx)
	}
	if _, err := m.conn.ExecContext(ctx, "DO RELEASE_LOCK("+lockName+")"); err != nil {
		_ = m.conn.Raw(func(any) error { return driver.ErrBadConn }) // closing the connection releases the lock
	}
	_ = m.conn.Close()
}
