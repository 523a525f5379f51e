package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/store/internal/storelog"
)

// Numbers of server errors that are about the server or the connection, not
// about the statement.
const (
	codeTooManyConnections = 1040 // ER_CON_COUNT_ERROR: of the server
	codeNotReady           = 1047 // ER_UNKNOWN_COM_ERROR: the node has left its Galera cluster
	codeTooManyOfAny       = 1203 // ER_TOO_MANY_USER_CONNECTIONS: max_user_connections of the server
	codeTooManyOfAccount   = 1226 // ER_USER_LIMIT_REACHED: MAX_USER_CONNECTIONS of the account
	codeReadOnly           = 1290 // ER_OPTION_PREVENTS_STATEMENT: read_only
	codeReadOnlyTx         = 1792 // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
	codeReadOnlyEngine     = 1836 // ER_READ_ONLY_MODE
)

const (
	replaceEvery = 5 * time.Second  // so that a server that stays read-only is not flooded with connections
	growAfter    = 30 * time.Second // after the server refused a connection
)

// connections is the state that the connections of one pool share.
type connections struct {
	log     storelog.Log
	packets packets

	// Of a pool that Open made; zero for one of the program's own.
	pool   poolSettings
	setMax func(int) // changes the greatest number of connections

	count  atomic.Int64 // connections that are open or being opened
	shrunk atomic.Bool

	valid struct { // which connections the pool may go on using
		sync.Mutex
		generation int       // those of an earlier one are replaced
		since      time.Time // when it began
	}
}

// generation is asked for before a connection is opened: one that was on its way
// while the connections were replaced may lead to the old server.
func (c *connections) generation() int {
	c.valid.Lock()
	defer c.valid.Unlock()
	return c.valid.generation
}

// track takes a new connection of the driver into account.
func (c *connections) track(conn *checkedConn, generation int) {
	conn.shared, conn.generation = c, generation
	if lifetime := c.pool.maxLifetime; lifetime > 0 {
		// Connections that were opened together must not end together.
		conn.end = time.Now().Add(lifetime - rand.N(lifetime/5+1))
	}
}

func (c *connections) isValid(conn *checkedConn) bool {
	c.valid.Lock()
	defer c.valid.Unlock()
	return conn.generation == c.valid.generation && (conn.end.IsZero() || time.Now().Before(conn.end))
}

// retryError is an error after which the transaction may succeed on a new
// connection.
type retryError struct{ error }

func (e *retryError) Unwrap() error { return e.error }

func isRetry(err error) bool {
	_, retry := errors.AsType[*retryError](err)
	return retry
}

// inspect replaces all connections when a server turns out to be read-only, as
// the old one is after a planned switch-over: it answers reads for ever, with
// what was true at that time.
func (c *connections) inspect(conn *checkedConn, err error) error {
	switch number(err) {
	case codeNotReady, codeReadOnly, codeReadOnlyTx, codeReadOnlyEngine:
	default:
		return err
	}
	c.valid.Lock()
	defer c.valid.Unlock()
	if conn.generation == c.valid.generation {
		if time.Since(c.valid.since) < replaceEvery {
			return err
		}
		c.valid.generation++
		c.valid.since = time.Now()
		c.log.Warn("keyfold: the database server is read-only or has left its cluster; all connections to it are replaced",
			slog.Any("error", err))
	}
	return &retryError{err}
}

// failed takes a connection into account that could not be opened. If the server
// refuses further ones, the pool makes its callers wait for those that are open.
func (c *connections) failed(err error) {
	count := c.count.Add(-1)
	if !tooMany(err) {
		return
	}
	c.log.Warn("keyfold: the database server allows fewer connections than the pool may open; requests wait for those that are open",
		slog.Int64("open", count), slog.Any("error", err))
	if c.setMax == nil {
		return
	}
	c.setMax(int(max(1, count)))
	if !c.shrunk.Swap(true) {
		time.AfterFunc(growAfter, func() {
			c.shrunk.Store(false)
			c.setMax(c.pool.maxConns)
		})
	}
}

func tooMany(err error) bool {
	switch number(err) {
	case codeTooManyConnections, codeTooManyOfAny, codeTooManyOfAccount:
		return true
	}
	return false
}

// driverLog is the logger of the driver, which writes to standard error by itself.
type driverLog struct{ log *storelog.Log }

// Print implements mysql.Logger.
func (l driverLog) Print(values ...any) {
	l.log.Warn("keyfold: the MySQL driver reports a fault of a connection", slog.String("error", strings.TrimSpace(fmt.Sprint(values...))))
}

// inspectedStmt is a prepared statement whose errors are inspected. It can be
// executed long after the session was checked, so what it may change is noted then.
type inspectedStmt struct {
	driverStmt
	conn    *checkedConn
	changes bool // it may change a setting of the session
}

// driverStmt is what database/sql uses of a statement of the driver.
type driverStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
	driver.NamedValueChecker
}

// ExecContext implements driver.StmtExecContext.
func (s inspectedStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.conn.suspect = s.conn.suspect || s.changes
	result, err := s.driverStmt.ExecContext(ctx, args)
	return result, s.conn.shared.inspect(s.conn, err)
}

// QueryContext implements driver.StmtQueryContext.
func (s inspectedStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.conn.suspect = s.conn.suspect || s.changes
	rows, err := s.driverStmt.QueryContext(ctx, args)
	return rows, s.conn.shared.inspect(s.conn, err)
}
