package testdb

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

// These tests are inside the package because its exported functions do not show which
// databases of other processes are dropped, and how a missing server is handled.

func TestSweepDropsOnlyAbandonedDatabases(t *testing.T) {
	t.Parallel()
	for _, s := range []*server{&postgres, &mariadb} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			base := address(t, s)
			now := time.Now()
			old, young := newName(now.Add(-abandoned-time.Minute)), newName(now.Add(-abandoned+time.Minute))
			foreign := prefix + "1_mine" // created by a person, not by newName
			err := administer(s, base, func(ctx context.Context, a admin) error {
				for _, name := range []string{old, young, foreign} {
					if err := a.drop(ctx, name); err != nil { // from an earlier failure of this test
						return err
					}
					if err := a.create(ctx, name); err != nil {
						return err
					}
				}
				if err := sweep(ctx, a, now); err != nil {
					return err
				}
				names, err := a.names(ctx)
				if err != nil {
					return err
				}
				for name, want := range map[string]bool{old: false, young: true, foreign: true} {
					if got := slices.Contains(names, name); got != want {
						t.Errorf("%s is there after a sweep: %v, want %v", name, got, want)
					}
				}
				if err := a.drop(ctx, young); err != nil {
					return err
				}
				return a.drop(ctx, foreign)
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCreatedAtReadsOnlyItsOwnNames(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_790_000_000, 0)
	if at, ok := createdAt(newName(now)); !ok || !at.Equal(now) {
		t.Errorf("createdAt(newName(%v)) = %v, %v", now, at, ok)
	}
	for _, name := range []string{
		"",
		"postgres",
		"keyfold_test_",
		"keyfold_test_1790000000",
		"keyfold_test_1790000000_short",
		"keyfold_test_-790000000_abcdefghijklmnop",
		"keyfold_test_1790000000_abcdefghijklmno;",
		"keyfold_test_1790000000_ABCDEFGHIJKLMNOP",
		"my_keyfold_test_1790000000_abcdefghijklmnop",
	} {
		t.Run(name, func(t *testing.T) {
			if _, ok := createdAt(name); ok {
				t.Errorf("createdAt(%q) accepts it, want it refused", name)
			}
		})
	}
}

// A recorder is a testing.TB that records how the test would have ended.
type recorder struct {
	testing.TB
	fatal, skip string
}

func (r *recorder) Helper()                        {}
func (r *recorder) Fatalf(format string, _ ...any) { r.fatal = format }
func (r *recorder) Skipf(format string, _ ...any)  { r.skip = format }

func TestMissingServer(t *testing.T) {
	for _, s := range []*server{&postgres, &mariadb} {
		nowhere := func() *server {
			// No server listens on port 1 of the loopback address.
			return &server{
				name: s.name, variable: "KEYFOLD_TEST_NOWHERE_DSN", open: s.open, database: s.database,
				usual: strings.NewReplacer(":5432", ":1", ":3306", ":1").Replace(s.usual),
			}
		}
		t.Run(s.name+" skips on a developer's machine", func(t *testing.T) {
			t.Setenv("CI", "")
			t.Setenv("KEYFOLD_TEST_REQUIRE", "")
			r := &recorder{TB: t}
			address(r, nowhere())
			if r.fatal != "" || !strings.Contains(r.skip, "make test") {
				t.Errorf("fatal %q, skip %q; want a skip that names `make test`", r.fatal, r.skip)
			}
		})
		for _, variable := range []string{"CI", "KEYFOLD_TEST_REQUIRE"} {
			t.Run(s.name+" fails under "+variable, func(t *testing.T) {
				t.Setenv("CI", "")
				t.Setenv("KEYFOLD_TEST_REQUIRE", "")
				t.Setenv(variable, map[string]string{"CI": "true", "KEYFOLD_TEST_REQUIRE": "1"}[variable])
				r := &recorder{TB: t}
				address(r, nowhere())
				if r.fatal == "" || r.skip != "" {
					t.Errorf("fatal %q, skip %q; want a failure", r.fatal, r.skip)
				}
			})
		}
		t.Run(s.name+" fails when a given server is down", func(t *testing.T) {
			t.Setenv("CI", "")
			t.Setenv("KEYFOLD_TEST_REQUIRE", "")
			n := nowhere()
			t.Setenv(n.variable, n.usual)
			r := &recorder{TB: t}
			address(r, n)
			if r.fatal == "" || r.skip != "" {
				t.Errorf("fatal %q, skip %q; want a failure", r.fatal, r.skip)
			}
		})
	}
}

func TestErrorsDoNotContainThePassword(t *testing.T) {
	t.Parallel()
	const password = "hunter-two"
	for _, test := range []struct {
		name string
		s    *server
		dsn  string
	}{
		{"PostgreSQL, refused", &postgres, "postgres://u:" + password + "@127.0.0.1:1/d?connect_timeout=2"},
		{"PostgreSQL, not a URL", &postgres, "postgres://u:" + password + "@[/%zz"},
		{"PostgreSQL, keywords", &postgres, "user=u password=" + password + " host=127.0.0.1 port=1"},
		{"MariaDB, refused", &mariadb, "u:" + password + "@tcp(127.0.0.1:1)/?timeout=2s"},
		{"MariaDB, malformed", &mariadb, "u:" + password + "@tcp(127.0.0.1:1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := administer(test.s, test.dsn, func(context.Context, admin) error { return nil })
			if err == nil {
				t.Fatal("connected, want an error")
			}
			if strings.Contains(err.Error(), password) {
				t.Errorf("the password is in the error of a connection")
			}
			if _, err := test.s.database(test.dsn, "d"); err != nil && strings.Contains(err.Error(), password) {
				t.Errorf("the password is in the error of the connection string")
			}
		})
	}
}

func TestMySQLURL(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"root@tcp(127.0.0.1:3306)/d":          "mysql://root@127.0.0.1:3306/d",
		"u:p@ss/w@tcp(db:3307)/d?timeout=1s":  "mysql://u:p%40ss%2Fw@db:3307/d",
		"root@tcp([::1]:3306)/keyfold_test_1": "mysql://root@[::1]:3306/keyfold_test_1",
	} {
		t.Run(dsn, func(t *testing.T) {
			if got, err := mysqlURL(dsn); err != nil || got != want {
				t.Errorf("mysqlURL(%q) = %q, %v; want %q", dsn, got, err, want)
			}
		})
	}
	if _, err := mysqlURL("root@unix(/run/mysqld.sock)/d"); err == nil {
		t.Error("a socket was turned into a URL")
	}
}
