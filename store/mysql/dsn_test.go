package mysql_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/mysql"
)

// refusal opens a database on a server that does not exist, and returns the error. An
// error of the connection would contain "the server does not answer".
func refusal(t *testing.T, dsn string) string {
	t.Helper()
	store, err := mysql.Open(t.Context(), dsn)
	if err == nil {
		_ = store.Close()
		t.Fatal("Open got no error")
	}
	if strings.Contains(err.Error(), "does not answer") {
		return "accepted"
	}
	return err.Error()
}

// bothForms returns a data source name with these parameters in both forms.
func bothForms(parameters string) []string {
	return []string{
		"user:hunter2@tcp(127.0.0.1:1)/app?" + parameters,
		"mysql://user:hunter2@127.0.0.1:1/app?" + parameters,
	}
}

// Mutation tried: parse without refuse.
func TestDangerousParametersAreRefusedByName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ parameters, names string }{
		{"allowAllFiles=true", "allowAllFiles"},
		{"allowAllFiles=1", "allowAllFiles"},
		{"timeout=1s&allowAllFiles=TRUE", "allowAllFiles"},
		{"allowAllFiles=false&allowAllFiles=true", "allowAllFiles"},
		{"allowOldPasswords=true", "allowOldPasswords"},
		{"allowCleartextPasswords=true", "allowCleartextPasswords"},
		{"allowCleartextPasswords=true&tls=skip-verify", "allowCleartextPasswords"},
		{"allowCleartextPasswords=true&tls=preferred", "allowCleartextPasswords"},
		{"allowFallbackToPlaintext=true", "allowFallbackToPlaintext"},
		{"allowFallbackToPlaintext=true&tls=true", "allowFallbackToPlaintext"},
		{"multiStatements=true", "multiStatements"},
		{"strict=true", "strict"},
	} {
		for _, dsn := range bothForms(test.parameters) {
			if got := refusal(t, dsn); !strings.Contains(got, test.names) || strings.Contains(got, "hunter2") {
				t.Errorf("%s: got %q, want a refusal that names %s", test.parameters, got, test.names)
			}
		}
	}
}

func TestHarmlessParametersAreAccepted(t *testing.T) {
	t.Parallel()
	for _, parameters := range []string{
		"", "allowAllFiles=false", "allowOldPasswords=0", "multiStatements=false", "tls=true", "tls=skip-verify", "tls=preferred",
		"allowCleartextPasswords=true&tls=true", "timeout=0s&readTimeout=0s&writeTimeout=0s", "loc=Europe%2FRome",
		"pool_max_conns=2", "pool_max_conns=10000&pool_max_conn_lifetime=24h&pool_max_conn_idle_time=1s",
	} {
		for _, dsn := range bothForms(parameters) {
			if got := refusal(t, dsn); got != "accepted" {
				t.Errorf("%q: %s", parameters, got)
			}
		}
	}
	if got := refusal(t, "mysql://user@127.0.0.1:1/app?loc=Europe/Rome"); got != "accepted" {
		t.Errorf("a slash in a parameter of a URL: %s", got)
	}
}

func TestPoolParametersMustBeInBounds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ parameters, says string }{
		{"pool_max_conns=1", "pool_max_conns must be a whole number from 2 to 10000"},
		{"pool_max_conns=10001", "pool_max_conns must be"},
		{"pool_max_conns=", "pool_max_conns must be"},
		{"pool_max_conns", "pool_max_conns must be"},
		{"pool_max_conns=6.5", "pool_max_conns must be"},
		{"pool_max_conns=hunter2", "pool_max_conns must be"},
		{"pool_max_conns=6&pool_max_conns=7", "pool_max_conns must be set only once"},
		{"pool_max_conn_lifetime=0", "pool_max_conn_lifetime must be a duration from 1s to 24h"},
		{"pool_max_conn_lifetime=999ms", "pool_max_conn_lifetime must be"},
		{"pool_max_conn_lifetime=25h", "pool_max_conn_lifetime must be"},
		{"pool_max_conn_lifetime=300", "pool_max_conn_lifetime must be"},
		{"pool_max_conn_idle_time=-1m", "pool_max_conn_idle_time must be"},
		{"pool_min_conns=2", "must be pool_max_conns, pool_max_conn_lifetime or pool_max_conn_idle_time"},
		{"POOL_MAX_CONNS=6", "must be pool_max_conns"},
	} {
		for _, dsn := range bothForms(test.parameters) {
			if got := refusal(t, dsn); !strings.Contains(got, test.says) || strings.Contains(got, "hunter2") {
				t.Errorf("%s: got %q, want %q", test.parameters, got, test.says)
			}
		}
	}
}

func TestAURLNamesAHost(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"", "mysql://", "mysql:///app", "mysql://user:hunter2@/app", "mysql://user:hunter2@:3306/app"} {
		if got := refusal(t, dsn); !strings.Contains(got, "malformed") || strings.Contains(got, "hunter2") {
			t.Errorf("%q: got %q, want that it is malformed", dsn, got)
		}
	}
}

// The parameters must not reach the server, which does not have such variables.
func TestPoolParametersSetThePool(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{with(testdb.MariaDB(t), "pool_max_conns=3"), with(testdb.MariaDBURL(t), "pool_max_conns=3")} {
		if got := open(t, dsn).DB().Stats().MaxOpenConnections; got != 3 {
			t.Errorf("with pool_max_conns=3 the pool has at most %d connections", got)
		}
	}
	// Three of 32 connections are reserved for the feed and for changes.
	if got := open(t, testdb.MariaDB(t)).DB().Stats().MaxOpenConnections; got != 29 {
		t.Errorf("without parameters the pool has at most %d connections, want 29", got)
	}
}

// The first connection must be replaced.
func TestConnectionsEndAtTheirLifetime(t *testing.T) {
	t.Parallel()
	store := open(t, with(testdb.MariaDB(t), "pool_max_conn_lifetime=1s&pool_max_conns=2"))
	var ids []int64
	for len(ids) < 2 {
		var id int64
		if err := store.DB().QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
			continue
		}
		// If the connection is never replaced, the test times out.
		pause(t.Context())
	}
}

// with adds parameters to a data source name.
func with(dsn, parameters string) string {
	if strings.Contains(dsn, "?") {
		return dsn + "&" + parameters
	}
	return dsn + "?" + parameters
}

// pause waits for a short time, or until ctx is done.
func pause(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	<-ctx.Done()
}
