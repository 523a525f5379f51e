package mysql

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/testdb"
)

// This test is in the package because leases are used only on Galera clusters. The test
// of migrations from several nodes is in internal/faulttest.

func TestLeaseIsExclusiveAndEnds(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("mysql", testdb.MariaDB(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	connection := func() *sql.Conn {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	here, err := acquire(t.Context(), connection())
	if err != nil {
		t.Fatal(err)
	}
	there := connection()
	impatient, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := acquire(impatient, there); err == nil {
		t.Fatal("acquire of a lease that another process holds: got no error, want one")
	}
	if err := here.keep(t.Context()); err != nil {
		t.Errorf("keep of a lease that is held: %v", err)
	}
	if _, err := db.ExecContext(t.Context(), "UPDATE keyfold_leases SET until_at = 1"); err != nil {
		t.Fatal(err)
	}
	other, err := acquire(t.Context(), connection())
	if err != nil {
		t.Fatalf("acquire of a lease that has ended: %v", err)
	}
	if err := here.keep(t.Context()); err == nil {
		t.Error("keep of a lease that another process has taken: got no error, want one")
	}
	here.release(t.Context()) // must have no effect
	if err := other.keep(t.Context()); err != nil {
		t.Errorf("keep after a release by a former holder: %v", err)
	}
	other.release(t.Context())
	if _, err := acquire(t.Context(), connection()); err != nil {
		t.Errorf("acquire after the release: %v", err)
	}
}
