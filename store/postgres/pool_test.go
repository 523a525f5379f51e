package postgres_test

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/postgres"
)

func TestPoolParametersSetThePool(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	separator := "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	dsn += separator
	store, err := postgres.Open(t.Context(), dsn+"pool_max_conns=3&pool_max_conn_lifetime=90s&pool_max_conn_idle_time=7s")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	config := store.Pool().Config()
	if config.MaxConns != 3 || config.MaxConnLifetime != 90*time.Second || config.MaxConnIdleTime != 7*time.Second {
		t.Errorf("got %d connections for %v, idle for %v; want 3, 1m30s, 7s", config.MaxConns, config.MaxConnLifetime, config.MaxConnIdleTime)
	}
	for parameter, want := range map[string]string{
		"pool_max_conns=0":              "pool_max_conns must be a whole number of at least 1",
		"pool_max_conns=hunter2":        "pool_max_conns must be",
		"pool_min_conns=x":              "pool_min_conns must be a whole number",
		"pool_max_conn_lifetime=300":    "pool_max_conn_lifetime must be a duration",
		"pool_max_conn_idle_time=never": "pool_max_conn_idle_time must be a duration",
	} {
		store, err := postgres.Open(t.Context(), dsn+parameter)
		if err == nil {
			_ = store.Close()
			t.Errorf("%s: Open got no error", parameter)
		} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want %q", parameter, err, want)
		}
	}
}

// The server refuses more connections with 53300. Mutation tried: a class without 53300.
func TestVerifySucceedsWithALimitOnTheConnectionsOfARole(t *testing.T) {
	t.Parallel()
	location, err := url.Parse(testdb.Postgres(t))
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	database := strings.TrimPrefix(location.Path, "/")
	role := "r" + database[max(0, len(database)-28):]
	admin := engine().SQL(t, location.String())
	for _, statement := range []string{
		"CREATE ROLE " + role + " LOGIN PASSWORD 'pass-of-role' CONNECTION LIMIT 3", "ALTER DATABASE " + database + " OWNER TO " + role,
		"ALTER SCHEMA public OWNER TO " + role,
	} {
		if _, err := admin.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	owner := location.User.Username()
	t.Cleanup(func() { drop(t, admin, owner, role) })
	location.User = url.UserPassword(role, "pass-of-role")
	config, err := pgxpool.ParseConfig(location.String())
	if err != nil {
		t.Fatal("the data source name of the role is malformed")
	}
	config.MaxConns = 16
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	store, err := postgres.New(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var out lines
	svc, err := keyfold.New(store, &keyfold.Options{
		DisableCache: true, VerifyTimeout: 30 * time.Second, Logger: slog.New(slog.NewTextHandler(&out, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(context.WithoutCancel(t.Context()))
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	const verifies = 2000
	var failed, next atomic.Int64
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for next.Add(1) <= verifies {
				if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()}); err != nil && failed.Add(1) == 1 {
					t.Errorf("Verify: %v", err)
				}
			}
		})
	}
	group.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d verifies failed", n, verifies)
	}
	if got := out.text(); !strings.Contains(got, "allows fewer connections than the pool may open") || strings.Contains(got, "pass-of-role") {
		t.Errorf("the log has %q, want a message about the pool, without the password", got)
	}
}

// lines collects the lines that a logger writes.
type lines struct {
	sync.Mutex
	bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.Write(p)
}

func (l *lines) text() string {
	l.Lock()
	defer l.Unlock()
	return l.String()
}

// drop reassigns the objects of the role and drops it.
func drop(t *testing.T, admin *sql.DB, owner, role string) {
	t.Helper()
	for _, statement := range []string{
		"REASSIGN OWNED BY " + role + " TO " + owner, "DROP OWNED BY " + role, "DROP ROLE " + role,
	} {
		if _, err := admin.Exec(statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
}
