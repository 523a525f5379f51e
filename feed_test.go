package keyfold_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	sqlitedriver "modernc.org/sqlite"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/sqliteuri"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

// engine is a database that several stores share, as several processes would.
type engine struct {
	name string
	dsn  string
	open func(ctx context.Context, dsn string) (keyfold.Store, error)
	bind func(*sql.Tx) keyfold.Tx
	db   *sql.DB // for statements of the test's own
}

func engines() map[string]func(testing.TB) *engine {
	return map[string]func(testing.TB) *engine{
		"sqlite": func(t testing.TB) *engine {
			dsn := testdb.SQLite(t)
			options := "?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)&_txlock=immediate"
			e := &engine{"sqlite", dsn, sqliteOpen, sqlite.Tx, rawPool(t, "sqlite", sqliteuri.Of(dsn)+options)}
			e.store(t)
			return e
		},
		"postgres": func(t testing.TB) *engine {
			dsn := testdb.Postgres(t)
			e := &engine{"postgres", dsn, postgresOpen, postgres.SQLTx, rawPool(t, "pgx", dsn)}
			e.store(t)
			return e
		},
		"mariadb": func(t testing.TB) *engine {
			dsn := testdb.MariaDB(t)
			e := &engine{"mariadb", dsn, mysqlOpen, mysql.Tx, rawPool(t, "mysql", dsn)}
			e.store(t)
			return e
		},
		"mongodb": func(t testing.TB) *engine {
			e := &engine{name: "mongodb", dsn: testdb.Mongo(t), open: mongoOpen}
			e.store(t)
			return e
		},
	}
}

func sqliteOpen(ctx context.Context, dsn string) (keyfold.Store, error) { return sqlite.Open(ctx, dsn) }

