package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
)

// unfit is the error of a session that must not be used. Its text does not contain the
// server, the role or the database.
type unfit struct{ reason string }

func (e *unfit) Error() string { return e.reason }

func unfitf(format string, args ...any) error { return &unfit{fmt.Sprintf(format, args...)} }

var (
	errStandby error = &unfit{"the server must not be a hot standby, because it returns an older state of the database, " +
		"in which revoked keys may still be valid; connect to the primary"}
	errReadOnly error = &unfit{"the session is read-only, because default_transaction_read_only is on; " +
		"it must be off: see ALTER SYSTEM, ALTER DATABASE, ALTER ROLE and the data source name"}
)

// fitting checks the settings that determine how text is transferred.
func fitting(value func(setting string) string) error {
	for _, must := range [...]struct{ setting, be, fix string }{
		{"server_encoding", "UTF8", "create the database with ENCODING 'UTF8' TEMPLATE template0"},
		{"client_encoding", "UTF8", "set it in the data source name, or with ALTER ROLE or ALTER DATABASE"},
		{"standard_conforming_strings", "on", "set it in the data source name, or with ALTER ROLE or ALTER DATABASE"},
	} {
		if got := value(must.setting); got != must.be {
			return unfitf("%s is %s; it must be %s: %s", must.setting, got, must.be, must.fix)
		}
	}
	return nil
}

// fit checks the settings that the server has reported for a session. It needs no round
// trip, unless a report is missing or unfit. A pooler may repeat an outdated report, so
// fit then queries the server.
func fit(ctx context.Context, conn *pgconn.PgConn, writes bool) error {
	var failed error
	err := fitting(func(setting string) string {
		value := conn.ParameterStatus(setting)
		if value == "" && failed == nil {
			value, failed = ask(ctx, conn, "SHOW "+setting)
		}
		return value
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return err
	}
	if conn.ParameterStatus("in_hot_standby") == "on" {
		switch value, err := ask(ctx, conn, "SELECT pg_catalog.pg_is_in_recovery()"); {
		case err != nil:
			return err
		case value != "f":
			return errStandby
		}
	}
	if writes && conn.ParameterStatus("default_transaction_read_only") == "on" {
		switch value, err := ask(ctx, conn, "SHOW default_transaction_read_only"); {
		case err != nil:
			return err
		case value != "off":
			return errReadOnly
		}
	}
	return nil
}

// ask returns the result of a query of one row and one column.
func ask(ctx context.Context, conn *pgconn.PgConn, query string) (string, error) {
	rows, err := table(ctx, conn, query)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", errors.New("the server must return one value")
	}
	return string(rows[0][0]), nil
}

// table returns the rows of a query as text. It uses the simple protocol, which works
// through every pooler.
func table(ctx context.Context, conn *pgconn.PgConn, query string) ([][][]byte, error) {
	results, err := conn.Exec(ctx, query).ReadAll()
	if err != nil {
		return nil, err
	}
	return results[len(results)-1].Rows, nil
}

// The server does not report its time limits. Limits below these values would end valid
// statements or sessions. The idle limit is higher, because the pool checks only
// connections that were idle for more than a second.
const (
	leastLimit     = 100 * time.Millisecond
	leastIdleLimit = 2 * time.Second
)

// inspect checks the settings that the server does not report. It is called when a store
// is opened. pooled reports whether a pooler is in between: it then announces another
// process ID than the server has.
func inspect(ctx context.Context, conn *pgconn.PgConn) (pooled bool, err error) {
	rows, err := table(ctx, conn, `SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN (
		'default_transaction_read_only', 'exit_on_error', 'statement_timeout', 'lock_timeout',
		'idle_in_transaction_session_timeout', 'transaction_timeout', 'idle_session_timeout')
		UNION ALL SELECT 'recovery', pg_catalog.pg_is_in_recovery()::text
		UNION ALL SELECT 'pid', pg_catalog.pg_backend_pid()::text`)
	if err != nil {
		return false, err
	}
	for _, row := range rows {
		setting, value := string(row[0]), string(row[1])
		least := leastLimit
		switch setting {
		case "pid":
			pooled = value != strconv.FormatUint(uint64(conn.PID()), 10)
			continue
		case "recovery":
			if value != "false" {
				return false, errStandby
			}
			continue
		case "default_transaction_read_only":
			if value != "off" {
				return false, errReadOnly
			}
			continue
		case "exit_on_error":
			if value != "off" {
				return false, unfitf("exit_on_error is %s; it must be off", value)
			}
			continue
		case "idle_session_timeout":
			least = leastIdleLimit
		}
		ms, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return false, fmt.Errorf("setting %s: %w", setting, err)
		}
		if limit := time.Duration(ms) * time.Millisecond; limit > 0 && limit < least {
			return false, unfitf("%s is %v; it must be 0 or at least %v: see ALTER SYSTEM, ALTER DATABASE and ALTER ROLE",
				setting, limit, least)
		}
	}
	return pooled, nil
}

