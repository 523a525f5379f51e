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

// Numbers of server errors that are caused by the server or the connection, and not by
// the statement.
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
	replaceEvery = 5 * time.Second  // limits the new connections to a server that stays read-only
	growAfter    = 30 * time.Second // after the server refused a connection
)

// connections is the shared state of the connections of one pool.
type connections struct {
	log     storelog.Log
	packets packets

	// The next two are zero if the program supplied the pool.
	pool   poolSettings
	setMax func(int) // changes the maximum number of connections

	count  atomic.Int64 // connections that are open or being opened
	shrunk atomic.Bool

	valid struct {
		sync.Mutex
		generation int       // connections of earlier generations must be replaced
		since      time.Time // beginning of the generation
	}
}

// generation must be called before a connection is opened. A connection that is being
// opened while the others are replaced may lead to the old server.
func (c *connections) generation() int {
	c.valid.Lock()
	defer c.valid.Unlock()
	return c.valid.generation
}

// track adds a new connection to the shared state.
func (c *connections) track(conn *checkedConn, generation int) {
	conn.shared, conn.generation = c, generation
	if lifetime := c.pool.maxLifetime; lifetime > 0 {
		// The random part prevents connections that were opened together from closing
		// together.
		conn.end = time.Now().Add(lifetime - rand.N(lifetime/5+1))
	}
}

func (c *connections) isValid(conn *checkedConn) bool {
	c.valid.Lock()
	defer c.valid.Unlock()
	return conn.generation == c.valid.generation && (conn.end.IsZero() || time.Now().Before(conn.end))
}

// retryError is an error of a transaction that may succeed on a new connection.
type retryError struct{ error }

func (e *retryError) Unwrap() error { return e.error }

func isRetry(err error) bool {
	_, retry := errors.AsType[*retryError](err)
	return retry
}

// inspect replaces all connections if an error shows that the server is read-only. The
// old server is read-only after a planned switch-over, and would continue to answer
// reads from an outdated state.
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

// failed removes a connection that could not be opened from the shared state. If the
// server refuses more connections, failed reduces the maximum of the pool, so that
// callers wait for open connections.
func (c *connections) failed(err error) {
	count := c.count.Add(-1)
	if !tooMany(err) {
		return
	}
	c.log.Warn("keyfold: the database server allows fewer connections than the pool may open; requests wait for open connections",
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

// driverLog replaces the default logger of the driver, which writes to standard error.
type driverLog struct{ log *storelog.Log }

// Print implements mysql.Logger.
func (l driverLog) Print(values ...any) {
	l.log.Warn("keyfold: the MySQL driver reports a connection error", slog.String("error", strings.TrimSpace(fmt.Sprint(values...))))
}

// inspectedStmt is a prepared statement whose errors are inspected. The session is marked
// as unchecked when the statement runs, which may be long after it was prepared.
type inspectedStmt struct {
	driverStmt
	conn    *checkedConn
	changes bool // it may change a setting of the session
}

// driverStmt contains the methods of a driver's statement that database/sql uses.
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
