package main

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/keyfold/keyfold/httpadapter/admin"
)

// gate is a way to a database server that can be closed and opened.
type gate struct {
	listener net.Listener
	target   string

	mu     sync.Mutex
	closed bool
	conns  []net.Conn
}

// through puts a gate into a connection string.
func through(t *testing.T, db string) (*gate, string) {
	t.Helper()
	location, err := url.Parse(db)
	if err != nil {
		t.Fatal("the connection string for tests is no URL")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: listener, target: location.Host}
	t.Cleanup(func() { _ = listener.Close(); g.set(false) })
	go g.run()
	location.Host = listener.Addr().String()
	return g, location.String()
}

func (g *gate) run() {
	for {
		in, err := g.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", g.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		g.mu.Lock()
		if g.closed {
			_, _ = in.Close(), out.Close()
		}
		g.conns = append(g.conns, in, out)
		g.mu.Unlock()
		go pipe(in, out)
		go pipe(out, in)
	}
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_, _ = to.Close(), from.Close()
}

// set opens or closes the gate; closing breaks what goes through.
func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed = !open; g.closed {
		for _, conn := range g.conns {
			_ = conn.Close()
		}
		g.conns = nil
	}
}

// A database that goes away in flight means 503, and nothing has to be done
// when it is back.
func TestServerOutlivesItsDatabase(t *testing.T) {
	t.Parallel()
	for _, engine := range engines[1:] {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			way, db := through(t, engine.open(t))
			s := startServer(t, t.TempDir(), db, engine.secret)
			var created admin.CreatedKey
			s.admin("POST", "/keys", `{}`, http.StatusCreated, &created)
			way.set(false)
			s.awaitStatus("/healthz", http.StatusServiceUnavailable)
			for _, request := range [][]string{
				{"GET", "/auth/keys/" + created.Key.ID, "secret-key", s.secret},
				{"POST", "/auth/keys/" + created.Key.ID + "/revoke", "secret-key", s.secret},
			} {
				a, err := send(t.Context(), http.DefaultClient, request[0], s.url+request[1], "", request[2:]...)
				if err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" ||
					!strings.Contains(string(a.body), `"code":"unavailable"`) {
					t.Errorf("%s %s while the database is away: %d, %v: %s", request[0], request[1], a.status, err, a.body)
				}
			}
			way.set(true)
			s.awaitStatus("/healthz", http.StatusOK)
			s.awaitStatus("/secure", http.StatusOK, "X-API-Key", created.Token)
			s.admin("POST", "/keys/"+created.Key.ID+"/revoke", "", http.StatusOK, nil)
			s.awaitStatus("/secure", http.StatusUnauthorized, "X-API-Key", created.Token)
			s.stop()
		})
	}
}
