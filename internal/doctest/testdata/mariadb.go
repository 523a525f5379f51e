// A function closeAccount is declared on MariaDB, and runs.
package wrapper

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/mysql"
)

func Run(t *testing.T) {
	ctx := t.Context()
	store, err := mysql.Open(ctx, testdb.MariaDB(t))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, statement := range []string{
		"CREATE TABLE customers (id VARCHAR(128) PRIMARY KEY)", "INSERT INTO customers (id) VALUES ('cust_42')",
	} {
		if _, err := store.DB().ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	// So far between that no poll happens to do what Sync has to.
	svc, err := keyfold.New(store, &keyfold.Options{PollInterval: time.Minute, PollAfter: keyfold.Never, MaxStaleness: time.Hour, CacheMaxAge: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(context.Background())
	_, token, err := svc.CreateKey(ctx, keyfold.NewKey{OwnerID: "cust_42"})
	if err != nil {
		t.Fatal(err)
	}
	for remembered := false; !remembered; { // from the second verify after the feed was heard on
		remembered = svc.Staleness() > 0
		if _, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := closeAccount(ctx, store.DB(), svc, "cust_42"); err != nil {
		t.Fatal(err)
	}
	if _, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()}); keyfold.OutcomeOf(err) != keyfold.OutcomeRevoked {
		t.Errorf("after the account was closed: %v, want revoked", err)
	}
	var left int
	if err := store.DB().QueryRowContext(ctx, "SELECT COUNT(*) FROM customers").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d customers are left, %v", left, err)
	}
}

// BLOCK
