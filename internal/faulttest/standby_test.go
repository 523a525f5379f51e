package faulttest_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/postgres"
)

// TestStandbyIsRefused begins with a current schema, so that opening the store does not
// write. The test failed before the store checked its sessions.
func TestStandbyIsRefused(t *testing.T) {
	onlyWithEverything(t)
	pair := startServers(t, "pgreplica")
	location, err := url.Parse(pair.variables["KEYFOLD_TEST_PG_MULTI"])
	if err != nil {
		t.Fatal(err)
	}
	location.RawQuery = "sslmode=disable" // without target_session_attrs
	primary, standby, _ := strings.Cut(location.Host, ",")

	location.Host = primary
	store, err := postgres.Open(t.Context(), location.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = store.Close()

	location.Host = standby
	awaitSchema(t, location.String())
	store, err = postgres.Open(t.Context(), location.String())
	if err == nil {
		_ = store.Close()
		t.Fatal("Open accepts a standby")
	}
	if !strings.Contains(err.Error(), "hot standby") || strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Open: got %v, want an error about the standby", err)
	}

	location.Host = standby + "," + primary
	store, err = postgres.Open(t.Context(), location.String())
	if err != nil {
		t.Fatalf("Open with a standby that is named first: %v", err)
	}
	t.Cleanup(func() { _ = store.Close() })
	svc, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Close(t.Context()) })
	if _, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{Name: "before"}); err != nil {
		t.Fatalf("CreateKey on the primary: %v", err)
	}
	pair.do(t, "crash")
	pair.do(t, "promote")
	var last error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); pause(t.Context(), 100*time.Millisecond) {
		if _, _, last = svc.CreateKey(t.Context(), keyfold.NewKey{Name: "after"}); last == nil {
			return
		}
	}
	t.Errorf("CreateKey after the promotion: %v", last)
}

// awaitSchema waits until a standby has applied the schema. A standby receives a commit
// before it applies it.
func awaitSchema(t *testing.T, dsn string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); pause(t.Context(), 20*time.Millisecond) {
		var version int64
		if conn.QueryRow(t.Context(), "SELECT schema_version FROM keyfold_meta").Scan(&version) == nil {
			return
		}
	}
	t.Fatal("the standby has not applied the schema in time")
}
