package testdb_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/keyfold/keyfold/internal/testdb"
)

func TestSQLiteReturnsANewPath(t *testing.T) {
	t.Parallel()
	a, b := testdb.SQLite(t), testdb.SQLite(t)
	if a == b {
		t.Fatalf("two calls returned the same path %s", a)
	}
	if _, err := os.Stat(a); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("os.Stat(%s) = %v, want fs.ErrNotExist", a, err)
	}
}

func TestPostgresCreatesAndDropsADatabase(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var name string
	t.Run("while the test runs", func(t *testing.T) {
		dsn := testdb.Postgres(t)
		conn, err := pgx.Connect(ctx, dsn) // left open, so that the cleanup must end it
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(ctx, "CREATE TABLE t (n bigint)"); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(ctx, "SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO t VALUES (1)"); err != nil {
			t.Fatal(err)
		}
	})
	if name == "" {
		t.Skip("no server: the subtest says why")
	}
	conn, err := pgx.Connect(ctx, testdb.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var left int
	if err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_database WHERE datname = $1", name).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left != 0 {
		t.Fatalf("database %s outlived its test", name)
	}
}

func TestMariaDBCreatesAndDropsADatabase(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var name string
	t.Run("while the test runs", func(t *testing.T) {
		dsn := testdb.MariaDB(t)
		db := openMariaDB(t, dsn)
		if _, err := db.ExecContext(ctx, "CREATE TABLE t (n BIGINT) ENGINE=InnoDB"); err != nil {
			t.Fatal(err)
		}
		if err := db.QueryRowContext(ctx, "SELECT DATABASE()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		// The connection stays open and holds a lock on the table, so that a plain DROP
		// DATABASE would wait.
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO t VALUES (1)"); err != nil {
			t.Fatal(err)
		}
	})
	if name == "" {
		t.Skip("no server: the subtest says why")
	}
	db := openMariaDB(t, testdb.MariaDB(t))
	var left int
	err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?", name).Scan(&left)
	if err != nil {
		t.Fatal(err)
	}
	if left != 0 {
		t.Fatalf("database %s outlived its test", name)
	}
}

// openMariaDB does not close the connection when the test ends. The cleanup of the test
// would run before the cleanup of testdb, which must work with open connections.
func openMariaDB(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	config, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	return sql.OpenDB(connector)
}

func TestMariaDBURLNamesTheDatabase(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(testdb.MariaDBURL(t))
	if err != nil {
		t.Fatal(err)
	}
	if u.Scheme != "mysql" || u.User.Username() == "" || u.Port() == "" || !strings.HasPrefix(u.Path, "/keyfold_test_") {
		t.Fatalf("got %s, want mysql://user@host:port/keyfold_test_…", u.Redacted())
	}
}
