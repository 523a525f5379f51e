package postgres

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

func TestClassOfErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		says string
		err  error
		want sqlstore.Class
	}{
		{"disk_full", &pgconn.PgError{Code: "53100"}, sqlstore.NoSpace},
		{"read_only_sql_transaction", &pgconn.PgError{Code: "25006"}, sqlstore.ReadOnly},
		{"a session that is read-only", errReadOnly, sqlstore.ReadOnly},
		{"out_of_memory", &pgconn.PgError{Code: "53200"}, sqlstore.Other},
		{"insufficient_privilege", &pgconn.PgError{Code: "42501"}, sqlstore.Other},
		{"a hot standby", errStandby, sqlstore.Other},
		{"the text of a code", errors.New("53100"), sqlstore.Other},
	} {
		for _, err := range []error{test.err, fmt.Errorf("commit: %w", test.err)} {
			if got := class(err); got != test.want {
				t.Errorf("%s: class %d of %v, want %d", test.says, got, err, test.want)
			}
		}
	}
}