// sessions are the connections of a pool. Each connection is checked every time it is
// acquired. An unfit connection is closed, so that the pool makes another one.
type sessions struct {
	pool   *pgxpool.Pool
	schema *schema // nil until it is known
}

// acquireTries is the maximum number of unfit connections that one call closes. A
// program that runs SET on its pool may make several connections unfit.
const acquireTries = 3

func (s sessions) acquire(ctx context.Context, writes bool) (*pgxpool.Conn, error) {
	for try := 1; ; try++ {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		unfitErr := fit(ctx, conn.Conn().PgConn(), writes)
		if unfitErr == nil {
			readBothForms(conn.Conn().TypeMap())
			return conn, nil
		}
		_ = conn.Conn().Close(ctx)
		conn.Release()
		if _, ok := errors.AsType[*unfit](unfitErr); !ok || try == acquireTries {
			return nil, unfitErr
		}
	}
}

// check checks conditions that can change while a store is open and are not reported: a
// pooler may connect to another server, and policies may hide rows from the role. A feed
// with hidden rows would look like a feed without changes.
func (s sessions) check(ctx context.Context) error {
	conn, err := s.acquire(ctx, false)
	if err != nil {
		return err
	}
	defer conn.Release()
	rows, err := table(ctx, conn.Conn().PgConn(), "SELECT pg_catalog.pg_is_in_recovery(), "+
		"(SELECT pg_catalog.min(relname::text) FROM pg_catalog.pg_class WHERE relname >= 'keyfold_' AND relname < 'keyfold`' "+
		"AND relkind = 'r' AND pg_catalog.pg_table_is_visible(oid) AND pg_catalog.row_security_active(oid))")
	switch {
	case err != nil:
		return err
	case string(rows[0][0]) != "f":
		return errStandby
	case rows[0][1] != nil:
		return unfitf("row-level security hides rows of the table %s from this role; the role must own the tables, "+
			"or have BYPASSRLS, or the tables must have row-level security disabled", rows[0][1])
	}
	return nil
}

// Check implements [sqlstore.Engine.Check]. If there are several hosts, an unfit host is
// not a failed check, because another host may be fit.
func (s sessions) Check(ctx context.Context) error {
	err := s.check(ctx)
	if _, ok := errors.AsType[*unfit](err); ok && !namesSeveralHosts(s.pool.Config().ConnConfig) {
		return fmt.Errorf("%w: %w", keyfold.ErrCheckFailed, err)
	}
	return err
}

// Exec implements [postgresdb.DBTX].
func (s sessions) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	conn, err := s.acquire(ctx, true)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer conn.Release()
	return conn.Exec(ctx, s.schema.qualify(query), args...)
}

// Query implements [postgresdb.DBTX].
func (s sessions) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	conn, err := s.acquire(ctx, false)
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, s.schema.qualify(query), args...)
	if err != nil {
		conn.Release()
		return nil, err
	}
	return &sessionRows{rows, conn}, nil
}

// QueryRow implements [postgresdb.DBTX].
func (s sessions) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	conn, err := s.acquire(ctx, false)
	if err != nil {
		return failedRow{err}
	}
	return &sessionRow{conn.QueryRow(ctx, s.schema.qualify(query), args...), conn}
}

// sessionRows and sessionRow release the connection after they have been read.
type sessionRows struct {
	pgx.Rows
	conn *pgxpool.Conn
}

func (r *sessionRows) Close() { r.Rows.Close(); r.conn.Release() }

type sessionRow struct {
	row  pgx.Row
	conn *pgxpool.Conn
}

