package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/internal/sqltest"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/storetest"
)

// role is a role without privileges whose sessions have the given settings.
type role struct{ name string }

func newRole(t *testing.T, settings ...string) role {
	t.Helper()
	location, err := url.Parse(testdb.Postgres(t))
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	r := role{"role_of_" + strings.Trim(location.Path, "/")}
	db := engine().SQL(t, location.String())
	statements := []string{"CREATE ROLE " + r.name + " LOGIN PASSWORD 'pass-of-role'"}
	for _, setting := range settings {
		statements = append(statements, "ALTER ROLE "+r.name+" SET "+setting)
	}
	t.Cleanup(func() { _, _ = db.Exec("DROP ROLE IF EXISTS " + r.name) })
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return r
}

// database returns the URL of a new database that the role owns.
func (r role) database(t *testing.T) string {
	t.Helper()
	return r.owner(t, testdb.Postgres(t))
}

func (r role) owner(t *testing.T, dsn string) string {
	t.Helper()
	location, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("the data source name of the test server is malformed")
	}
	db := engine().SQL(t, dsn)
	t.Cleanup(func() {
		_, _ = db.Exec("ALTER DATABASE " + strings.Trim(location.Path, "/") + " OWNER TO CURRENT_USER; DROP OWNED BY " + r.name)
	})
	for _, statement := range []string{
		"ALTER DATABASE " + strings.Trim(location.Path, "/") + " OWNER TO " + r.name,
		"CREATE SCHEMA of_role AUTHORIZATION " + r.name,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	location.User = url.UserPassword(r.name, "pass-of-role")
	return location.String()
}

func with(dsn string, parameters string) string {
	if strings.Contains(dsn, "?") {
		return dsn + "&" + parameters
	}
	return dsn + "?" + parameters
}

// openers are the two functions that open a store.
func openers() map[string]func(context.Context, *testing.T, string) (*postgres.Store, error) {
	return map[string]func(context.Context, *testing.T, string) (*postgres.Store, error){
		"Open": func(ctx context.Context, t *testing.T, dsn string) (*postgres.Store, error) {
			return postgres.Open(ctx, dsn)
		},
		"New": func(ctx context.Context, t *testing.T, dsn string) (*postgres.Store, error) {
			pool, err := pgxpool.New(ctx, dsn)
			if err != nil {
				t.Fatal("the data source name of the test server is malformed")
			}
			t.Cleanup(pool.Close)
			return postgres.New(ctx, pool)
		},
	}
}

// The schema is current, so that opening the store writes nothing.
func TestUnfitSessionIsRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ ways, setting, want string }{
		{"New", "client_encoding = 'LATIN1'", "client_encoding is LATIN1; it must be UTF8"},
		{"New", "client_encoding = 'SQL_ASCII'", "client_encoding is SQL_ASCII; it must be UTF8"},
		{"New", "standard_conforming_strings = off", "standard_conforming_strings is off; it must be on"},
		{"Open New", "default_transaction_read_only = on", "default_transaction_read_only is on; it must be off"},
		{"Open New", "exit_on_error = on", "exit_on_error is on; it must be off"},
		{"Open New", "lock_timeout = '99ms'", "lock_timeout is 99ms; it must be 0 or at least 100ms"},
		{"Open New", "statement_timeout = '99ms'", "statement_timeout is 99ms; it must be 0 or at least 100ms"},
		{"Open New", "idle_in_transaction_session_timeout = 1", "idle_in_transaction_session_timeout is 1ms; it must be 0 or at least 100ms"},
		{"Open New", "idle_session_timeout = '1s'", "idle_session_timeout is 1s; it must be 0 or at least 2s"},
	} {
		for way, open := range openers() {
			if !strings.Contains(test.ways, way) {
				continue
			}
			t.Run(way+" "+test.setting, func(t *testing.T) {
				t.Parallel()
				r := newRole(t)
				dsn := r.database(t)
				store, err := postgres.Open(t.Context(), dsn)
				if err != nil {
					t.Fatal(err)
				}
				defer store.Close()
				if _, err := store.Pool().Exec(t.Context(), "ALTER ROLE "+r.name+" SET "+test.setting); err != nil {
					t.Fatal(err)
				}
				refused(t, open, dsn, test.want)
			})
		}
	}
}

