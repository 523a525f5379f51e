package faulttest_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	keyfoldmysql "github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/storetest"
)

// oddSession is a statement that a MariaDB server runs on each new connection
// of an account without privileges.
type oddSession struct {
	statement string
	// refused is the setting that the error of mysql.New names. It is empty if New
	// accepts a pool with such sessions. Open works with all of them.
	refused string
}

func oddSessions() []oddSession {
	return []oddSession{
		{"SET NAMES gbk", "character_set_client"},
		{"SET NAMES big5", "character_set_client"},
		{"SET NAMES sjis", "character_set_client"},
		{"SET NAMES latin1", "character_set_client"},
		{"SET NAMES utf8mb3", "character_set_client"},
		{"SET NAMES binary", "character_set_client"},
		{"SET CHARACTER SET latin1", "character_set_client"},
		{"SET character_set_connection = latin1", "character_set_connection"},
		{"SET character_set_results = latin1", ""},
		{"SET character_set_results = NULL", ""},
		{"SET collation_connection = utf8mb4_turkish_ci", ""},
		{"SET autocommit = 0", "autocommit"},
		{"SET completion_type = 1", "completion_type"},
		{"SET completion_type = 2", "completion_type"},
		{"SET tx_isolation = 'READ-UNCOMMITTED'", "tx_isolation"},
		{"SET tx_isolation = 'SERIALIZABLE'", ""},
		{"SET SESSION TRANSACTION READ ONLY", "tx_read_only"},
		{"SET sql_mode = ''", "sql_mode"},
		{"SET sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES'", "sql_mode"},
		{"SET sql_mode = 'STRICT_ALL_TABLES,EMPTY_STRING_IS_NULL'", "sql_mode"},
		{"SET sql_mode = 'STRICT_ALL_TABLES,SIMULTANEOUS_ASSIGNMENT'", "sql_mode"},
		{"SET sql_mode = 'STRICT_ALL_TABLES,ORACLE'", "sql_mode"},
		{"SET sql_mode = 'STRICT_ALL_TABLES,ANSI,TRADITIONAL,PAD_CHAR_TO_FULL_LENGTH,HIGH_NOT_PRECEDENCE,IGNORE_SPACE,ONLY_FULL_GROUP_BY," +
			"NO_AUTO_VALUE_ON_ZERO,NO_UNSIGNED_SUBTRACTION,NO_ZERO_DATE,REAL_AS_FLOAT,TIME_ROUND_FRACTIONAL,ALLOW_INVALID_DATES'", ""},
		{"SET sql_safe_updates = 1", "sql_safe_updates"},
		{"SET sql_select_limit = 1", "sql_select_limit"},
		{"SET sql_select_limit = 0", "sql_select_limit"},
		{"SET sql_big_selects = 0, max_join_size = 10", "sql_big_selects"},
		{"SET max_statement_time = 2", "max_statement_time"},
		{"SET max_statement_time = 60", ""},
		{"SET unique_checks = 0", "unique_checks"},
		{"SET foreign_key_checks = 0, check_constraint_checks = 0", ""},
		{"SET time_zone = '+13:00', lc_time_names = 'tr_TR', lc_messages = 'de_DE'", ""},
		{"SET group_concat_max_len = 4, div_precision_increment = 0, sql_auto_is_null = 1, sql_if_exists = 1", ""},
		{"SET system_versioning_asof = '2001-01-01 00:00:00'", "system_versioning_asof"},
		{"SET wsrep_dirty_reads = 1", "wsrep_dirty_reads"},
		{"SET auto_increment_increment = 7, auto_increment_offset = 3", ""},
		{"SET innodb_lock_wait_timeout = 1, lock_wait_timeout = 1", ""},
		{"SET wait_timeout = 1, interactive_timeout = 1", ""},
		{"START TRANSACTION", "in_transaction"},
		{"START TRANSACTION READ ONLY", "in_transaction"},
		{"USE information_schema", ""},
	}
}

// sessionsServer is a MariaDB server that runs a statement on each new connection. The
// statement depends on the account.
type sessionsServer struct {
	config *mysql.Config
	admin  *sql.DB
}

func startSessionsServer(t *testing.T, options ...string) *sessionsServer {
	t.Helper()
	s := &sessionsServer{config: testdb.PrivateMariaDB(t, options...)}
	s.admin = mysqlPool(t, s.config.Addr)
	s.do(t, "CREATE DATABASE odd CHARACTER SET utf8mb4",
		"CREATE TABLE odd.sessions (account VARCHAR(64) PRIMARY KEY, statement VARCHAR(1000) NOT NULL)",
		"SET GLOBAL init_connect = \"SET @odd = COALESCE((SELECT statement FROM odd.sessions "+
			"WHERE account = SUBSTRING_INDEX(USER(), '@', 1)), 'DO 0'); EXECUTE IMMEDIATE @odd\"")
	return s
}

