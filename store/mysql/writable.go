package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Numbers of server errors.
const (
	codeTableDenied    = 1142 // ER_TABLEACCESS_DENIED_ERROR
	codeNotLogged      = 1665 // ER_BINLOG_STMT_MODE_AND_ROW_ENGINE, and InnoDB's refusal under READ COMMITTED
	codeInnoDBReadOnly = 1015 // ER_CANT_LOCK, of innodb_read_only
)

// probe runs an update that changes no row in a transaction. It fails if the server
// refuses all changes for any reason.
func probe(ctx context.Context, a access) error {
	session, err := a.begin(ctx)
	if err != nil {
		return err
	}
	defer session.Rollback(context.WithoutCancel(ctx))
	return session.Exec(ctx, "UPDATE keyfold_meta SET pruned_seq = pruned_seq WHERE id = 0")
}

// refused adds advice to the error of a change that the server refused.
func refused(ctx context.Context, db *sql.DB, err error) error {
	switch code := number(err); {
	case code == codeTableDenied:
		return fmt.Errorf("the account must have SELECT, INSERT, UPDATE and DELETE on the tables of Keyfold: %w", err)
	case code == codeNotLogged:
		return fmt.Errorf("the server refuses changes because binlog_format is STATEMENT; it must be ROW or MIXED: %w", err)
	case code == codeReadOnly, code == codeReadOnlyTx, code == codeReadOnlyEngine, code == codeInnoDBReadOnly,
		errors.Is(err, driver.ErrBadConn): // with rejectReadOnly in the program's pool, the driver hides the reason
		if options, readErr := readOnly(ctx, db); readErr == nil && len(options) > 0 {
			return fmt.Errorf("the server refuses changes because of %s; "+
				"connect to the server that accepts changes, or turn the option off: %w", strings.Join(options, ", "), err)
		}
	}
	return err
}

// readOnly returns the active options of the server and the session that forbid changes.
// Privileged accounts may still be able to change data.
func readOnly(ctx context.Context, db *sql.DB) (on []string, err error) {
	rows, err := db.QueryContext(ctx, "SHOW VARIABLES WHERE Variable_name IN "+
		"('read_only', 'super_read_only', 'innodb_read_only', 'tx_read_only', 'transaction_read_only')")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var option, value string
		if err := rows.Scan(&option, &value); err != nil {
			return nil, err
		}
		if !slices.Contains([]string{"OFF", "0"}, value) {
			on = append(on, option+" = "+value)
		}
	}
	return on, rows.Err()
}

// checkEngines returns an error if a table of Keyfold does not use InnoDB, because its
// changes could not be rolled back. The option enforce_storage_engine can cause that.
func checkEngines(ctx context.Context, db *sql.DB) error {
	var table, engine string
	err := db.QueryRowContext(ctx, "SELECT table_name, engine FROM information_schema.tables WHERE table_schema = DATABASE()"+
		" AND LEFT(table_name, 8) = 'keyfold_' AND table_type = 'BASE TABLE' AND engine <> 'InnoDB' ORDER BY table_name LIMIT 1").
		Scan(&table, &engine)
	if err == sql.ErrNoRows {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("the table %s has the storage engine %s, which must be InnoDB: "+
		"unset enforce_storage_engine on the server, and run ALTER TABLE %s ENGINE=InnoDB", table, engine, table)
}
