package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/mysqldb"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// hostPool is a pool that the program made with the driver's own connector. The server
// and the program can change its sessions at any time. Therefore:
//   - every statement with arguments is prepared, so that the driver inserts no text;
//   - a connection is used only if its session was checked within trustTime, and an unfit
//     connection is closed;
//   - a verify does not check the session, but its statement has a condition that the
//     session reads the latest committed state.
type hostPool struct {
	db     *sql.DB
	rules  rules
	shared *connections
	clock  func() int64
	verify *mysqldb.Queries // finds rows only on a session that reads the latest committed state

	checked struct {
		sync.Mutex
		at map[any]time.Time // by connection of the driver
	}
}

// trustTime is the time for which a session counts as checked. It is short, because the
// program may change a setting at any time, and a new connection may have the identity
// of an old one.
const trustTime = time.Second

// newHostPool returns an error if a session of the pool is unfit.
func newHostPool(ctx context.Context, db *sql.DB) (*hostPool, error) {
	p := &hostPool{db: db, rules: rulesOf("", nil), shared: new(connections), clock: sqlstore.NewClock()}
	p.checked.at = map[any]time.Time{}
	conn, err := p.conn(ctx)
	if unfit, ok := errors.AsType[*sessionError](err); ok {
		return nil, fmt.Errorf("%s: %w: make the pool with mysql.NewConnector, which corrects settings, "+
			"or correct them in the data source name", name, unfit)
	}
	if err != nil {
		return nil, connectError(err)
	}
	defer conn.Close()
	err = conn.Raw(func(raw any) error {
		found, err := p.rules.read(ctx, raw)
		p.shared.packets.remember(found)
		p.rules = rulesOf(found[defaultDatabase], nil) // later connections must use the same database
		p.verify = mysqldb.New(conditional{sqlstore.NewPrepared(db), p.rules.condition(found)})
		return err
	})
	return p, err
}

func (p *hostPool) access() access {
	return access{db: p.db, shared: p.shared, read: p.read, begin: p.begin, check: checkFor(p.db, p.rules)}
}

// conn returns a connection whose session is fit, or a *sessionError.
func (p *hostPool) conn(ctx context.Context) (*sql.Conn, error) {
	return fitConn(ctx, p.db, func(raw any) error {
		if p.isChecked(raw) {
			return nil
		}
		if err := p.rules.check(ctx, raw); err != nil {
			return err
		}
		p.setChecked(raw)
		return nil
	})
}

// fitConn returns a connection that passes the check. It closes up to three connections
// that do not, because the program may have changed the settings of some.
func fitConn(ctx context.Context, db *sql.DB, check func(raw any) error) (conn *sql.Conn, err error) {
	for range 3 {
		if conn, err = db.Conn(ctx); err != nil {
			return nil, err
		}
		if err = checkConn(conn, check); err == nil {
			return conn, nil
		}
		_ = conn.Close()
		if _, unfit := errors.AsType[*sessionError](err); !unfit {
			return nil, err
		}
	}
	return nil, err
}

// checkConn calls check with the connection of the driver. The pool closes the connection
// if it is unfit.
func checkConn(conn *sql.Conn, check func(raw any) error) error {
	var checkErr error
	err := conn.Raw(func(raw any) error {
		checkErr = check(raw)
		if _, unfit := errors.AsType[*sessionError](checkErr); unfit {
			return driver.ErrBadConn
		}
		return checkErr
	})
	if checkErr != nil {
		return checkErr
	}
	return err
}

// checkFor returns the part of [keyfold.Store.Check] that checks a session of the pool.
func checkFor(db *sql.DB, rules rules) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := fitConn(ctx, db, func(raw any) error { return rules.check(ctx, raw) })
		if _, unfit := errors.AsType[*sessionError](err); unfit {
			return fmt.Errorf("%w: %w", keyfold.ErrCheckFailed, err)
		}
		if err != nil {
			return err
		}
		_ = conn.Close()
		return nil
	}
}

func (p *hostPool) isChecked(conn any) bool {
	if !reflect.TypeOf(conn).Comparable() {
		return false
	}
	p.checked.Lock()
	defer p.checked.Unlock()
	at, known := p.checked.at[conn]
	return known && time.Since(at) < trustTime
}

