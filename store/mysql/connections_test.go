package mysql_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/mysql"
)

// limitedAccount creates an account with all rights in the database of dsn and without
// administrative privileges, and returns a data source name for it.
func limitedAccount(t *testing.T, dsn, with string) *driver.Config {
	t.Helper()
	config, err := driver.ParseDSN(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	config.Net, config.Addr = "tcp", strings.Replace(config.Addr, "localhost", "127.0.0.1", 1)
	name := "a" + config.DBName[max(0, len(config.DBName)-28):]
	db := engine().SQL(t, dsn)
	exec(t, db, "CREATE USER '"+name+"'@'%' IDENTIFIED BY 'pass-of-account' "+with)
	t.Cleanup(func() { _, _ = db.Exec("DROP USER '" + name + "'@'%'") })
	exec(t, db, "GRANT ALL ON `"+config.DBName+"`.* TO '"+name+"'@'%'")
	config.User, config.Passwd = name, "pass-of-account"
	return config
}

func exec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// The server refuses more connections with error 1226. Mutation tried: a class without
// 1226.
func TestVerifySucceedsWithALimitOnTheConnectionsOfAnAccount(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	limited := limitedAccount(t, dsn, "WITH MAX_USER_CONNECTIONS 6").FormatDSN()
	for name, open := range map[string]func(t *testing.T) keyfold.Store{
		"Open": func(t *testing.T) keyfold.Store { return open(t, limited) },
		"a pool of the program's own": func(t *testing.T) keyfold.Store {
			store, err := mysql.New(t.Context(), pool(t, limited, nil))
			if err != nil {
				t.Fatal(err)
			}
			return store
		},
	} {
		t.Run(name, func(t *testing.T) { // not in parallel, because they share six connections
			store := open(t)
			defer store.Close()
			svc, err := keyfold.New(store, &keyfold.Options{DisableCache: true, VerifyTimeout: 30 * time.Second})
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
			for range 64 {
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
		})
	}
}

// switchable is an address that forwards connections to one of several servers, as a load
// balancer does.
type switchable struct {
	net.Listener
	target atomic.Pointer[string]
}

func newSwitchable(t *testing.T, target string) *switchable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &switchable{Listener: listener}
	s.target.Store(&target)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", *s.target.Load())
			if err != nil {
				_ = near.Close()
				continue
			}
			join := func(to, from net.Conn) { _, _ = io.Copy(to, from); _ = to.Close() }
			go join(near, far)
			go join(far, near)
		}
	}()
	return s
}

// Mutations tried: an inspect that returns every error unchanged; only rejectReadOnly of
// the driver, which replaces one connection and not the others.
func TestPoolLeavesAServerThatBecameReadOnly(t *testing.T) {
	t.Parallel()
	administrator := testdb.PrivateMariaDB(t)
	newer := testdb.MariaDB(t)
	newConfig := limitedAccount(t, newer, "")
	older := *administrator
	older.DBName = newConfig.DBName
	old := engine().SQL(t, administrator.FormatDSN())
	exec(t, old, "CREATE DATABASE `"+older.DBName+"` CHARACTER SET utf8mb4")
	oldConfig := limitedAccount(t, older.FormatDSN(), "")
	open(t, newer) // the new server has the schema
	var there string
	if err := engine().SQL(t, newer).QueryRowContext(t.Context(), "SELECT @@port").Scan(&there); err != nil {
		t.Fatal(err)
	}

	address := newSwitchable(t, oldConfig.Addr)
	config := *oldConfig
	config.Addr = address.Addr().String()
	store := open(t, config.FormatDSN())
	ports := func() (ports []string) { // of eight connections at once
		var conns []*sql.Conn
		for range 8 {
			conn, err := store.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, conn)
			var port string
			if err := conn.QueryRowContext(t.Context(), "SELECT @@port").Scan(&port); err != nil {
				t.Fatal(err)
			}
			ports = append(ports, port)
		}
		for _, conn := range conns {
			_ = conn.Close()
		}
		return ports
	}
	ports()

	exec(t, old, "SET GLOBAL read_only = 1")
	key := sqltest.Key()
	mutation := sqltest.Mutation("key.create", key.ID)
	detail := new(driver.MySQLError)
	if err := store.CreateKey(t.Context(), key, mutation); !errors.As(err, &detail) || detail.Number != 1290 {
		t.Errorf("CreateKey while only the read-only server is there: got %v, want its error 1290", err)
	}
	address.target.Store(&newConfig.Addr)
	for began := time.Now(); ; { // connections are replaced at most every five seconds
		err := store.CreateKey(t.Context(), key, mutation)
		if err == nil {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("CreateKey half a minute after the switch-over: %v", err)
		}
		pause(t.Context())
	}
	for _, port := range ports() {
		if port != there {
			t.Errorf("a connection still leads to port %s, want %s", port, there)
		}
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

// Mutation tried: a configuration without a logger, whose messages go to
// standard error.
func TestMessagesOfTheDriverGoToTheLoggerOfTheService(t *testing.T) {
	t.Parallel()
	dsn := testdb.MariaDB(t)
	store := open(t, limitedAccount(t, dsn, "").FormatDSN())
	var out lines
	svc, err := keyfold.New(store, &keyfold.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(context.WithoutCancel(t.Context()))
	var id string
	if err := store.DB().QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
		t.Fatal(err)
	}
	exec(t, engine().SQL(t, dsn), "KILL "+id)
	for range 500 { // until the connection fails
		if _, err := store.DB().ExecContext(t.Context(), "DO 1"); err != nil && strings.Contains(err.Error(), "pass-of-account") {
			t.Fatalf("an error holds the password")
		}
		if strings.Contains(out.text(), "the MySQL driver reports") {
			break
		}
		pause(t.Context())
	}
	if got := out.text(); !strings.Contains(got, "the MySQL driver reports") || strings.Contains(got, "pass-of-account") {
		t.Errorf("got %q, want a message of the driver without the password", got)
	}
}
