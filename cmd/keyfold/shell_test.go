package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/sqliteuri"
	"github.com/keyfold/keyfold/internal/wire"
	"github.com/keyfold/keyfold/store/sqlite"
)

// shell runs commands on one SQLite file. It requires that every secret is printed
// once and never again.
type shell struct {
	t       *testing.T
	path    string
	secrets []string
}

// newShell returns a shell on a new database.
func newShell(t *testing.T) *shell {
	t.Helper()
	s := newShellWithoutDatabase(t)
	store, err := sqlite.Open(t.Context(), s.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

func newShellWithoutDatabase(t *testing.T) *shell {
	t.Helper()
	return &shell{t: t, path: filepath.Join(t.TempDir(), "keyfold.db")}
}

// rulesLine is what commands that create keys or users say of their rules.
var rulesLine = regexp.MustCompile(`(?m)^keyfold: (no key rules are published|following the key rules).*\n`)

// run runs a command and looks for secrets in its output. The result omits the line
// about the rules, which TestCommandFollowsTheRules… tests, and the name of the
// database after a change, which TestChangesNameTheDatabase tests.
func (s *shell) run(args ...string) result {
	s.t.Helper()
	got := call(s.t, map[string]string{"KEYFOLD_DATABASE_URL": "sqlite:" + s.path}, args...)
	for _, secret := range s.secrets {
		if strings.Contains(got.stdout+got.stderr, secret) {
			s.t.Errorf("keyfold %v prints a secret", args)
		}
	}
	got.stderr = rulesLine.ReplaceAllString(got.stderr, "")
	return s.withoutDatabase(got)
}

func (s *shell) withoutDatabase(r result) result {
	in := " in sqlite:" + s.path
	return result{strings.ReplaceAll(r.stdout, in, ""), strings.ReplaceAll(r.stderr, in, ""), r.code}
}

// prints runs a command that has to succeed and returns its standard output.
func (s *shell) prints(args ...string) string {
	s.t.Helper()
	got := s.run(args...)
	if got.code != exitOK || got.stderr != "" {
		s.t.Fatalf("keyfold %v: exit code %d, standard error %q", args, got.code, got.stderr)
	}
	return got.stdout
}

// fails runs a command that has to fail with one line of error and nothing else.
func (s *shell) fails(code int, says string, args ...string) {
	s.t.Helper()
	got := s.run(args...)
	if got.code != code || got.stdout != "" || !strings.HasPrefix(got.stderr, "keyfold: ") || strings.Count(got.stderr, "\n") != 1 ||
		!strings.Contains(got.stderr, says) {
		s.t.Errorf("keyfold %v: exit code %d, standard output %q, standard error %q; want %d and one line with %q",
			args, got.code, got.stdout, got.stderr, code, says)
	}
}

// token runs a command that prints a token and one line about it, and returns
// the id of its key.
func (s *shell) token(args ...string) (id, about string) {
	s.t.Helper()
	got := s.run(args...)
	text, ended := strings.CutSuffix(got.stdout, "\n")
	token, err := keyfold.ParseToken(text)
	if got.code != exitOK || err != nil || !ended || strings.Count(got.stderr, "\n") != 1 || !strings.Contains(got.stderr, token.ID()) {
		s.t.Fatalf("keyfold %v: exit code %d, standard output of %d bytes, %v, standard error %q", args, got.code, len(got.stdout), err, got.stderr)
	}
	s.keeps(text)
	if strings.Contains(got.stderr, s.secrets[len(s.secrets)-1]) {
		s.t.Errorf("keyfold %v: standard error has the secret", args)
	}
	return token.ID(), got.stderr
}

func (s *shell) keeps(token string) {
	parts := strings.Split(token, "_")
	s.secrets = append(s.secrets, parts[len(parts)-2])
}

// created runs a command that prints a token and its key as JSON.
func (s *shell) created(args ...string) wire.Key {
	s.t.Helper()
	created := decoded[wire.CreatedKey](s.t, s.prints(append(args, "--json")...))
	s.keeps(created.Token)
	return created.Key
}

// key shows a key.
func (s *shell) key(id string) wire.Key {
	s.t.Helper()
	return decoded[wire.Key](s.t, s.prints("keys", "show", id, "--json"))
}

// decoded decodes one line of JSON, which has to hold every member of T.
func decoded[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil || strings.Count(text, "\n") != 1 {
		t.Fatalf("%v: want one line of JSON: %q", err, text)
	}
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	// The same members in the same order, no more and no less.
	if plain := strings.TrimSuffix(text, "\n"); plain != string(encoded) {
		t.Errorf("got %s\nwant the members of %T: %s", plain, v, encoded)
	}
	return v
}

// column returns a column of tab-separated values.
func column(t *testing.T, table string, number int) []string {
	t.Helper()
	var cells []string
	for line := range strings.Lines(table) {
		row := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if number >= len(row) {
			t.Fatalf("there is no column %d:\n%s", number, table)
		}
		cells = append(cells, row[number])
	}
	return cells
}

// openSQL opens a SQLite file for statements of the test's own.
func openSQL(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", sqliteuri.Of(path)+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// openService opens the database of a shell as another process would.
func (s *shell) openService() *keyfold.Service {
	s.t.Helper()
	store, err := sqlite.Open(s.t.Context(), s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	svc, err := keyfold.New(store, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _, _ = svc.Close(context.Background()), store.Close() })
	return svc
}

// seed creates keys of an owner and a tenant.
func (s *shell) seed(count int, owner, tenant string) {
	s.t.Helper()
	for i := range count {
		s.created("keys", "create", "--owner", owner, "--tenant", tenant, "--name", strconv.Itoa(i))
	}
}
