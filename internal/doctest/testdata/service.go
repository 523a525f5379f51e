// A Service on a new SQLite file that has one key, and a table of the
// program's own.
package wrapper

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/sqlite"
)

func Run(t *testing.T) {
	ctx := t.Context()
	store, err := sqlite.Open(ctx, testdb.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.DB().ExecContext(ctx, "CREATE TABLE customers (id TEXT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	svc, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(context.Background())
	key, token, err := svc.CreateKey(ctx, keyfold.NewKey{Name: "ci", OwnerID: "cust_42", Scopes: []string{"reports:read"}})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = key, token
	err = func() error {
		// BLOCK
		return nil
	}()
	if err != nil {
		t.Fatal(err)
	}
}
