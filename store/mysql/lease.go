package mysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	mathrand "math/rand/v2"
	"time"

	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

const (
	leaseTime  = time.Minute
	leasePause = 200 * time.Millisecond // between two tries to get it, at most
)

// lease prevents several nodes of a Galera cluster from migrating at the same time.
// GET_LOCK locks only one node, and concurrent statements on tables and views from
// several nodes can stop a node. If a process is killed, its lease ends after a minute.
type lease struct {
	conn  *sql.Conn
	owner string
}

// leaseNow is the time of the server in milliseconds. It uses UTC, because local times
// are ambiguous when daylight saving time ends.
const leaseNow = "(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000)"

func acquire(ctx context.Context, conn *sql.Conn) (lease, error) {
	l := lease{conn, rand.Text()}
	for {
		got, err := l.tryAcquire(ctx)
		if got || err != nil && class(err) != sqlstore.Lost {
			return l, err
		}
		select {
		case <-ctx.Done():
			return l, errors.New("another process is migrating, or was killed during a migration; its lease ends within a minute")
		case <-time.After(leasePause/2 + mathrand.N(leasePause/2)):
		}
	}
}

func (l lease) tryAcquire(ctx context.Context) (bool, error) {
	err := l.insert(ctx)
	if number(err) == codeNoTable {
		err = l.createTable(ctx)
	}
	if err != nil {
		return false, err
	}
	return l.extend(ctx, "until_at < "+leaseNow)
}

// insert inserts the row of the lease if it does not exist.
func (l lease) insert(ctx context.Context) error {
	_, err := l.conn.ExecContext(ctx, "INSERT IGNORE INTO keyfold_leases (id, owner, until_at, version) VALUES (1, '', 0, 0)")
	return err
}

func (l lease) createTable(ctx context.Context) error {
	_, err := l.conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS keyfold_leases (id BIGINT NOT NULL PRIMARY KEY, "+
		"owner VARBINARY(64) NOT NULL, until_at BIGINT NOT NULL, version BIGINT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4")
	if err != nil {
		return err
	}
	return l.insert(ctx)
}

// extend takes the lease for another minute if the condition is true. It increments
// version, because MySQL does not count an update that changes no value.
func (l lease) extend(ctx context.Context, where string, args ...any) (bool, error) {
	result, err := l.conn.ExecContext(ctx, "UPDATE keyfold_leases SET owner = ?, until_at = "+leaseNow+" + ?, version = version + 1 WHERE id = 1 AND "+where,
		append([]any{l.owner, leaseTime.Milliseconds()}, args...)...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// keep extends the lease. It returns an error if another process has taken the lease.
func (l lease) keep(ctx context.Context) error {
	return retry(ctx, func() error {
		kept, err := l.extend(ctx, "owner = ?", l.owner)
		if err != nil {
			return err
		}
		if !kept {
			return errors.New("the lease for migrations has ended, and another process has taken it")
		}
		return nil
	})
}

// retry repeats fn while it conflicts with other nodes, or while the server refuses the
// connection. fn uses one connection, so retry returns errors that need a new one.
func retry(ctx context.Context, fn func() error) error {
	for {
		err := fn()
		if class := class(err); class != sqlstore.Lost && class != sqlstore.Full || isRetry(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(mathrand.N(leasePause)):
		}
	}
}

func (l lease) release(ctx context.Context) {
	// If this fails, the lease ends after its minute.
	_, _ = l.conn.ExecContext(ctx, "UPDATE keyfold_leases SET owner = '', until_at = 0 WHERE id = 1 AND owner = ?", l.owner)
}
