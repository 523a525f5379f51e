package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/internal/wire"
)

// An installation of the predecessor moves with its .env: the secret is short,
// which is warned of, and --db wins over the variables.
func TestServeReadsDotEnv(t *testing.T) {
	t.Parallel()
	const secret, pepper = "garden gate 7", "9c1b7e60d4f2a8538be1c07d96f3a24e"
	dir := t.TempDir()
	err := os.WriteFile(filepath.Join(dir, ".env"), []byte("FASTAPI_AUTH_SECRET='"+secret+"'\nFASTAPI_AUTH_HIDE_DOCS=True\nFASTAPI_AUTH_DB_LOCATION=not-this.db\n"+
		"FASTAPI_AUTH_AUTOMATIC_EXPIRATION=30\nKEYFOLD_PREFIX='acme'\nKEYFOLD_PEPPERS='a:"+pepper+"'\nKEYFOLD_CURRENT_PEPPER='a'\nKEYFOLD_REQUIRE_PEPPER='true'\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, dir, "sqlite:keyfold.db", "")
	if s.secret != "" {
		t.Fatal("a secret was made although .env has one")
	}
	s.secret = secret
	if status := s.get("/auth/openapi.json", "secret-key", secret); status != http.StatusNotFound {
		t.Errorf("the description that is hidden: %d", status)
	}
	var served wire.CreatedKey
	s.admin("POST", "/keys", `{}`, http.StatusCreated, &served)
	made, printed := keysJSON[wire.CreatedKey](t, dir, "sqlite:keyfold.db", "create")
	for _, created := range []wire.CreatedKey{served, made} {
		if life := created.Key.ExpiresAt.Sub(created.Key.CreatedAt).Hours(); !strings.HasPrefix(created.Token, "acme_") || life != 30*24 {
			t.Errorf("a token that begins with %.5s and lives for %v hours", created.Token, life)
		}
		if status := s.get("/secure", "X-API-Key", created.Token); status != http.StatusOK {
			t.Errorf("/secure: %d", status)
		}
	}
	s.stop()
	text := s.stderr.String() + s.stdout.String() + printed.stderr
	if !strings.Contains(text, "FASTAPI_AUTH_SECRET is shorter than 32 characters") {
		t.Errorf("the short secret is not warned of: %s", text)
	}
	for _, hidden := range []string{secret, pepper} {
		t.Run(hidden, func(t *testing.T) {
			if strings.Contains(text, hidden) {
				t.Errorf("a secret is printed: %s", text)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "not-this.db")); err == nil {
		t.Error("the variable won over --db")
	}
}

// Stray requests and guesses from the administrator's own address, as behind a
// proxy, on both kinds of routes. Mutation tried: the limit asked before the
// secret, as it was.
func TestServeLetsTheRightSecretPass(t *testing.T) {
	t.Parallel()
	const secret, guess = "7be04a91c3d8f6520ae1b97c64d3f08e", "a-guess-of-somebody"
	s := startServer(t, t.TempDir(), "sqlite:keyfold.db", secret, "--compat", "--trusted-proxy", "10.0.0.0/7", "--trusted-proxy", "unix")
	for range 20 {
		for path, want := range map[string]int{"/auth/keys": http.StatusUnauthorized, "/auth/logs": http.StatusForbidden} {
			if got := s.get(path); got != want {
				t.Fatalf("%s without a secret: %d, want %d", path, got, want)
			}
		}
	}
	for range 10 {
		if got := s.get("/auth/logs", "secret-key", guess); got != http.StatusForbidden {
			t.Fatalf("/auth/logs with a wrong secret: %d, want 403", got)
		}
	}
	for _, path := range []string{"/auth/keys", "/auth/logs"} {
		if got := s.get(path, "secret-key", guess); got != http.StatusTooManyRequests {
			t.Errorf("%s with the eleventh wrong secret: %d, want 429", path, got)
		}
		if got := s.get(path, "secret-key", secret); got != http.StatusOK {
			t.Errorf("%s with the right secret: %d, want 200", path, got)
		}
	}
	s.stop()
	log := s.stderr.String()
	for _, line := range []string{
		`"msg":"keyfold: a wrong admin secret was sent"`, `"ip":"127.0.0.1"`, "--trusted-proxy: the trusted proxies include 10.0.0.0/7",
	} {
		t.Run(line, func(t *testing.T) {
			if !strings.Contains(log, line) {
				t.Errorf("the log has no %s: %s", line, log)
			}
		})
	}
	if strings.Contains(log, guess) || strings.Contains(log, secret) {
		t.Errorf("the log holds a secret: %s", log)
	}
}

func TestPreviousSecretIsServedToo(t *testing.T) {
	t.Parallel()
	const previous = "7be04a91c3d8f6520ae1b97c64d3f08e"
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "previous")
	if err := os.WriteFile(file, []byte(previous+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("KEYFOLD_PREVIOUS_SECRET_FILE='"+file+"'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, dir, "sqlite:keyfold.db", testSecret)
	for secret, want := range map[string]int{testSecret: http.StatusOK, previous: http.StatusOK, previous[1:]: http.StatusUnauthorized} {
		if status := s.get("/auth/keys", "secret-key", secret); status != want {
			t.Errorf("/auth/keys: %d, want %d", status, want)
		}
	}
	s.stop()
}

// Every secret variable holds a canary; nothing that the command prints does,
// whatever is wrong with them.
func TestNothingPrintsASecretVariable(t *testing.T) {
	t.Parallel()
	const canary = "c4n4ry"
	good := canary + "-9c1b7e60d4f2a8538be1c07d96f3a24e"
	for name, row := range map[string]map[string]string{
		"all good, server down":  {"KEYFOLD_SECRET": good, "KEYFOLD_PREVIOUS_SECRET": good, "KEYFOLD_PEPPERS": "a:" + good, "KEYFOLD_DATABASE_URL": "postgres://u:" + canary + "@127.0.0.1:1/d"},
		"all good, MariaDB down": {"KEYFOLD_SECRET": good, "KEYFOLD_DATABASE_URL": "mysql://u:" + canary + "@127.0.0.1:1/d"},
		"parts, server down": {
			"FASTAPI_AUTH_SECRET": good, "DATABASE_MODE": "postgres", "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "1", "POSTGRES_USER": "u", "POSTGRES_PASSWORD": canary, "POSTGRES_DATABASE": "d",
		},
		"secrets too short":     {"KEYFOLD_SECRET": canary, "KEYFOLD_PREVIOUS_SECRET": canary, "KEYFOLD_PEPPERS": "a:" + canary},
		"secrets with a \\n":    {"KEYFOLD_SECRET": good + "\n", "KEYFOLD_PREVIOUS_SECRET": good + "\n", "KEYFOLD_PEPPERS": good + "\n"},
		"URL that is none":      {"KEYFOLD_SECRET": good, "KEYFOLD_DATABASE_URL": "postgres://u:" + canary + "%zz@h/d"},
		"URL with a bad port":   {"KEYFOLD_SECRET": good, "KEYFOLD_DATABASE_URL": "mysql://u:p@h:" + canary + "/d"},
		"URL for another mode":  {"FASTAPI_AUTH_SECRET": good, "DATABASE_MODE": "mysql", "MYSQL_URI": "postgres://u:" + canary + "@h/d"},
		"bad parameters":        {"KEYFOLD_SECRET": good, "KEYFOLD_DATABASE_URL": "mysql://u:p@127.0.0.1:1/d?parseTime=" + canary},
		"bad parameters of pgx": {"KEYFOLD_SECRET": good, "KEYFOLD_DATABASE_URL": "postgres://u:p@127.0.0.1:1/d?sslmode=" + canary},
		"secret for a file":     {"KEYFOLD_SECRET_FILE": good, "KEYFOLD_PREVIOUS_SECRET_FILE": good, "KEYFOLD_DATABASE_URL_FILE": "postgres://u:" + canary + "@h/d", "KEYFOLD_PEPPERS_FILE": good},
		"two secrets":           {"FASTAPI_AUTH_SECRET": good, "FASTAPI_SIMPLE_SECURITY_SECRET": canary + canary},
		"MongoDB":               {"FASTAPI_AUTH_SECRET": good, "MONGODB_URL": "mongodb://u:" + canary + "@h/d", "DATABASE_MODE": "mongodb"},
		"a name with a value":   {"KEYFOLD_SECRET " + canary: "="},
	} {
		t.Run(name, func(t *testing.T) {
			for _, args := range [][]string{{"serve", "--addr", "127.0.0.1:0"}, {"keys", "list"}} {
				got := call(t, row, args...)
				if got.code == exitOK || strings.Contains(got.stdout+got.stderr, canary) || !strings.HasPrefix(got.stderr, "keyfold: ") {
					t.Errorf("%s, %s: exit code %d, %s%s", name, args[0], got.code, got.stdout, got.stderr)
				}
			}
		})
	}
}
