package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/internal/wire"
	"github.com/keyfold/keyfold/store/sqlite"
)

// call runs a command line inside the test, with only these variables.
func call(t *testing.T, env map[string]string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	environ := []string{"KEYFOLD_ENV_FILE=" + os.DevNull}
	for name, value := range env {
		environ = append(environ, name+"="+value)
	}
	code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr, environ)
	return result{stdout.String(), stderr.String(), code}
}

// A refused command line says why on one line, and repeats nothing that may be
// a password or a token.
func TestRefusedCommandLines(t *testing.T) {
	t.Parallel()
	const password = "hunter-two"
	db := "sqlite:" + filepath.Join(t.TempDir(), "keyfold.db")
	missing := "sqlite:" + filepath.Join(t.TempDir(), "missing.db")
	token := "kf_0123456789abcdef_0123456789abcdef0123456789abcdef_000000"
	secure := map[string]string{"KEYFOLD_SECRET": testSecret}
	for _, test := range []struct {
		name string
		args []string
		env  map[string]string
		code int
		says string
	}{
		{"unknown command", []string{"serv"}, nil, 2, `unknown command "serv" of "keyfold"; did you mean "serve"?`},
		{"connection string as a command", []string{"postgres://u:" + password + "@h/d"}, nil, 2, `unknown command of "keyfold"; see`},
		{"unknown command on keys", []string{"keys", "drop"}, nil, 2, `unknown command "drop" of "keyfold keys"; see "keyfold keys --help"`},
		{"help for an unknown command", []string{"help", "nope"}, nil, 2, `unknown command "nope" of "keyfold"; see "keyfold --help"`},
		{"help for an unknown command on keys", []string{"help", "keys", "nope"}, nil, 2, `unknown command "nope" of "keyfold keys"`},
		{"help for a connection string", []string{"help", "postgres://u:" + password + "@h/d"}, nil, 2, `unknown command of "keyfold"; see`},
		{"unknown flag", []string{"serve", "--secret=" + password}, nil, 2, "unknown flag: --secret"},
		{"misspelt command on keys", []string{"keys", "creat"}, nil, 2, `did you mean "create"?`},
		{"misspelt flag", []string{"keys", "list", "--onwer", "x"}, nil, 2, `unknown flag: --onwer; did you mean "--owner"?`},
		{"argument of serve", []string{"serve", password}, nil, 2, "takes no arguments"},
		{"argument of list", []string{"keys", "list", password}, nil, 2, "takes no arguments"},
		{"flag without a value", []string{"serve", "--db"}, nil, 2, "--db requires a value"},
		{"unknown log format", []string{"serve", "--log-format", "xml"}, nil, 2, "--log-format must be text or json"},
		{"address without a port", []string{"serve", "--addr", "localhost"}, nil, 2, "--addr must be host:port"},
		{"port that is too high", []string{"serve", "--addr", ":70000"}, nil, 2, "--addr must be host:port"},
		{"proxy with host bits", []string{"serve", "--trusted-proxy", "10.0.0.1/8"}, nil, 2, "--trusted-proxy must be"},
		{"every network is a proxy", []string{"serve", "--trusted-proxy", "0.0.0.0/1", "--trusted-proxy", "128.0.0.0/1"}, nil, 2, "--trusted-proxy must be networks that hold only the proxies"},
		{"address in use", []string{"serve", "--db", db, "--addr", takenAddress(t)}, secure, 1, "address already in use"},
		{"no host of that name", []string{"serve", "--db", db, "--addr", "192.0.2.1:0"}, secure, 1, "cannot listen on 192.0.2.1:0"},
		{"directory that is not there", []string{"serve", "--db", "sqlite:/no/such/directory/keyfold.db"}, secure, 1, "cannot use sqlite:/no/such"},
		{"PostgreSQL without a secret", []string{"serve", "--db", "postgres://u:" + password + "@h/d"}, nil, 2, `generate a value with "openssl rand -hex 32"`},
		{"MariaDB without a secret", []string{"serve", "--db", "mysql://u:" + password + "@h/d"}, nil, 2, "KEYFOLD_SECRET must be set"},
		{"PostgreSQL that is down", []string{"serve", "--db", "postgres://u:" + password + "@127.0.0.1:1/d"}, secure, 1, "cannot use postgres://127.0.0.1:1/d: "},
		{"MariaDB that is down", []string{"keys", "list", "--db", "mysql://u:" + password + "@127.0.0.1:1/d"}, nil, 1, "cannot use mysql://127.0.0.1:1/d: "},
		{"variable that is no connection string", []string{"keys", "list"}, map[string]string{"KEYFOLD_DATABASE_URL": password}, 2, "KEYFOLD_DATABASE_URL is not a connection string"},
		{"port that is none", []string{"keys", "list", "--db", "postgres://u:" + password + "@127.0.0.1:99999/d"}, nil, 2, "--db has an invalid port; it must be a port between 1 and 65535"},
		{"tls that is none", []string{"keys", "list"}, map[string]string{"KEYFOLD_DATABASE_URL": "mysql://h/d?tls=" + password}, 2, "KEYFOLD_DATABASE_URL has an unknown tls mode"},
		{"database in memory", []string{"keys", "create", "--db", "sqlite::memory:"}, nil, 2, "--db is a database in memory"},
		{"URI of SQLite", []string{"keys", "create", "--db", "sqlite:file:keys.db"}, nil, 2, "--db is a SQLite URI; it must be sqlite:FILE"},
		{"password length", []string{"keys", "list"}, map[string]string{"KEYFOLD_PASSWORD_MIN_LENGTH": "7"}, 2, "KEYFOLD_PASSWORD_MIN_LENGTH must be between 8 and 256 characters"},
		{"variable that is blank", []string{"keys", "list"}, map[string]string{"KEYFOLD_DATABASE_URL": ""}, 2, "KEYFOLD_DATABASE_URL is set but blank"},
		{"list without a database", []string{"keys", "list", "--db", missing}, nil, 3, missing + ` does not exist; create it with "keyfold migrate" or "keyfold serve"`},
		{"revoke without a database", []string{"keys", "revoke", "0123456789abcdef", "--yes", "--db", missing}, nil, 3, missing + " does not exist"},
		{"create without a database", []string{"keys", "create", "--db", missing}, nil, 3, missing + " does not exist"},
		{"user without a database", []string{"users", "create", "--username", "olga", "--db", missing}, nil, 3, missing + " does not exist"},
		{"SQLite file that is empty", []string{"keys", "create", "--db", "sqlite:" + emptyFile(t)}, nil, 3, `has no tables of Keyfold; create it with "keyfold migrate" or "keyfold serve"`},
		{"revoke without an id", []string{"keys", "revoke"}, nil, 2, "requires key IDs"},
		{"two ids", []string{"keys", "show", token, "b"}, nil, 2, "requires one key ID"},
		{"MongoDB that is nowhere", []string{"serve", "--db", "mongodb://u:" + password + "@127.0.0.1:1/d?serverSelectionTimeoutMS=50"}, secure, 1, "the server does not answer"},
		{"DATABASE_MODE that is unknown", []string{"serve", "--compat"}, map[string]string{"DATABASE_MODE": password}, 2, "DATABASE_MODE must be sqlite, postgres, mysql or mongodb"},
		{"variable that is misspelt", []string{"keys", "list"}, map[string]string{"KEYFOLD_SECERT": password}, 2, "KEYFOLD_SECERT is not a Keyfold variable; did you mean KEYFOLD_SECRET?"},
		{"two variables that are wrong", []string{"serve"}, map[string]string{"KEYFOLD_ADDR": "x", "KEYFOLD_KEY_TTL": "x"}, 2, "KEYFOLD_KEY_TTL must be a duration"},
		{"secret that is an example", []string{"serve", "--db", db}, map[string]string{"FASTAPI_AUTH_SECRET": "# set your secret key here"}, 2, "FASTAPI_AUTH_SECRET is a comment"},
		{"secret that is short", []string{"serve", "--db", db}, map[string]string{"KEYFOLD_SECRET": testSecret[:31]}, 2, "KEYFOLD_SECRET is shorter than 32 characters"},
		{".env that is not there", []string{"keys", "list"}, map[string]string{"KEYFOLD_ENV_FILE": filepath.Join(t.TempDir(), "env")}, 2, "cannot be read: no such file"},
		{"bad ttl", []string{"keys", "create", "--ttl", "-1ns", "--db", db}, nil, 2, "--ttl must be a duration"},
		{"bad idle timeout", []string{"keys", "create", "--idle-timeout", "x", "--db", db}, nil, 2, "--idle-timeout must be a duration"},
		{"bad time", []string{"keys", "create", "--expires-at", "x", "--db", db}, nil, 2, "--expires-at must be a date or an RFC 3339 time"},
		{"two ends", []string{"keys", "create", "--never", "--ttl", "1d", "--db", db}, nil, 2, "--ttl and --never cannot be used together"},
		{"bad network", []string{"keys", "create", "--network", "x", "--db", db}, nil, 2, "--network must be"},
		{"bad metadata", []string{"keys", "create", "--metadata", "x", "--db", db}, nil, 2, "--metadata must be"},
		{"metadata twice", []string{"keys", "create", "--metadata", "x=1", "--metadata", "x=2", "--db", db}, nil, 2, "--metadata must be"},
		{"negative limit", []string{"keys", "list", "--limit", "-1", "--db", db}, nil, 2, "--limit must be"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := call(t, test.env, test.args...)
			if got.code != test.code || got.stdout != "" || !strings.Contains(got.stderr, test.says) ||
				!strings.HasPrefix(got.stderr, "keyfold: ") || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("exit code %d, standard output %q, standard error %q; want %d and one line with %q",
					got.code, got.stdout, got.stderr, test.code, test.says)
			}
			if strings.Contains(test.says, "does not exist") {
				if _, err := os.Stat(strings.TrimPrefix(missing, "sqlite:")); err == nil {
					t.Error("the database was made")
				}
			}
			for _, hidden := range []string{password, token, testSecret} {
				if strings.Contains(got.stderr, hidden) {
					t.Errorf("standard error repeats %q", hidden)
				}
			}
		})
	}
}

func emptyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func takenAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// Help is read on terminals of 80 columns. Mutation tried: the usage of cobra.
func TestHelpFitsEightyColumns(t *testing.T) {
	t.Parallel()
	root := (&command{}).root()
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		got := call(t, nil, append([]string{"help"}, strings.Fields(cmd.CommandPath())[1:]...)...)
		if got.code != exitOK || !strings.Contains(got.stdout, cmd.Short) && cmd.Long == "" {
			t.Errorf("help for %s: %+v", cmd.CommandPath(), got)
		}
		for line := range strings.Lines(got.stdout) {
			if width := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > helpWidth {
				t.Errorf("help for %s has a line of %d columns: %s", cmd.CommandPath(), width, line)
			}
		}
		for _, below := range cmd.Commands() {
			visit(below)
		}
	}
	visit(root)
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"":                   "Available Commands",
		"help":               "Available Commands",
		"keys":               "revoke",
		"help exit-codes":    "3  the key, the user or the database does not exist",
		"help variables":     "KEYFOLD_KEY_TTL",
		"serve --help":       "--trusted-proxy",
		"keys create -h":     "--scope",
		"version":            "keyfold ",
		"--version":          "keyfold (devel) go1",
		"help keys list":     "--expiring-before",
		"version --json":     `"go":"go1`,
		"completion bash":    "bash completion",
		"keys list --help":   "--expiring-before",
		"keys revoke --help": "--reason",
	} {
		t.Run(args, func(t *testing.T) {
			got := call(t, map[string]string{"KEYFOLD_DATABASE_URL": "postgres://u:hunter-two@h/d"}, strings.Fields(args)...)
			if got.code != exitOK || !strings.Contains(got.stdout, says) || got.stderr != "" {
				t.Errorf("keyfold %s: exit code %d, %q, %q; want %q", args, got.code, got.stdout, got.stderr, says)
			}
			if strings.Contains(got.stdout, "hunter-two") {
				t.Errorf("keyfold %s shows the variable", args)
			}
		})
	}
}

