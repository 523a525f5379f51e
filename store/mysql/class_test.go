package mysql

import (
	"errors"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

func TestClassOfErrors(t *testing.T) {
	t.Parallel()
	for number, want := range map[uint16]sqlstore.Class{
		1021: sqlstore.NoSpace,  // ER_DISK_FULL
		1114: sqlstore.NoSpace,  // ER_RECORD_FILE_FULL
		1015: sqlstore.ReadOnly, // ER_CANT_LOCK, of innodb_read_only
		1290: sqlstore.ReadOnly, // ER_OPTION_PREVENTS_STATEMENT
		1792: sqlstore.ReadOnly, // ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
		1836: sqlstore.ReadOnly, // ER_READ_ONLY_MODE
		1142: sqlstore.Other,    // ER_TABLEACCESS_DENIED_ERROR
	} {
		err := error(&mysql.MySQLError{Number: number, Message: "refused"})
		for _, err := range []error{err, fmt.Errorf("commit: %w", err)} {
			if got := class(err); got != want {
				t.Errorf("class %d of %v, want %d", got, err, want)
			}
		}
	}
	if got := class(errors.New("Error 1021")); got != sqlstore.Other {
		t.Errorf("class %d of the text of an error, want %d", got, sqlstore.Other)
	}
}
