package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/query/mysqldb"
	"github.com/keyfold/keyfold/query/sqlitedb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
)

var _ mysqldb.Querier = (*sqlitedb.Queries)(nil)

// explainer reads the plan of a query instead of running the query.
type explainer struct {
	*sql.DB
	plan string
}

func (e *explainer) explain(ctx context.Context, query string, args []any) error {
	rows, err := e.DB.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return err
		}
		e.plan += detail + "\n"
	}
	return errors.Join(rows.Err(), sqltest.ErrExplained)
}

func (e *explainer) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return nil, e.explain(ctx, query, args)
}

func (e *explainer) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return nil, e.explain(ctx, query, args)
}

func (e *explainer) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := e.explain(ctx, query, args); !errors.Is(err, sqltest.ErrExplained) {
		e.plan = ""
	}
	return e.DB.QueryRowContext(ctx, "SELECT 1 WHERE 1 = 0")
}

// A list that reads a whole table becomes slow when the table is large.
func TestEveryQueryUsesAnIndex(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.SQLite(t))
	began := sqltest.Seed(t, store)
	if _, err := store.DB().ExecContext(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	e := &explainer{DB: store.DB()}
	for name, call := range sqltest.Queries(t.Context(), sqlitedb.New(e), began) {
		e.plan = ""
		if err := call(); !errors.Is(err, sqltest.ErrExplained) && !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(e.plan, "SEARCH") || !strings.Contains(e.plan, sqltest.Index(name)) ||
			strings.Contains(e.plan, "SCAN") || strings.Contains(e.plan, "TEMP B-TREE") {
			t.Errorf("%s does not use index %q, or reads or sorts a whole table:\n%s", name, sqltest.Index(name), e.plan)
		}
	}
}
