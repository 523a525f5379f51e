package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync"
)

// preparer is a *sql.DB, a *sql.Conn or a *sql.Tx.
type preparer interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// Prepared runs every query as a prepared statement and keeps all statements. It is
// meant for generated queries, of which there are few.
type Prepared struct {
	db    preparer
	cache struct {
		sync.RWMutex
		statements map[string]*sql.Stmt // by query
	}
}

// NewPrepared returns a Prepared that runs its statements on db.
func NewPrepared(db preparer) *Prepared {
	p := &Prepared{db: db}
	p.cache.statements = map[string]*sql.Stmt{}
	return p
}

func (p *Prepared) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	p.cache.RLock()
	cached := p.cache.statements[query]
	p.cache.RUnlock()
	if cached != nil {
		return cached, nil
	}
	statement, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	p.cache.Lock()
	defer p.cache.Unlock()
	if cached = p.cache.statements[query]; cached != nil {
		_ = statement.Close() // another goroutine prepared the query first
		return cached, nil
	}
	p.cache.statements[query] = statement
	return statement, nil
}

// ExecContext runs a query that returns no rows.
func (p *Prepared) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.ExecContext(ctx, args...)
}

// PrepareContext prepares a statement, which the caller must close.
func (p *Prepared) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return p.db.PrepareContext(ctx, query)
}

// QueryContext runs a query that returns rows.
func (p *Prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

// QueryRowContext runs a query that returns at most one row.
func (p *Prepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return failedRow(err)
	}
	return statement.QueryRowContext(ctx, args...)
}

// Close releases the statements. It is needed only on a *sql.Conn, which goes back to
// its pool; a *sql.DB and a *sql.Tx close their statements themselves.
func (p *Prepared) Close() {
	p.cache.Lock()
	defer p.cache.Unlock()
	for _, statement := range p.cache.statements {
		_ = statement.Close()
	}
	clear(p.cache.statements)
}

// failedRow returns a row whose Scan returns err. Only a pool can make such a row. To
// run the query unprepared instead could put its arguments into the text of the query.
func failedRow(err error) *sql.Row {
	db := sql.OpenDB(failingConnector{err})
	defer db.Close()
	return db.QueryRow("")
}

// failingConnector cannot connect.
type failingConnector struct{ err error }

func (f failingConnector) Connect(context.Context) (driver.Conn, error) { return nil, f.err }
func (f failingConnector) Driver() driver.Driver                        { return f }
func (f failingConnector) Open(string) (driver.Conn, error)             { return nil, f.err }
