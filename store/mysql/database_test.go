package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/mysql"
)

func engine() sqltest.Engine {
	return sqltest.Engine{
		New:  testdb.MariaDB,
		Open: func(ctx context.Context, dsn string) (keyfold.Store, error) { return mysql.Open(ctx, dsn) },
		SQL: func(t testing.TB, dsn string) *sql.DB {
			config, err := driver.ParseDSN(dsn)
			if err != nil {
				t.Fatal("the data source name of the test server is malformed")
			}
			connector, err := driver.NewConnector(config)
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(connector)
			t.Cleanup(func() { _ = db.Close() })
			return db
		},
		Schema: `SELECT line FROM (
			SELECT CONCAT_WS(' ', table_name, ordinal_position, column_name, column_type, collation_name, is_nullable, extra)
				AS line FROM information_schema.columns WHERE table_schema = DATABASE()
			UNION ALL SELECT CONCAT_WS(' ', table_name, index_name, seq_in_index, column_name, non_unique)
				FROM information_schema.statistics WHERE table_schema = DATABASE()
			UNION ALL SELECT CONCAT(table_name, REPLACE(view_definition, DATABASE(), 'db'))
				FROM information_schema.views WHERE table_schema = DATABASE()) AS all_lines ORDER BY line`,
		Rounds: 20,
	}
}

func TestMain(m *testing.M) { sqltest.Main(m, engine()) }

func TestManyProcesses(t *testing.T)   { t.Parallel(); engine().TestManyProcesses(t) }
func TestKilledMigration(t *testing.T) { t.Parallel(); engine().TestKilledMigration(t) }
func TestNewerSchema(t *testing.T)     { t.Parallel(); engine().TestNewerSchema(t) }
func TestMigration(t *testing.T)       { t.Parallel(); engine().TestMigration(t) }
func TestBrokenFeed(t *testing.T)      { t.Parallel(); engine().TestBrokenFeed(t) }

func begin(store *mysql.Store) sqltest.Begin {
	return func(t testing.TB) sqltest.Host {
		tx, err := store.DB().BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return sqltest.Host{
			Store: mysql.Tx(tx).Store, Commit: tx.Commit, Rollback: tx.Rollback,
			Exec: func(ctx context.Context, statement string) error {
				_, err := tx.ExecContext(ctx, statement)
				return err
			},
		}
	}
}

func TestHostTransaction(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.MariaDB(t))
	sqltest.TestHostTransaction(t, store, begin(store))
}

func TestCommitOrder(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.MariaDB(t))
	sqltest.TestCommitOrder(t, store, begin(store))
}

func TestLostTransaction(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	store := open(t, dsn)
	sqltest.TestLostTransaction(t, store, begin(store), engine().Deadlock(dsn))
}

func TestSwallowedRetry(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	sqltest.TestSwallowedRetry(t, open(t, dsn), engine().Deadlock(dsn))
}

// A lock timeout ends only one statement, but the mutation cannot continue without it.
func TestLockTimeoutMustBeRetried(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	store := open(t, dsn)
	key := sqltest.Create(t, store)
	holder := begin(store)(t)
	defer holder.Rollback()
	m := sqltest.Mutation("key.renew", key.ID)
	if err := holder.Store.RenewKey(t.Context(), key.ID, 1, time.Time{}, m); err != nil {
		t.Fatal(err)
	}
	waiter := begin(store)(t)
	defer waiter.Rollback()
	if err := waiter.Exec(t.Context(), "SET SESSION innodb_lock_wait_timeout = 1"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := waiter.Store.RenewKey(t.Context(), key.ID, 1, time.Time{}, m); !errors.Is(err, keyfold.ErrRetry) {
			t.Errorf("RenewKey of a key that is locked: got %v, want ErrRetry", err)
		}
	}
}

