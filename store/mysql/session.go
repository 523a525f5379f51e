package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// setting is a session variable whose value Keyfold depends on. The server, the account,
// the data source name or init_connect can set another value.
type setting struct {
	name   string
	wanted string // completes "must be …" in an error
	// fit reports whether Keyfold can work with the value.
	fit func(value string, all variables) bool
	// repair returns the statement that corrects the value. It is nil if a session
	// cannot change the variable.
	repair func(value string, all variables) string
	// current is a condition in SQL that is true if the setting lets statements read the
	// latest committed state. It is empty if the setting has no influence on that.
	current string
}

// variables are the variables of a session by name, as SHOW VARIABLES returns them. A
// server returns only the variables that it knows.
type variables map[string]string

// required returns the settings that a session needs. Settings on which repairs of other
// settings depend come first.
func required() []setting {
	return []setting{
		// The driver escapes text byte by byte. In gbk, big5 or sjis a backslash after
		// the last byte of a UTF-8 character may become a part of that character, which
		// allows SQL injection. Other character sets store different bytes.
		{"character_set_client", "utf8mb4", is("utf8mb4"), always("SET NAMES utf8mb4"), ""},
		{"character_set_connection", "utf8mb4", is("utf8mb4"), always("SET NAMES utf8mb4"), ""},
		// Without autocommit all reads use the snapshot of the first read.
		{"in_transaction", "0", is("0"), always("ROLLBACK"), "@@in_transaction = 0"},
		{"autocommit", "ON", is("ON"), always("SET autocommit = 1"), "@@autocommit = 1"},
		// CHAIN begins a new transaction after each COMMIT, and RELEASE disconnects.
		{"completion_type", "NO_CHAIN", is("NO_CHAIN"), always("SET completion_type = 0"), ""},
		// A verify must not read changes that may be rolled back.
		{"tx_isolation", "READ-COMMITTED or stricter", isNot("READ-UNCOMMITTED"), always("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"), "@@tx_isolation <> 'READ-UNCOMMITTED'"},
		{"transaction_isolation", "READ-COMMITTED or stricter", isNot("READ-UNCOMMITTED"), always("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"), "@@transaction_isolation <> 'READ-UNCOMMITTED'"},
		{"tx_read_only", "OFF", is("OFF"), always("SET SESSION TRANSACTION READ WRITE"), ""},
		{"transaction_read_only", "OFF", is("OFF"), always("SET SESSION TRANSACTION READ WRITE"), ""},
		{"sql_mode", modesWanted, func(value string, _ variables) bool { return cleanModes(value) == value }, func(value string, _ variables) string {
			return "SET sql_mode = '" + cleanModes(value) + "'"
		}, ""},
		// With a limit, existing keys may be missing from a result.
		{selectLimit, unlimited, is(unlimited), always("SET sql_select_limit = " + unlimited), ""},
		{bigSelects, "ON", is("ON"), always("SET sql_big_selects = 1"), ""},
		{"sql_safe_updates", "OFF", is("OFF"), always("SET sql_safe_updates = 0"), ""},
		// Without these checks two users could get the same name.
		{"unique_checks", "ON", is("ON"), always("SET unique_checks = 1"), ""},
		// Each text of a change must fit in a packet.
		{packetVariable, "at least " + strconv.Itoa(leastPacket), fitsPacket, nil, ""},
		{"max_statement_time", "0 or at least 30 seconds", noShortLimit(30), always("SET max_statement_time = 0"), ""},
		{"max_execution_time", "0 or at least 30000 milliseconds", noShortLimit(30_000), always("SET max_execution_time = 0"), ""},
		// Changes that are not in the binary log are lost after a switch-over.
		{"sql_log_bin", "ON", is("ON"), always("SET sql_log_bin = 1"), ""},
		// InnoDB refuses changes under READ COMMITTED with this format.
		{"binlog_format", "ROW or MIXED", func(value string, all variables) bool {
			return value != "STATEMENT" || all["log_bin"] != "ON"
		}, nil, ""},
		// The following settings make a session read an older state.
		{"system_versioning_asof", "DEFAULT", is("DEFAULT"), always("SET system_versioning_asof = DEFAULT"), "@@system_versioning_asof = 'DEFAULT'"},
		{"tidb_snapshot", "empty", is(""), always("SET tidb_snapshot = ''"), "@@tidb_snapshot = ''"},
		{"tidb_read_staleness", "0", func(value string, _ variables) bool { return value == "" || value == "0" }, always("SET tidb_read_staleness = 0"), "@@tidb_read_staleness = 0"},
		{"wsrep_dirty_reads", "OFF", is("OFF"), always("SET wsrep_dirty_reads = 0"), "@@wsrep_dirty_reads = 0"},
		{syncWait, "1, 3, 5 or 7 on a node of Galera", func(value string, all variables) bool {
			bits, err := strconv.Atoi(value)
			return all["wsrep_on"] != "ON" || err == nil && bits&syncReads != 0
		}, func(value string, _ variables) string {
			bits, _ := strconv.Atoi(value)
			return "SET " + syncWait + " = " + strconv.Itoa(bits|syncReads)
		}, "(@@wsrep_on = 0 OR @@wsrep_sync_wait & 1)"},
	}
}

