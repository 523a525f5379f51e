package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/internal/wire"
)

const testSecret = "f3a91c07d25e48b6a7c0e91f5d38b24c"

// engines are the databases that the command is tried on. A secret that is
// empty is made by the server.
var engines = []struct {
	name   string
	open   func(testing.TB) string
	secret string
}{
	{"SQLite", func(testing.TB) string { return "sqlite:keyfold.db" }, ""},
	{"PostgreSQL", testdb.Postgres, testSecret},
	{"MariaDB", testdb.MariaDBURL, testSecret},
	{"MongoDB", testdb.Mongo, testSecret},
}

// evidence gathers tokens, and everything that must not hold their secrets.
type evidence struct {
	tokens []string
	texts  map[string]string
}

func (e *evidence) add(name, text string) { e.texts[name] = text }

func (e *evidence) check(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	for _, token := range e.tokens {
		parts := strings.Split(token, "_")
		secrets = append(secrets, parts[len(parts)-2])
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e.add(filepath.Base(file), string(content))
	}
	for name, text := range e.texts {
		for _, secret := range secrets {
			if bytes.Contains([]byte(text), []byte(secret)) {
				t.Errorf("%s holds a secret", name)
			}
		}
	}
}

// The whole way of a key, on each engine, by the real command.
func TestLifeOfAKey(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			dir, db := t.TempDir(), engine.open(t)
			found := &evidence{texts: map[string]string{}}
			s := startServer(t, dir, db, engine.secret)
			secret := s.secret

			for _, path := range []string{"/healthz", "/readyz"} {
				if status := s.get(path); status != http.StatusOK {
					t.Errorf("%s: %d", path, status)
				}
			}
			if open, closed := s.get("/unsecure"), s.get("/secure"); open != http.StatusOK || closed != http.StatusUnauthorized {
				t.Errorf("without a key: /unsecure %d, /secure %d", open, closed)
			}

			var created wire.CreatedKey
			s.admin("POST", "/keys", `{"name":"ci","owner_id":"cust_42","scopes":["reports:read"],"ttl":"1d"}`, http.StatusCreated, &created)
			found.tokens = append(found.tokens, created.Token)
			id := created.Key.ID
			for _, header := range [][]string{
				{"Authorization", "Bearer " + created.Token}, {"X-API-Key", created.Token}, {"api-key", created.Token},
			} {
				a, err := send(t.Context(), http.DefaultClient, "GET", s.url+"/secure", "", header...)
				want := fmt.Sprintf(`{"key_id":%q,"name":"ci","owner_id":"cust_42"}`+"\n", id)
				if err != nil || a.status != http.StatusOK || string(a.body) != want {
					t.Errorf("/secure by %s: %d, %v: %s", header[0], a.status, err, a.body)
				}
			}
			s.awaitUses(id, 3)

			var renewed wire.Key
			s.admin("POST", "/keys/"+id+"/renew", `{"ttl":"30d"}`, http.StatusOK, &renewed)
			if renewed.ExpiresAt == nil || !renewed.ExpiresAt.After(*created.Key.ExpiresAt) {
				t.Errorf("renewed to %v, which is not after %v", renewed.ExpiresAt, created.Key.ExpiresAt)
			}
			var rotated wire.CreatedKey
			s.admin("POST", "/keys/"+id+"/rotate", `{"overlap":"1h"}`, http.StatusCreated, &rotated)
			found.tokens = append(found.tokens, rotated.Token)
			for name, token := range map[string]string{"old": created.Token, "new": rotated.Token} {
				if status := s.get("/secure", "X-API-Key", token); status != http.StatusOK {
					t.Errorf("after rotating, the %s token: %d", name, status)
				}
			}
			s.admin("POST", "/keys/"+id+"/revoke", `{"reason":"leaked"}`, http.StatusOK, nil)
			if status := s.get("/secure", "X-API-Key", created.Token); status != http.StatusUnauthorized {
				t.Errorf("the revoked token: %d", status)
			}
			if status := s.get("/auth/keys", "secret-key", "wrong"); status != http.StatusUnauthorized {
				t.Errorf("the admin API by a wrong secret: %d", status)
			}
			s.stop()
			found.add("standard error", strings.Replace(s.stderr.String(), secret, "", 1)) // once, where it is announced
			found.add("standard output", s.stdout.String())

			s = startServer(t, dir, db, engine.secret)
			if engine.secret == "" && s.secret == secret {
				t.Error("the next start announces the same secret")
			}
			if old, fresh := s.get("/secure", "api-key", created.Token), s.get("/secure", "api-key", rotated.Token); old != 401 || fresh != 200 {
				t.Errorf("after a restart: revoked token %d, new token %d", old, fresh)
			}
			s.stop()
			found.add("second standard error", strings.Replace(s.stderr.String(), s.secret, "", 1))
			found.check(t, dir, secret, s.secret)

			keys, _ := listKeys(t, dir, db)
			uses := map[string]int64{}
			for _, key := range keys {
				uses[key.ID] = key.Uses
			}
			if len(keys) != 2 || uses[id] != 4 || uses[rotated.Key.ID] != 2 {
				t.Errorf("uses %v, want 4 of the old key and 2 of the new", uses)
			}
		})
	}
}