// A user who pipes help into a full disk learns about the disk, and not that the
// command was wrong.
func TestHelpThatCannotBeWrittenIsAFailure(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"", "help", "help keys", "keys --help", "serve -h", "--version", "version", "help variables", "completion bash", "completion zsh"} {
		t.Run(line, func(t *testing.T) {
			var stderr bytes.Buffer
			code := run(t.Context(), strings.Fields(line), strings.NewReader(""), brokenPipe{}, &stderr, nil)
			if code != exitFailure || !strings.HasPrefix(stderr.String(), "keyfold: ") || !strings.HasSuffix(stderr.String(), "broken pipe\n") || strings.Count(stderr.String(), "\n") != 1 {
				t.Errorf("keyfold %s: exit code %d, %q", line, code, &stderr)
			}
		})
	}
}

// pgx tries with TLS and without, and tells both failures.
func TestErrorsAreSaidOnce(t *testing.T) {
	t.Parallel()
	if got := oneLine("keyfold: cannot connect:\n\th:1: refused\n\th:1: refused\n\th:2: refused\n"); got != "cannot connect:; h:1: refused; h:2: refused" {
		t.Errorf("got %q", got)
	}
	got := call(t, nil, "keys", "list", "--db", "postgres://u@127.0.0.1:1/d")
	if got.code != exitFailure || strings.Count(got.stderr, "connection refused") != 1 {
		t.Errorf("exit code %d: %s", got.code, got.stderr)
	}
}

