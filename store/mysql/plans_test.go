package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/query/mysqldb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
)

// explainer reads the plan of a query instead of running the query.
type explainer struct {
	*sql.DB
	plan string
	bad  bool
}

func (e *explainer) explain(ctx context.Context, query string, args []any) error {
	rows, err := e.DB.QueryContext(ctx, "EXPLAIN "+query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, selectType, table, kind, keys, key, length, ref, count, extra sql.NullString
		if err := rows.Scan(&id, &selectType, &table, &kind, &keys, &key, &length, &ref, &count, &extra); err != nil {
			return err
		}
		e.plan += fmt.Sprintln(table.String, kind.String, key.String, count.String, extra.String)
		impossible := strings.Contains(extra.String, "no matching row in const table") || strings.Contains(extra.String, "Impossible")
		e.bad = e.bad || !impossible && (kind.String == "ALL" || kind.String == "index" || key.String == "") ||
			strings.Contains(extra.String, "filesort") || strings.Contains(extra.String, "temporary")
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
	return e.DB.QueryRowContext(ctx, "SELECT 1 FROM DUAL WHERE 1 = 0")
}

// A list that reads a whole table becomes slow when the table is large.
func TestEveryQueryUsesAnIndex(t *testing.T) {
	t.Parallel()
	if os.Getenv("KEYFOLD_TEST_TIDB") != "" {
		t.Skip("TiDB describes its plans in another way")
	}
	store := open(t, testdb.MariaDB(t))
	began := sqltest.Seed(t, store)
	for _, table := range []string{
		"keys", "key_totals", "usage_blocks", "usage_hours", "batches", "changes", "audit", "words",
	} {
		rows, err := store.DB().QueryContext(t.Context(), "ANALYZE TABLE keyfold_"+table)
		if err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	e := &explainer{DB: store.DB()}
	for name, call := range sqltest.Queries(t.Context(), mysqldb.New(e), began) {
		e.plan, e.bad = "", false
		if err := call(); !errors.Is(err, sqltest.ErrExplained) && !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("%s: %v", name, err)
		}
		if e.plan == "" || !strings.Contains(e.plan, sqltest.Index(name)) ||
			e.bad {
			t.Errorf("%s does not use index %q, or reads or sorts a whole table:\n%s", name, sqltest.Index(name), e.plan)
		}
	}
}