func TestCommandAndServerShareADatabase(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			dir, db := t.TempDir(), engine.open(t)
			found := &evidence{texts: map[string]string{}}
			if migrated := execute(t, dir, append(environment(""), "KEYFOLD_DATABASE_URL="+db), "migrate"); migrated.code != exitOK {
				t.Fatalf("migrate: %+v", migrated)
			}
			created, printed := keysJSON[wire.CreatedKey](t, dir, db, "create", "--name", "cli", "--owner", "a", "--tenant", "x",
				"--scope", "a:b", "--scope", "c:d", "--network", "127.0.0.0/8", "--metadata", "plan=pro", "--ttl", "1d12h", "--idle-timeout", "30d")
			found.tokens = append(found.tokens, created.Token)
			found.add("standard error of create", printed.stderr)
			if k := created.Key; k.Name != "cli" || k.OwnerID != "a" || k.Tenant != "x" || len(k.Scopes) != 2 || len(k.Networks) != 1 ||
				k.Metadata["plan"] != "pro" || k.IdleTimeout == nil || *k.IdleTimeout != "30d" {
				t.Errorf("created %+v", k)
			}
			never, _ := keysJSON[wire.CreatedKey](t, dir, db, "create", "--never")
			if never.Key.ExpiresAt != nil {
				t.Errorf("a key that never ends ends at %v", never.Key.ExpiresAt)
			}

			s := startServer(t, dir, db, engine.secret)
			if status := s.get("/secure", "api-key", created.Token); status != http.StatusOK {
				t.Errorf("a key of the command: %d", status)
			}
			revoked, printed := keysJSON[wire.Key](t, dir, db, "revoke", created.Key.ID, "--yes", "--reason", "gone")
			if revoked.State != string(keyfold.KeyRevoked) || revoked.RevokedReason == nil || *revoked.RevokedReason != "gone" {
				t.Errorf("revoked %+v", revoked)
			}
			found.add("revoke", printed.stdout+printed.stderr)
			s.awaitStatus("/secure", http.StatusUnauthorized, "api-key", created.Token)
			s.stop()

			listed, printed := listKeys(t, dir, db, "--owner", "a")
			if len(listed) != 1 || listed[0].ID != created.Key.ID || listed[0].State != string(keyfold.KeyRevoked) {
				t.Errorf("listed %+v", listed)
			}
			found.add("list", printed.stdout+printed.stderr)
			found.check(t, dir)
		})
	}
}

// Every 200 that a client has seen is counted, whenever the server is told to
// stop. Mutation tried: runServe without svc.Close.
func TestSigtermUnderLoadLosesNoUse(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			dir, db := t.TempDir(), engine.open(t)
			s := startServer(t, dir, db, engine.secret)
			const clients = 16
			var keys [4]wire.CreatedKey
			for i := range keys {
				s.admin("POST", "/keys", `{}`, http.StatusCreated, &keys[i])
			}
			// One connection a request: a connection that is kept may be closed
			// just when the next request is on its way, and then it is unknown
			// whether it was answered.
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			var answered [len(keys)]atomic.Int64
			var total atomic.Int64
			var group sync.WaitGroup
			for worker := range clients {
				group.Go(func() {
					i := worker % len(keys)
					for {
						a, err := send(t.Context(), client, "GET", s.url+"/secure", "", "X-API-Key", keys[i].Token)
						if err != nil {
							return // the server is gone
						}
						if a.status != http.StatusOK {
							t.Errorf("/secure: %d %s", a.status, a.body)
							return
						}
						answered[i].Add(1)
						if total.Add(1) == 500 {
							group.Go(s.stop)
						}
					}
				})
			}
			group.Wait()
			if total.Load() < 500 {
				t.Fatalf("only %d requests were answered: %s", total.Load(), s.stderr)
			}
			listed, _ := listKeys(t, dir, db)
			for i := range keys {
				for _, key := range listed {
					if got, want := key.Uses, answered[i].Load(); key.ID == keys[i].Key.ID && got != want {
						t.Errorf("key %d: %d uses are stored, %d requests were answered", i, got, want)
					}
				}
			}
			if len(listed) != len(keys) {
				t.Errorf("%d keys are listed, want %d", len(listed), len(keys))
			}
		})
	}
}
