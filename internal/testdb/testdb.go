// Package testdb gives each test a database of its own.
//
// SQLite needs no server. For PostgreSQL, MariaDB and MongoDB, the package uses the server
// that KEYFOLD_TEST_POSTGRES_DSN, KEYFOLD_TEST_MARIADB_DSN or KEYFOLD_TEST_MONGODB_DSN
// names. `make test` sets these variables. If a variable is not set, the package tries the
// usual local address, so that `go test ./...` works on a machine with a running server.
// If it finds no server, the test is skipped. With CI=true or KEYFOLD_TEST_REQUIRE=1, the
// test fails instead.
//
// Every call creates a new, empty database, which is dropped when the test ends. Tests and
// test packages can therefore use one server at the same time.
package testdb

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// prefix begins the name of every database that this package creates. The creation
	// time follows.
	prefix = "keyfold_test_"

	// abandoned is the age at which a database counts as left over from a run that was
	// killed. It is far above the time limit of a test binary.
	abandoned = time.Hour

	// patience bounds each administrative step. A server that is busy with the tests of
	// several packages takes seconds at worst.
	patience = 30 * time.Second
)

// SQLite returns the path of a file that does not exist yet, in a directory that is
// removed when the test ends.
func SQLite(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "keyfold.db")
}

// Postgres creates a database on the PostgreSQL server for tests and returns its URL, in
// the form that pgx takes. When the test ends the database is dropped together with any
// connection that is still open to it.
func Postgres(t testing.TB) string {
	t.Helper()
	return create(t, &postgres)
}

// MariaDB creates a database on the MariaDB or MySQL server for tests and returns its
// data source name, in the form that go-sql-driver takes. When the test ends the database
// is dropped together with any connection that is still open to it.
func MariaDB(t testing.TB) string {
	t.Helper()
	return create(t, &mariadb)
}

// MariaDBURL is MariaDB with the result in the form mysql://user:password@host:port/name.
// The URL does not have the parameters of KEYFOLD_TEST_MARIADB_DSN.
func MariaDBURL(t testing.TB) string {
	t.Helper()
	url, err := mysqlURL(MariaDB(t))
	if err != nil {
		t.Fatalf("testdb: %v", err)
	}
	return url
}

// Mongo returns the URL of a new database on the MongoDB server for tests. The database is
// dropped when the test ends.
func Mongo(t testing.TB) string {
	t.Helper()
	return create(t, &mongodb)
}

// server describes the server of one engine.
type server struct {
	name     string // for messages
	variable string // environment variable with the connection string
	usual    string // connection string of the usual local address

	// open connects to the server. Its error must not contain the connection string.
	open func(ctx context.Context, dsn string) (admin, error)

	// database returns dsn with the given database name.
	database func(dsn, name string) (string, error)

	once  sync.Once
	found found
}

// find looks for the server on the first call and keeps the result, so that a test binary
// connects and sweeps only once. For this reason the servers are package variables.
func (s *server) find() found {
	s.once.Do(func() { s.found = look(s) })
	return s.found
}

// admin is a connection that can create and drop databases. The names do not need quoting,
// because newName uses only lower-case letters, digits and underscores.
type admin interface {
	create(ctx context.Context, name string) error
	// drop also ends the connections to the database. A database that is gone is not an error.
	drop(ctx context.Context, name string) error
	// names lists the databases whose name starts with prefix.
	names(ctx context.Context) ([]string, error)
	close()
}

func create(t testing.TB, s *server) string {
	t.Helper()
	base := address(t, s)
	name := newName(time.Now())
	dsn, err := s.database(base, name)
	if err != nil {
		t.Fatalf("testdb: %s: %v", s.variable, err)
	}
	if err := administer(s, base, func(ctx context.Context, a admin) error { return a.create(ctx, name) }); err != nil {
		t.Fatalf("testdb: create a database on %s: %v", s.name, err)
	}
	t.Cleanup(func() {
		if err := administer(s, base, func(ctx context.Context, a admin) error { return a.drop(ctx, name) }); err != nil {
			t.Errorf("testdb: drop database %s on %s: %v", name, s.name, err)
		}
	})
	return dsn
}

// address returns the connection string of a server that responds. If there is none, it
// skips or fails the test.
func address(t testing.TB, s *server) string {
	t.Helper()
	f := s.find()
	switch {
	case f.err == nil:
		return f.dsn
	case f.given:
		t.Fatalf("testdb: the %s server of %s does not answer: %v", s.name, s.variable, f.err)
	case os.Getenv("CI") == "true" || os.Getenv("KEYFOLD_TEST_REQUIRE") == "1":
		t.Fatalf("testdb: no %s server, and this run requires one: %s is not set, and at the usual address: %v",
			s.name, s.variable, f.err)
	default:
		t.Skipf("testdb: no %s server: run `make test`, which finds or starts one, or set %s (at the usual address: %v)",
			s.name, s.variable, f.err)
	}
	return "" // not reached: both Fatalf and Skipf end the goroutine
}

// found is the result of looking for a server.
type found struct {
	dsn   string
	given bool // by the environment
	err   error
}

// look connects to the server that the environment names, or otherwise to the usual
// address. It then drops the databases that killed runs left there.
func look(s *server) found {
	f := found{dsn: s.usual}
	if dsn := os.Getenv(s.variable); dsn != "" {
		f = found{dsn: dsn, given: true}
	}
	f.err = administer(s, f.dsn, func(ctx context.Context, a admin) error { return sweep(ctx, a, time.Now()) })
	return f
}

func administer(s *server, dsn string, do func(context.Context, admin) error) error {
	// The context of the test would be cancelled before the cleanup functions run.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := s.open(ctx, dsn)
	if err != nil {
		return err
	}
	defer a.close()
	return do(ctx, a)
}

// sweep drops the databases that were abandoned at now. It ignores errors of dropping them,
// because several test binaries can sweep at the same time. It reports only an error of
// listing them.
func sweep(ctx context.Context, a admin, now time.Time) error {
	names, err := a.names(ctx)
	if err != nil {
		return fmt.Errorf("list databases: %w", err)
	}
	for _, name := range names {
		if at, ok := createdAt(name); ok && now.Sub(at) > abandoned {
			_ = a.drop(ctx, name)
		}
	}
	return nil
}

func newName(now time.Time) string {
	return prefix + strconv.FormatInt(now.Unix(), 10) + "_" + strings.ToLower(rand.Text()[:16])
}

// createdAt returns the creation time in a name. It accepts only names that newName can
// have created, because sweep drops the databases that it accepts.
func createdAt(name string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return time.Time{}, false
	}
	digits, random, ok := strings.Cut(rest, "_")
	if !ok || len(random) != 16 || strings.Trim(random, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return time.Time{}, false
	}
	unix, err := strconv.ParseUint(digits, 10, 40)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(int64(unix), 0), true
}
