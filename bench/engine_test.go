package bench_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "modernc.org/sqlite" // for database/sql

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/fixture"
	"github.com/keyfold/keyfold/bench/keyset"
	"github.com/keyfold/keyfold/internal/sqliteuri"
	"github.com/keyfold/keyfold/internal/testdb"
	kfmysql "github.com/keyfold/keyfold/store/mysql"
	kfpostgres "github.com/keyfold/keyfold/store/postgres"
	kfsqlite "github.com/keyfold/keyfold/store/sqlite"
)

// database has keys in it. It is opened by Keyfold and, in addition, raw.
type database struct {
	keys  *keyset.Set
	store keyfold.Store
	again func(context.Context) (keyfold.Store, error) // opens the same database as another process would

	// selectKey reads what a verify needs by the driver alone.
	selectKey func(ctx context.Context, id string) error
	// insertEvent writes one use by the driver alone, in a transaction of its own.
	insertEvent func(ctx context.Context, seq int64, keyID string) error
	// number runs a query of one number.
	number func(ctx context.Context, query string) (int64, error)
	exec   func(ctx context.Context, statement string) error
	byHand func(testing.TB) *byHand
}

var engines = []struct {
	name string
	open func(testing.TB, *keyset.Set) *database
}{
	{"sqlite", openSQLite},
	{"postgres", openPostgres},
	{"mysql", openMySQL},
}

const verifyColumns = "SELECT id, secret_alg, secret_pepper, secret_sum, prefix, environment, name, owner_id, tenant, scopes, " +
	"networks, metadata, expires_at, idle_timeout, active_at, disabled_at, revoked_at, last_used_at FROM keyfold_verify WHERE id = "

const (
	eventTable = "CREATE TABLE bench_usage_events (at BIGINT NOT NULL, seq BIGINT NOT NULL, route_id BIGINT NOT NULL, " +
		"agent_id BIGINT NOT NULL, outcome BIGINT NOT NULL, key_id VARCHAR(64) NOT NULL, ip VARCHAR(64) NOT NULL, " +
		"request_id VARCHAR(256) NOT NULL, PRIMARY KEY (at, seq))"
	eventColumns = "INSERT INTO bench_usage_events (at, seq, route_id, agent_id, outcome, key_id, ip, request_id) VALUES "
	eventMarks   = "(?, ?, 1, 0, 0, ?, '192.0.2.17', '')"
)

// row is what verifyColumns are scanned into.
type row struct {
	id, alg, pepper, prefix, environment, name, owner, tenant, scopes, networks, metadata string
	sum                                                                                   []byte
	idleTimeout, activeAt                                                                 int64
	expiresAt, disabledAt, revokedAt, lastUsedAt                                          *int64
}

func (r *row) fields() []any {
	return []any{
		&r.id, &r.alg, &r.pepper, &r.sum, &r.prefix, &r.environment, &r.name, &r.owner, &r.tenant, &r.scopes,
		&r.networks, &r.metadata, &r.expiresAt, &r.idleTimeout, &r.activeAt, &r.disabledAt, &r.revokedAt, &r.lastUsedAt,
	}
}

func openSQLite(t testing.TB, keys *keyset.Set) *database {
	path := testdb.SQLite(t)
	store, err := kfsqlite.Open(context.Background(), path)
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	must(t, fixture.SQLite(context.Background(), store.DB(), keys))
	d := &database{keys: keys, store: store}
	d.again = func(ctx context.Context) (keyfold.Store, error) { return kfsqlite.Open(ctx, path) }
	common := sqliteuri.Of(path) + "?_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_pragma=synchronous(FULL)"
	d.raw(t, "sqlite", common+"&_query_only=1", common+"&_txlock=immediate")
	return d
}