func is(wanted string) func(string, variables) bool {
	return func(value string, _ variables) bool { return strings.EqualFold(value, wanted) }
}

func isNot(unwanted string) func(string, variables) bool {
	return func(value string, _ variables) bool { return !strings.EqualFold(value, unwanted) }
}

func always(statement string) func(string, variables) string {
	return func(string, variables) string { return statement }
}

// noShortLimit refuses time limits that are shorter than Keyfold's own. With such a limit
// a large batch could never be written.
func noShortLimit(least float64) func(string, variables) bool {
	return func(value string, _ variables) bool {
		limit, err := strconv.ParseFloat(value, 64)
		return err == nil && (limit == 0 || limit >= least)
	}
}

const unlimited = "18446744073709551615" // of sql_select_limit

const modesWanted = "strict (STRICT_TRANS_TABLES or STRICT_ALL_TABLES), without NO_BACKSLASH_ESCAPES, EMPTY_STRING_IS_NULL, " +
	"SIMULTANEOUS_ASSIGNMENT and the modes of other databases"

// cleanModes returns the modes that do not change the meaning of Keyfold's statements. It
// adds a strict mode, because otherwise the server silently truncates long text. It
// removes unknown modes.
func cleanModes(modes string) string {
	var kept []string
	strict := false
	for mode := range strings.SplitSeq(modes, ",") {
		switch mode {
		case "STRICT_TRANS_TABLES", "STRICT_ALL_TABLES":
			strict = true
		case "ALLOW_INVALID_DATES", "ANSI", "ANSI_QUOTES", "ERROR_FOR_DIVISION_BY_ZERO", "HIGH_NOT_PRECEDENCE", "IGNORE_SPACE",
			"NO_AUTO_CREATE_USER", "NO_AUTO_VALUE_ON_ZERO", "NO_DIR_IN_CREATE", "NO_ENGINE_SUBSTITUTION",
			"NO_UNSIGNED_SUBTRACTION", "NO_ZERO_DATE", "NO_ZERO_IN_DATE", "ONLY_FULL_GROUP_BY", "PAD_CHAR_TO_FULL_LENGTH",
			"PIPES_AS_CONCAT", "REAL_AS_FLOAT", "TIME_ROUND_FRACTIONAL", "TIME_TRUNCATE_FRACTIONAL", "TRADITIONAL":
		default:
			continue
		}
		kept = append(kept, mode)
	}
	if !strict {
		kept = append(kept, "STRICT_TRANS_TABLES")
	}
	return strings.Join(kept, ",")
}

// sessionError lists the settings that make a session unfit.
type sessionError struct{ faults []string }

func (e *sessionError) Error() string {
	return "the session has unsuitable settings: " + strings.Join(e.faults, ", ")
}

func newSessionError(unfit []setting, found variables) error {
	e := &sessionError{}
	for _, s := range unfit {
		e.faults = append(e.faults, fmt.Sprintf("%s = %q must be %s", s.name, found[s.name], s.wanted))
	}
	return e
}

// rules are the settings that the sessions of a pool must have.
type rules []setting