func TestRoleWithoutCreateUsesACurrentSchema(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	open(t, dsn)
	config, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	role := "r" + config.DBName[max(0, len(config.DBName)-28):]
	db := engine().SQL(t, dsn)
	for _, statement := range []string{
		"CREATE USER '" + role + "'@'%' IDENTIFIED BY 'pass-of-role'",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON `" + config.DBName + "`.* TO '" + role + "'@'%'",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = db.Exec("DROP USER '" + role + "'@'%'") })
	config.User, config.Passwd = role, "pass-of-role"
	restricted := open(t, config.FormatDSN())
	if _, err := restricted.DB().ExecContext(t.Context(), "CREATE TABLE theirs (n INTEGER)"); err == nil {
		t.Fatal("the role may create tables: the test proves nothing")
	}
	sqltest.Create(t, restricted)
}

func TestOpenTakesAURL(t *testing.T) {
	t.Parallel()
	sqltest.Create(t, open(t, testdb.MariaDBURL(t)))
}

func TestOpenErrorDoesNotContainThePassword(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, dsn := range map[string]string{
		"nobody listens":   "user:hunter2@tcp(127.0.0.1:1)/app",
		"nobody answers":   "user:hunter2@tcp(" + silent.Addr().String() + ")/app",
		"no slash":         "user:hunter2@tcp(127.0.0.1:3306)",
		"bad parameter":    "user:hunter2@tcp(127.0.0.1:3306)/app?parseTime=hunter2",
		"URL, nobody":      "mysql://user:hunter2@127.0.0.1:1/app",
		"URL, bad port":    "mysql://user:hunter2@127.0.0.1:port/app",
		"URL, bad escape":  "mysql://user:hunter2%zz@127.0.0.1/app",
		"URL, bad setting": "mysql://user:hunter2@127.0.0.1/app?parseTime=hunter2",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		began := time.Now()
		store, err := mysql.Open(ctx, dsn)
		cancel()
		if err == nil {
			_ = store.Close()
			t.Fatalf("%s: Open got no error", name)
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error holds the password: %v", name, err)
		}
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("%s: Open took %v", name, took)
		}
	}
}

func TestLargeBatch(t *testing.T) {
	t.Parallel()
	sqltest.TestLargeBatch(t, open(t, testdb.MariaDB(t)))
}

// A view that runs with the rights of its creator fails after that account is deleted.
func TestViewsOutliveTheAccountThatMigrated(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	config, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	maker := "m" + config.DBName[max(0, len(config.DBName)-28):]
	db := engine().SQL(t, dsn)
	for _, statement := range []string{
		"CREATE USER '" + maker + "'@'%' IDENTIFIED BY 'pass-of-maker'",
		"GRANT ALL ON `" + config.DBName + "`.* TO '" + maker + "'@'%'",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	config.User, config.Passwd = maker, "pass-of-maker"
	key := sqltest.Create(t, open(t, config.FormatDSN()))
	if _, err := db.ExecContext(t.Context(), "DROP USER '"+maker+"'@'%'"); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dsn).VerifyKey(t.Context(), key.ID); err != nil {
		t.Errorf("VerifyKey: %v", err)
	}
}

// Mutation tried: Open without a reserve.
func TestFeedAndChangesNeedNoConnectionOfThePool(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.MariaDB(t))
	sqltest.TestFeedAndChangesNeedNoConnectionOfThePool(t, store, func(t testing.TB) {
		for range store.DB().Stats().MaxOpenConnections {
			conn, err := store.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	})
}

// Open must not make more connections than the data source name allows, because the
// account may be limited.
func TestReservedConnectionsAreAmongThoseOfThePool(t *testing.T) {
	t.Parallel()
	for most, want := range map[int]int{2: 2, 7: 7, 8: 5, 32: 29} {
		dsn := testdb.MariaDB(t)
		mark := "?"
		if strings.Contains(dsn, "?") {
			mark = "&"
		}
		store := open(t, fmt.Sprintf("%s%spool_max_conns=%d", dsn, mark, most))
		if got := store.DB().Stats().MaxOpenConnections; got != want {
			t.Errorf("of %d connections the pool has %d, want %d", most, got, want)
		}
	}
}

// Mutation tried: an engine without a maximum of attempts.
func TestAttemptsLeaveConnectionsOfAPoolOfTheProgram(t *testing.T) {
	t.Parallel()
	dsn, size := testdb.MariaDB(t), 4
	connector, err := mysql.NewConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(size)
	store, err := mysql.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	sqltest.TestAttemptsLeaveConnectionsToOthers(t, store, size, func() int { return db.Stats().InUse },
		sqltest.LockThrottle(t, engine().SQL(t, dsn)))
}

func TestProbe(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.MariaDB(t))
	sqltest.TestProbe(t, store, store.DB())
}

func TestMerging(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	store := open(t, dsn)
	sqltest.TestMerging(t, store, open(t, dsn), store.DB())
}

// After the error of a read-only server the pool also replaces its connections, at most
// once in five seconds. Probe must return the same error in both cases.
func TestProbeReturnsTheReasonOfARefusal(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	store := open(t, dsn)
	db := engine().SQL(t, dsn)
	refuse := func(code string) {
		t.Helper()
		exec(t, db, "CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON keyfold_settings FOR EACH ROW "+
			"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = "+code+", MESSAGE_TEXT = 'refused'")
	}
	sqltest.TestProbeReturnsTheReasonOfARefusal(t, store, refuse, map[string]error{
		"1021": keyfold.ErrNoSpace, "1114": keyfold.ErrNoSpace,
		"1015": keyfold.ErrReadOnly, "1290": keyfold.ErrReadOnly, "1792": keyfold.ErrReadOnly, "1836": keyfold.ErrReadOnly,
		"1036": nil, // ER_OPEN_AS_READONLY, of one table
	})
}
