package keyfold_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	mysqlstore "github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
)

// wire is a line to a database server that a test can cut or hold up.
type wire struct {
	listener net.Listener
	backend  string

	mu    sync.Mutex
	held  chan struct{} // not nil while nothing passes
	cut   bool
	conns []net.Conn
}

// newWire listens on a port of its own and passes everything on to backend.
func newWire(t *testing.T, backend string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, backend: backend}
	t.Cleanup(func() { _ = listener.Close(); w.hold(false); w.setCut(true) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go w.join(conn)
		}
	}()
	return w
}

func (w *wire) join(client net.Conn) {
	server, err := net.Dial("tcp", w.backend)
	if err != nil {
		_ = client.Close()
		return
	}
	w.mu.Lock()
	refuse := w.cut
	w.conns = append(w.conns, client, server)
	w.mu.Unlock()
	if refuse {
		_, _ = client.Close(), server.Close()
		return
	}
	pass := func(to, from net.Conn) {
		defer func() { _, _ = to.Close(), from.Close() }()
		block := make([]byte, 32<<10)
		for {
			n, err := from.Read(block)
			if err != nil {
				return
			}
			w.mu.Lock()
			held := w.held
			w.mu.Unlock()
			if held != nil {
				<-held
			}
			if _, err := to.Write(block[:n]); err != nil {
				return
			}
		}
	}
	go pass(server, client)
	pass(client, server)
}

// setCut drops all connections and refuses new ones, or lets them through again.
func (w *wire) setCut(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	if cut {
		for _, conn := range w.conns {
			_ = conn.Close()
		}
		w.conns = nil
	}
}

// hold keeps everything back that is sent, or lets it go.
func (w *wire) hold(held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held != nil && !held {
		close(w.held)
		w.held = nil
	} else if w.held == nil && held {
		w.held = make(chan struct{})
	}
}

// wired is a store at the other end of a wire, with a pool of a size, and a way
// to take the whole pool.
type wired struct {
	*wire
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
	w := newWire(t, location.Host)
	location.Host = w.listener.Addr().String()
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
	return wired{wire: w, store: opened(t)(store, err), exhaust: func(t *testing.T) func() {
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
	w := newWire(t, config.Addr)
	config.Addr, config.InterpolateParams = w.listener.Addr().String(), true
	db := pool(t, "mysql", config.FormatDSN())
	db.SetMaxOpenConns(poolSize)
	store, err := mysqlstore.New(t.Context(), db)
	return wired{wire: w, store: opened(t)(store, err), exhaust: func(t *testing.T) func() {
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
				w.setCut(true)
				return func() { w.setCut(false) }
			},
			"no answer": func(_ *testing.T, w wired) func() {
				w.hold(true)
				return func() { w.hold(false) }
			},
		} {
			t.Run(engine+"/"+fault, func(t *testing.T) {
				t.Parallel()
				w := open(t)
				svc := newService(t, w.store, &keyfold.Options{DisableCache: true, VerifyTimeout: 300 * time.Millisecond})
				_, token := create(t, svc, keyfold.NewKey{})
				if got := outcome(svc, token); got != keyfold.CodeAllowed {
					t.Fatal(got)
				}
				end := inject(t, w)
				for range 3 {
					id, err := svc.Verify(context.Background(), keyfold.Request{Token: token})
					if !errors.Is(err, keyfold.ErrUnavailable) || !id.IsZero() {
						t.Errorf("during the fault: %v, %v; want nobody and ErrUnavailable", id, err)
					}
				}
				end()
				deadline := time.Now().Add(10 * time.Second)
				for got := outcome(svc, token); got != keyfold.CodeAllowed; got = outcome(svc, token) {
					if time.Now().After(deadline) {
						t.Fatalf("ten seconds after the fault: %v", got)
					}
				}
			})
		}
	}
}
