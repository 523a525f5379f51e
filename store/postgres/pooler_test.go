package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/storetest"
)

// pooler is a PgBouncer in front of the test server. It assigns server connections by
// transaction.
type pooler struct{ address string }

func startPooler(t *testing.T) pooler {
	t.Helper()
	server, err := pgx.ParseConfig(testdb.Postgres(t))
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := pooler{free.Addr().String()}
	_ = free.Close()
	_, port, _ := net.SplitHostPort(p.address)
	file := filepath.Join(t.TempDir(), "pgbouncer.ini")
	password := ""
	if server.Password != "" { // PgBouncer does not accept an empty password
		password = " password='" + strings.ReplaceAll(server.Password, "'", "''") + "'"
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, `[databases]
* = host=%s port=%d user=%s%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 500
`, server.Host, server.Port, server.User, password, port), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("../../scripts/pgbouncer", "run", file)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe() // closed when this process ends
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = input.Close(); <-ended })
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial("tcp", p.address)
		if err == nil {
			_ = conn.Close()
			return p
		}
		select {
		case err := <-ended:
			ended <- err
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == 3 && os.Getenv("CI") != "true" {
				t.Skip("PgBouncer is not installed")
			}
			t.Fatalf("scripts/pgbouncer: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("PgBouncer does not answer")
		}
	}
}

// to returns the URL of a database behind the pooler.
func (p pooler) to(t *testing.T, dsn string) string {
	t.Helper()
	location, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	location.Host, location.User = p.address, url.User("anybody")
	location.RawQuery = "sslmode=disable"
	return location.String()
}

// useTogether runs concurrent calls and returns the first error.
func useTogether(t *testing.T, store keyfold.Store) error {
	var group sync.WaitGroup
	failed := make(chan error, 8)
	for range cap(failed) {
		group.Go(func() {
			failed <- func() error {
				for range 8 {
					key := sqltest.Key()
					if err := store.CreateKey(t.Context(), key, sqltest.Mutation("key.create", key.ID)); err != nil {
						return err
					}
					if _, err := store.VerifyKey(t.Context(), key.ID); err != nil {
						return err
					}
					if _, _, err := store.Changes(t.Context(), ""); err != nil {
						return err
					}
				}
				return nil
			}()
		})
	}
	group.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// Without the change of the mode, some or all of these calls fail.
func TestPlainURLWorksThroughATransactionPooler(t *testing.T) {
	t.Parallel()
	p := startPooler(t)
	store := open(t, p.to(t, testdb.Postgres(t)))
	if err := useTogether(t, store); err != nil {
		t.Error(err)
	}
}

// `make test-faults` runs this.
func TestConformanceThroughAPooler(t *testing.T) {
	if os.Getenv("KEYFOLD_FAULTS") == "" {
		t.Skip("this is a part of `make test-faults`")
	}
	p := startPooler(t)
	for _, mode := range []string{"", "&default_query_exec_mode=simple_protocol"} {
		t.Run("mode"+mode, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) keyfold.Store { return open(t, p.to(t, testdb.Postgres(t))+mode) })
		})
	}
}

func TestErrorOfATransactionPoolerNamesTheParameterThatHelps(t *testing.T) {
	t.Parallel()
	p := startPooler(t)
	const want = "default_query_exec_mode=exec"
	for way, mode := range map[string]string{"Open": "&default_query_exec_mode=cache_statement", "New": ""} {
		store, err := openers()[way](t.Context(), t, p.to(t, testdb.Postgres(t))+mode)
		if err == nil {
			t.Cleanup(func() { _ = store.Close() })
			if err = useTogether(t, store); err == nil {
				// New connections prepare statements that the server connections already have.
				store.Pool().Reset()
				err = useTogether(t, store)
			}
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", way, err, want)
		}
	}
}

func TestRefusedStartUpParameterIsExplained(t *testing.T) {
	t.Parallel()
	dsn := startPooler(t).to(t, testdb.Postgres(t)) + "&work_mem=64MB"
	const want = "ignore_startup_parameters"
	for name, open := range map[string]func() (keyfold.Store, error){
		"Open":      func() (keyfold.Store, error) { return postgres.Open(t.Context(), dsn) },
		"OpenStore": func() (keyfold.Store, error) { return postgres.Opener{}.OpenStore(t.Context(), dsn) },
		"New":       func() (keyfold.Store, error) { return openers()["New"](context.WithoutCancel(t.Context()), t, dsn) },
	} {
		if _, err := open(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "work_mem") {
			t.Errorf("%s: got %v, want an error with %q", name, err, want)
		}
	}
}
