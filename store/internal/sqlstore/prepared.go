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

// Prepared runs every query as a prepared statement, which it keeps for as
// long as what it was made of lives. It is for generated queries, of which
// there are few.
type Prepared struct {
	db         preparer
	mu         sync.RWMutex
	statements map[string]*sql.Stmt
}

// NewPrepared returns a Prepared over db.
func NewPrepared(db preparer) *Prepared {
	return &Prepared{db: db, statements: map[string]*sql.Stmt{}}
}

func (p *Prepared) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	p.mu.RLock()
	statement := p.statements[query]
	p.mu.RUnlock()
	if statement != nil {
		return statement, nil
	}
	made, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if statement = p.statements[query]; statement != nil {
		_ = made.Close() // somebody else was first
		return statement, nil
	}
	p.statements[query] = made
	return made, nil
}

// ExecContext runs a query without rows.
func (p *Prepared) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.ExecContext(ctx, args...)
}

// PrepareContext prepares a query that the caller has to close.
func (p *Prepared) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return p.db.PrepareContext(ctx, query)
}

// QueryContext runs a query.
func (p *Prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

// QueryRowContext runs a query of one row.
func (p *Prepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return failed(err)
	}
	return statement.QueryRowContext(ctx, args...)
}

// Close releases the statements. It is for a Prepared over a connection, which
// goes back to its pool; a *sql.DB and a *sql.Tx close theirs themselves.
func (p *Prepared) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, statement := range p.statements {
		_ = statement.Close()
	}
	clear(p.statements)
}

// failed returns a row with an error, which only a pool can make. Running the
// query unprepared instead could put its arguments into its text.
func failed(err error) *sql.Row {
	db := sql.OpenDB(failing{err})
	defer db.Close()
	return db.QueryRow("")
}

// failing is a connector that cannot connect.
type failing struct{ err error }

func (f failing) Connect(context.Context) (driver.Conn, error) { return nil, f.err }
func (f failing) Driver() driver.Driver                        { return f }
func (f failing) Open(string) (driver.Conn, error)             { return nil, f.err }