func (s *sessionsServer) do(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := s.admin.ExecContext(context.WithoutCancel(t.Context()), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// database creates a database and an account with odd sessions.
func (s *sessionsServer) database(t *testing.T, statement string) *mysql.Config {
	t.Helper()
	name := strings.ToLower(rand.Text()[:16])
	config := s.config.Clone()
	config.User, config.Passwd, config.DBName = "u"+name, "pass-of-account", "d"+name
	s.do(t, "CREATE DATABASE "+config.DBName+" CHARACTER SET utf8mb4",
		fmt.Sprintf("CREATE USER %s@'%%' IDENTIFIED BY '%s'", config.User, config.Passwd),
		fmt.Sprintf("GRANT ALL ON %s.* TO %s@'%%'", config.DBName, config.User),
		fmt.Sprintf("GRANT SELECT ON odd.* TO %s@'%%'", config.User),
		fmt.Sprintf("INSERT INTO odd.sessions VALUES ('%s', '%s')", config.User, strings.ReplaceAll(statement, "'", "''")))
	t.Cleanup(func() { s.do(t, "DROP DATABASE "+config.DBName, fmt.Sprintf("DROP USER %s@'%%'", config.User)) })
	return config
}

// TestOddSessionsOfMariaDB uses odd sessions of an account without SUPER, CONNECTION
// ADMIN or READ_ONLY ADMIN. Open must work with each of them. New must work, or return an
// error that names the setting. `make test-faults` also runs the conformance suite on all
// sessions that work.
//
// Mutations tried: if rules.mend repairs nothing, Open fails 21 times (the driver itself
// sets the character set). If required lacks sql_mode, in_transaction and unique_checks,
// New accepts pools with odd sessions.
func TestOddSessionsOfMariaDB(t *testing.T) {
	t.Parallel()
	server := startSessionsServer(t)
	for _, odd := range oddSessions() {
		t.Run(odd.statement, func(t *testing.T) {
			t.Parallel()
			config := server.database(t, odd.statement)
			store := openPatiently(t, config)
			lifeOfAKey(t, store)
			db, err := sql.Open("mysql", config.FormatDSN())
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			made, err := keyfoldmysql.New(ctx, db)
			switch {
			case odd.refused != "" && (err == nil || !strings.Contains(err.Error(), odd.refused+" = ")):
				t.Errorf("New: %v, want an error that names %s", err, odd.refused)
			case odd.refused == "" && !strings.HasPrefix(odd.statement, "USE ") && err != nil:
				t.Errorf("New: %v", err)
			case odd.refused == "" && err == nil:
				lifeOfAKey(t, made)
			}
			if everything() {
				server.conform(t, odd)
			}
		})
	}
}

// TestConformanceOnAnOddServer runs the conformance suite on sessions that combine all odd
// settings, and on a server that ignores the character set of the client.
func TestConformanceOnAnOddServer(t *testing.T) {
	t.Parallel()
	server := startSessionsServer(t, "--character-set-client-handshake=0", "--character-set-server=gbk", "--collation-server=gbk_chinese_ci",
		"--log-bin", "--binlog-format=MIXED", "--transaction-isolation=READ-UNCOMMITTED", "--enforce-storage-engine=InnoDB")
	server.conform(t, oddSession{statement: "SET autocommit = 0, completion_type = 1, sql_mode = 'ORACLE', sql_safe_updates = 1, unique_checks = 0, " +
		"sql_select_limit = 1, max_statement_time = 2, tx_read_only = 1, time_zone = '-11:00'", refused: "character_set_client"})
}

// conform runs the conformance suite on odd sessions, with Open and, if it works, New.
func (s *sessionsServer) conform(t *testing.T, odd oddSession) {
	t.Helper()
	t.Run("Open", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) keyfold.Store {
			return openPatiently(t, s.database(t, odd.statement))
		})
	})
	if odd.refused != "" || strings.HasPrefix(odd.statement, "USE ") {
		return
	}
	t.Run("New", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) keyfold.Store {
			db, err := sql.Open("mysql", s.database(t, odd.statement).FormatDSN()+"?interpolateParams=true")
			if err != nil {
				t.Fatal(err)
			}
			db.SetMaxOpenConns(32)
			db.SetMaxIdleConns(32)
			t.Cleanup(func() { _ = db.Close() })
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			store, err := keyfoldmysql.New(ctx, db)
			if err != nil {
				t.Fatalf("New: %v", err)
			}
			return store
		})
	})
}

// openPatiently calls Open with more time, because the server is busy with a whole suite.
func openPatiently(t *testing.T, config *mysql.Config) keyfold.Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	store, err := keyfoldmysql.Open(ctx, config.FormatDSN())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// lifeOfAKey creates, uses and revokes a key, and looks for each change in the feed. The
// settings of a session could change the meaning of the name of the key.
func lifeOfAKey(t *testing.T, store keyfold.Store) {
	t.Helper()
	svc, err := keyfold.New(store, &keyfold.Options{PollInterval: 50 * time.Millisecond, VerifyTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := svc.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	const name = `中'||1#\` + "é😀"
	key, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{Name: name})
	if err != nil {
		t.Fatalf("CreateKey: %v", err)
	}
	if got, err := svc.Key(t.Context(), key.ID); err != nil || got.Name != name {
		t.Errorf("the name of a key is %q, %v; want %q", got.Name, err, name)
	}
	if user, err := svc.UserByIdentifier(t.Context(), name+"@example.com"); err == nil {
		t.Errorf("a name that no user has finds %v", user.ID)
	}
	for range 3 { // the feed has begun, and the key is remembered
		if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()}); err != nil {
			t.Fatalf("Verify: %v", err)
		}
	}
	_, cursor, err := store.Changes(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.RevokeKey(t.Context(), key.ID, "it's over\\"); err != nil {
		t.Fatalf("RevokeKey: %v", err)
	}
	if changes, _, err := store.Changes(t.Context(), cursor); err != nil || len(changes) != 1 || changes[0].Target != key.ID {
		t.Errorf("the feed after a revocation: %v, %v", changes, err)
	}
	for range 3 { // on several connections
		if row, err := store.VerifyKey(t.Context(), key.ID); err != nil || !row.Revoked {
			t.Errorf("a revoked key: revoked %v, %v", row.Revoked, err)
		}
	}
	if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()}); keyfold.OutcomeOf(err) != keyfold.OutcomeRevoked {
		t.Errorf("Verify of a revoked key: %v", err)
	}
}
