package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// connector makes only connections whose sessions are fit.
type connector struct {
	driver.Connector
	rules  rules
	shared *connections
	packet int // limit of the data source name for the size of a statement
}

// NewConnector returns the connector that [Open] uses. A program can make its own pool
// with it and [database/sql.OpenDB], and pass the pool to [New].
//
//   - Text is transferred as utf8mb4. A dsn with another character set is refused.
//   - The settings of each new session are checked. A session variable that is unfit,
//     such as autocommit, is corrected. If that is impossible, connecting fails with an
//     error that names the setting and the required value.
//   - After a statement that may change a setting, such as SET, the settings are checked
//     again before the pool reuses the connection.
//   - When the server becomes read-only, as after a switch-over, all connections are
//     replaced. The parameter rejectReadOnly has no effect.
//
// The parameters of dsn that begin with pool_ are checked but have no effect, because the
// program configures its own pool. Errors never contain the DSN or the password.
func NewConnector(dsn string) (driver.Connector, error) {
	set, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	return newConnector(set.config, new(connections))
}

var errCharset = errors.New(name + ": the data source name must not set a character set other than utf8mb4: " +
	"remove charset and collation, or set them to utf8mb4 and one of its collations")

// newConnector returns an error for a configuration with which every session would be
// unfit. It changes config.
func newConnector(config *mysql.Config, shared *connections) (driver.Connector, error) {
	for charset := range strings.SplitSeq(charsetsOf(config), ",") {
		if charset != "" && !strings.EqualFold(charset, "utf8mb4") {
			return nil, errCharset
		}
	}
	if c := config.Collation; c != "" && !strings.HasPrefix(strings.ToLower(c), "utf8mb4_") {
		return nil, errCharset
	}
	config.InterpolateParams = true
	config.RejectReadOnly = false // it would hide the error from inspect
	config.Logger = driverLog{&shared.log}
	if err := config.Apply(mysql.Charset("utf8mb4", config.Collation)); err != nil {
		return nil, errMalformed
	}
	packet := config.MaxAllowedPacket
	if err := config.Apply(mysql.BeforeConnect(func(_ context.Context, config *mysql.Config) error {
		config.MaxAllowedPacket = shared.packets.client(packet)
		return nil
	})); err != nil {
		return nil, errMalformed
	}
	inner, err := mysql.NewConnector(config)
	if err != nil {
		return nil, errMalformed
	}
	return connector{inner, rulesOf(config.DBName, config.Params), shared, packet}, nil
}

// charsetsOf returns the parameter charset, which the driver does not export.
func charsetsOf(config *mysql.Config) string {
	dsn := config.FormatDSN()
	_, params, _ := strings.Cut(dsn[strings.LastIndexByte(dsn, '/')+1:], "?")
	for param := range strings.SplitSeq(params, "&") {
		if value, ok := strings.CutPrefix(param, "charset="); ok {
			return value
		}
	}
	return ""
}

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	c.shared.count.Add(1)
	generation := c.shared.generation()
	conn, err := c.connect(ctx)
	if err != nil {
		c.shared.failed(err)
		return nil, err
	}
	c.shared.track(conn, generation)
	return conn, nil
}

// connect connects a second time if the server accepts smaller packets than the driver
// has assumed.
func (c connector) connect(ctx context.Context) (*checkedConn, error) {
	before := c.shared.packets.client(c.packet)
	conn, err := c.connectOnce(ctx)
	if err != nil || c.shared.packets.client(c.packet) >= before {
		return conn, err
	}
	_ = conn.driverConn.Close()
	return c.connectOnce(ctx)
}

