package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/wire"
)

func TestChangesNameTheDatabase(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	run := func(stdin string, args ...string) result {
		var stdout, stderr strings.Builder
		code := run(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr, []string{"KEYFOLD_DATABASE_URL=sqlite:" + s.path})
		return result{stdout.String(), stderr.String(), code}
	}
	a, b := s.created("keys", "create", "--owner", "a").ID, s.created("keys", "create", "--owner", "a").ID
	s.user("", "create", "--username", "olga")
	for _, line := range []string{
		"keys create", "keys update " + a + " --name x", "keys renew " + a, "keys rotate " + a, "keys disable " + b, "keys enable " + b, "keys disable --owner a --yes",
		"keys revoke " + b + " --yes", "keys revoke --owner a --yes", "keys delete " + b + " --yes", "users create --username pavel", "users update olga --email o@example.com",
		"users set-password olga", "users unlock olga", "users disable olga", "users enable olga", "users delete olga --yes",
	} {
		t.Run(line, func(t *testing.T) {
			got := run(userPassword+"\n", strings.Fields(line)...)
			if said := got.stdout + rulesLine.ReplaceAllString(got.stderr, ""); got.code != exitOK || !strings.Contains(said, " in sqlite:"+s.path) {
				t.Errorf("keyfold %s: exit code %d, %q; want the name of the database", line, got.code, said)
			}
		})
	}
}

func TestUsersAreFoundByNameOrAddress(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	olga := s.user("", "create", "--username", "Olga", "--email", "olga@example.com").ID
	for _, name := range []string{olga, "OLGA", "Olga@example.com"} {
		if got := decoded[wire.User](t, s.prints("users", "show", name, "--json")); got.ID != olga {
			t.Errorf("users show %s: %s, want %s", name, got.ID, olga)
		}
	}
	key := s.created("keys", "create", "--user", "olga@example.com")
	if key.UserID == nil || *key.UserID != olga {
		t.Errorf("the key belongs to %v, want %s", key.UserID, olga)
	}
	s.created("keys", "create")
	for _, args := range []string{"keys list --all --json --user olga", "audit list --all --json --target olga"} {
		if got := strings.Count(s.prints(strings.Fields(args)...), "\n"); got != 1 {
			t.Errorf("keyfold %s: %d entries, want 1", args, got)
		}
	}
	for _, command := range []string{"events", "report", "totals"} {
		s.prints("usage", command, "--user", "olga", "--json")
		s.fails(exitNotFound, "--user is not the ID, username or e-mail address of a user", "usage", command, "--user", "rosa")
	}
	// A username may have the form of an ID, and must not hide the user with that ID.
	named := s.user("", "create", "--username", strings.ToLower(olga)+"x").ID
	s.user("", "update", named, "--username", "0123456789abcdef")
	if got := decoded[wire.User](t, s.prints("users", "show", "0123456789abcdef", "--json")); got.ID != named {
		t.Errorf("a username of the form of an ID: %s, want %s", got.ID, named)
	}
	if got := s.prints("keys", "disable", "--user", "olga", "--yes"); got != "disabled 1 key\n" {
		t.Errorf("disable --user: %q", got)
	}
	s.prints("users", "delete", "olga@example.com", "--yes")
	s.fails(exitNotFound, "the user "+olga+" does not exist", "users", "enable", olga)
}

// A mistyped name must not become a new database. Mutation tried: opening the
// database without [existing.Only].
func TestOnlyMigrateAndServeCreateTheDatabase(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			dir, env := t.TempDir(), append(environment(""), "KEYFOLD_DATABASE_URL="+engine.open(t))
			for _, args := range []string{"keys create", "keys list", "users create --username olga", "usage totals", "audit list"} {
				got := execute(t, dir, env, strings.Fields(args)...)
				if got.code != exitNotFound || !strings.HasPrefix(got.stderr, "keyfold: the database "+strings.ToLower(engine.name)[:3]) &&
					engine.name != "MariaDB" || !strings.HasSuffix(got.stderr, `; create it with "keyfold migrate" or "keyfold serve"`+"\n") {
					t.Errorf("keyfold %s: %+v", args, got)
				}
			}
			if got := execute(t, dir, env, "migrate"); !strings.Contains(got.stdout, ": created the schema, at version ") {
				t.Errorf("migrate: %+v; want it to create the schema, which must not exist yet", got)
			}
			if got := execute(t, dir, env, "keys", "create"); got.code != exitOK {
				t.Errorf("keys create: %+v", got)
			}
		})
	}
}

// The host accepts connections and never answers. The migration may take an hour, but
// only once the host has answered.
func TestDeadHostIsNamedWithTheTimeout(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	for _, scheme := range []string{"postgres", "mysql"} { // the driver of MongoDB gives up earlier, with a reason
		for _, args := range [][]string{{"keys", "list"}, {"migrate"}} {
			t.Run(scheme+" "+args[0], func(t *testing.T) {
				t.Parallel()
				got := call(t, nil, append(args, "--db", scheme+"://u:hunter-two@"+listener.Addr().String()+"/d")...)
				if want := fmt.Sprintf("keyfold: cannot use %s://%s/d: no answer within 10 s\n", scheme, listener.Addr()); got.code != exitFailure || got.stderr != want {
					t.Errorf("exit code %d, %q, want %q", got.code, got.stderr, want)
				}
			})
		}
	}
}

func TestProgressIsShownAndErased(t *testing.T) {
	t.Parallel()
	first := make(chan struct{})
	var shown strings.Builder
	c := &command{stderr: writerFunc(func(p []byte) (int, error) {
		if shown.Len() == 0 {
			defer close(first)
		}
		return shown.Write(p)
	})}
	stop := c.showProgress(time.Millisecond, func() string { return "revoked 200 of 1000 keys" })
	<-first
	stop()
	if got := shown.String(); !strings.HasPrefix(got, "\r\x1b[Krevoked 200 of 1000 keys, 0 s") || !strings.HasSuffix(got, " s\r\x1b[K") {
		t.Errorf("shown %q, want a line that is erased", got)
	}
	before := shown.Len()
	c.progress(func() string { return "x" })() // standard error is not a terminal
	if shown.Len() != before {
		t.Errorf("shown without a terminal: %q", shown.String()[before:])
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
