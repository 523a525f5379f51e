package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/wire"
	"github.com/keyfold/keyfold/store/sqlite"
)

const (
	somePepper  = "p:7d0f9b26c3e1548a9d4b70c2e6f8a135"
	otherPepper = "p:0c4e2d9b8a15f36c7de74198ab2f35e0"
)

func withPepper(db, pepper string) []string {
	return append(environment(testSecret), "KEYFOLD_DATABASE_URL="+db, "KEYFOLD_PEPPERS="+pepper, "KEYFOLD_CURRENT_PEPPER=p")
}

// Mutation tried: an Open that does not run the check.
func TestEveryCommandRefusesAPepperThatDiffers(t *testing.T) {
	t.Parallel()
	dir, db := t.TempDir(), "sqlite:keyfold.db"
	if got := execute(t, dir, withPepper(db, somePepper), "migrate"); got.code != exitOK {
		t.Fatalf("migrate: %+v", got)
	}
	if got := execute(t, dir, withPepper(db, somePepper), "keys", "create", "--name", "n"); got.code != exitOK {
		t.Fatalf("create: %+v", got)
	}
	for _, args := range []string{"keys create --name n", "keys list", "serve --addr 127.0.0.1:0"} {
		t.Run(args, func(t *testing.T) {
			got := execute(t, dir, withPepper(db, otherPepper), strings.Fields(args)...)
			if got.code != exitFailure || !strings.Contains(got.stderr, `the pepper "p" must have the value that it had when it was first used`) {
				t.Errorf("%s: %+v, want that it names the pepper", args, got)
			}
			if strings.Contains(got.stderr, otherPepper[2:]) || strings.Contains(got.stderr, somePepper[2:]) {
				t.Errorf("%s shows a pepper", args)
			}
		})
	}
	if got := execute(t, dir, withPepper(db, somePepper), "keys", "list"); got.code != exitOK {
		t.Errorf("with the right pepper: %+v", got)
	}
}

// Mutation tried: a health check that asks the store alone.
func TestServerStopsDecidingUnderANewerSchemaAndTells(t *testing.T) {
	t.Parallel()
	sh := newShell(t)
	token := decoded[wire.CreatedKey](t, sh.prints("keys", "create", "--name", "n", "--json")).Token
	s := startServer(t, t.TempDir(), "sqlite:"+sh.path, testSecret)
	addr := strings.TrimPrefix(s.url, "http://")
	s.awaitStatus("/secure", http.StatusOK, "Authorization", "Bearer "+token)
	db := openSQL(t, sh.path)
	set := func(versions string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), "UPDATE keyfold_meta SET "+versions+" WHERE id = 1"); err != nil {
			t.Fatal(err)
		}
	}
	set("schema_version = 99, oldest_version = 99")
	s.awaitStatus("/secure", http.StatusServiceUnavailable, "Authorization", "Bearer "+token)
	s.awaitStatus("/readyz", http.StatusServiceUnavailable)
	if got := call(t, nil, "healthcheck", "--addr", addr); got.code != exitFailure || !strings.Contains(got.stderr, "the check of its database failed; see its log") {
		t.Errorf("healthcheck: %+v", got)
	}
	set("schema_version = 99, oldest_version = 1")
	s.awaitStatus("/secure", http.StatusOK, "Authorization", "Bearer "+token)
	s.awaitStatus("/readyz", http.StatusOK)
	s.stop()
	log := s.stderr.String()
	if strings.Count(log, "refuses every request until the check") != 1 || strings.Count(log, "check of the database passes again") != 1 ||
		!strings.Contains(log, "schema version 99 is newer than this build") {
		t.Errorf("the log does not report once that the check failed, why, and that it passes again:\n%s", log)
	}
}

// Mutation tried: a command that reads the variables alone.
func TestCommandFollowsTheRulesOfTheProgramThatOwnsTheDatabase(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	dir, env := t.TempDir(), append(environment(""), "KEYFOLD_DATABASE_URL=sqlite:"+s.path)
	own := execute(t, dir, env, "keys", "create", "--name", "n", "--scope", "any:thing")
	if own.code != exitOK || !strings.Contains(own.stderr, "no key rules are published in sqlite:"+s.path+"; using the defaults and variables of this command: "+
		"tokens begin with kf, keys expire after 15d, any scope, passwords of at least 15 characters\n") {
		t.Fatalf("without rules: %+v", own)
	}
	store, err := sqlite.Open(t.Context(), s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	svc, err := keyfold.New(store, &keyfold.Options{
		Prefix: "acme", Environment: "live", KeyTTL: keyfold.Never, Scopes: []string{"reports:read"},
		PasswordPolicy: keyfold.PasswordPolicy{MinLength: 40},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := svc.PublishRules(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := execute(t, dir, env, "keys", "create", "--name", "n", "--scope", "reports:read")
	if got.code != exitOK || !strings.HasPrefix(got.stdout, "acme_live_") || !strings.Contains(got.stderr, "never expires") ||
		!strings.Contains(got.stderr, "following the key rules published in sqlite:"+s.path+": tokens begin with acme_live, keys do not expire, allowed scopes: 1") {
		t.Errorf("under rules: %q", got.stderr)
	}
	s.fails(exitUsage, "scope", "keys", "create", "--name", "n", "--scope", "any:thing")
	if got := s.typed("correct horse battery staple\n", "users", "create", "--username", "olga", "--password"); got.code != exitUsage || !strings.Contains(got.stderr, "40") {
		t.Errorf("a password that the rules refuse: %+v", got)
	}
	won := execute(t, dir, append(env, "KEYFOLD_PREFIX=mine"), "keys", "create", "--name", "n")
	if won.code != exitOK || !strings.HasPrefix(won.stdout, "mine_live_") || !strings.Contains(won.stderr, "KEYFOLD_PREFIX differs from the published key rules and takes precedence") {
		t.Errorf("a variable that differs: %q", won.stderr)
	}
}

func TestServePublishesItsKeyRules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "sqlite:keyfold.db", testSecret)
	got := execute(t, dir, append(environment(""), "KEYFOLD_DATABASE_URL=sqlite:keyfold.db"), "keys", "create", "--name", "n")
	if got.code != exitOK || !strings.Contains(got.stderr, "following the key rules published") {
		t.Errorf("%q", got.stderr)
	}
	s.stop()
	if strings.Contains(s.stderr.String(), "replaced the key rules") {
		t.Errorf("the first server says that it replaced rules: %s", s.stderr)
	}
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("KEYFOLD_PREFIX='acme'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, replaces := range []bool{true, false} {
		s := startServer(t, dir, "sqlite:keyfold.db", testSecret)
		s.stop()
		if said := strings.Contains(s.stderr.String(), `"previous_prefix":"kf","prefix":"acme"`); said != replaces {
			t.Errorf("a server with other rules says that it replaced them: %t, want %t: %s", said, replaces, s.stderr)
		}
	}
}