func (c connector) connectOnce(ctx context.Context) (*checkedConn, error) {
	var dialed net.Conn
	inner, err := c.Connector.Connect(context.WithValue(ctx, dialedKey{}, &dialed))
	if err != nil {
		return nil, err
	}
	conn, ok := inner.(driverConn)
	if !ok {
		_ = inner.Close()
		return nil, errors.New("the connection of the driver must implement all interfaces of driverConn")
	}
	found, err := c.rules.repair(ctx, conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	c.shared.packets.remember(found)
	return &checkedConn{driverConn: conn, rules: c.rules, network: dialed}, nil
}

// Driver implements driver.Connector. New recognizes a pool with checked sessions by the
// type of the driver.
func (c connector) Driver() driver.Driver {
	return checkedDriver{c.Connector.Driver(), c.rules, c.shared}
}

type checkedDriver struct {
	driver.Driver
	rules  rules
	shared *connections
}

// driverConn contains the methods of a driver's connection that database/sql uses.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// checkedConn is a connection whose session was checked. A statement that may change a
// setting marks it as suspect. It is checked again when the pool reuses it.
type checkedConn struct {
	driverConn
	rules   rules
	suspect bool

	network net.Conn   // nil unless it was made by dial
	limited bool       // whether network has a deadline
	verify  driverStmt // of lookups; nil before the first

	shared     *connections
	generation int
	end        time.Time // the pool must not use the connection after it; zero for no limit
}

// IsValid implements driver.Validator.
func (c *checkedConn) IsValid() bool { return c.shared.isValid(c) && c.driverConn.IsValid() }

// Close implements driver.Conn.
func (c *checkedConn) Close() error {
	c.shared.count.Add(-1)
	_ = c.unlimit() // the driver says goodbye to the server
	return c.driverConn.Close()
}

// ResetSession implements driver.SessionResetter.
func (c *checkedConn) ResetSession(ctx context.Context) error {
	if !c.shared.isValid(c) || c.unlimit() != nil {
		return driver.ErrBadConn
	}
	if err := c.driverConn.ResetSession(ctx); err != nil || !c.suspect {
		return err
	}
	if _, err := c.rules.repair(ctx, c.driverConn); err != nil {
		return driver.ErrBadConn // the pool closes the connection and makes another
	}
	c.suspect = false
	return nil
}

// ExecContext implements driver.ExecerContext.
func (c *checkedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.mustPrepare(query, args) {
		return nil, driver.ErrSkip
	}
	result, err := c.driverConn.ExecContext(ctx, query, args)
	return result, c.shared.inspect(c, err)
}

// QueryContext implements driver.QueryerContext.
func (c *checkedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if ctx, ok := ctx.(lookup); ok && c.network != nil {
		return c.queryLookup(ctx, query, args)
	}
	if c.mustPrepare(query, args) {
		return nil, driver.ErrSkip
	}
	rows, err := c.driverConn.QueryContext(ctx, query, args)
	return rows, c.shared.inspect(c, err)
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *checkedConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	inner, err := c.driverConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, c.shared.inspect(c, err)
	}
	statement, ok := inner.(driverStmt)
	if !ok {
		_ = inner.Close()
		return nil, errors.New("the statement of the driver must implement all interfaces of driverStmt")
	}
	return inspectedStmt{statement, c, mayChangeSession(query)}, nil
}

// Prepare implements driver.Conn.
func (c *checkedConn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// mustPrepare reports whether the driver would insert text into a statement while the
// settings of the session are unknown.
func (c *checkedConn) mustPrepare(query string, args []driver.NamedValue) bool {
	c.inspect(query)
	if !c.suspect {
		return false
	}
	for i := range args {
		switch args[i].Value.(type) {
		case nil, int64, uint64, float64, bool:
		default:
			return true
		}
	}
	return false
}

// inspect marks the session as suspect if the statement may change a setting.
func (c *checkedConn) inspect(query string) { c.suspect = c.suspect || mayChangeSession(query) }

// mayChangeSession reports whether a statement may change a setting. It is true for all
// statements that are not known to be safe.
func mayChangeSession(query string) bool {
	for strings.HasPrefix(query, "-- ") { // the comments of sqlc
		_, query, _ = strings.Cut(query, "\n")
	}
	word, _, _ := strings.Cut(query, " ")
	switch strings.ToUpper(word) {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "SAVEPOINT", "RELEASE", "CREATE", "ALTER", "DROP", "SHOW", "EXPLAIN", "DO":
		return false
	}
	// COMMIT and ROLLBACK may begin another transaction.
	return !strings.HasPrefix(query, "ROLLBACK TO SAVEPOINT ")
}