func TestKeysForPeople(t *testing.T) {
	t.Parallel()
	path := newShell(t).path
	db := []string{"--db", "sqlite:" + path}
	with := func(args ...string) result { return call(t, nil, append(args, db...)...) }

	made := with("keys", "create", "--name", "night build", "--owner", "cust_42")
	token, err := keyfold.ParseToken(strings.TrimSuffix(made.stdout, "\n"))
	if made.code != exitOK || err != nil {
		t.Fatalf("create: %d, %q, %q", made.code, made.stdout, made.stderr)
	}
	if !strings.Contains(made.stderr, token.ID()) || strings.Contains(made.stderr, token.Reveal()) || strings.Count(made.stderr, "\n") != 2 {
		t.Errorf("create says %q", made.stderr)
	}
	for range 4 {
		with("keys", "create", "--never")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the database has mode %v, %v, want 0600", info.Mode(), err)
	}

	if got := with("keys", "revoke", token.Reveal()); got.code != exitUsage || !strings.Contains(got.stderr, token.ID()) ||
		strings.Contains(got.stderr, token.Reveal()) {
		t.Errorf("revoke of a token: %d, %q", got.code, got.stderr)
	}
	if got := with("keys", "revoke", "--yes", "0000000000000000"); got.code != exitNotFound || got.stderr == "" {
		t.Errorf("revoke of an unknown key: %d, %q", got.code, got.stderr)
	}
	if got := with("keys", "revoke", "short"); got.code != exitUsage {
		t.Errorf("revoke of a bad id: %d, %q", got.code, got.stderr)
	}
	if got := with("keys", "revoke", token.ID(), "--yes", "--reason", "gone"); got.code != exitOK || got.stdout != "revoked "+token.ID()+" in sqlite:"+path+"\n" {
		t.Errorf("revoke: %d, %q, %q", got.code, got.stdout, got.stderr)
	}

	list := with("keys", "list")
	lines := strings.Split(strings.TrimSpace(list.stdout), "\n")
	if list.code != exitOK || len(lines) != 5 {
		t.Fatalf("list: %d, %q", list.code, list.stdout)
	}
	last := strings.Fields(lines[4])
	if last[0] != token.ID() || !strings.Contains(lines[4], "night build") || !strings.Contains(lines[4], "revoked") || !strings.Contains(lines[3], "never") {
		t.Errorf("list:\n%s", list.stdout)
	}
	for args, want := range map[string]int{
		"": 5, "--limit 2": 2, "--state revoked": 1, "--owner cust_42": 1, "--tenant none": 0, "--expiring-before 2999-01-01T00:00:00Z": 1,
	} {
		t.Run(args, func(t *testing.T) {
			got := with(append([]string{"keys", "list", "--json"}, strings.Fields(args)...)...)
			var page wire.KeyPage
			if err := json.Unmarshal([]byte(got.stdout), &page); err != nil || page.Keys == nil || len(page.Keys) != want {
				t.Errorf("list %s: %d keys, %v, want %d: %s", args, len(page.Keys), err, want, got.stdout)
			}
		})
	}
	for _, args := range []string{"--state gone", "--expiring-before soon", "--owner a\x1bb"} {
		t.Run(args, func(t *testing.T) {
			if got := with(append([]string{"keys", "list"}, strings.Fields(args)...)...); got.code != exitUsage {
				t.Errorf("list %q: exit code %d, %q, want 2", args, got.code, got.stderr)
			}
		})
	}
	if got := with("keys", "create", "--name", "\x1b[31mred"); got.code != exitUsage || strings.Contains(got.stderr, "\x1b") {
		t.Errorf("a name with a control character: %d, %q", got.code, got.stderr)
	}
}

