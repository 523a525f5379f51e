package mysql_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/mysql"
)

// Under gbk the last byte of 中, 0xAD, and the backslash that should escape the
// quote are one character, so the quote ends the text.
const (
	stranger = "中'||1#@example.com"
	sleeper  = "中',sleep(2))#"
)

// Mutation tried: the driver's connector without the checks, as it was before.
// Open then takes every row but the good ones.
func TestDataSourceNameMustNotAskForAnotherCharacterSet(t *testing.T) {
	t.Parallel()
	for _, parameters := range []string{
		"charset=gbk", "charset=big5", "charset=sjis", "charset=latin1", "charset=utf8", "charset=utf8mb3", "charset=binary",
		"charset=utf8mb4,gbk", "charset=gbk,utf8mb4", "charset=utf8mb4&charset=gbk",
		"collation=gbk_chinese_ci", "collation=latin1_bin", "charset=utf8mb4&collation=binary",
	} {
		for _, dsn := range bothForms(parameters) {
			_, err := mysql.NewConnector(dsn)
			if got := refusal(t, dsn); !strings.Contains(got, "charset") || !strings.Contains(got, "utf8mb4") || err == nil || err.Error() != got {
				t.Errorf("%s: got %q and %v, want a refusal that names charset and utf8mb4", parameters, got, err)
			}
		}
	}
	for _, parameters := range []string{"", "charset=utf8mb4", "charset=UTF8MB4", "charset=utf8mb4,utf8mb4", "collation=utf8mb4_bin"} {
		for _, dsn := range bothForms(parameters) {
			if got := refusal(t, dsn); got != "accepted" {
				t.Errorf("%q: got %q, want it accepted", parameters, got)
			}
		}
	}
}

// withParameters adds to a data source name of testdb.
func withParameters(dsn, parameters string) string {
	separator := "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	return dsn + separator + parameters
}

// oddSettings are what a server, an account or a data source name may give a
// session, and the setting that an error has to name.
var oddSettings = []struct{ parameters, name string }{
	{"autocommit=0", "autocommit"},
	{"completion_type=1", "completion_type"},
	{"completion_type=2", "completion_type"},
	{"tx_isolation='READ-UNCOMMITTED'", "tx_isolation"},
	{"tx_read_only=1", "tx_read_only"},
	{"sql_mode=''", "sql_mode"},
	{"sql_mode='NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES'", "sql_mode"},
	{"sql_mode='EMPTY_STRING_IS_NULL,STRICT_ALL_TABLES'", "sql_mode"},
	{"sql_mode='ORACLE,STRICT_ALL_TABLES'", "sql_mode"},
	{"sql_select_limit=1", "sql_select_limit"},
	{"sql_big_selects=0", "sql_big_selects"},
	{"sql_safe_updates=1", "sql_safe_updates"},
	{"unique_checks=0", "unique_checks"},
	{"max_statement_time=2", "max_statement_time"},
	{"sql_log_bin=0", "sql_log_bin"},
	{"system_versioning_asof='2001-01-01'", "system_versioning_asof"},
	{"wsrep_dirty_reads=1", "wsrep_dirty_reads"},
	{"character_set_client=gbk", "character_set_client"},
	{"character_set_connection=latin1", "character_set_connection"},
}

// Mutation tried: no repair of sessions, with which Open is refused; no check
// in New, with which every pool is taken.
func TestOddSessionsAreMendedOrRefused(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	open(t, dsn)
	for _, test := range oddSettings {
		t.Run(test.parameters, func(t *testing.T) {
			t.Parallel()
			odd := withParameters(dsn, strings.ReplaceAll(test.parameters, "'", "%27"))
			key := sqltest.Create(t, open(t, odd))
			if _, err := open(t, odd).VerifyKey(t.Context(), key.ID); err != nil {
				t.Errorf("VerifyKey on a session with %s: %v", test.parameters, err)
			}
			_, err := mysql.New(t.Context(), pool(t, odd, nil))
			if err == nil || !strings.Contains(err.Error(), test.name+" = ") || !strings.Contains(err.Error(), "mysql.NewConnector") {
				t.Errorf("New on a pool with %s: %v, want an error that names %s and mysql.NewConnector", test.parameters, err, test.name)
			}
		})
	}
}

