package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/postgres"
)

func engine() sqltest.Engine {
	return sqltest.Engine{
		New:  testdb.Postgres,
		Open: func(ctx context.Context, dsn string) (keyfold.Store, error) { return postgres.Open(ctx, dsn) },
		SQL: func(t testing.TB, dsn string) *sql.DB {
			db, err := sql.Open("pgx", dsn)
			if err != nil {
				t.Fatal("the data source name of the test server is malformed")
			}
			t.Cleanup(func() { _ = db.Close() })
			return db
		},
		Schema: `SELECT line FROM (
			SELECT concat_ws(' ', table_name, ordinal_position, column_name, data_type, collation_name, is_nullable, is_identity)
				AS line FROM information_schema.columns WHERE table_schema = 'public'
			UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
			UNION ALL SELECT viewname || definition FROM pg_views WHERE schemaname = 'public') lines ORDER BY line`,
		Cautious: true,
		Rounds:   20,
	}
}

func TestMain(m *testing.M) { sqltest.Main(m, engine()) }

func TestManyProcesses(t *testing.T)   { t.Parallel(); engine().TestManyProcesses(t) }
func TestKilledMigration(t *testing.T) { t.Parallel(); engine().TestKilledMigration(t) }
func TestNewerSchema(t *testing.T)     { t.Parallel(); engine().TestNewerSchema(t) }
func TestMigration(t *testing.T)       { t.Parallel(); engine().TestMigration(t) }
func TestBrokenFeed(t *testing.T)      { t.Parallel(); engine().TestBrokenFeed(t) }

// begins returns the functions that begin a transaction of the host.
func begins(store *postgres.Store, db *sql.DB) map[string]sqltest.Begin {
	return map[string]sqltest.Begin{
		"pgx": func(t testing.TB) sqltest.Host {
			tx, err := store.Pool().Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return sqltest.Host{
				Store:    postgres.Tx(tx).Store,
				Commit:   func() error { return tx.Commit(t.Context()) },
				Rollback: func() error { return tx.Rollback(context.WithoutCancel(t.Context())) },
				Exec: func(ctx context.Context, statement string) error {
					_, err := tx.Exec(ctx, statement)
					return err
				},
			}
		},
		"database-sql": func(t testing.TB) sqltest.Host {
			tx, err := db.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			return sqltest.Host{
				Store: postgres.SQLTx(tx).Store, Commit: tx.Commit, Rollback: tx.Rollback,
				Exec: func(ctx context.Context, statement string) error {
					_, err := tx.ExecContext(ctx, statement)
					return err
				},
			}
		},
	}
}

func eachBegin(t *testing.T, run func(*testing.T, *postgres.Store, sqltest.Begin, sqltest.Deadlock)) {
	t.Parallel()
	for _, way := range []string{"pgx", "database-sql"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			dsn := testdb.Postgres(t)
			store := open(t, dsn)
			// The other transaction must wait longer to win the deadlock.
			lose := engine().Deadlock(dsn, "SET LOCAL deadlock_timeout = '1min'")
			run(t, store, begins(store, engine().SQL(t, dsn))[way], lose)
		})
	}
}

func TestHostTransaction(t *testing.T) {
	eachBegin(t, func(t *testing.T, store *postgres.Store, begin sqltest.Begin, _ sqltest.Deadlock) {
		sqltest.TestHostTransaction(t, store, begin)
	})
}

func TestCommitOrder(t *testing.T) {
	eachBegin(t, func(t *testing.T, store *postgres.Store, begin sqltest.Begin, _ sqltest.Deadlock) {
		sqltest.TestCommitOrder(t, store, begin)
	})
}

func TestLostTransaction(t *testing.T) {
	eachBegin(t, func(t *testing.T, store *postgres.Store, begin sqltest.Begin, lose sqltest.Deadlock) {
		sqltest.TestLostTransaction(t, store, begin, lose)
	})
}

func TestSwallowedRetry(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	sqltest.TestSwallowedRetry(t, open(t, dsn), engine().Deadlock(dsn, "SET LOCAL deadlock_timeout = '1min'"))
}

// PostgreSQL also ends transactions because of serialization failures.
func TestSerializationFailureMustBeRetried(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.Postgres(t))
	key := sqltest.Create(t, store)
	tx, err := store.Pool().BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	bound := postgres.Tx(tx).Store
	if _, err := bound.Key(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	m := sqltest.Mutation("key.renew", key.ID)
	if err := store.RenewKey(t.Context(), key.ID, 1, time.Time{}, m); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := bound.RenewKey(t.Context(), key.ID, 1, time.Time{}, m); !errors.Is(err, keyfold.ErrRetry) {
			t.Errorf("RenewKey in an outdated snapshot: got %v, want ErrRetry", err)
		}
	}
}

