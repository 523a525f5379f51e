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

// unfit says why a session must not be used and what would be right. Its text
// names no server, role or database.
type unfit struct{ reason string }

func (e *unfit) Error() string { return e.reason }

func unfitf(format string, args ...any) error { return &unfit{fmt.Sprintf(format, args...)} }

var (
	errStandby error = &unfit{"the server is a hot standby, which answers with an older state of the database, " +
		"so that revoked keys would pass; connect to the primary"}
	errReadOnly error = &unfit{"the session is read-only, because default_transaction_read_only is on; " +
		"it must be off: see ALTER SYSTEM, ALTER DATABASE, ALTER ROLE and the data source name"}
)

// fitting checks the settings that decide how text travels.
func fitting(value func(setting string) string) error {
	for _, must := range [...]struct{ setting, be, fix string }{
		{"server_encoding", "UTF8", "create the database with ENCODING 'UTF8' TEMPLATE template0"},
		{"client_encoding", "UTF8", "set it in the data source name, or with ALTER ROLE or ALTER DATABASE"},
		{"standard_conforming_strings", "on", "set it in the data source name, or with ALTER ROLE or ALTER DATABASE"},
	} {
		if is := value(must.setting); is != must.be {
			return unfitf("%s is %s; it must be %s: %s", must.setting, is, must.be, must.fix)
		}
	}
	return nil
}

// fit checks what the server has reported about a session. This costs no round
// trip, unless a report speaks against the session or is missing. A pooler may
// repeat a report that is out of date, so the server is asked then.
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

// ask returns the value that a query of one row and one column has.
func ask(ctx context.Context, conn *pgconn.PgConn, query string) (string, error) {
	rows, err := table(ctx, conn, query)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", errors.New("the server did not answer with one value")
	}
	return string(rows[0][0]), nil
}

// table returns the rows of a query, as text. It uses the simple protocol, which
// works through every pooler.
func table(ctx context.Context, conn *pgconn.PgConn, query string) ([][][]byte, error) {
	results, err := conn.Exec(ctx, query).ReadAll()
	if err != nil {
		return nil, err
	}
	return results[len(results)-1].Rows, nil
}

// The time limits of a server are not reported. One that is shorter than its
// least value here ends statements or sessions that are in order. Behind a
// connection that is idle for over a second the pool looks before it uses it.
const (
	leastLimit     = 100 * time.Millisecond
	leastIdleLimit = 2 * time.Second
)

// inspect checks, when a store is opened, what the server does not report. It
// returns whether a pooler stands between, which numbers sessions by itself.
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

// sessions are the connections of a pool. Each is checked every time that it is
// taken, and one that is unfit is closed, so that the pool makes another.
type sessions struct {
	pool   *pgxpool.Pool
	schema *schema // nil before it was found
}

// acquireTries bounds how many unfit connections one call closes. A host that
// spoils the sessions of its pool by SET spoils some of them.
const acquireTries = 3

func (s sessions) acquire(ctx context.Context, writes bool) (*pgxpool.Conn, error) {
	for try := 1; ; try++ {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return nil, err
		}
		if err = fit(ctx, conn.Conn().PgConn(), writes); err == nil {
			readBothForms(conn.Conn().TypeMap())
			return conn, nil
		}
		_ = conn.Conn().Close(ctx)
		conn.Release()
		if _, ok := errors.AsType[*unfit](err); !ok || try == acquireTries {
			return nil, err
		}
	}
}

// check checks what can become wrong while a store is open and is not reported:
// a pooler may lead to another server, and policies may hide rows from the role.
// A feed without rows looks like a feed without news.
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

// Check is [sqlstore.Engine.Check]. Of several hosts, one that is unfit says
// nothing about the others.
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

// sessionRows and sessionRow give the connection back when they are read.
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

// beginOwn begins a transaction that is durable whatever synchronous_commit
// says: with "off", a change that was acknowledged could be lost in a crash.
// Other values, which say what standbys have to confirm, stay.
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

// sessionTx gives the connection back when it ends.
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

// prepare makes the configuration of a pool ask for the sessions that Keyfold
// needs. What the data source name asks for itself must agree.
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
	// Of several hosts the first that takes writes is used.
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
	// A server that has become read-only may have a successor elsewhere.
	keep := config.OnPgError
	config.OnPgError = func(conn *pgconn.PgConn, err *pgconn.PgError) bool {
		return err.Code != readOnlyTransaction && keep(conn, err)
	}
	return nil
}

// namesSeveralHosts ignores the fallbacks that are the same host without TLS.
func namesSeveralHosts(config *pgx.ConnConfig) bool {
	return slices.ContainsFunc(config.Fallbacks, func(other *pgconn.FallbackConfig) bool {
		return other.Host != config.Host || other.Port != config.Port
	})
}

// spellings returns the values that PostgreSQL takes for the one we need.
func spellings(setting string) []string {
	if setting == "client_encoding" {
		return []string{"utf8", "utf-8", "utf_8", "unicode"}
	}
	return []string{"on", "true", "yes", "1"}
}

// The codes of errors that a person can do something about.
// See https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	readOnlyTransaction = "25006"
	duplicateStatement  = "42P05"
	unknownStatement    = "26000"
	protocolViolation   = "08P01"
	statementCanceled   = "57014"
)

// hint says what can be done about an error; empty for nothing.
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
			return "" // text with a NUL byte is one more reason
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
