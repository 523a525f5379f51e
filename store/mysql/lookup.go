package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/mysqldb"
)

// lookup is the context of the query of a verify. It cannot be canceled: database/sql and
// the driver would each use a goroutine for the query to wait for that, which costs more
// than the rest of it. Instead, the connection that the query runs on has a deadline.
type lookup struct {
	context.Context
	deadline time.Time
}

// lookups returns [sqlstore.Lookups.Find] for a pool whose connections were made by
// dial. otherwise is the ordinary query.
func lookups(db *sql.DB, otherwise mysqldb.Querier) func(context.Context, string) (model.Verify, error) {
	return func(ctx context.Context, id string) (model.Verify, error) {
		deadline, ok := ctx.Deadline()
		if !ok {
			return otherwise.VerifyRow(ctx, id)
		}
		conn, err := db.Conn(ctx) // the wait for a connection ends with ctx
		if err != nil {
			return model.Verify{}, err
		}
		row, err := mysqldb.New(conn).VerifyRow(lookup{context.WithoutCancel(ctx), deadline}, id)
		_ = conn.Close()
		switch {
		case err == nil || errors.Is(err, sql.ErrNoRows):
			return row, err
		case !time.Now().Before(deadline):
			return model.Verify{}, context.DeadlineExceeded
		case errors.Is(err, driver.ErrBadConn):
			return otherwise.VerifyRow(ctx, id) // which tries other connections
		}
		return model.Verify{}, err
	}
}

// canLookUp reports whether deadlines of connections can be set for that configuration:
// the driver must not set any itself. If so, it makes the driver connect by dial. A
// function that the program registered with the driver under the name "tcp" or "unix" is
// not called then; other names are left to it.
func canLookUp(config *mysql.Config) bool {
	if config.DialFunc != nil || config.Net != "tcp" && config.Net != "unix" || config.ReadTimeout > 0 || config.WriteTimeout > 0 {
		return false
	}
	config.DialFunc = dial
	return true
}

// dialedKey is the key of a *net.Conn in the context of a dial.
type dialedKey struct{}

// dial connects as the driver does, and notes the connection for connectOnce.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if dialed, ok := ctx.Value(dialedKey{}).(*net.Conn); ok && err == nil {
		*dialed = conn
	}
	return conn, err
}

// queryLookup runs the query of a verify as a prepared statement, which the connection
// keeps. The deadline stays until ResetSession, because rows are read after this returns.
func (c *checkedConn) queryLookup(ctx lookup, query string, args []driver.NamedValue) (driver.Rows, error) {
	if !time.Now().Before(ctx.deadline) {
		return nil, context.DeadlineExceeded
	}
	if err := c.network.SetDeadline(ctx.deadline); err != nil {
		return nil, driver.ErrBadConn
	}
	c.limited = true
	if c.verify == nil {
		statement, err := c.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		c.verify = statement.(inspectedStmt)
	}
	rows, err := c.verify.QueryContext(ctx, args)
	if err != nil {
		_ = c.verify.Close() // the next query prepares it again
		c.verify = nil
	}
	return rows, err
}

// unlimit removes the deadline of a lookup.
func (c *checkedConn) unlimit() error {
	if !c.limited {
		return nil
	}
	c.limited = false
	return c.network.SetDeadline(time.Time{})
}
