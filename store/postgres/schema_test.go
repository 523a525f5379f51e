package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/postgres"
)

// Two programs store their keys in two schemas of one database. If a statement of the
// first program leaves a session in the other schema, keys of that schema must not be
// valid. Mutations tried: statements without the schema; transactions without it.
func TestStatementsStayInTheSchemaThatThePoolBeganWith(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	db := engine().SQL(t, dsn)
	stores := map[string]*postgres.Store{}
	pools := map[string]*pgxpool.Pool{}
	for _, schema := range []string{"ours", `their "s'`} {
		if _, err := db.ExecContext(t.Context(), `CREATE SCHEMA "`+doubled(schema)+`"`); err != nil {
			t.Fatal(err)
		}
		config, err := pgxpool.ParseConfig(dsn)
		if err != nil {
			t.Fatal("the data source name of the test server is malformed")
		}
		config.MaxConns = 1
		config.ConnConfig.RuntimeParams["search_path"] = `"` + doubled(schema) + `"`
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		if stores[schema], err = postgres.New(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
		pools[schema] = pool
	}
	ours, theirs := stores["ours"], stores[`their "s'`]
	our, their := sqltest.Create(t, ours), sqltest.Create(t, theirs)

	spoil := func() {
		t.Helper()
		if _, err := pools["ours"].Exec(t.Context(), `SET search_path TO "their ""s'"`); err != nil {
			t.Fatal(err)
		}
	}
	spoil()
	if _, err := ours.VerifyKey(t.Context(), their.ID); !errors.Is(err, keyfold.ErrNotFound) {
		t.Errorf("their key in our store: got %v, want ErrNotFound", err)
	}
	if _, err := ours.VerifyKey(t.Context(), our.ID); err != nil {
		t.Errorf("our key: %v", err)
	}
	revoke := func(ctx context.Context) ([]string, error) {
		return ours.SetKeyState(ctx, []string{our.ID, their.ID}, keyfold.RevokeChange, "left", sqltest.Mutation("key.revoke", ""))
	}
	if changed, err := revoke(t.Context()); err != nil || len(changed) != 1 || changed[0] != our.ID {
		t.Errorf("revoking both in our store changed %v, %v; want ours alone", changed, err)
	}
	record, err := theirs.VerifyKey(t.Context(), their.ID)
	if err != nil || record.Revoked {
		t.Errorf("their key in their store: revoked %t, %v", record.Revoked, err)
	}
	sqltest.TestLargeBatch(t, ours)

	var path string
	if err := pools["ours"].QueryRow(t.Context(), "SHOW search_path").Scan(&path); err != nil || path != `"their ""s'"` {
		t.Errorf("the program's own search_path is %q, %v; want it left alone", path, err)
	}
}

func doubled(name string) string {
	out := ""
	for _, c := range name {
		if out += string(c); c == '"' {
			out += `"`
		}
	}
	return out
}
