package main

import (
	"database/sql"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A client of fastapi_auth, by the real command and on each engine: it is not
// changed, only its address is.
func TestCompatServesClientsOfThePredecessor(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, t.TempDir(), engine.open(t), engine.secret, "--compat")
			call := func(path string, query url.Values, want int, headers ...string) string {
				t.Helper()
				a, err := send(t.Context(), http.DefaultClient, "GET", s.url+path+"?"+query.Encode(), "", headers...)
				if err != nil || a.status != want {
					t.Fatalf("GET %s: %d %s, %v; want %d", path, a.status, a.body, err, want)
				}
				return strings.TrimSpace(string(a.body))
			}
			secret := []string{"secret-key", s.secret}
			var key string
			if err := json.Unmarshal([]byte(call("/auth/new", url.Values{"name": {"ci"}}, 200, secret...)), &key); err != nil {
				t.Fatal(err)
			}
			call("/auth/new", url.Values{"name": {"ci"}}, 403)
			call("/secure", url.Values{"api-key": {key}}, 200)
			call("/secure", nil, 200, "api-key", key)
			if got := call("/secure", nil, 403); got != `{"detail":"An API key must be passed as query or header"}` {
				t.Errorf("without a key: %s", got)
			}
			if got := call("/auth/revoke", url.Values{"api-key": {key}}, 200, secret...); got != "null" {
				t.Errorf("revoke answers %s", got)
			}
			if got := call("/secure", nil, 403, "api-key", key); got != `{"detail":"Wrong, revoked, or expired API key."}` {
				t.Errorf("a revoked key: %s", got)
			}
			if got := call("/auth/renew", url.Values{"api-key": {key}, "expiration-date": {"2999-01-31"}}, 200, secret...); got !=
				`"This API key was revoked and has been reactivated. The new expiration date for the API key is 2999-01-31T00:00:00"` {
				t.Errorf("renew answers %s", got)
			}
			call("/secure", nil, 200, "api-key", key)

			user := url.Values{"username": {"olga"}, "email": {"olga@example.com"}, "password": {"Short1!xy"}}
			if got := call("/auth/new", user, 200, secret...); !strings.HasPrefix(got, `{"api-key":"kf_`) {
				t.Errorf("a user's key: %s", got)
			}
			call("/auth/new", user, 403, secret...)
			if logs := call("/auth/logs", nil, 200, secret...); !strings.Contains(logs, `"username":"olga"`) || strings.Contains(logs, key) {
				t.Errorf("the logs are %s", logs)
			}
			// Keyfold's own API is under the same prefix.
			s.admin("POST", "/users/authenticate", `{"identifier":"olga","password":"Short1!xy"}`, http.StatusOK, nil)
			s.stop()
			if !strings.Contains(s.stderr.String(), "password") {
				t.Errorf("the log does not say that weaker passwords are accepted: %s", s.stderr)
			}
		})
	}
}

// An operator who points Keyfold at the old file learns why old clients are refused.
func TestCompatTellsOfKeysThatItDoesNotRead(t *testing.T) {
	t.Parallel()
	for table, warned := range map[string]bool{"fastapi_simple_security": true, "FASTAPI_AUTH": true, "other": false} {
		dir := t.TempDir()
		db, err := sql.Open("sqlite", filepath.Join(dir, "old.db"))
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{
			"CREATE TABLE " + table + " (api_key TEXT PRIMARY KEY, is_active INTEGER)",
			"INSERT INTO " + table + " VALUES ('b9d0c7c6-7f3c-4c53-8a63-0d0d6f0b9b11', 1), ('1f5c9a55-5a2e-4d8a-9d5e-9c4f5a9f3f22', 0)",
		} {
			if _, err := db.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		s := startServer(t, dir, "sqlite:old.db", testSecret, "--compat")
		s.stop()
		if got := strings.Contains(s.stderr.String(), `"table":"`+table+`","keys":2`); got != warned {
			t.Errorf("%s: warned %t, want %t: %s", table, got, warned, s.stderr)
		}
		if strings.Contains(s.stderr.String(), "b9d0c7c6") {
			t.Errorf("%s: the log holds a key: %s", table, s.stderr)
		}
	}
}

// Moving must not shorten what an operator asked for.
func TestCompatKeepsALongerMinimumForPasswords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("KEYFOLD_PASSWORD_MIN_LENGTH='12'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, dir, "sqlite:keyfold.db", testSecret, "--compat")
	for password, want := range map[string]int{"Short1!xyab": http.StatusForbidden, "Short1!xyabc": http.StatusOK} {
		t.Run(password, func(t *testing.T) {
			query := url.Values{"username": {"olga"}, "email": {"olga@example.com"}, "password": {password}}
			a, err := send(t.Context(), http.DefaultClient, "GET", s.url+"/auth/new?"+query.Encode(), "", "secret-key", testSecret)
			if err != nil || a.status != want {
				t.Errorf("a password of %d characters: %d %s, %v; want %d", len(password), a.status, a.body, err, want)
			}
		})
	}
	s.stop()
	if !strings.Contains(s.stderr.String(), `"min_length":12`) {
		t.Errorf("the log does not contain the minimum that is in force: %s", s.stderr)
	}
}
