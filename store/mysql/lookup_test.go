package mysql_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/mysql"
)

// line is a network line to the server that can fall silent: nothing arrives, and no
// connection ends.
type line struct {
	net.Listener
	passing sync.RWMutex // held to write while the line is silent
}

func newLine(t *testing.T, dsn string) (l *line, through string) {
	t.Helper()
	config, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	server := config.Addr
	network := config.Net
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = &line{Listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial(network, server)
			if err != nil {
				_ = near.Close()
				continue
			}
			go l.join(near, far)
			go l.join(far, near)
		}
	}()
	config.Net, config.Addr = "tcp", listener.Addr().String()
	return l, config.FormatDSN()
}

func (l *line) join(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	packet := make([]byte, 4096)
	for {
		n, err := from.Read(packet)
		if err != nil {
			return
		}
		l.passing.RLock()
		_, err = to.Write(packet[:n])
		l.passing.RUnlock()
		if err != nil {
			return
		}
	}
}

func verify(t *testing.T, store *mysql.Store, id string, limit time.Duration) (keyfold.VerifyRecord, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return store.VerifyKey(ctx, id)
}

// Mutation tried: queryLookup that sets no deadline.
func TestVerifyEndsAtItsDeadlineWhileTheServerIsSilent(t *testing.T) {
	t.Parallel()
	l, dsn := newLine(t, testdb.MariaDB(t))
	store := open(t, dsn)
	keys := []keyfold.KeyRecord{sqltest.Create(t, store), sqltest.Create(t, store)}
	for range 3 {
		if _, err := verify(t, store, keys[0].ID, 10*time.Second); err != nil {
			t.Fatalf("VerifyKey: %v", err)
		}
	}
	l.passing.Lock()
	var silent sync.WaitGroup
	for range 8 { // on a connection that was used before, and on new ones
		silent.Go(func() {
			began := time.Now()
			_, err := verify(t, store, keys[0].ID, 200*time.Millisecond)
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
				t.Errorf("VerifyKey: got %v after %v, want context.DeadlineExceeded after 200 ms", err, took)
			}
		})
	}
	silent.Wait()
	l.passing.Unlock() // answers that are late arrive
	for range 20 {
		for _, key := range keys {
			if record, err := verify(t, store, key.ID, 10*time.Second); err != nil || record.KeyID != key.ID {
				t.Fatalf("VerifyKey after the silence: key %q, %v; want %q", record.KeyID, err, key.ID)
			}
		}
	}
}

// Mutation tried: unlimit that does nothing.
func TestDeadlineOfAVerifyDoesNotEndTheConnection(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.MariaDB(t))
	key := sqltest.Create(t, store)
	connection := func() (id int64) {
		t.Helper()
		if err := store.DB().QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	before := connection()
	for range 3 {
		if _, err := verify(t, store, key.ID, 500*time.Millisecond); err != nil {
			t.Fatalf("VerifyKey: %v", err)
		}
		time.Sleep(600 * time.Millisecond) // the deadline passes while the connection is idle
		if after := connection(); after != before {
			t.Fatalf("connection %d was replaced by %d", before, after)
		}
	}
}

func TestVerifySucceedsAfterItsConnectionWasKilled(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	store := open(t, dsn)
	key := sqltest.Create(t, store)
	other := engine().SQL(t, dsn)
	for range 5 {
		if _, err := verify(t, store, key.ID, 10*time.Second); err != nil {
			t.Fatalf("VerifyKey: %v", err)
		}
		var id int64
		if err := store.DB().QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		if _, err := other.ExecContext(t.Context(), "KILL CONNECTION ?", id); err != nil {
			t.Fatal(err)
		}
	}
}

// A program may set time limits of the driver, which would replace the deadline of a
// verify.
func TestVerifyKeepsTheTimeLimitsOfTheDriver(t *testing.T) {
	t.Parallel()
	l, dsn := newLine(t, testdb.MariaDB(t))
	config, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	config.ReadTimeout = 30 * time.Second
	store := open(t, config.FormatDSN())
	key := sqltest.Create(t, store)
	if _, err := verify(t, store, key.ID, 10*time.Second); err != nil {
		t.Fatalf("VerifyKey: %v", err)
	}
	l.passing.Lock()
	defer l.passing.Unlock()
	began := time.Now()
	_, err = verify(t, store, key.ID, 200*time.Millisecond)
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
		t.Errorf("VerifyKey: got %v after %v, want context.DeadlineExceeded after 200 ms", err, took)
	}
}
