package postgres

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyfold/keyfold/query/postgresdb"
)

func millis(at int64) time.Time { return time.UnixMilli(at).UTC() }

// sqlTx lets the generated code, which speaks pgx, run in a transaction of
// database/sql. Arrays become text, because drivers differ in what they make
// of a slice.
type sqlTx struct{ tx *sql.Tx }

var _ postgresdb.DBTX = sqlTx{}

func (t sqlTx) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	result, err := t.tx.ExecContext(ctx, query, plain(args)...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	n, err := result.RowsAffected()
	// The generated code asks for the number of rows only, which ends the tag.
	return pgconn.NewCommandTag("UPDATE " + strconv.FormatInt(n, 10)), err
}

func (t sqlTx) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	rows, err := t.tx.QueryContext(ctx, query, plain(args)...)
	if err != nil {
		return nil, err
	}
	return &sqlRows{rows: rows}, nil
}

func (t sqlTx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	return t.tx.QueryRowContext(ctx, query, plain(args)...)
}

// sqlRows has what the generated code calls; the rest of pgx.Rows is nil.
type sqlRows struct {
	pgx.Rows
	rows *sql.Rows
}

func (r *sqlRows) Close()                 { _ = r.rows.Close() }
func (r *sqlRows) Err() error             { return r.rows.Err() }
func (r *sqlRows) Next() bool             { return r.rows.Next() }
func (r *sqlRows) Scan(dest ...any) error { return r.rows.Scan(dest...) }

func plain(args []any) []any {
	plain := make([]any, len(args))
	for i, arg := range args {
		switch list := arg.(type) {
		case []int64:
			plain[i] = array(list, func(n int64) string { return strconv.FormatInt(n, 10) })
		case []string:
			plain[i] = array(list, quote)
		default:
			plain[i] = arg
		}
	}
	return plain
}

// array writes the text form of an array.
// See https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO.
func array[T any](list []T, element func(T) string) string {
	var text strings.Builder
	text.WriteByte('{')
	for i, value := range list {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(element(value))
	}
	text.WriteByte('}')
	return text.String()
}

func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}