func refused(t *testing.T, open func(context.Context, *testing.T, string) (*postgres.Store, error), dsn, want string) {
	t.Helper()
	store, err := open(t.Context(), t, dsn)
	if err == nil {
		_ = store.Close()
		t.Fatalf("the session was accepted, want an error with %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got the error %q, want one with %q", err, want)
	}
	if strings.Contains(err.Error(), "pass-of-role") || strings.Contains(err.Error(), "does not answer") {
		t.Errorf("the error %q holds the password, or says that the server does not answer", err)
	}
}

func TestUnfitDataSourceNameIsRefused(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	for parameters, want := range map[string]string{
		"client_encoding=LATIN1":           "the data source name sets client_encoding; leave it out, or set it to UTF8",
		"Client_Encoding=sql_ascii":        "the data source name sets client_encoding; leave it out, or set it to UTF8",
		"standard_conforming_strings=off":  "the data source name sets standard_conforming_strings; leave it out, or set it to on",
		"default_transaction_read_only=on": "default_transaction_read_only is on; it must be off",
		"statement_timeout=20":             "statement_timeout is 20ms; it must be 0 or at least 100ms",
		"pool_max_con=4":                   `the server refuses the connection: `,
	} {
		refused(t, openers()["Open"], with(dsn, parameters), want)
		// The driver then tries a single host twice, with TLS and without.
		refused(t, openers()["Open"], with(strings.Replace(dsn, "sslmode=disable", "sslmode=prefer", 1), parameters), want)
	}
	for _, parameters := range []string{
		"client_encoding=utf-8", "client_encoding=UNICODE&standard_conforming_strings=true",
		"options=-c%20client_encoding%3DLATIN1", // the settings of Open take precedence
	} {
		store, err := postgres.Open(t.Context(), with(dsn, parameters))
		if err != nil {
			t.Errorf("%s: %v", parameters, err)
			continue
		}
		_ = store.Close()
	}
}

func TestDatabaseOfAnotherEncodingIsRefused(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"LATIN1", "SQL_ASCII"} {
		dsn := testdb.Postgres(t)
		location, err := url.Parse(dsn)
		if err != nil {
			t.Fatal("the data source name of the test server is malformed")
		}
		db, name := engine().SQL(t, dsn), strings.Trim(location.Path, "/")+"_"+strings.ToLower(encoding)
		if _, err := db.ExecContext(t.Context(), fmt.Sprintf(
			"CREATE DATABASE %s TEMPLATE template0 ENCODING '%s' LC_COLLATE 'C' LC_CTYPE 'C'", name, encoding)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = db.Exec("DROP DATABASE " + name + " WITH (FORCE)") })
		location.Path = "/" + name
		for _, open := range openers() {
			refused(t, open, location.String(), "server_encoding is "+encoding+"; it must be UTF8")
		}
	}
}

// harmless are settings with which Keyfold works, because it overrides them or does not
// depend on them.
func harmless() []string {
	return []string{
		"client_encoding = 'LATIN1'", // Open sets UTF8
		"standard_conforming_strings = off",
		"bytea_output = 'escape'",
		"synchronous_commit = off",
		"default_transaction_isolation = 'serializable'",
		"default_transaction_isolation = 'repeatable read'",
		"default_transaction_deferrable = on",
		"search_path = 'of_role', 'public'",
		"row_security = off",
		"session_replication_role = 'replica'",
		"plan_cache_mode = 'force_generic_plan'",
		"plan_cache_mode = 'force_custom_plan'",
		"statement_timeout = '20s'",
		"lock_timeout = '1s'",
		"idle_in_transaction_session_timeout = '20s'",
		"idle_session_timeout = '2s'",
		"DateStyle = 'German, DMY'",
		"IntervalStyle = 'sql_standard'",
		"TimeZone = 'Asia/Kathmandu'",
		"extra_float_digits = -15",
		"array_nulls = off",
		"backslash_quote = on",
		"transform_null_equals = on",
		"quote_all_identifiers = on",
		"lo_compat_privileges = on",
		"xmloption = 'document'",
		"client_min_messages = 'debug1'",
		"enable_indexscan = off",
		"enable_seqscan = off",
		"jit_above_cost = 0",
		"from_collapse_limit = 1",
		"work_mem = '64kB'",
		"default_statistics_target = 1",
		"check_function_bodies = off",
	}
}

