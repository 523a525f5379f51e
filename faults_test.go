package keyfold_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/faulttest"
	"github.com/keyfold/keyfold/internal/testdb"
	mysqlstore "github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
)

// wired is a store behind a wire. Its pool has a fixed size, and the test can take all
// connections of the pool.
type wired struct {
	*faulttest.Wire
	store   keyfold.Store
	exhaust func(t *testing.T) (release func())
}

const poolSize = 2

func wiredPostgres(t *testing.T) wired {
	t.Helper()
	location, err := url.Parse(testdb.Postgres(t))
	if err != nil {
		t.Fatal("the test server's DSN is malformed")
	}
	w := faulttest.NewWire(t, location.Host)
	location.Host = w.Addr()
	config, err := pgxpool.ParseConfig(location.String())
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = poolSize
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	store, err := postgres.New(t.Context(), pool)
	return wired{Wire: w, store: opened(t)(store, err), exhaust: func(t *testing.T) func() {
		var taken []*pgxpool.Conn
		for range poolSize {
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			taken = append(taken, conn)
		}
		return func() {
			for _, conn := range taken {
				conn.Release()
			}
		}
	}}
}

func wiredMariaDB(t *testing.T) wired {
	t.Helper()
	config, err := mysql.ParseDSN(testdb.MariaDB(t))
	if err != nil || config.Net != "tcp" {
		t.Fatal("the wire needs a MariaDB server that is reached by TCP: user@tcp(host:port)/")
	}
	w := faulttest.NewWire(t, config.Addr)
	config.Addr, config.InterpolateParams = w.Addr(), true
	db := pool(t, "mysql", config.FormatDSN())
	db.SetMaxOpenConns(poolSize)
	store, err := mysqlstore.New(t.Context(), db)
	return wired{Wire: w, store: opened(t)(store, err), exhaust: func(t *testing.T) func() {
		var release []func()
		for range poolSize {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			release = append(release, func() { _ = conn.Close() })
		}
		return func() {
			for _, f := range release {
				f()
			}
		}
	}}
}

func TestServerInTroubleAllowsNothingAndIsForgiven(t *testing.T) {
	t.Parallel()
	for engine, open := range map[string]func(*testing.T) wired{"postgres": wiredPostgres, "mariadb": wiredMariaDB} {
		for fault, inject := range map[string]func(*testing.T, wired) (end func()){
			"pool exhausted": func(t *testing.T, w wired) func() { return w.exhaust(t) },
			"connections cut": func(_ *testing.T, w wired) func() {
				w.Cut(true)
				return func() { w.Cut(false) }
			},
			"no answer": func(_ *testing.T, w wired) func() {
				w.Hold(true)
				return func() { w.Hold(false) }
			},
		} {
			t.Run(engine+"/"+fault, func(t *testing.T) {
				t.Parallel()
				w := open(t)
				svc := newService(t, w.store, &keyfold.Options{DisableCache: true, VerifyTimeout: 300 * time.Millisecond})
				_, token := create(t, svc, keyfold.NewKey{})
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Fatal(got)
				}
				end := inject(t, w)
				for range 3 {
					id, err := svc.Verify(context.Background(), keyfold.Request{Token: token})
					if !errors.Is(err, keyfold.ErrUnavailable) || !id.IsZero() {
						t.Errorf("during the fault: %v, %v; want no identity and ErrUnavailable", id, err)
					}
				}
				end()
				deadline := time.Now().Add(10 * time.Second)
				for got := outcome(svc, token); got != keyfold.OutcomeAllowed; got = outcome(svc, token) {
					if time.Now().After(deadline) {
						t.Fatalf("ten seconds after the fault: %v", got)
					}
				}
			})
		}
	}
}