func openPostgres(t testing.TB, keys *keyset.Set) *database {
	dsn := testdb.Postgres(t)
	store, err := kfpostgres.Open(context.Background(), dsn)
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	must(t, fixture.Postgres(context.Background(), store.Pool(), keys))
	pool, err := pgxpool.New(context.Background(), dsn)
	must(t, err)
	t.Cleanup(pool.Close)
	_, err = pool.Exec(context.Background(), eventTable)
	must(t, err)
	return &database{
		keys: keys, store: store,
		again: func(ctx context.Context) (keyfold.Store, error) { return kfpostgres.Open(ctx, dsn) },
		selectKey: func(ctx context.Context, id string) error {
			var r row
			return pool.QueryRow(ctx, verifyColumns+"$1", id).Scan(r.fields()...)
		},
		insertEvent: func(ctx context.Context, seq int64, keyID string) error {
			_, err := pool.Exec(ctx, eventColumns+"($1, $2, 1, 0, 0, $3, '192.0.2.17', '')", time.Now().UnixMilli(), seq, keyID)
			return err
		},
		number: func(ctx context.Context, query string) (n int64, err error) {
			return n, pool.QueryRow(ctx, query).Scan(&n)
		},
		exec: func(ctx context.Context, statement string) error {
			_, err := pool.Exec(ctx, statement)
			return err
		},
		byHand: func(testing.TB) *byHand {
			return &byHand{
				find: func(ctx context.Context, hash []byte) (owner, scopes string, expiresAt int64, err error) {
					err = pool.QueryRow(ctx, findByHand+"$1", hash).Scan(&owner, &scopes, &expiresAt)
					return owner, scopes, expiresAt, err
				},
				use: func(ctx context.Context, hash []byte, at int64) error {
					_, err := pool.Exec(ctx, useByHand+"$1 WHERE hash = $2", at, hash)
					return err
				},
			}
		},
	}
}

func openMySQL(t testing.TB, keys *keyset.Set) *database {
	dsn := testdb.MariaDB(t)
	store, err := kfmysql.Open(context.Background(), dsn)
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	must(t, fixture.MySQL(context.Background(), store.DB(), keys))
	config, err := mysql.ParseDSN(dsn)
	must(t, err)
	d := &database{keys: keys, store: store}
	d.again = func(ctx context.Context) (keyfold.Store, error) { return kfmysql.Open(ctx, dsn) }
	d.raw(t, "mysql", config.FormatDSN(), config.FormatDSN())
	return d
}

// raw fills in what database/sql is used for, with prepared statements.
func (d *database) raw(t testing.TB, driver, reading, writing string) {
	readers, err := sql.Open(driver, reading)
	must(t, err)
	t.Cleanup(func() { _ = readers.Close() })
	readers.SetMaxIdleConns(4)
	writer, err := sql.Open(driver, writing)
	must(t, err)
	t.Cleanup(func() { _ = writer.Close() })
	writer.SetMaxOpenConns(1)
	_, err = writer.ExecContext(context.Background(), eventTable)
	must(t, err)
	read, err := readers.Prepare(verifyColumns + "?")
	must(t, err)
	write, err := writer.Prepare(eventColumns + eventMarks)
	must(t, err)
	d.selectKey = func(ctx context.Context, id string) error {
		var r row
		return read.QueryRowContext(ctx, id).Scan(r.fields()...)
	}
	d.insertEvent = func(ctx context.Context, seq int64, keyID string) error {
		_, err := write.ExecContext(ctx, time.Now().UnixMilli(), seq, keyID)
		return err
	}
	d.exec = func(ctx context.Context, statement string) error {
		_, err := writer.ExecContext(ctx, statement)
		return err
	}
	d.byHand = func(t testing.TB) *byHand { return rawByHand(t, readers, writer) }
	d.number = func(ctx context.Context, query string) (n int64, err error) {
		return n, readers.QueryRowContext(ctx, query).Scan(&n)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lifetime is a testing.TB whose cleanups run when the process is done: filling
// a database takes longer than measuring it, so benchmarks share them.
type lifetime struct {
	testing.TB
	cleanups *[]func()
}

func (l lifetime) Cleanup(f func()) { *l.cleanups = append(*l.cleanups, f) }

// Errorf is called by cleanups alone, when the benchmark is long over.
func (l lifetime) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func (l lifetime) TempDir() string {
	dir, err := os.MkdirTemp("", "keyfold-bench-")
	must(l.TB, err)
	l.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Clean(dir)
}

// The databases filled so far. Benchmarks run one after the other.
var opened struct {
	sync.Mutex
	databases map[string]*database
	cleanups  []func()
}

// filled returns a database of that engine with n keys, and skips b where
// the server is missing.
func filled(b testing.TB, engine string, n int) *database {
	b.Helper()
	opened.Lock()
	defer opened.Unlock()
	name := engine + " " + sizeName(n)
	if d := opened.databases[name]; d != nil {
		return d
	}
	for _, e := range engines {
		if e.name == engine {
			d := e.open(lifetime{b, &opened.cleanups}, keyset.New(n))
			if opened.databases == nil {
				opened.databases = map[string]*database{}
			}
			opened.databases[name] = d
			return d
		}
	}
	b.Fatalf("no engine %q", engine)
	return nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	for i := len(opened.cleanups) - 1; i >= 0; i-- {
		opened.cleanups[i]()
	}
	os.Exit(code)
}

// full reports whether the long variants are wanted: KEYFOLD_BENCH_FULL=1.
func full() bool { return os.Getenv("KEYFOLD_BENCH_FULL") == "1" }