// together are settings that one role can have at the same time.
func together() []string {
	return []string{
		"client_encoding = 'LATIN1'", "standard_conforming_strings = off", "bytea_output = 'escape'",
		"synchronous_commit = off", "default_transaction_isolation = 'serializable'", "default_transaction_deferrable = on",
		"search_path = 'of_role', 'public'", "row_security = off", "plan_cache_mode = 'force_generic_plan'",
		"session_replication_role = 'replica'", "DateStyle = 'German, DMY'", "IntervalStyle = 'sql_standard'",
		"TimeZone = 'Asia/Kathmandu'", "extra_float_digits = -15", "array_nulls = off", "backslash_quote = on",
		"transform_null_equals = on", "quote_all_identifiers = on", "client_min_messages = 'debug1'", "idle_session_timeout = '2s'",
	}
}

// TestConformanceUnderOddSettings runs the suite as a role without privileges.
// `make test-faults` runs it once for each setting.
//
// Mutations tried: start-up parameters without client_encoding, with which Open fails; no
// byteaCodec, with which every read of a key fails.
func TestConformanceUnderOddSettings(t *testing.T) {
	t.Parallel()
	run := func(mode string, settings ...string) {
		t.Run(mode+" "+settings[0], func(t *testing.T) {
			r := newRole(t, settings...)
			storetest.Run(t, func(t *testing.T) keyfold.Store {
				return open(t, with(r.database(t), "pool_max_conns=8&default_query_exec_mode="+mode))
			})
		})
	}
	if os.Getenv("KEYFOLD_FAULTS") == "" {
		run("simple_protocol", together()...)
		return
	}
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		run(mode, together()...)
	}
	for _, setting := range harmless() {
		run("cache_statement", setting)
		run("simple_protocol", setting)
	}
}

// The suite cannot detect this, because it reads and writes in sessions of the same kind.
// Mutation tried: Open without the start-up parameter.
func TestNamesAreStoredInUTF8ForAnyEncodingOfTheRole(t *testing.T) {
	t.Parallel()
	plain := testdb.Postgres(t)
	odd := open(t, newRole(t, "client_encoding = 'LATIN1'").owner(t, plain))
	key := sqltest.Create(t, odd)
	key.Name = "clé 中文"
	if err := odd.UpdateKey(t.Context(), key, sqltest.Mutation("key.update", key.ID)); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := engine().SQL(t, plain).QueryRowContext(t.Context(), "SELECT name FROM keyfold_keys").Scan(&got); err != nil || got != key.Name {
		t.Errorf("another session reads the name %q, %v; want %q", got, err, key.Name)
	}
}

