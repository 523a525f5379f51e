package mysql_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/mysql"
)

// In gbk the last byte of 中, 0xAD, and the backslash that escapes the quote are one
// character, so the quote ends the text.
const (
	stranger = "中'||1#@example.com"
	sleeper  = "中',sleep(2))#"
)

// Mutation tried: a newConnector that ignores charset, which accepts every row with one.
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

// oddSettings are settings that a server, an account or a data source name may give a
// session, with the variable that the error must name.
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
	{"max_join_size=10", "sql_big_selects"},
	{"sql_safe_updates=1", "sql_safe_updates"},
	{"unique_checks=0", "unique_checks"},
	{"max_statement_time=2", "max_statement_time"},
	{"sql_log_bin=0", "sql_log_bin"},
	{"system_versioning_asof='2001-01-01'", "system_versioning_asof"},
	{"wsrep_dirty_reads=1", "wsrep_dirty_reads"},
	{"character_set_client=gbk", "character_set_client"},
	{"character_set_connection=latin1", "character_set_connection"},
}

// Mutations tried: no repair of sessions, with which Open fails; no check in New, which
// then accepts such pools.
func TestOddSessionsAreRepairedOrRefused(t *testing.T) {
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

// initConnect is a connector of the program that runs a statement on each new connection,
// as a server does with init_connect.
type initConnect struct {
	sqldriver.Connector
	statement atomic.Pointer[string]
}

func (c *initConnect) Connect(ctx context.Context) (sqldriver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if statement := c.statement.Load(); err == nil && statement != nil {
		_, err = conn.(sqldriver.ExecerContext).ExecContext(ctx, *statement, nil)
	}
	return conn, err
}

// victim stores a user that another name finds if the name is executed as SQL.
func victim(t *testing.T, store keyfold.Store) {
	t.Helper()
	user := keyfold.UserRecord{User: keyfold.User{ID: "u1", CreatedAt: time.Now()}, UsernameKey: "-u1", EmailKey: "victim@example.com"}
	if err := store.CreateUser(t.Context(), user, sqltest.Mutation("user.create", "u1")); err != nil {
		t.Fatal(err)
	}
}

func revoke(t *testing.T, store keyfold.Store, id string) error {
	t.Helper()
	_, err := store.SetKeyState(t.Context(), []string{id}, keyfold.RevokeChange, "", sqltest.Mutation("key.revoke", id))
	return err
}

// New checks one session of a pool. Later sessions may have other settings. They are
// refused with the setting in the error, before any text is inserted into a statement.
//
// Mutations tried: a hostPool.conn without a check, with which no error names the setting;
// hostReads without the condition, with which a revoked key is valid under autocommit = 0.
func TestLaterSessionsOfAPoolAreNotTrusted(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	sure := open(t, dsn)
	victim(t, sure)
	for statement, setting := range map[string]string{
		"SET NAMES gbk":                         "character_set_client",
		"SET NAMES big5":                        "character_set_client",
		"SET autocommit = 0":                    "autocommit",
		"START TRANSACTION":                     "in_transaction",
		"SET sql_mode = ''":                     "sql_mode",
		"SET unique_checks=0":                   "unique_checks",
		"SET tx_read_only = 1":                  "tx_read_only",
		"SET tx_isolation = 'READ-UNCOMMITTED'": "tx_isolation",
		"SET sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES'":         "sql_mode",
		"SET SESSION TRANSACTION READ ONLY, ISOLATION LEVEL READ COMMITTED": "tx_read_only",
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			var connector initConnect
			connector.Connector = plainConnector(t, dsn, func(config *driver.Config) { config.InterpolateParams = true })
			db := openDB(t, &connector)
			store, err := mysql.New(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			key := sqltest.Create(t, store)
			good, err := db.Conn(t.Context()) // keeps the session that New checked
			if err != nil {
				t.Fatal(err)
			}
			defer good.Close()
			connector.statement.Store(&statement)
			if _, err := store.UserByEmail(t.Context(), stranger); err == nil || !strings.Contains(err.Error(), setting+" = ") {
				t.Errorf("the name of a stranger: %v, want an error that names %s", err, setting)
			}
			for range 2 { // the second round uses a connection with a snapshot, if there is one
				if row, err := store.VerifyKey(t.Context(), key.ID); err == nil && row.Revoked {
					t.Errorf("VerifyKey: %v, revoked %v", err, row.Revoked)
				}
			}
			if err := revoke(t, sure, key.ID); err != nil {
				t.Fatal(err)
			}
			if row, err := store.VerifyKey(t.Context(), key.ID); err == nil && !row.Revoked {
				t.Error("a revoked key passes")
			}
			if _, _, err := store.Changes(t.Context(), ""); err == nil || !strings.Contains(err.Error(), setting+" = ") {
				t.Errorf("Changes: %v, want an error that names %s", err, setting)
			}
			if err := store.Check(t.Context()); !errors.Is(err, keyfold.ErrCheckFailed) || !strings.Contains(err.Error(), setting+" = ") {
				t.Errorf("Check: %v, want an ErrCheckFailed that names %s", err, setting)
			}
			// The unfit connections are closed, so a fit one is used again.
			connector.statement.Store(nil)
			if _, err := store.UserByEmail(t.Context(), stranger); !errors.Is(err, keyfold.ErrNotFound) {
				t.Errorf("once sessions are fit again, the name of a stranger: %v, want ErrNotFound", err)
			}
			if row, err := store.VerifyKey(t.Context(), key.ID); err != nil || !row.Revoked {
				t.Errorf("once sessions are fit again: %v, revoked %v", err, row.Revoked)
			}
			if err := store.Check(t.Context()); err != nil {
				t.Errorf("once sessions are fit again, Check: %v", err)
			}
		})
	}
}

