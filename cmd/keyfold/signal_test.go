package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/wire"
)

// dial opens a connection to the server.
func (s *server) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// beginCreate sends a request to create a key, but the last byte of its body.
func (s *server) beginCreate() net.Conn {
	s.t.Helper()
	conn := s.dial()
	_, err := fmt.Fprintf(conn, "POST /auth/keys HTTP/1.1\r\nHost: x\r\nsecret-key: %s\r\nContent-Type: application/json\r\n"+
		"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", s.secret)
	if err != nil {
		s.t.Fatal(err)
	}
	// The server asks for the body, so its handler is running.
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "100") {
		s.t.Fatalf("%q, %v, want to be asked for the body", line, err)
	}
	if _, err := io.WriteString(conn, "{"); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// signal sends SIGTERM and waits for the server to say that it stops.
func (s *server) signal() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	late := time.After(patience)
	for {
		select {
		case line, ok := <-s.stderr.lines:
			if strings.Contains(line, "stopping") {
				return
			}
			if !ok {
				s.t.Fatalf("the server ended: %s", s.stderr)
			}
		case <-late:
			s.t.Fatalf("the server does not stop: %s", s.stderr)
		}
	}
}

func TestRequestUnderWayIsFinished(t *testing.T) {
	t.Parallel()
	dir, db := t.TempDir(), "sqlite:keyfold.db"
	s := startServer(t, dir, db, "")
	conn := s.beginCreate()
	s.signal()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		other, err := net.Dial("tcp", conn.RemoteAddr().String())
		if err != nil {
			break
		}
		_ = other.Close()
		if time.Now().After(deadline) {
			t.Fatal("a server that stops takes new connections")
		}
	}
	if _, err := io.WriteString(conn, "}"); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	if _, err := reader.Peek(1); err != nil {
		t.Fatal(err)
	}
	if blank, _ := reader.Peek(2); string(blank) == "\r\n" { // what is left of "100 Continue"
		_, _ = reader.Discard(2)
	}
	answer, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var created wire.CreatedKey
	if err := json.NewDecoder(answer.Body).Decode(&created); err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("status %d, %v", answer.StatusCode, err)
	}
	s.awaitEnd()
	if keys, _ := listKeys(t, dir, db); len(keys) != 1 || keys[0].ID != created.Key.ID {
		t.Errorf("the key that was acknowledged is not stored: %+v", keys)
	}
}

func TestSecondSignalEndsTheServerAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "sqlite:keyfold.db", "")
	s.beginCreate() // which never ends
	s.signal()
	began := time.Now()
	// The first signal is caught until the server has said that it stops; a
	// moment later the next one is not.
	for waiting := true; waiting; {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case _, waiting = <-s.stderr.lines:
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.read.Wait()
	err := s.cmd.Wait()
	s.done = true
	if took := time.Since(began); err == nil || took > shutdownTimeout/2 {
		t.Errorf("ended after %v: %v; want at once, by the signal", took, err)
	}
}

func TestServerThatIsDownTakesBoundedTime(t *testing.T) {
	t.Parallel()
	// A server that takes connections and says nothing.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for _, scheme := range []string{"postgres", "mysql"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			got := call(t, nil, "keys", "list", "--db", scheme+"://u:hunter-two@"+silent.Addr().String()+"/d")
			if took := time.Since(began); got.code != exitFailure || took > 15*time.Second || strings.Contains(got.stderr, "hunter") {
				t.Errorf("exit code %d after %v: %s", got.code, took, got.stderr)
			}
		})
	}
}

// waitingInput is standard input without a writer, and says when it is read.
type waitingInput struct{ reads chan struct{} }

func (w waitingInput) Read([]byte) (int, error) {
	w.reads <- struct{}{}
	select {} // as the read of a pipe does
}

// A signal is a context that is done, see main.
func TestSignalEndsTheWaitForAPassword(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	id := s.user("", "create", "--username", "olga").ID
	for _, args := range [][]string{{"users", "set-password", id}, {"users", "create", "--username", "pavel", "--password"}} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		in := waitingInput{make(chan struct{}, 1)}
		var stderr bytes.Buffer
		code := make(chan int, 1)
		go func() {
			code <- run(ctx, args, in, io.Discard, &stderr, []string{"KEYFOLD_DATABASE_URL=sqlite:" + s.path})
		}()
		<-in.reads
		cancel()
		select {
		case got := <-code:
			if got != exitFailure || stderr.String() != "keyfold: interrupted\n" {
				t.Errorf("keyfold %v: exit code %d, %q", args, got, &stderr)
			}
		case <-time.After(patience):
			t.Fatalf("keyfold %v does not end", args)
		}
	}
}