func TestBothFormsOfByteaAreRead(t *testing.T) {
	t.Parallel()
	var all []byte
	for b := range 256 {
		all = append(all, byte(b))
	}
	for _, form := range []string{"hex", "escape"} {
		for _, mode := range modes() {
			store := openMode(t, with(testdb.Postgres(t), "bytea_output="+form), mode)
			if err := store.Ping(t.Context()); err != nil { // the store has used its connection
				t.Fatal(err)
			}
			var got, none []byte
			if err := store.Pool().QueryRow(t.Context(), "SELECT $1::bytea, ''::bytea", all).Scan(&got, &none); err != nil ||
				!bytes.Equal(got, all) || len(none) != 0 {
				t.Errorf("%s, %v: got %x and %x, %v", form, mode, got, none, err)
			}
			rows, err := store.Pool().Query(t.Context(), "SELECT $1::bytea, NULL::bytea", all)
			if err != nil {
				t.Fatal(err)
			}
			values, err := pgx.CollectOneRow(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
			if err != nil || !bytes.Equal(values[0].([]byte), all) || values[1] != nil {
				t.Errorf("%s, %v: got %v, %v", form, mode, values, err)
			}
		}
	}
}

// Mutation tried: pgx's own BEGIN, with which changes are written with "off".
func TestOwnTransactionsAreDurable(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{"off": "on", "local": "local", "remote_apply": "remote_apply"} {
		store := open(t, newRole(t, "synchronous_commit = "+setting).database(t))
		if _, err := store.Pool().Exec(t.Context(), `CREATE TABLE seen (setting TEXT);
			CREATE FUNCTION record_commit() RETURNS trigger LANGUAGE plpgsql AS
				$$BEGIN INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END$$;
			CREATE TRIGGER record_commit AFTER INSERT ON keyfold_audit FOR EACH ROW EXECUTE FUNCTION record_commit()`); err != nil {
			t.Fatal(err)
		}
		sqltest.Create(t, store)
		var got, after string
		if err := store.Pool().QueryRow(t.Context(), "SELECT setting, current_setting('synchronous_commit') FROM seen").Scan(&got, &after); err != nil ||
			got != want || after != setting {
			t.Errorf("under %s a change was written with %q, and %q stayed behind, %v", setting, got, after, err)
		}
	}
}

// A program may leave each of these settings behind on a connection of the pool.
func TestConnectionThatTheProgramMadeUnfitIsReplaced(t *testing.T) {
	t.Parallel()
	for _, spoil := range []string{
		"SET client_encoding = 'LATIN1'", "SET standard_conforming_strings = off", "SET default_transaction_read_only = on",
	} {
		t.Run(spoil, func(t *testing.T) {
			t.Parallel()
			store := sized(t, testdb.Postgres(t), 1, nil)
			for range 2 {
				if _, err := store.Pool().Exec(t.Context(), spoil); err != nil {
					t.Fatal(err)
				}
				key := sqltest.Create(t, store)
				if got, err := store.Key(t.Context(), key.ID); err != nil || got.Name != key.Name {
					t.Errorf("got %q, %v", got.Name, err)
				}
			}
		})
	}
}

// A server may become read-only while it runs. Its reads are still correct.
func TestReadOnlySessionStillReads(t *testing.T) {
	t.Parallel()
	store := sized(t, testdb.Postgres(t), 1, nil)
	key := sqltest.Create(t, store)
	if _, err := store.Pool().Exec(t.Context(), "ALTER ROLE CURRENT_USER IN DATABASE "+
		store.Pool().Config().ConnConfig.Database+" SET default_transaction_read_only = on"); err != nil {
		t.Fatal(err)
	}
	store.Pool().Reset()
	if _, err := store.VerifyKey(t.Context(), key.ID); err != nil {
		t.Errorf("VerifyKey: %v", err)
	}
	err := store.DeleteKey(t.Context(), key.ID, sqltest.Mutation("key.delete", key.ID))
	if err == nil || !strings.Contains(err.Error(), "default_transaction_read_only is on; it must be off") {
		t.Errorf("DeleteKey: got %v, want an error that names the setting", err)
	}
	if !errors.Is(err, keyfold.ErrReadOnly) {
		t.Errorf("DeleteKey: got %v, want ErrReadOnly", err)
	}
	if err := store.Probe(t.Context()); !errors.Is(err, keyfold.ErrReadOnly) {
		t.Errorf("Probe: got %v, want ErrReadOnly", err)
	}
}

// After a switch-over the old server always returns this error.
func TestReadOnlyErrorClosesTheConnection(t *testing.T) {
	t.Parallel()
	store := open(t, testdb.Postgres(t))
	conn, err := store.Pool().Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	if _, err := conn.Exec(t.Context(), "BEGIN READ ONLY; DELETE FROM keyfold_keys"); err == nil {
		t.Fatal("a read-only transaction deleted")
	}
	if !conn.Conn().IsClosed() {
		t.Error("the connection goes on")
	}
}

func TestHostTransactionInAnUnfitSessionIsRefused(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"client_encoding = 'LATIN1'":        "client_encoding is LATIN1; it must be UTF8",
		"standard_conforming_strings = off": "standard_conforming_strings is off; it must be on",
	} {
		plain := testdb.Postgres(t)
		odd := newRole(t, setting).owner(t, plain)
		key := sqltest.Create(t, open(t, odd))
		tx, err := engine().SQL(t, odd).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		conn, err := pgx.Connect(t.Context(), odd)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		pgxTx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // the two would deadlock
		defer cancel()
		for way, bound := range map[string]keyfold.Tx{"pgx": postgres.Tx(pgxTx), "database/sql": postgres.SQLTx(tx)} {
			if _, err := bound.Store.Key(ctx, key.ID); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %s: a read got %v, want %q", way, setting, err, want)
			}
			if err := bound.Store.DeleteKey(ctx, key.ID, sqltest.Mutation("key.delete", key.ID)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %s: a change got %v, want %q", way, setting, err, want)
			}
		}
	}
}