// A session counts as checked for a second. Even during that time the feed must not read
// from an old snapshot.
//
// Mutation tried: a feed of hostPool.read without a transaction, which does not return the
// revocation.
func TestFeedReadsCommittedChangesForAnyAutocommit(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	sure := open(t, dsn)
	db := pool(t, dsn, nil)
	db.SetMaxOpenConns(1)
	store, err := mysql.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "SET autocommit = 0"); err != nil {
		t.Fatal(err)
	}
	_, cursor, err := store.Changes(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		key := sqltest.Create(t, sure)
		var changes []keyfold.Change
		if changes, cursor, err = store.Changes(t.Context(), cursor); err != nil || len(changes) != 1 || changes[0].Target != key.ID {
			t.Errorf("Changes: %v, %v; want the new key %s", changes, err, key.ID)
		}
	}
}

// hostTransaction begins a transaction on a session that is not used afterwards.
func hostTransaction(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = tx.Rollback()
		_ = conn.Raw(func(any) error { return sqldriver.ErrBadConn })
		_ = conn.Close()
	})
	return tx
}

func execIn(t *testing.T, tx *sql.Tx, statement string) {
	t.Helper()
	if _, err := tx.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// Mutation tried: hostTx without the check.
func TestTransactionOfTheHostNeedsAFitSession(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	open(t, dsn)
	db := pool(t, dsn, nil)
	for statement, setting := range map[string]string{
		"SET NAMES gbk":            "character_set_client",
		"SET NAMES latin1":         "character_set_connection",
		"SET sql_select_limit = 0": "sql_select_limit",
		"SET sql_select_limit = 1": "sql_select_limit",
		"SET sql_mode = ''":        "sql_mode",
		"SET unique_checks = 0":    "unique_checks",
	} {
		t.Run(statement, func(t *testing.T) {
			t.Parallel()
			tx := hostTransaction(t, db)
			execIn(t, tx, statement)
			store := mysql.Tx(tx).Store
			key := sqltest.Key()
			_, found := store.UserByEmail(t.Context(), stranger)
			for what, err := range map[string]error{
				"CreateKey":   store.CreateKey(t.Context(), key, sqltest.Mutation("key.create", key.ID)),
				"UserByEmail": found,
			} {
				if err == nil || !strings.Contains(err.Error(), setting+" = ") {
					t.Errorf("%s: %v, want an error that names %s", what, err, setting)
				}
			}
		})
	}
}

// A session may become unfit after it was checked. Text must not be inserted into SQL then.
//
// Mutation tried: queries of Tx on the transaction itself, with which the wrong user is
// found and the name of the key is a syntax error.
func TestTextInATransactionOfTheHostIsPrepared(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	victim(t, open(t, dsn))
	db := pool(t, dsn, func(config *driver.Config) { config.InterpolateParams = true })
	for _, statement := range []string{"SET NAMES gbk", "SET NAMES big5"} {
		t.Run(statement, func(t *testing.T) {
			tx := hostTransaction(t, db)
			store := mysql.Tx(tx).Store
			if _, err := store.UserByEmail(t.Context(), "victim@example.com"); err != nil {
				t.Fatal(err)
			}
			execIn(t, tx, statement)
			if _, err := store.UserByEmail(t.Context(), stranger); !errors.Is(err, keyfold.ErrNotFound) {
				t.Errorf("the name of a stranger: %v, want ErrNotFound", err)
			}
			key := sqltest.Key()
			key.Name = sleeper
			if err := store.CreateKey(t.Context(), key, sqltest.Mutation("key.create", key.ID)); err != nil {
				t.Errorf("CreateKey: %v", err)
			}
			if got, err := store.Key(t.Context(), key.ID); err != nil || got.Name != sleeper {
				t.Errorf("the name of a key came back as %q, %v; want %q", got.Name, err, sleeper)
			}
			if _, err := store.RecordUsage(t.Context(), keyfold.UsageBatch{
				RecorderID: "r", Number: 1, At: time.Now(), Keys: []keyfold.KeyUses{{KeyID: stranger, Uses: 1}},
			}); err != nil {
				t.Errorf("RecordUsage: %v", err)
			}
		})
	}
}

// A session that the host has changed counts as unchecked, in its transaction and after
// its return to the pool.
//
// Mutations tried: an inspect that never marks the session, with which the log-in name
// finds the user; a ResetSession without repair, with which no change succeeds after
// SET autocommit = 0.
func TestStatementOfTheHostCannotLeaveAnUnfitSession(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.MariaDB(t))
	store.DB().SetMaxOpenConns(1)
	victim(t, store)
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
		if err := revoke(t, store, key.ID); err != nil {
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
	if _, err := mysql.Tx(tx).Store.UserByEmail(t.Context(), stranger); err == nil || !strings.Contains(err.Error(), "character_set_client = ") {
		t.Errorf("the name of a stranger in a transaction with SET NAMES gbk: %v, want an error that names the setting", err)
	}
}

// A statement that was prepared before the check changes the session each time it runs.
//
// Mutation tried: marking the session only when the statement is prepared, with which the
// log-in name finds the user.
func TestPreparedStatementOfTheHostCannotLeaveAnUnfitSession(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.MariaDB(t))
	store.DB().SetMaxOpenConns(1)
	victim(t, store)
	for how, execute := range map[string]func(*sql.Stmt) error{
		"executed": func(statement *sql.Stmt) error { _, err := statement.ExecContext(t.Context()); return err },
		"queried": func(statement *sql.Stmt) error {
			rows, err := statement.QueryContext(t.Context())
			if err != nil {
				return err
			}
			return rows.Close()
		},
	} {
		statement, err := store.DB().PrepareContext(t.Context(), "SET NAMES gbk")
		if err != nil {
			t.Fatal(err)
		}
		defer statement.Close()
		for range 2 {
			if err := execute(statement); err != nil {
				t.Fatalf("%s: %v", how, err)
			}
			if _, err := store.UserByEmail(t.Context(), stranger); !errors.Is(err, keyfold.ErrNotFound) {
				t.Errorf("%s: the name of a stranger: %v, want ErrNotFound", how, err)
			}
		}
	}
}