// rulesOf returns the rules for a default database, which may be empty, and the
// parameters of a data source name. A parameter may override wsrep_sync_wait.
func rulesOf(database string, params map[string]string) rules {
	r := rules(required())
	if _, set := params[syncWait]; set {
		r = slices.DeleteFunc(r, func(s setting) bool { return s.name == syncWait })
	}
	if database != "" {
		use := "USE `" + strings.ReplaceAll(database, "`", "``") + "`"
		r = append(r, setting{defaultDatabase, "the database of the data source name", is(database), always(use), ""})
	}
	return r
}

// condition returns a condition to append to a WHERE clause. The query then finds nothing
// in a session that may not read the latest committed state.
func (r rules) condition(found variables) string {
	var condition string
	for _, s := range r {
		if _, known := found[s.name]; known && s.current != "" {
			condition += " AND " + s.current
		}
	}
	return condition
}

// check returns a *sessionError if a connection of the driver has unfit settings.
func (r rules) check(ctx context.Context, conn any) error {
	found, err := r.read(ctx, conn)
	if err != nil {
		return err
	}
	if unfit := r.unfit(found); len(unfit) > 0 {
		return newSessionError(unfit, found)
	}
	return nil
}

// repair corrects unfit settings, and returns the variables after another check.
func (r rules) repair(ctx context.Context, conn driverConn) (variables, error) {
	for range 2 { // unfit settings may hide others in the first round
		found, err := r.read(ctx, conn)
		if err != nil {
			return nil, err
		}
		unfit := r.unfit(found)
		if len(unfit) == 0 {
			return found, nil
		}
		for _, s := range unfit {
			if s.repair == nil {
				return nil, newSessionError(unfit, found)
			}
			if _, err := conn.ExecContext(ctx, s.repair(found[s.name], found), nil); err != nil {
				return nil, fmt.Errorf("%w: %w", newSessionError(unfit, found), err)
			}
		}
	}
	return variables{}, r.check(ctx, conn)
}

func (r rules) unfit(found variables) []setting {
	var unfit []setting
	for _, s := range r {
		if value, known := found[s.name]; known && !s.fit(value, found) {
			unfit = append(unfit, s)
		}
	}
	return unfit
}

const (
	defaultDatabase = "database()"
	selectLimit     = "sql_select_limit"
	bigSelects      = "sql_big_selects"
)

// read returns the variables of a connection. It uses SHOW, which omits unknown variables.
// If a setting would truncate the result of SHOW, read returns only that setting.
func (r rules) read(ctx context.Context, raw any) (variables, error) {
	conn, ok := raw.(driver.QueryerContext)
	if !ok {
		return nil, errors.New("the connection must implement driver.QueryerContext")
	}
	rows, err := texts(ctx, conn, "SELECT DATABASE(), @@"+selectLimit+", @@"+bigSelects)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return variables{selectLimit: "0"}, nil
	}
	if rows[0][1] != unlimited || rows[0][2] == "0" {
		return variables{selectLimit: rows[0][1], bigSelects: map[string]string{"0": "OFF", "1": "ON"}[rows[0][2]]}, nil
	}
	found := variables{defaultDatabase: rows[0][0]}
	query := "SHOW SESSION VARIABLES WHERE Variable_name IN ('log_bin', 'wsrep_on'"
	for _, s := range r {
		query += ", '" + s.name + "'"
	}
	rows, err = texts(ctx, conn, query+")")
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		found[strings.ToLower(row[0])] = row[1]
	}
	if _, known := found["character_set_client"]; !known {
		return nil, errors.New("the server must report the settings of the session")
	}
	return found, nil
}

// texts returns the rows of a query without arguments.
func texts(ctx context.Context, conn driver.QueryerContext, query string) (all [][]string, err error) {
	rows, err := conn.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	values := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(values); {
		case err == io.EOF:
			return all, nil
		case err != nil:
			return nil, err
		}
		row := make([]string, len(values))
		for i, value := range values {
			switch value := value.(type) {
			case nil:
			case []byte:
				row[i] = string(value)
			default:
				row[i] = fmt.Sprint(value)
			}
		}
		all = append(all, row)
	}
}