func TestListWalksAllPages(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyfold.db")
	store, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	svc, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(context.Background())
	const count = 450
	err = svc.InTx(t.Context(), func(svc *keyfold.Service) error {
		for range count {
			if _, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	db := []string{"--db", "sqlite:" + path}
	seen := map[string]bool{}
	record := func(keys []wire.Key) {
		for _, key := range keys {
			if seen[key.ID] {
				t.Errorf("key %s is listed twice", key.ID)
			}
			seen[key.ID] = true
		}
	}
	for next, limit := "", 250; ; limit = 100 {
		got := call(t, nil, append([]string{"keys", "list", "--json", "--limit", strconv.Itoa(limit), "--cursor", next}, db...)...)
		var page wire.KeyPage
		if err := json.Unmarshal([]byte(got.stdout), &page); err != nil || got.stderr != "" {
			t.Fatalf("%v, %s", err, got.stderr)
		}
		record(page.Keys)
		if page.Next == nil {
			break
		}
		if len(page.Keys) != limit {
			t.Errorf("%d keys and a next page, want %d", len(page.Keys), limit)
		}
		next = *page.Next
	}
	if len(seen) != count {
		t.Errorf("page by page %d keys, want %d", len(seen), count)
	}
	clear(seen)
	record(documents[wire.Key](t, call(t, nil, append([]string{"keys", "list", "--json", "--all"}, db...)...).stdout))
	if len(seen) != count {
		t.Errorf("--all: %d keys, want %d", len(seen), count)
	}

	// People are told where a list goes on.
	cut := call(t, nil, append([]string{"keys", "list"}, db...)...)
	if rows := strings.Count(cut.stdout, "\n"); rows != 50 || !strings.Contains(cut.stderr, "--cursor ") {
		t.Errorf("%d rows and %q, want 50 and where it goes on", rows, cut.stderr)
	}
	if all := call(t, nil, append([]string{"keys", "list", "--all"}, db...)...); strings.Count(all.stdout, "\n") != count || all.stderr != "" {
		t.Errorf("--all: %d lines and %q", strings.Count(all.stdout, "\n"), all.stderr)
	}
}

func TestTableIsSafeForTerminals(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	key := keyfold.Key{ID: "0123456789abcdef", Name: "a\x1b[2Jb\tc\nd\u202ee", OwnerID: "Zoë 日本"}
	table := keyTable([]keyfold.Key{key}, time.Now())
	if err := table.printColumns(&out, 200); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "\n") != 2 || strings.ContainsAny(got, "\x1b\t\u202e") || !strings.Contains(got, "Zoë 日本") {
		t.Errorf("%q", got)
	}
	out.Reset()
	if err := table.printValues(&out); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || strings.Count(got, "\t") != len(table.heads)-1 || strings.ContainsAny(got, "\x1b\u202e") {
		t.Errorf("tab-separated: %q", got)
	}
}

// The predecessor answered 500 to everything when no secret was set.
func TestSecretIsMadeOnSQLiteAndAskedForElsewhere(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		config, err := fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		made, err := ensureSecret(config)
		secret := config.Secret.Reveal()
		if err != nil || !made || seen[secret] {
			t.Fatalf("%v, %v, seen before: %v", made, err, seen[secret])
		}
		seen[secret] = true
		read, err := fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: []string{"KEYFOLD_SECRET=" + secret}})
		if err != nil || read.Secret.Reveal() != secret {
			t.Fatalf("a secret that was made is refused when it is set: %v", err)
		}
		if made, err := ensureSecret(read); made || err != nil || read.Secret.Reveal() != secret {
			t.Fatalf("a secret that is set is replaced: %v, %v", made, err)
		}
	}
	for _, db := range []string{"postgres://h/d", "mysql://h/d", "mongodb://h/d"} {
		t.Run(db, func(t *testing.T) {
			config, err := fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: []string{"KEYFOLD_DATABASE_URL=" + db}})
			if err != nil {
				t.Fatal(err)
			}
			if made, err := ensureSecret(config); made || err == nil || !strings.Contains(err.Error(), "KEYFOLD_SECRET must be set") {
				t.Errorf("%s: %v, %v", db, made, err)
			}
		})
	}
}
