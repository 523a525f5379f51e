package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// migrator migrates under a lock that the server keeps for a connection, and on
// a Galera cluster under a lease as well. Each
// statement commits by itself, so a crash leaves the first ones behind; they
// are safe to repeat, and the version is written last.
type migrator struct{ db *sql.DB }

func (m migrator) Version(ctx context.Context) (sqlstore.Version, error) { return version(ctx, m.db) }

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func version(ctx context.Context, db querier) (version sqlstore.Version, err error) {
	err = again(ctx, func() error {
		return db.QueryRowContext(ctx, "SELECT schema_version, oldest_version FROM keyfold_meta WHERE id = 1").
			Scan(&version.Schema, &version.Oldest)
	})
	if number(err) == codeNoTable || errors.Is(err, sql.ErrNoRows) {
		return version, nil
	}
	return version, err
}

// The name of a lock is the server's, not the database's, and has 64 bytes.
const lockName = "CONCAT('keyfold.', SHA1(DATABASE()))"

func (m migrator) Lock(ctx context.Context) (sqlstore.Migration, error) {
	conn, err := m.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	var got sql.NullInt64
	err = again(ctx, func() error { return conn.QueryRowContext(ctx, "SELECT GET_LOCK("+lockName+", 60)").Scan(&got) })
	if err == nil && got.Int64 != 1 {
		err = errors.New("another process holds the lock for migrations, or the data source name names no database")
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
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
	lease *lease // nil where there is one server
}

func (m *migration) lockCluster(ctx context.Context) error {
	node, err := onGalera(ctx, m.conn)
	if err != nil || !node {
		return err
	}
	lease, err := acquire(ctx, m.conn)
	if err == nil {
		m.lease = &lease
	}
	return err
}

func (m migration) Version(ctx context.Context) (sqlstore.Version, error) {
	return version(ctx, m.conn)
}

// Exec takes "exists already" of a column or an index for done: MySQL has no IF
// NOT EXISTS for them, and whatever ran before a crash runs again.
func (m migration) Exec(ctx context.Context, statement string) error {
	if m.lease != nil {
		if err := m.lease.keep(ctx); err != nil {
			return err
		}
	}
	err := again(ctx, func() error {
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
		_ = m.conn.Raw(func(any) error { return driver.ErrBadConn }) // the lock ends with the connection
	}
	_ = m.conn.Close()
}