func (p *hostPool) setChecked(conn any) {
	if !reflect.TypeOf(conn).Comparable() {
		return
	}
	p.checked.Lock()
	defer p.checked.Unlock()
	for other, at := range p.checked.at {
		if time.Since(at) >= trustTime { // the connection may be closed
			delete(p.checked.at, other)
		}
	}
	p.checked.at[conn] = time.Now()
}

// begin implements [sqlstore.Engine.Begin].
func (p *hostPool) begin(ctx context.Context) (sqlstore.Session, error) {
	conn, err := p.conn(ctx)
	if err != nil {
		return sqlstore.Session{}, err
	}
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	if err != nil {
		_ = conn.Close()
		return sqlstore.Session{}, err
	}
	session := session(tx, sqlstore.NewPrepared(tx), p.clock, p.shared)
	end := func(how func() error) func(context.Context) error {
		return func(context.Context) error {
			err := how()
			_ = conn.Close()
			return err
		}
	}
	session.Commit, session.Rollback = end(tx.Commit), end(tx.Rollback)
	return session, nil
}

// read implements [sqlstore.Engine.Read]. It acquires a connection only if fn needs one; a
// verify does not.
func (p *hostPool) read(ctx context.Context, fn func(*sqlstore.Session) error) error {
	lazy := &lazyConn{pool: p}
	prepared := sqlstore.NewPrepared(lazy)
	defer lazy.close()
	defer prepared.Close()
	queries := mysqldb.New(prepared)
	return fn(&sqlstore.Session{Querier: hostReads{queries, p.verify}, Feed: freshFeed{p.begin}})
}

// hostReads verifies with the conditional statement.
type hostReads struct {
	*mysqldb.Queries
	verify *mysqldb.Queries
}

// VerifyRow reads the row again on a checked session if the conditional statement found
// nothing. The key may be unknown, or the session may be unfit.
func (r hostReads) VerifyRow(ctx context.Context, id string) (model.Verify, error) {
	row, err := r.verify.VerifyRow(ctx, id)
	if errors.Is(err, sql.ErrNoRows) || number(err) == codeUnknownVariable {
		return r.Queries.VerifyRow(ctx, id)
	}
	return row, err
}

// conditional adds a condition to queries that end with a WHERE clause.
type conditional struct {
	*sqlstore.Prepared
	condition string
}

func (c conditional) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return c.Prepared.QueryRowContext(ctx, query+c.condition, args...)
}

// lazyConn acquires a connection for the first statement.
type lazyConn struct {
	pool *hostPool
	conn *sql.Conn
}

func (l *lazyConn) get(ctx context.Context) (*sql.Conn, error) {
	if l.conn != nil {
		return l.conn, nil
	}
	conn, err := l.pool.conn(ctx)
	if err != nil {
		return nil, err
	}
	l.conn = conn
	return conn, nil
}

func (l *lazyConn) close() {
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

func (l *lazyConn) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	conn, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return conn.PrepareContext(ctx, query)
}

// hostTx prepares statements in a transaction of the program after it has checked the
// session. It does not check settings that a transaction overrides, such as autocommit.
type hostTx struct {
	*sql.Tx
	fit atomic.Bool
}

func (t *hostTx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if !t.fit.Load() {
		if err := t.check(ctx); err != nil {
			return nil, err
		}
		t.fit.Store(true)
	}
	return t.Tx.PrepareContext(ctx, query)
}

// check reads only settings that every server knows, so that one statement is enough.
func (t *hostTx) check(ctx context.Context) error {
	names := []string{"character_set_client", "character_set_connection", "sql_mode", selectLimit, "unique_checks", "sql_log_bin"}
	var values [6]string
	err := t.QueryRowContext(ctx, "SELECT @@character_set_client, @@character_set_connection, @@sql_mode, @@"+selectLimit+
		", IF(@@unique_checks, 'ON', 'OFF'), IF(@@sql_log_bin, 'ON', 'OFF')").
		Scan(&values[0], &values[1], &values[2], &values[3], &values[4], &values[5])
	found := variables{}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		found[selectLimit] = "0"
	case err != nil:
		return err
	default:
		for i, name := range names {
			found[name] = values[i]
		}
	}
	if unfit := rules(required()).unfit(found); len(unfit) > 0 {
		return newSessionError(unfit, found)
	}
	return nil
}