func TestRoleWithoutCreateUsesACurrentSchema(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	open(t, dsn)
	location, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is no URL")
	}
	role := "keyfold_reader_" + strings.Trim(location.Path, "/")
	db := engine().SQL(t, dsn)
	for _, statement := range []string{
		"CREATE ROLE " + role + " LOGIN PASSWORD 'pass-of-role'",
		"REVOKE CREATE ON SCHEMA public FROM PUBLIC",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO " + role,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = db.Exec("DROP OWNED BY " + role + "; DROP ROLE " + role) })
	location.User = url.UserPassword(role, "pass-of-role")
	restricted := open(t, location.String())
	if _, err := restricted.Pool().Exec(t.Context(), "CREATE TABLE public.theirs (n INTEGER)"); err == nil {
		t.Fatal("the role may create tables: the test proves nothing")
	}
	sqltest.Create(t, restricted)
}

func TestOpenErrorDoesNotContainThePassword(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, dsn := range map[string]string{
		"nobody listens":    "postgres://user:hunter2@127.0.0.1:1/app",
		"nobody answers":    "postgres://user:hunter2@" + silent.Addr().String() + "/app",
		"malformed port":    "postgres://user:hunter2@127.0.0.1:port/app",
		"malformed escape":  "postgres://user:hunter2%zz@127.0.0.1/app",
		"malformed setting": "host=127.0.0.1 password=hunter2 sslmode=perhaps",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		began := time.Now()
		store, err := postgres.Open(ctx, dsn)
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
	dsn := testdb.Postgres(t)
	for _, mode := range modes() {
		t.Run(mode.String(), func(t *testing.T) { sqltest.TestLargeBatch(t, openMode(t, testdb.Postgres(t), mode)) })
	}
	t.Run("in a transaction of database/sql", func(t *testing.T) {
		store := open(t, dsn)
		tx := begins(store, engine().SQL(t, dsn))["database-sql"](t)
		sqltest.TestLargeBatch(t, tx.Store)
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
	})
}

// Mutation tried: Open without a reserve.
func TestFeedAndChangesNeedNoConnectionOfThePool(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.Postgres(t))
	sqltest.TestFeedAndChangesNeedNoConnectionOfThePool(t, store, func(t testing.TB) {
		for range store.Pool().Config().MaxConns {
			conn, err := store.Pool().Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(conn.Release)
		}
	})
}

// Mutation tried: an engine without a maximum of attempts.
func TestAttemptsLeaveConnectionsOfAPoolOfTheProgram(t *testing.T) {
	t.Parallel()
	dsn, size := testdb.Postgres(t), 4
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	config.MaxConns = int32(size)
	db, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	store, err := postgres.New(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	sqltest.TestAttemptsLeaveConnectionsToOthers(t, store, size, func() int { return int(db.Stat().AcquiredConns()) },
		sqltest.LockThrottle(t, engine().SQL(t, dsn)))
}

func TestProbe(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	sqltest.TestProbe(t, openMode(t, dsn, modes()[0]), db)
}

func TestMerging(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	sqltest.TestMerging(t, openMode(t, dsn, modes()[0]), openMode(t, dsn, modes()[0]), db)
}

func TestProbeReturnsTheReasonOfARefusal(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.Postgres(t))
	exec := func(statement string) {
		t.Helper()
		if _, err := store.Pool().Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	refuse := func(code string) {
		t.Helper()
		exec("CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '" + code + "'; END$$")
	}
	refuse("53100")
	exec("CREATE TRIGGER refuse BEFORE INSERT ON keyfold_settings FOR EACH ROW EXECUTE FUNCTION refuse()")
	sqltest.TestProbeReturnsTheReasonOfARefusal(t, store, refuse, map[string]error{
		"53100": keyfold.ErrNoSpace, "25006": keyfold.ErrReadOnly, "58030": nil, // the last is io_error
	})
}

func TestReadOnlyTransactionOfTheProgramReturnsErrReadOnly(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.Postgres(t))
	tx, err := store.Pool().BeginTx(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	key := sqltest.Key()
	if err := postgres.Tx(tx).Store.CreateKey(t.Context(), key, sqltest.Mutation("key.create", key.ID)); !errors.Is(err, keyfold.ErrReadOnly) {
		t.Errorf("CreateKey: got %v, want ErrReadOnly", err)
	}
}
