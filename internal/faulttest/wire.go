// Package faulttest injects faults. Its tests run several processes of the command
// on one database while they kill processes, stop servers and cut connections. Then
// they compare the responses that clients received with the contents of the
// database. docs/reliability.md describes the results.
//
// The ordinary tests include a short run; `make test-faults` runs all tests.
package faulttest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Wire is a proxy in front of a server. A test can make it cut or delay connections.
type Wire struct {
	listener net.Listener
	server   string
	matches  atomic.Pointer[func([]byte) bool]

	mu    sync.Mutex
	held  chan struct{} // not nil while the wire delays all data
	cut   bool
	conns []net.Conn

	before, after atomic.Int64
}

// NewWire returns a wire that listens on a free port and forwards all connections to
// the server until the test ends.
func NewWire(t testing.TB, server string) *Wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &Wire{listener: listener, server: server}
	t.Cleanup(func() { _ = listener.Close(); w.Hold(false); w.Cut(true) })
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

// Through returns a wire to the server of a database, and the URL of the database
// through that wire.
func Through(t testing.TB, database string) (w *Wire, far string) {
	t.Helper()
	location, err := url.Parse(database)
	if err != nil {
		t.Fatal("the connection string for tests is not a URL")
	}
	w = NewWire(t, location.Host)
	location.Host = w.Addr()
	return w, location.String()
}

// Addr returns the address that the wire listens on, as host:port.
func (w *Wire) Addr() string { return w.listener.Addr().String() }

// Cut closes all connections and refuses new ones. Cut(false) accepts connections again.
func (w *Wire) Cut(cut bool) {
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

// Hold delays all data until Hold(false) is called.
func (w *Wire) Hold(held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held != nil && !held {
		close(w.held)
		w.held = nil
	} else if w.held == nil && held {
		w.held = make(chan struct{})
	}
}

// CutAt makes the wire cut connections at random when a client sends data that matches.
// Half of the cuts happen before the wire forwards the data. The others happen after it,
// so that the response is lost. If matches is nil, the wire stops cutting.
func (w *Wire) CutAt(matches func(sent []byte) bool) {
	if matches == nil {
		w.matches.Store(nil)
		return
	}
	w.matches.Store(&matches)
}

// PostgresCommit reports whether a client of PostgreSQL sends a COMMIT. Use it with
// [Wire.CutAt].
func PostgresCommit(sent []byte) bool {
	return len(sent) < 32 && sent[0] == 'Q' && bytes.Contains(bytes.ToLower(sent), []byte("commit"))
}

// MySQLCommit is like PostgresCommit, for MariaDB and MySQL.
func MySQLCommit(sent []byte) bool { return len(sent) > 4 && string(sent[4:]) == "\x03COMMIT" }

// Cuts returns the number of connections that CutAt has cut before and after the wire
// forwarded the matching data.
func (w *Wire) Cuts() (before, after int64) { return w.before.Load(), w.after.Load() }

func (w *Wire) join(client net.Conn) {
	server, err := net.Dial("tcp", w.server)
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
	var deaf atomic.Bool // the client receives no further responses
	over, end := context.WithCancel(context.Background())
	defer end()
	go func() {
		defer end()
		w.pass(over, client, server, func([]byte) fate {
			if deaf.Load() {
				return cutBefore
			}
			return passOn
		})
	}()
	w.pass(over, server, client, func(sent []byte) fate {
		f := w.fate(sent)
		if f == cutAfter {
			deaf.Store(true)
		}
		return f
	})
}

// fate says whether a block of data is forwarded, and whether its connection is cut.
type fate int

const (
	passOn fate = iota
	cutBefore
	cutAfter
)

func (w *Wire) fate(sent []byte) fate {
	matches := w.matches.Load()
	if matches == nil || !(*matches)(sent) {
		return passOn
	}
	switch rand.IntN(4) {
	case 1:
		w.before.Add(1)
		return cutBefore
	case 2:
		w.after.Add(1)
		return cutAfter
	}
	return passOn
}

// pass forwards the data of one side until either side closes its connection.
func (w *Wire) pass(over context.Context, to, from net.Conn, decide func([]byte) fate) {
	defer func() { _, _ = to.Close(), from.Close() }()
	reader := bufio.NewReaderSize(from, 64<<10)
	for {
		if _, err := reader.Peek(1); err != nil || !w.wait(over, from, reader) {
			return
		}
		block, _ := reader.Peek(reader.Buffered())
		f := decide(block)
		if f == cutBefore {
			return
		}
		if _, err := to.Write(block); err != nil || f == cutAfter {
			return
		}
		_, _ = reader.Discard(len(block))
	}
}

// wait returns when data may pass. It returns false if the sender closes its connection
// first, so that no goroutine waits for a closed connection.
func (w *Wire) wait(over context.Context, from net.Conn, reader *bufio.Reader) bool {
	const look = 50 * time.Millisecond
	for {
		w.mu.Lock()
		held := w.held
		w.mu.Unlock()
		if held == nil {
			return true
		}
		select {
		case <-held:
		case <-over.Done():
			return false
		case <-time.After(look):
			_ = from.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := reader.Peek(min(reader.Buffered()+1, reader.Size()))
			_ = from.SetReadDeadline(time.Time{})
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, bufio.ErrBufferFull) {
				return false
			}
		}
	}
}