// sessions is a connector of the program's own, which runs a statement on each
// new connection, as init_connect does.
type sessions struct {
	sqldriver.Connector
	statement atomic.Pointer[string]
}

func (s *sessions) Connect(ctx context.Context) (sqldriver.Conn, error) {
	conn, err := s.Connector.Connect(ctx)
	if statement := s.statement.Load(); err == nil && statement != nil {
		_, err = conn.(sqldriver.ExecerContext).ExecContext(ctx, *statement, nil)
	}
	return conn, err
}

// A session that a host changed and gave back to the pool, or changed in the
// middle of its transaction, is one that was not checked.
//
// Mutations tried: note that never suspects, with which the log-in name finds
// the user; ResetSession that does not mend, with which the revoked key passes.
func TestStatementOfTheHostCannotLeaveAnUnfitSession(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.MariaDB(t))
	store.DB().SetMaxOpenConns(1)
	user := keyfold.UserRecord{User: keyfold.User{ID: "u1", CreatedAt: time.Now()}, UsernameKey: "-u1", EmailKey: "victim@example.com"}
	if err := store.CreateUser(t.Context(), user, sqltest.Mutation("user.create", "u1")); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"SET NAMES gbk", " set names gbk", "/* odd */ SET NAMES gbk", "SET autocommit = 0", "BEGIN", "START TRANSACTION", "USE mysql",
		"SET sql_mode = 'NO_BACKSLASH_ESCAPES'", "SET SESSION TRANSACTION READ ONLY",
	} {
		key := sqltest.Create(t, store)
		if _, err := store.DB().ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		if _, err := store.UserByEmail(t.Context(), stranger); !errors.Is(err, keyfold.ErrNotFound) {
			t.Errorf("%s: the name of a stranger: %v, want ErrNotFound", statement, err)
		}
		if verify, err := store.VerifyKey(t.Context(), key.ID); err != nil || verify.Revoked {
			t.Fatalf("%s: VerifyKey: %v", statement, err)
		}
		if _, err := store.SetKeyState(t.Context(), []string{key.ID}, keyfold.RevokeChange, "", sqltest.Mutation("key.revoke", key.ID)); err != nil {
			t.Fatalf("%s: revoke: %v", statement, err)
		}
		if verify, err := store.VerifyKey(t.Context(), key.ID); err != nil || !verify.Revoked {
			t.Errorf("%s: a revoked key: %v, revoked %v", statement, err, verify.Revoked)
		}
	}
	tx, err := store.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), "SET NAMES gbk"); err != nil {
		t.Fatal(err)
	}
	if _, err := mysql.Tx(tx).Store.UserByEmail(t.Context(), stranger); !errors.Is(err, keyfold.ErrNotFound) {
		t.Errorf("the name of a stranger in a transaction with SET NAMES gbk: %v, want ErrNotFound", err)
	}
}

// The pool of a host that was made by NewConnector is as good as Open's.
func TestPoolOfNewConnectorIsChecked(t *testing.T) {
	t.Parallel()
	connector, err := mysql.NewConnector(withParameters(testdb.MariaDB(t), "autocommit=0&sql_mode=%27%27"))
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	store, err := mysql.New(t.Context(), db)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	sqltest.Create(t, store)
	var autocommit bool
	if err := db.QueryRowContext(t.Context(), "SELECT @@autocommit").Scan(&autocommit); err != nil || !autocommit {
		t.Errorf("autocommit of a session of the connector: %v, %v", autocommit, err)
	}
}