// The connector lets the driver interpolate, so text of the program itself must be
// prepared after it has changed the character set of the session.
//
// Mutation tried: a mustPrepare that is always false, with which the wrong user is found.
func TestTextOfTheHostIsPreparedAfterItChangedTheSession(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.MariaDB(t))
	victim(t, store)
	conn, err := store.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "SET NAMES gbk"); err != nil {
		t.Fatal(err)
	}
	var found int
	if err := conn.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM keyfold_users WHERE email_key = ?", stranger).Scan(&found); err != nil || found != 0 {
		t.Errorf("the name of a stranger: %d users, %v; want none", found, err)
	}
}

// A pool of NewConnector is checked like the pool of Open.
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

// account creates an account without administrative privileges and returns its
// configuration. init_connect and read_only do not affect administrators.
func account(t *testing.T, admin *sql.DB, config *driver.Config, rights string) *driver.Config {
	t.Helper()
	config = config.Clone()
	config.User, config.Passwd = "u"+strings.ToLower(rand.Text()[:16]), "pass-of-account"
	for _, statement := range []string{
		"CREATE USER '" + config.User + "'@'%' IDENTIFIED BY 'pass-of-account'",
		"GRANT " + rights + " ON `" + config.DBName + "`.* TO '" + config.User + "'@'%'",
	} {
		if _, err := admin.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = admin.Exec("DROP USER '" + config.User + "'@'%'") })
	return config
}

