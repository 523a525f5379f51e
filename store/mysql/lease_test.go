package mysql

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/testdb"
)

// This test is inside the package because a lease is used on a Galera cluster
// only, where internal/faulttest migrates from all nodes at once.

func TestLeaseIsOneProcesssAndEnds(t *testing.T) {
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
		t.Fatal("two have the lease")
	}
	if err := here.keep(t.Context()); err != nil {
		t.Errorf("while nobody else has it: %v", err)
	}
	if _, err := db.ExecContext(t.Context(), "UPDATE keyfold_leases SET until_at = 1"); err != nil {
		t.Fatal(err)
	}
	other, err := acquire(t.Context(), connection())
	if err != nil {
		t.Fatalf("a lease that has ended: %v", err)
	}
	if err := here.keep(t.Context()); err == nil {
		t.Error("a lease that ended and is another one's was kept")
	}
	here.release(t.Context()) // is not its own any more
	if err := other.keep(t.Context()); err != nil {
		t.Errorf("released by one who does not have it: %v", err)
	}
	other.release(t.Context())
	if _, err := acquire(t.Context(), connection()); err != nil {
		t.Errorf("after its release: %v", err)
	}
}
