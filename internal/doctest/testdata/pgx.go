// A function signUp is declared on PostgreSQL, and runs.
package wrapper

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/postgres"
)

func Run(t *testing.T) {
	ctx := t.Context()
	store, err := postgres.Open(ctx, testdb.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Pool().Exec(ctx, "CREATE TABLE customers (id TEXT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	svc, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(context.Background())
	token, err := signUp(ctx, store.Pool(), svc, "cust_42")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()}); err != nil {
		t.Errorf("the customer's key: %v", err)
	}
	if _, err := signUp(ctx, store.Pool(), svc, "cust_42"); err == nil {
		t.Error("the same customer again: got no error")
	}
	page, err := svc.Keys(ctx, keyfold.KeyQuery{OwnerID: keyfold.Only("cust_42")})
	if err != nil || len(page.Keys) != 1 {
		t.Errorf("%d keys, %v; want the one of the sign-up that was committed", len(page.Keys), err)
	}
}

// BLOCK
