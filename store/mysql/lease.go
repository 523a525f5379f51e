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

// lease keeps the nodes of a Galera cluster from migrating at the same time:
// GET_LOCK locks one node only, and statements on tables and views that come
// from several nodes at once can stop a node for good. A process that was killed
// holds it for another minute.
type lease struct {
	conn  *sql.Conn
	owner string
}

// leaseNow is the server's time in milliseconds, whatever the time zone of the
// session is: the local time of a night in autumn would name two.
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
			return l, errors.New("another process is migrating, or one was killed meanwhile: its lease ends within a minute")
		case <-time.After(leasePause/2 + mathrand.N(leasePause/2)):
		}
	}
}

func (l lease) tryAcquire(ctx context.Context) (bool, error) {
	insert := func() error {
		_, err := l.conn.ExecContext(ctx, "INSERT IGNORE INTO keyfold_leases (id, owner, until_at, version) VALUES (1, '', 0, 0)")
		return err
	}
	err := insert()
	if number(err) == codeNoTable {
		if _, err = l.conn.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS keyfold_leases (id BIGINT NOT NULL PRIMARY KEY, "+
			"owner VARBINARY(64) NOT NULL, until_at BIGINT NOT NULL, version BIGINT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"); err == nil {
			err = insert()
		}
	}
	if err != nil {
		return false, err
	}
	return l.extend(ctx, "until_at < "+leaseNow)
}

// extend makes the lease this one's for another minute, where the condition
// holds. The version makes it a change within the same millisecond, too.
func (l lease) extend(ctx context.Context, where string, args ...any) (bool, error) {
	result, err := l.conn.ExecContext(ctx, "UPDATE keyfold_leases SET owner = ?, until_at = "+leaseNow+" + ?, version = version + 1 WHERE id = 1 AND "+where,
		append([]any{l.owner, leaseTime.Milliseconds()}, args...)...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// keep fails when the lease is another one's by now.
func (l lease) keep(ctx context.Context) error {
	return again(ctx, func() error {
		kept, err := l.extend(ctx, "owner = ?", l.owner)
		if err == nil && !kept {
			err = errors.New("the lease for migrations ended, and another process has it")
		}
		return err
	})
}

// again repeats what a node gave up because another one was first, or what the
// server had no connection for. It stays on one connection, so it cannot help
// where that is to be replaced.
func again(ctx context.Context, fn func() error) error {
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
	// Where this fails the lease ends by itself.
	_, _ = l.conn.ExecContext(ctx, "UPDATE keyfold_leases SET owner = '', until_at = 0 WHERE id = 1 AND owner = ?", l.owner)
}
