package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyfold/keyfold/query/postgresdb"
)

// checkedTx is a transaction of the caller whose session is checked before its
// first statement.
type checkedTx struct {
	postgresdb.DBTX
	check   func(ctx context.Context) error
	checked bool
}

func (t *checkedTx) fit(ctx context.Context) error {
	if t.checked {
		return nil
	}
	err := t.check(ctx)
	t.checked = err == nil
	return err
}

// Exec implements [postgresdb.DBTX].
func (t *checkedTx) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	if err := t.fit(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return t.DBTX.Exec(ctx, query, args...)
}

// Query implements [postgresdb.DBTX].
func (t *checkedTx) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	if err := t.fit(ctx); err != nil {
		return nil, err
	}
	return t.DBTX.Query(ctx, query, args...)
}

// QueryRow implements [postgresdb.DBTX].
func (t *checkedTx) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	if err := t.fit(ctx); err != nil {
		return failedRow{err}
	}
	return t.DBTX.QueryRow(ctx, query, args...)
}

// checkSQL is [fit] for a transaction of database/sql. It needs one query. The sample of
// bytes shows whether the driver can read the format of bytea_output.
func checkSQL(ctx context.Context, tx *sql.Tx) error {
	var client, server, strings string
	var standby bool
	var sample any
	err := tx.QueryRowContext(ctx, `SELECT pg_catalog.current_setting('client_encoding'), pg_catalog.current_setting('server_encoding'),
		pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.pg_is_in_recovery(), pg_catalog.decode('005cff', 'hex')`).
		Scan(&client, &server, &strings, &standby, &sample)
	if err != nil {
		return fmt.Errorf("read the settings of the session (bytea_output must be hex): %w", err)
	}
	if bytes, ok := sample.([]byte); !ok || string(bytes) != "\x00\\\xff" {
		return unfitf("bytea_output must be hex, because the driver cannot read other formats; set it with ALTER ROLE or ALTER DATABASE")
	}
	if standby {
		return errStandby
	}
	return fitting(func(setting string) string {
		return map[string]string{"client_encoding": client, "server_encoding": server, "standard_conforming_strings": strings}[setting]
	})
}

// sqlTx adapts a transaction of database/sql to the interface of pgx that the generated
// code uses. It passes arrays as text, because drivers treat slices differently.
type sqlTx struct{ tx *sql.Tx }

var _ postgresdb.DBTX = sqlTx{}

func (t sqlTx) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	result, err := t.tx.ExecContext(ctx, query, plain(args)...)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	n, err := result.RowsAffected()
	// The generated code reads only the number of rows at the end of the tag.
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

// sqlRows implements the methods of pgx.Rows that the generated code calls.
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

// array returns the text form of an array.
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