// pgx itself reads one form of a bytea, so Tx registers a codec. For other drivers SQLTx
// checks the form.
func TestHostTransactionReadsBothFormsOfBytea(t *testing.T) {
	t.Parallel()
	plain := testdb.Postgres(t)
	key := sqltest.Create(t, open(t, plain))
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		odd := with(plain, "bytea_output=escape&default_query_exec_mode="+mode)
		conn, err := pgx.Connect(t.Context(), odd)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		pgxTx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := postgres.Tx(pgxTx).Store.Key(t.Context(), key.ID); err != nil || got.Secret != key.Secret {
			t.Errorf("pgx, %s: got %v", mode, err)
		}
		tx, err := engine().SQL(t, odd).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		_, err = postgres.SQLTx(tx).Store.Key(t.Context(), key.ID)
		if reads := mode == "cache_statement"; reads != (err == nil) || err != nil && !strings.Contains(err.Error(), "bytea_output") {
			t.Errorf("database/sql, %s: got %v, want an error that names bytea_output where the driver asks for text", mode, err)
		}
	}
}

// A feed with hidden rows looks like a feed without changes.
func TestHiddenRowsAreRefused(t *testing.T) {
	t.Parallel()
	plain := testdb.Postgres(t)
	sqltest.Create(t, open(t, plain))
	r := newRole(t)
	odd := r.owner(t, plain)
	db := engine().SQL(t, plain)
	for _, statement := range []string{
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO " + r.name,
		"ALTER TABLE keyfold_changes ENABLE ROW LEVEL SECURITY",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	for _, open := range openers() {
		refused(t, open, odd, "row-level security hides rows of the table keyfold_changes")
	}
	store := open(t, plain) // the owner sees all rows
	if err := store.Check(t.Context()); err != nil {
		t.Errorf("Check of the owner: %v", err)
	}
}

// Mutation tried: no Engine.Check, with which the check passes.
func TestRowsThatBecomeHiddenFailTheCheck(t *testing.T) {
	t.Parallel()
	dsn := newRole(t).database(t)
	store := open(t, dsn)
	if err := store.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Pool().Exec(t.Context(), "ALTER TABLE keyfold_changes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"); err != nil {
		t.Fatal(err)
	}
	const want = "row-level security hides rows of the table keyfold_changes"
	if err := store.Check(t.Context()); !errors.Is(err, keyfold.ErrCheckFailed) || !strings.Contains(err.Error(), want) {
		t.Errorf("Check: got %v, want an ErrCheckFailed with %q", err, want)
	}
}

// Mutation tried: no check on each acquisition, with which Ping and Check succeed.
func TestSessionIsCheckedAtEachAcquisition(t *testing.T) {
	t.Parallel()
	dsn := newRole(t).database(t)
	store := sized(t, dsn, 1, nil)
	if _, err := store.Pool().Exec(t.Context(), "ALTER ROLE CURRENT_USER SET client_encoding = 'LATIN1'"); err != nil {
		t.Fatal(err)
	}
	store.Pool().Reset()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	const want = "client_encoding is LATIN1; it must be UTF8"
	if err := store.Ping(ctx); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Ping: got %v, want an error with %q", err, want)
	}
	if err := store.Check(ctx); !errors.Is(err, keyfold.ErrCheckFailed) || !strings.Contains(err.Error(), want) {
		t.Errorf("Check: got %v, want an ErrCheckFailed with %q", err, want)
	}
}

func TestConnectionsLiveForFiveMinutes(t *testing.T) {
	t.Parallel()
	dsn := testdb.Postgres(t)
	for parameters, want := range map[string]time.Duration{"": 5 * time.Minute, "pool_max_conn_lifetime=1m": time.Minute} {
		if got := open(t, with(dsn, parameters)).Pool().Config().MaxConnLifetime; got != want {
			t.Errorf("with %q connections live for %v, want %v", parameters, got, want)
		}
	}
}
