package keyfold_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"slices"
	"testing"

	_ "github.com/go-sql-driver/mysql" // for database/sql
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // for database/sql

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/mongo"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

// hostTx is a transaction of the program that embeds Keyfold.
type hostTx struct {
	keyfold.Tx
	exec             func(statement string) error // a statement of the host's own
	commit, rollback func() error
}

// host is a database with a table of the program's own, "host_rows", and a
// Store on the same database.
type host struct {
	store keyfold.Store
	begin func(t *testing.T) hostTx
	count func(t *testing.T) int // the host's rows
}

// hosts are the ways in which a program can pass its transaction.
func hosts() map[string]func(*testing.T) host {
	return map[string]func(*testing.T) host{
		"sqlite":       sqliteHost,
		"postgres pgx": postgresHost,
		"postgres sql": postgresSQLHost,
		"mariadb":      mariadbHost,
	}
}

// onEveryStore runs a test on a fresh store of each kind, but not on those
// named.
func onEveryStore(t *testing.T, test func(*testing.T, keyfold.Store), without ...string) {
	stores := map[string]func(*testing.T) keyfold.Store{
		"memory":   func(*testing.T) keyfold.Store { return memory.New() },
		"sqlite":   func(t *testing.T) keyfold.Store { return opened(t)(sqlite.Open(t.Context(), testdb.SQLite(t))) },
		"postgres": func(t *testing.T) keyfold.Store { return opened(t)(postgresOpen(t.Context(), testdb.Postgres(t))) },
		"mariadb":  func(t *testing.T) keyfold.Store { return opened(t)(mysqlOpen(t.Context(), testdb.MariaDB(t))) },
		"mongodb":  func(t *testing.T) keyfold.Store { return opened(t)(mongoOpen(t.Context(), testdb.Mongo(t))) },
	}
	for name, open := range stores {
		if slices.Contains(without, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func postgresOpen(ctx context.Context, dsn string) (keyfold.Store, error) {
	return postgres.Open(ctx, dsn)
}

func mysqlOpen(ctx context.Context, dsn string) (keyfold.Store, error) { return mysql.Open(ctx, dsn) }

func mongoOpen(ctx context.Context, uri string) (keyfold.Store, error) { return mongo.Open(ctx, uri) }

// few returns n, or a fifth of n for a store whose calls take milliseconds.
func few(store keyfold.Store, n int) int {
	if _, slow := store.(*mongo.Store); slow {
		return max(1, n/5)
	}
	return n
}

// opened returns a function that closes a store when the test ends.
func opened(t *testing.T) func(keyfold.Store, error) keyfold.Store {
	return func(store keyfold.Store, err error) keyfold.Store {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		return store
	}
}

func sqliteHost(t *testing.T) host {
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "host.db"))
	opened(t)(store, err)
	return sqlHost(t, store, store.DB(), sqlite.Tx)
}

func postgresSQLHost(t *testing.T) host {
	dsn := testdb.Postgres(t)
	store := opened(t)(postgresOpen(t.Context(), dsn))
	return sqlHost(t, store, pool(t, "pgx", dsn), postgres.SQLTx)
}

func mariadbHost(t *testing.T) host {
	dsn := testdb.MariaDB(t)
	store := opened(t)(mysqlOpen(t.Context(), dsn))
	return sqlHost(t, store, pool(t, "mysql", dsn), mysql.Tx)
}

func pool(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func sqlHost(t *testing.T, store keyfold.Store, db *sql.DB, bind func(*sql.Tx) keyfold.Tx) host {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE host_rows (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	return host{
		store: store,
		begin: func(t *testing.T) hostTx {
			t.Helper()
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			return hostTx{
				Tx:     bind(tx),
				exec:   func(statement string) error { _, err := tx.ExecContext(t.Context(), statement); return err },
				commit: tx.Commit, rollback: tx.Rollback,
			}
		},
		count: func(t *testing.T) (n int) {
			t.Helper()
			if err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM host_rows").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		},
	}
}

func postgresHost(t *testing.T) host {
	dsn := testdb.Postgres(t)
	store := opened(t)(postgresOpen(t.Context(), dsn))
	db, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Exec(t.Context(), "CREATE TABLE host_rows (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	return host{
		store: store,
		begin: func(t *testing.T) hostTx {
			t.Helper()
			tx, err := db.BeginTx(t.Context(), pgx.TxOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return hostTx{
				Tx:       postgres.Tx(tx),
				exec:     func(statement string) error { _, err := tx.Exec(t.Context(), statement); return err },
				commit:   func() error { return tx.Commit(context.Background()) },
				rollback: func() error { return tx.Rollback(context.Background()) },
			}
		},
		count: func(t *testing.T) (n int) {
			t.Helper()
			if err := db.QueryRow(t.Context(), "SELECT COUNT(*) FROM host_rows").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		},
	}
}