func (r *sessionRow) Scan(dest ...any) error {
	defer r.conn.Release()
	return r.row.Scan(dest...)
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// beginOwn begins a transaction that is durable. If synchronous_commit is off, it turns
// it on, because a crash could otherwise undo an acknowledged change. It keeps other
// values, which decide whether standbys must confirm.
const beginOwn = `BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_catalog.set_config('synchronous_commit', ` +
	`CASE pg_catalog.current_setting('synchronous_commit') WHEN 'off' THEN 'on' ` +
	`ELSE pg_catalog.current_setting('synchronous_commit') END, true)`

func (s sessions) begin(ctx context.Context) (pgx.Tx, error) {
	conn, err := s.acquire(ctx, true)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: s.schema.beginIn()})
	if err != nil {
		conn.Release()
		return nil, err
	}
	return &sessionTx{tx, conn}, nil
}

// sessionTx releases the connection when it ends.
type sessionTx struct {
	pgx.Tx
	conn *pgxpool.Conn
}

func (t *sessionTx) Commit(ctx context.Context) error {
	defer t.conn.Release()
	return t.Tx.Commit(ctx)
}

func (t *sessionTx) Rollback(ctx context.Context) error {
	defer t.conn.Release()
	return t.Tx.Rollback(ctx)
}

// prepare adds the settings that Keyfold needs to the configuration of a pool. It
// returns an error if the data source name sets another value.
func prepare(config *pgx.ConnConfig) error {
	for setting, value := range map[string]string{"client_encoding": "UTF8", "standard_conforming_strings": "on"} {
		for name, asked := range config.RuntimeParams {
			if !strings.EqualFold(name, setting) {
				continue
			}
			if !slices.Contains(spellings(setting), strings.ToLower(asked)) {
				return unfitf("the data source name sets %s; leave it out, or set it to %s", setting, value)
			}
			delete(config.RuntimeParams, name)
		}
		config.RuntimeParams[setting] = value
	}
	// If there are several hosts, the first that accepts writes is used.
	several := namesSeveralHosts(config)
	validate := config.ValidateConnect
	config.ValidateConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if validate != nil {
			if err := validate(ctx, conn); err != nil {
				return err
			}
		}
		return fit(ctx, conn, several)
	}
	// After a switch-over the old server may be read-only, so its connections are closed.
	keep := config.OnPgError
	config.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		return err.Code != readOnlyTransaction && keep(conn, err)
	}
	return nil
}

// namesSeveralHosts reports whether there is more than one host. The fallbacks of a
// configuration also contain the same host without TLS.
func namesSeveralHosts(config *pgx.ConnConfig) bool {
	return slices.ContainsFunc(config.Fallbacks, func(other *pgconn.FallbackConfig) bool {
		return other.Host != config.Host || other.Port != config.Port
	})
}

// spellings returns all spellings of the value that a setting must have.
func spellings(setting string) []string {
	if setting == "client_encoding" {
		return []string{"utf8", "utf-8", "utf_8", "unicode"}
	}
	return []string{"on", "true", "yes", "1"}
}

// Codes of errors that an administrator can correct.
// See https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	readOnlyTransaction = "25006"
	duplicateStatement  = "42P05"
	unknownStatement    = "26000"
	protocolViolation   = "08P01"
	statementCanceled   = "57014"
)

// hint returns advice for the administrator about an error, or "" if there is none.
func hint(err error) string {
	var detail interface{ SQLState() string }
	if !errors.As(err, &detail) {
		return ""
	}
	switch detail.SQLState() {
	case duplicateStatement, unknownStatement:
		return "a pooler gives each transaction another server connection, which does not know the prepared statement: " +
			"add default_query_exec_mode=exec to the data source name (the pool's DefaultQueryExecMode), " +
			"or set max_prepared_statements in PgBouncer 1.21 or later"
	case protocolViolation:
		if _, ok := errors.AsType[*pgconn.ConnectError](err); !ok {
			return "" // text with a NUL byte has the same code
		}
		return "if this is a pooler that refuses a start-up parameter: leave the parameter out of the data source name, " +
			"or add it to ignore_startup_parameters of PgBouncer"
	case readOnlyTransaction:
		return "the server or the session has become read-only: see pg_is_in_recovery() and default_transaction_read_only"
	}
	return ""
}

// explain adds the hint to an error.
func explain(err error) error {
	if hint := hint(err); hint != "" {
		return fmt.Errorf("%w (%s)", err, hint)
	}
	return err
}
