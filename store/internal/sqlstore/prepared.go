package sqlstore

import (
	"context"
	"database/sql"
	"sync"
)

// Preparer is a *sql.DB or a *sql.Tx.
type Preparer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Prepared runs every query as a prepared statement, which it keeps for as
// long as what it was made of lives. It is for generated queries, of which
// there are few.
type Prepared struct {
	db         Preparer
	mu         sync.RWMutex
	statements map[string]*sql.Stmt
}

// NewPrepared returns a Prepared over db.
func NewPrepared(db Preparer) *Prepared {
	return &Prepared{db: db, statements: map[string]*sql.Stmt{}}
}

var _ Preparer = (*Prepared)(nil)

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

// ExecContext implements Preparer.
func (p *Prepared) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.ExecContext(ctx, args...)
}

// PrepareContext implements Preparer.
func (p *Prepared) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return p.db.PrepareContext(ctx, query)
}

// QueryContext implements Preparer.
func (p *Prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

// QueryRowContext implements Preparer.
func (p *Prepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	statement, err := p.statement(ctx, query)
	if err != nil {
		return p.db.QueryRowContext(ctx, query, args...) // fails likewise, in a row
	}
	return statement.QueryRowContext(ctx, args...)
}
