package postgres_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/postgres"
)

// wakeCounter counts the wakes of a listener.
type wakeCounter struct {
	t     *testing.T
	woken chan struct{}
	ended chan struct{}
}

func listen(t *testing.T, store *postgres.Store) *wakeCounter {
	t.Helper()
	e := &wakeCounter{t, make(chan struct{}, 100), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); <-e.ended })
	go func() {
		defer close(e.ended)
		store.Listen(ctx, func() { e.woken <- struct{}{} })
	}()
	e.wantWake("when it begins to listen")
	return e
}

func (e *wakeCounter) wantWake(when string) {
	e.t.Helper()
	select {
	case <-e.woken:
	case <-time.After(10 * time.Second):
		e.t.Fatalf("%s: was not woken", when)
	}
}

func (e *wakeCounter) wantNoWake(when string) {
	e.t.Helper()
	select {
	case <-e.woken:
		e.t.Errorf("%s: was woken", when)
	case <-time.After(100 * time.Millisecond):
	}
}

// sized opens a store on a pool with the given number of connections.
func sized(t *testing.T, dsn string, connections int32, change func(*pgxpool.Config)) *postgres.Store {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	config.MaxConns = connections
	if change != nil {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := postgres.New(t.Context(), pool)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return store
}

// Mutation tried: a NOTIFY on the pool, outside of the transaction, which wakes before the
// change can be read.
func TestListenerIsWokenByTheCommitAndNotBefore(t *testing.T) {
	t.Parallel()
	for _, mode := range modes() {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			dsn := testdb.Postgres(t)
			store := sized(t, dsn, 1, func(config *pgxpool.Config) { config.ConnConfig.DefaultQueryExecMode = mode })
			e := listen(t, store)
			sqltest.Create(t, store) // the only connection of the pool must be free
			e.wantWake("after a change")
			for way, begin := range begins(store, engine().SQL(t, dsn)) {
				tx := begin(t)
				sqltest.Create(t, tx.Store)
				sqltest.Create(t, tx.Store)
				e.wantNoWake(way + ": before the commit")
				if err := tx.Commit(); err != nil {
					t.Fatal(err)
				}
				e.wantWake(way + ": after the commit")
				e.wantNoWake(way + ": once more")
				tx = begin(t)
				sqltest.Create(t, tx.Store)
				if err := tx.Rollback(); err != nil {
					t.Fatal(err)
				}
				e.wantNoWake(way + ": after a rollback")
			}
		})
	}
}

func TestListenerIsNotWokenByAnotherSchemaOfTheDatabase(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	if _, err := engine().SQL(t, dsn).ExecContext(t.Context(), "CREATE SCHEMA mine; CREATE SCHEMA theirs"); err != nil {
		t.Fatal(err)
	}
	in := func(schema string) *postgres.Store {
		return sized(t, dsn, 2, func(config *pgxpool.Config) {
			config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
				_, err := conn.Exec(ctx, "SET search_path TO "+schema)
				return err
			}
		})
	}
	mine, theirs := in("mine"), in("theirs")
	e := listen(t, mine)
	sqltest.Create(t, theirs)
	e.wantNoWake("after a change in another schema")
	sqltest.Create(t, mine)
	e.wantWake("after a change in its own")
}

func TestListenerReconnects(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	store := open(t, dsn)
	e := listen(t, store)
	admin := engine().SQL(t, dsn)
	for range 2 {
		terminateListeners(t, admin)
		e.wantWake("after it has reconnected")
		sqltest.Create(t, store)
		e.wantWake("after a change")
	}
}

func terminateListeners(t *testing.T, db *sql.DB) {
	t.Helper()
	var n int
	if err := db.QueryRowContext(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND query LIKE 'LISTEN %'`).Scan(&n); err != nil || n == 0 {
		t.Fatalf("%d listeners were terminated, %v", n, err)
	}
}

func TestListenerEndsWithTheStore(t *testing.T) {
	t.Parallel()
	store, err := postgres.Open(t.Context(), testdb.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	e := listen(t, store)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-e.ended:
	case <-time.After(10 * time.Second):
		t.Error("the listener outlives its store")
	}
}

var _ keyfold.FeedListener = (*postgres.Store)(nil)
