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

// hostPool is a pool that the program made with the driver's own connector. Its
// sessions are what the server and the program make of them, at any time, so:
//   - every statement with arguments is prepared: the driver never puts text into it;
//   - a connection is used when its session was checked within trustTime, and
//     closed when it does not fit;
//   - a verify, which has no time for that, asks in its own statement whether the
//     session sees what is committed now.
type hostPool struct {
	db     *sql.DB
	rules  rules
	shared *connections
	clock  func() int64
	verify *mysqldb.Queries // finds a row only on a session that sees what is committed now

	checked struct {
		sync.Mutex
		at map[any]time.Time // by connection of the driver
	}
}

// trustTime is how long a session counts as checked. The program may change a
// setting at any time, and a connection is not told apart from its successor.
const trustTime = time.Second

// newHostPool refuses a pool whose session does not fit.
func newHostPool(ctx context.Context, db *sql.DB) (*hostPool, error) {
	p := &hostPool{db: db, rules: rulesOf("", nil), shared: new(connections), clock: sqlstore.NewClock()}
	p.checked.at = map[any]time.Time{}
	conn, err := p.conn(ctx)
	if unfit, ok := errors.AsType[*sessionError](err); ok {
		return nil, fmt.Errorf("%s: %w: make the pool with mysql.NewConnector, which sets what a session may set, "+
			"or set it in the data source name", name, unfit)
	} else if err != nil {
		return nil, unanswered(err)
	}
	defer conn.Close()
	err = conn.Raw(func(raw any) error {
		found, err := p.rules.read(ctx, raw)
		p.shared.packets.saw(found)
		p.rules = rulesOf(found[defaultDatabase], nil) // later connections must lead to the same one
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
		err := p.rules.check(ctx, raw)
		if err == nil {
			p.setChecked(raw)
		}
		return err
	})
}

// fitConn returns a connection that check finds no fault with. Others are
// closed, up to three: a program may have changed the settings of a few.
func fitConn(ctx context.Context, db *sql.DB, check func(raw any) error) (conn *sql.Conn, err error) {
	for range 3 {
		if conn, err = db.Conn(ctx); err != nil {
			return nil, err
		}
		var failed error
		err = conn.Raw(func(raw any) error {
			failed = check(raw)
			if _, unfit := errors.AsType[*sessionError](failed); unfit {
				return driver.ErrBadConn // the pool closes it
			}
			return failed
		})
		if err == nil {
			return conn, nil
		}
		_ = conn.Close()
		if failed != nil {
			err = failed
		}
		if _, unfit := errors.AsType[*sessionError](err); !unfit {
			return nil, err
		}
	}
	return nil, err
}

// checkFor returns a part of [keyfold.Store.Check]: whether a session of the pool
// is fit. What the pool makes of new connections can change at any time.
func checkFor(db *sql.DB, rules rules) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := fitConn(ctx, db, func(raw any) error { return rules.check(ctx, raw) })
		if _, unfit := errors.AsType[*sessionError](err); unfit {
			return fmt.Errorf("%w: %w", keyfold.ErrCheckFailed, err)
		}
		if err == nil {
			_ = conn.Close()
		}
		return err
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
		if time.Since(at) >= trustTime { // and it may be closed by now
			delete(p.checked.at, other)
		}
	}
	p.checked.at[conn] = time.Now()
}

// begin is [sqlstore.Engine.Begin].
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

// read is [sqlstore.Engine.Read]. A verify takes no connection but its own.
func (p *hostPool) read(ctx context.Context, fn func(*sqlstore.Session) error) error {
	lazy := &lazyConn{pool: p}
	prepared := sqlstore.NewPrepared(lazy)
	defer lazy.close()
	defer prepared.Close()
	queries := mysqldb.New(prepared)
	return fn(&sqlstore.Session{Querier: hostReads{queries, p.verify}, Feed: freshFeed{p.begin}})
}

// hostReads verifies by a statement of its own.
type hostReads struct {
	*mysqldb.Queries
	verify *mysqldb.Queries
}

// VerifyRow reads once more, on a session that is checked, where the statement
// found nothing: the key is unknown, or the session does not see it as it is.
func (r hostReads) VerifyRow(ctx context.Context, id string) (model.Verify, error) {
	row, err := r.verify.VerifyRow(ctx, id)
	if errors.Is(err, sql.ErrNoRows) || number(err) == codeUnknownVariable {
		return r.Queries.VerifyRow(ctx, id)
	}
	return row, err
}

// conditional adds a condition to a query that ends with its WHERE.
type conditional struct {
	*sqlstore.Prepared
	condition string
}

func (c conditional) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return c.Prepared.QueryRowContext(ctx, query+c.condition, args...)
}

// lazyConn takes a connection when the first statement needs one.
type lazyConn struct {
	pool *hostPool
	conn *sql.Conn
}

func (l *lazyConn) get(ctx context.Context) (*sql.Conn, error) {
	var err error
	if l.conn == nil {
		l.conn, err = l.pool.conn(ctx)
	}
	return l.conn, err
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

// hostTx prepares statements in a transaction of the program, once its session
// was found fit. What the transaction itself decides, such as autocommit, is
// the program's business.
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

// check reads the settings that every server knows, because one statement is
// all that it may cost.
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
	}
	for i, name := range names {
		if err == nil {
			found[name] = values[i]
		}
	}
	if unfit := rules(required()).unfit(found); len(unfit) > 0 {
		return newSessionError(unfit, found)
	}
	return nil
}
