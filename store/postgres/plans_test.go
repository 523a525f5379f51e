package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/query/postgresdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
)

// explainer reads the plan of a query instead of running the query.
type explainer struct {
	conn *pgxpool.Conn
	plan string
}

func (e *explainer) explain(ctx context.Context, query string, args []any) error {
	rows, err := e.conn.Query(ctx, "EXPLAIN "+query, args...)
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	e.plan += strings.Join(lines, "\n")
	return errors.Join(err, sqltest.ErrExplained)
}

func (e *explainer) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, e.explain(ctx, query, args)
}

func (e *explainer) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	return nil, e.explain(ctx, query, args)
}

func (e *explainer) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return failedRow{e.explain(ctx, query, args)}
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// A list that reads a whole table becomes slow when the table is large.
func TestEveryQueryUsesAnIndex(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.Postgres(t))
	began := sqltest.Seed(t, store)
	if _, err := store.Pool().Exec(t.Context(), "VACUUM ANALYZE"); err != nil {
		t.Fatal(err)
	}
	conn, err := store.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	// With a few thousand rows the planner may rightly prefer to read them all.
	// Without that choice it still has to, where there is no index.
	for _, choice := range []string{"seqscan", "bitmapscan", "sort", "incremental_sort", "hashjoin", "mergejoin"} {
		if _, err := conn.Exec(t.Context(), "SET enable_"+choice+" = off"); err != nil {
			t.Fatal(err)
		}
	}
	e := &explainer{conn: conn}
	queries := sqltest.Queries(t.Context(), postgresdb.New(e), began)
	queries["PollChanges"] = func() error {
		_, err := postgresdb.New(e).PollChanges(t.Context(), 2999, 1<<40, "1:1:", 100)
		return err
	}
	for name, call := range queries {
		e.plan = ""
		if err := call(); !errors.Is(err, sqltest.ErrExplained) {
			t.Errorf("%s: %v", name, err)
		}
		if !strings.Contains(e.plan, "Index") || !strings.Contains(e.plan, sqltest.Index(name)) ||
			strings.Contains(e.plan, "Seq Scan") || strings.Contains(e.plan, "Sort") {
			t.Errorf("%s does not use index %q, or reads or sorts a whole table:\n%s", name, sqltest.Index(name), e.plan)
		}
	}
}