func rawPool(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// noSQL is the engine that tests leave out which speak SQL or begin transactions.
const noSQL = "mongodb"

// onEveryEngine runs a test on all engines in parallel, because the tests mostly wait.
func onEveryEngine(t *testing.T, test func(*testing.T, *engine), without ...string) {
	t.Helper()
	var group sync.WaitGroup
	defer group.Wait()
	for name, make := range engines() {
		if slices.Contains(without, name) {
			continue
		}
		group.Go(func() {
			t.Run(name, func(t *testing.T) { test(t, make(t)) })
		})
	}
}

// store opens another store, as another process would.
func (e *engine) store(t testing.TB) keyfold.Store {
	t.Helper()
	store, err := e.open(t.Context(), e.dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func (e *engine) service(t testing.TB, opts keyfold.Options) *keyfold.Service {
	t.Helper()
	return newService(t, e.store(t), &opts)
}

func (e *engine) exec(t testing.TB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := e.db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func (e *engine) begin(t testing.TB, svc *keyfold.Service) (*sql.Tx, *keyfold.Service) {
	t.Helper()
	tx, err := e.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx, svc.With(e.bind(tx))
}

// rarely polls so rarely that a Service notices changes only if the test calls Sync
// or the store notifies it.
var rarely = keyfold.Options{PollInterval: time.Minute, PollAfter: keyfold.Never, MaxStaleness: time.Hour, CacheMaxAge: time.Hour, FlushInterval: time.Minute}

// remembered creates n keys and two Services. The Service here has cached the keys.
func remembered(t testing.TB, e *engine, opts keyfold.Options, n int) (here, there *keyfold.Service, keys []keyfold.Key, tokens []string) {
	t.Helper()
	here, there = e.service(t, opts), e.service(t, opts)
	for range n {
		key, token := create(t, there, keyfold.NewKey{OwnerID: "o"})
		keys, tokens = append(keys, key), append(tokens, token)
	}
	outcome(here, tokens[0]) // begins to follow the feed
	syncs(t, here)
	for _, token := range tokens {
		wants(t, here, token, keyfold.OutcomeAllowed, "before")
	}
	return here, there, keys, tokens
}

func syncs(t testing.TB, svc *keyfold.Service) {
	t.Helper()
	if err := svc.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, svc *keyfold.Service, token string, want keyfold.Outcome, when string) {
	t.Helper()
	if got := outcome(svc, token); got != want {
		t.Errorf("%s: %v, want %v", when, got, want)
	}
}

// until waits until a verify has the outcome.
func until(t testing.TB, svc *keyfold.Service, token string, want keyfold.Outcome, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		got := outcome(svc, token)
		took := time.Since(began)
		if got == want {
			return took
		}
		if took > limit {
			t.Fatalf("%v after %v, want %v", got, took, want)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

func TestTransactionsThatCommitInReverseOrderAreBothHeard(t *testing.T) {
	// SQLite lets one transaction write at a time.
	// Mutations tried: a cursor without holes, a snapshot whose xmin is two too high.
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, e *engine) {
		here, there, keys, tokens := remembered(t, e, rarely, 2)
		first, inFirst := e.begin(t, there)
		second, inSecond := e.begin(t, there)
		for i, bound := range []*keyfold.Service{inFirst, inSecond} {
			if err := bound.RevokeKey(t.Context(), keys[i].ID, ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := second.Commit(); err != nil {
			t.Fatal(err)
		}
		syncs(t, here)
		wants(t, here, tokens[1], keyfold.OutcomeRevoked, "the second, committed first")
		wants(t, here, tokens[0], keyfold.OutcomeAllowed, "the first, not committed yet")
		if err := first.Commit(); err != nil {
			t.Fatal(err)
		}
		syncs(t, here)
		wants(t, here, tokens[0], keyfold.OutcomeRevoked, "the first, committed last")
	}, "sqlite", noSQL)
}

func TestRevocationInATransactionOfThirtySecondsIsHeardAtTheNextPoll(t *testing.T) {
	// On MariaDB its number was missing for thirty seconds.
	// Mutation tried: a window of fifteen seconds there.
	const poll = 50 * time.Millisecond
	// It waits nearly all the time, so it begins before other tests may run at the same time.
	done := make(chan struct{})
	defer func() { <-done }()
	test := func(t *testing.T, e *engine) {
		open := 30 * time.Second
		if testing.Short() || e.name == "sqlite" { // SQLite has one transaction at a time, so no number is missing
			open = 2 * time.Second
		}
		opts := keyfold.Options{PollInterval: poll, MaxStaleness: time.Hour, CacheMaxAge: time.Hour}
		here, there, keys, tokens := remembered(t, e, opts, 2)
		tx, bound := e.begin(t, there)
		if err := bound.RevokeKey(t.Context(), keys[0].ID, ""); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < open; time.Sleep(100 * time.Millisecond) {
			if e.name != "sqlite" { // others go on, and some of them roll back
				if err := there.DisableKey(t.Context(), keys[1].ID, ""); err != nil {
					t.Fatal(err)
				}
				if err := there.EnableKey(t.Context(), keys[1].ID); err != nil {
					t.Fatal(err)
				}
				other, undone := e.begin(t, there)
				if err := errors.Join(undone.DisableKey(t.Context(), keys[1].ID, ""), other.Rollback()); err != nil {
					t.Fatal(err)
				}
			}
			wants(t, here, tokens[0], keyfold.OutcomeAllowed, "before the commit")
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		t.Logf("heard %v after the commit", until(t, here, tokens[0], keyfold.OutcomeRevoked, poll+time.Second))
	}
	go func() {
		defer close(done)
		onEveryEngine(t, test, noSQL)
	}()
	t.Parallel()
}

func TestFeedThatLostItsPastMakesEverythingForgotten(t *testing.T) {
	// Each harm comes with a change that no row of the feed tells of.
	// Mutation tried: Continues always true.
	t.Parallel()
	const behind = "UPDATE keyfold_keys SET revoked_at = 1"
	harms := map[string]func(*testing.T, *engine, *keyfold.Service){
		"pruned past the cursor": func(t *testing.T, e *engine, there *keyfold.Service) {
			e.exec(t, behind)
			tx, bound := e.begin(t, there) // in one step, so that no poll comes between
			for range 3 {
				create(t, bound, keyfold.NewKey{})
			}
			_, _, err := e.bind(tx).Store.PruneChanges(t.Context(), time.Now().Add(time.Hour), 1000)
			if err := errors.Join(err, tx.Commit()); err != nil {
				t.Fatal(err)
			}
		},
		"emptied": func(t *testing.T, e *engine, _ *keyfold.Service) {
			e.exec(t, behind, "DELETE FROM keyfold_changes")
		},
		"emptied and counted anew": func(t *testing.T, e *engine, there *keyfold.Service) {
			e.exec(t, behind, map[string]string{
				"sqlite": "DELETE FROM keyfold_changes", "postgres": "TRUNCATE keyfold_changes RESTART IDENTITY", "mariadb": "TRUNCATE keyfold_changes",
			}[e.name])
			if e.name == "sqlite" {
				e.exec(t, "DELETE FROM sqlite_sequence WHERE name = 'keyfold_changes'")
			}
			time.Sleep(2 * time.Millisecond) // the changes that get the same numbers bear other times
			for range 4 {
				create(t, there, keyfold.NewKey{})
			}
		},
		"rewound": func(t *testing.T, e *engine, there *keyfold.Service) {
			e.exec(t, behind, "DELETE FROM keyfold_changes WHERE seq > 1")
			create(t, there, keyfold.NewKey{})
		},
		"of another database": func(t *testing.T, e *engine, _ *keyfold.Service) {
			e.exec(t, behind, "UPDATE keyfold_meta SET feed_id = 'another'")
		},
	}
	onEveryEngine(t, func(t *testing.T, e *engine) {
		here, there, _, _ := remembered(t, e, rarely, 1)
		for name, harm := range harms {
			_, token := create(t, there, keyfold.NewKey{})
			create(t, there, keyfold.NewKey{})
			syncs(t, here)
			wants(t, here, token, keyfold.OutcomeAllowed, name+": before")
			harm(t, e, there)
			if e.name != "postgres" { // there a NOTIFY may have made it hear already
				wants(t, here, token, keyfold.OutcomeAllowed, name+": before the poll")
			}
			syncs(t, here)
			wants(t, here, token, keyfold.OutcomeRevoked, name+": after the poll")
		}
	}, noSQL)
}

func TestRestoredBackupMakesEverythingForgotten(t *testing.T) {
	// Keys that were good before the backup and revoked after it are good again,
	// those that were revoked before it stay so, and younger ones are unknown.
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, e *engine) {
		here, there, keys, tokens := remembered(t, e, rarely, 2)
		if err := there.DisableKey(t.Context(), keys[0].ID, ""); err != nil {
			t.Fatal(err)
		}
		backup := backUp(t, e)
		if err := there.EnableKey(t.Context(), keys[0].ID); err != nil {
			t.Fatal(err)
		}
		if err := there.RevokeKey(t.Context(), keys[1].ID, ""); err != nil {
			t.Fatal(err)
		}
		_, young := create(t, there, keyfold.NewKey{})
		syncs(t, here)
		wants(t, here, tokens[0], keyfold.OutcomeAllowed, "before the restore")
		wants(t, here, tokens[1], keyfold.OutcomeRevoked, "before the restore")
		wants(t, here, young, keyfold.OutcomeAllowed, "before the restore")
		backup()
		syncs(t, here)
		wants(t, here, tokens[0], keyfold.OutcomeDisabled, "disabled in the backup")
		wants(t, here, tokens[1], keyfold.OutcomeAllowed, "revoked after the backup")
		wants(t, here, young, keyfold.OutcomeUnknown, "made after the backup")
	}, noSQL)
}

// backUp copies what a restore brings back while programs run.
func backUp(t *testing.T, e *engine) (restore func()) {
	t.Helper()
	if e.name == "sqlite" {
		file := testdb.SQLite(t)
		e.exec(t, "VACUUM INTO '"+file+"'")
		return func() {
			conn, err := e.db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.Raw(func(conn any) error {
				restore, err := conn.(interface {
					NewRestore(string) (*sqlitedriver.Backup, error)
				}).NewRestore(file)
				if err != nil {
					return err
				}
				_, err = restore.Step(-1)
				return errors.Join(err, restore.Finish())
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	tables := []string{"keyfold_keys", "keyfold_changes", "keyfold_meta"}
	for _, table := range tables {
		e.exec(t, "CREATE TABLE backup_"+table+" (LIKE "+table+")", "INSERT INTO backup_"+table+" SELECT * FROM "+table)
	}
	return func() {
		for _, table := range tables {
			insert := "INSERT INTO " + table
			if e.name == "postgres" {
				insert += " OVERRIDING SYSTEM VALUE"
			}
			e.exec(t, "DELETE FROM "+table, insert+" SELECT * FROM backup_"+table)
		}
	}
}

func TestProcessWhoseFeedIsAwayAsksTheStore(t *testing.T) {
	// The store can read keys, but not the feed.
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, e *engine) {
		var failed atomic.Int64
		var last atomic.Int64
		here, _, keys, tokens := remembered(t, e, keyfold.Options{
			PollInterval: 20 * time.Millisecond, MaxStaleness: 200 * time.Millisecond,
			OnPoll: func(behind time.Duration, err error) {
				last.Store(int64(behind))
				if err != nil {
					failed.Add(1)
				}
			},
		}, 1)
		e.exec(t, "UPDATE keyfold_keys SET disabled_at = 1 WHERE id = '"+keys[0].ID+"'") // without a row in the feed
		wants(t, here, tokens[0], keyfold.OutcomeAllowed, "while the feed tells nothing")
		e.exec(t, "ALTER TABLE keyfold_changes RENAME TO away")
		began := time.Now()
		until(t, here, tokens[0], keyfold.OutcomeDisabled, 5*time.Second)
		if here.Staleness() < 200*time.Millisecond || failed.Load() == 0 || time.Duration(last.Load()) > time.Since(began)+time.Second {
			t.Errorf("Staleness is %v, %d polls failed, the last one told %v", here.Staleness(), failed.Load(), time.Duration(last.Load()))
		}
		e.exec(t, "ALTER TABLE away RENAME TO keyfold_changes")
		for began := time.Now(); here.Staleness() > 200*time.Millisecond; time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > 5*time.Second {
				t.Fatalf("the feed is back and not heard: %v behind", here.Staleness())
			}
		}
	}, noSQL)
}

func TestProcessWhoseDatabaseIsAwayRefusesAndRecoversByItself(t *testing.T) {
	t.Parallel()
	onEveryEngine(t, func(t *testing.T, e *engine) {
		_, there, keys, tokens := remembered(t, e, rarely, 2)
		line := newLine(t, e)
		store, err := e.open(t.Context(), line.dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		here := newService(t, store, &keyfold.Options{PollInterval: 20 * time.Millisecond, MaxStaleness: 200 * time.Millisecond})
		outcome(here, tokens[0])
		syncs(t, here)
		wants(t, here, tokens[0], keyfold.OutcomeAllowed, "before")
		for range 2 {
			line.cut()
			if err := there.DisableKey(t.Context(), keys[0].ID, ""); err != nil {
				t.Fatal(err)
			}
			until(t, here, tokens[0], keyfold.OutcomeUnavailable, 5*time.Second)
			wants(t, here, tokens[0], keyfold.OutcomeUnavailable, "with the store away too")
			line.mend()
			until(t, here, tokens[0], keyfold.OutcomeDisabled, 10*time.Second)
			if err := there.EnableKey(t.Context(), keys[0].ID); err != nil {
				t.Fatal(err)
			}
			until(t, here, tokens[0], keyfold.OutcomeAllowed, 5*time.Second)
			wants(t, here, tokens[1], keyfold.OutcomeAllowed, "another key")
		}
	}, "sqlite", noSQL)
}

// line is a proxy in front of a server. The test can cut its connections.
type line struct {
	dsn    string
	target string
	mu     sync.Mutex
	down   bool
	conns  []net.Conn
}

func newLine(t *testing.T, e *engine) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{}
	if e.name == "postgres" {
		location, err := url.Parse(e.dsn)
		if err != nil {
			t.Fatal("the data source name of the test server is not a URL")
		}
		l.target, location.Host = location.Host, listener.Addr().String()
		l.dsn = location.String()
	} else {
		l.dsn, l.target = mariadbThrough(t, e.dsn, listener.Addr().String())
	}
	t.Cleanup(func() { _ = listener.Close(); l.cut() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go l.serve(conn)
		}
	}()
	return l
}

func mariadbThrough(t *testing.T, dsn, address string) (through, target string) {
	t.Helper()
	config, err := mysqldriver.ParseDSN(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	target, config.Addr = config.Addr, address
	return config.FormatDSN(), target
}

func (l *line) serve(conn net.Conn) {
	defer conn.Close()
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer server.Close()
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return
	}
	l.conns = append(l.conns, conn, server)
	l.mu.Unlock()
	go func() { _, _ = io.Copy(server, conn); _ = server.Close() }()
	_, _ = io.Copy(conn, server)
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.conns = nil
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

func TestPostgresNotifiesOfARevocationWithinASecondWhateverThePollInterval(t *testing.T) {
	// Mutation tried: no pg_notify in AddChange.
	t.Parallel()
	e := engines()["postgres"](t)
	const rounds = 100
	here, there, keys, tokens := remembered(t, e, rarely, rounds)
	probe, token := create(t, there, keyfold.NewKey{})
	until(t, here, token, keyfold.OutcomeAllowed, time.Second)
	time.Sleep(300 * time.Millisecond) // until it listens
	if err := there.RevokeKey(t.Context(), probe.ID, ""); err != nil {
		t.Fatal(err)
	}
	until(t, here, token, keyfold.OutcomeRevoked, 5*time.Second)
	var took []time.Duration
	for i, key := range keys {
		if err := there.RevokeKey(t.Context(), key.ID, ""); err != nil {
			t.Fatal(err)
		}
		took = append(took, until(t, here, tokens[i], keyfold.OutcomeRevoked, time.Second))
		time.Sleep(time.Duration(i%20) * time.Millisecond)
	}
	slices.Sort(took)
	t.Logf("refused elsewhere: p50 %v, p99 %v, most %v after RevokeKey returned", took[rounds/2], took[rounds*99/100], took[rounds-1])
}