func refusedWith(t *testing.T, dsn string, parts ...string) {
	t.Helper()
	store, err := mysql.Open(t.Context(), dsn)
	if err == nil {
		_ = store.Close()
		t.Errorf("Open got no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("Open: %v, want %q in it", err, part)
		}
	}
}

// Mutation tried: migrate without probe and checkEngines.
func TestOpenFailsIfTheServerRefusesChanges(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	admin := open(t, dsn).DB()
	config, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	refusedWith(t, account(t, admin, config, "SELECT").FormatDSN(), "SELECT, INSERT, UPDATE and DELETE")
	if _, err := admin.ExecContext(t.Context(), "ALTER TABLE keyfold_batches ENGINE=MyISAM"); err != nil {
		t.Fatal(err)
	}
	refusedWith(t, dsn, "keyfold_batches", "MyISAM", "InnoDB")
}

// Mutation tried: migrate without probe, which accepts a read-only server. Both the
// settings and the probe detect the format of the binary log, so this test does not
// notice the removal of one of them.
// An error of the server must not be reported as a missing answer.
func TestRefusedConnectionIsReportedAsRefused(t *testing.T) {
	t.Parallel()
	config, err := driver.ParseDSN(testdb.MariaDB(t))
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	config.DBName += "_missing"
	refusedWith(t, config.FormatDSN(), "the server refuses the connection", "Unknown database")
}

func TestOpenFailsOnAReadOnlyServer(t *testing.T) {
	t.Parallel()
	config := testdb.PrivateMariaDB(t, "--log-bin", "--binlog-format=STATEMENT")
	admin := pool(t, config.FormatDSN(), nil)
	if _, err := admin.ExecContext(t.Context(), "CREATE DATABASE app"); err != nil {
		t.Fatal(err)
	}
	config.DBName = "app"
	dsn := account(t, admin, config, "ALL").FormatDSN()
	set := func(statement string) {
		t.Helper()
		if _, err := admin.ExecContext(t.Context(), "SET GLOBAL "+statement); err != nil {
			t.Fatal(err)
		}
	}
	refusedWith(t, dsn, "binlog_format", "ROW or MIXED")
	set("binlog_format = MIXED")
	set("read_only = 1")
	refusedWith(t, dsn, "read_only = ON", "connect to the server that accepts changes") // without a schema
	set("read_only = 0")
	key := sqltest.Create(t, open(t, dsn))
	set("read_only = 1")
	refusedWith(t, dsn, "read_only = ON", "connect to the server that accepts changes")
	for _, rejects := range []bool{false, true} { // the driver then hides the reason
		_, err := mysql.New(t.Context(), pool(t, dsn, func(config *driver.Config) { config.RejectReadOnly = rejects }))
		if err == nil || !strings.Contains(err.Error(), "read_only = ON") {
			t.Errorf("New with rejectReadOnly=%v: %v, want an error that names read_only", rejects, err)
		}
	}
	set("read_only = 0")
	store := open(t, dsn)
	set("read_only = 1")
	if row, err := store.VerifyKey(t.Context(), key.ID); err != nil || row.Revoked {
		t.Errorf("VerifyKey once the server is read-only: %v", err)
	}
	if err := revoke(t, store, key.ID); !errors.Is(err, keyfold.ErrReadOnly) {
		t.Errorf("a change of a server that is read-only: got %v, want ErrReadOnly", err)
	}
	if err := store.Probe(t.Context()); !errors.Is(err, keyfold.ErrReadOnly) {
		t.Errorf("Probe of a server that is read-only: got %v, want ErrReadOnly", err)
	}
}
