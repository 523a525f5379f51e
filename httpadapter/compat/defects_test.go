package compat_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/compat"
	"github.com/keyfold/keyfold/store/memory"
)

// TestDefects has one row for each fault of the predecessor that its clients met.
func TestDefects(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		test func(t *testing.T, s *server)
	}{
		{"keys are neither stored in clear nor listed whole", func(t *testing.T, s *server) {
			key, id := s.newKey("name", "ci")
			s.secure(key)
			s.admin("/revoke", "api-key", key)
			s.admin("/renew", "api-key", key)
			hidden := key[strings.Index(key, id)+len(id):]
			if body := s.admin("/logs").body; strings.Contains(body, hidden) || !strings.Contains(body, id) {
				t.Errorf("the logs are %s, want the public part %s alone", body, id)
			}
			for _, part := range files(t, s.file) {
				if strings.Contains(part, hidden) {
					t.Error("the secret is in the database")
				}
			}
		}},
		{"GET mutations work, and POST keeps key and password out of the URL", func(t *testing.T, s *server) {
			key, _ := s.newKey()
			s.sendBody("POST", "/auth/revoke", "api-key="+key, "secret-key: "+secret, "Content-Type: application/x-www-form-urlencoded").
				wants(200, "null")
			s.secure(key).wants(403, badKey)
			if log := s.log.String(); strings.Contains(log, key) {
				t.Errorf("the key is in the log: %s", log)
			}
		}},
		{"a secret is wrong however much of it is right", func(_ *testing.T, s *server) {
			for _, wrong := range []string{secret[:31], secret + "x", strings.ToUpper(secret), "x" + secret[1:]} {
				s.send("GET", "/auth/logs", "secret-key: "+wrong).wants(403, wrongSecret)
			}
		}},
		{"a secret header that is not ASCII is 403", func(_ *testing.T, s *server) {
			s.send("GET", "/auth/logs", "secret-key: ключ").wants(403, wrongSecret)
			s.send("GET", "/auth/logs", "secret-key: \xff\xfe").wants(403, wrongSecret)
		}},
		{"50 uses at once are 50 in the logs", func(t *testing.T, s *server) {
			key, _ := s.newKey()
			var group sync.WaitGroup
			for range 50 {
				group.Go(func() {
					if a := s.secure(key); a.status != 200 {
						t.Errorf("%d %s", a.status, a.body)
					}
				})
			}
			group.Wait()
			if got := s.logs()[0]; got.TotalQueries != 50 || shown(got.LatestQueryDate) != "2026-11-23T06:45:15" {
				t.Errorf("%d uses, the latest at %s; want 50", got.TotalQueries, shown(got.LatestQueryDate))
			}
		}},
		{"a key renewed with a zone is good", func(t *testing.T, s *server) {
			key, _ := s.newKey()
			for date, want := range map[string]string{
				"2026-12-01T00:00:00Z": "2026-12-01T00:00:00", "2026-12-01T01:00:00+01:00": "2026-12-01T00:00:00",
			} {
				s.admin("/renew", "api-key", key, "expiration-date", date).wants(200, `"The new expiration date for the API key is `+want+`"`)
				if a := s.secure(key); a.status != 200 {
					t.Errorf("%s: %d %s", date, a.status, a.body)
				}
				if got := s.logs()[0].ExpirationDate; got != want {
					t.Errorf("%s: the logs say %s, want %s", date, got, want)
				}
			}
			s.clock.advance(9 * 24 * time.Hour)
			s.secure(key).wants(403, badKey)
		}},
		{"a NUL in a key is 403", func(_ *testing.T, s *server) {
			key, id := s.newKey()
			for _, bad := range []string{"%00", key + "%00", "%00" + key, id + "%00"} {
				s.send("GET", "/secure?api-key="+bad).wants(403, badKey)
			}
			s.send("GET", "/secure?api-key=%zz").wants(403, noKey) // no key can be read there
			s.send("GET", "/auth/renew?api-key=%00", "secret-key: "+secret).wants(404, notFound)
			s.send("GET", "/auth/revoke?api-key=%00", "secret-key: "+secret).wants(200, "null")
		}},
		{"renew does not bring back what was revoked for good", func(t *testing.T, s *server) {
			key, id := s.newKey()
			if err := s.svc.RevokeKey(t.Context(), id, "leaked"); err != nil {
				t.Fatal(err)
			}
			before := s.stored()
			for _, presented := range []string{key, id} {
				s.admin("/renew", "api-key", presented).wants(404, notFound)
				s.admin("/renew", "api-key", presented, "expiration-date", "2222-01-01").wants(404, notFound)
				s.admin("/revoke", "api-key", presented).wants(200, "null")
			}
			if after := s.stored(); after.Version != before.Version || !after.DisabledAt.IsZero() {
				t.Errorf("the key was %+v and is %+v", before, after)
			}
			if s.logs()[0].IsActive {
				t.Error("the logs say that it is active")
			}
			s.secure(key).wants(403, badKey)
		}},
		{"renew does not enable what it cannot renew", func(t *testing.T, s *server) {
			key, id := s.newKey()
			if _, _, err := s.svc.RotateKey(t.Context(), id, keyfold.RotateOptions{}); err != nil {
				t.Fatal(err)
			}
			s.admin("/revoke", "api-key", key)
			s.admin("/renew", "api-key", key).wants(404, notFound)
			s.secure(key).wants(403, badKey)
		}},
		{"of 30 users of one name at once there is one", func(t *testing.T, s *server) {
			var group sync.WaitGroup
			var mu sync.Mutex
			answers := map[int]int{}
			for range 30 {
				group.Go(func() {
					a := s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password)
					for a.status == http.StatusServiceUnavailable { // too many passwords are being hashed: try again, as it asks
						a = s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password)
					}
					mu.Lock()
					defer mu.Unlock()
					answers[a.status]++
				})
			}
			group.Wait()
			if keys, users := s.counts(); keys != 1 || users != 1 || answers[200] != 1 || answers[403] != 29 {
				t.Errorf("%d keys, %d users, answers %v; want one of each and 29 times 403", keys, users, answers)
			}
		}},
		{"logs answer on every store", func(t *testing.T, s *server) {
			s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password)
			if got := s.logs(); len(got) != 1 || shown(got[0].Email) != "jane@example.com" {
				t.Errorf("got %+v", got)
			}
		}},
		{"passwords can be checked, and are stored as argon2id", func(t *testing.T, s *server) {
			s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password)
			if user, err := s.svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: "jane", Password: password}); err != nil || user.Username != "jane" {
				t.Errorf("the right password: %+v, %v", user, err)
			}
			if _, err := s.svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: "jane", Password: password + "x"}); keyfold.OutcomeOf(err) == keyfold.OutcomeAllowed {
				t.Error("a wrong password is good")
			}
			stored := files(t, s.file)
			if all := strings.Join(stored, ""); s.file != "" && (strings.Contains(all, password) || !strings.Contains(all, "$argon2id$")) {
				t.Error("the password is not stored as argon2id")
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			onEveryStore(t, changes{}, row.test)
		})
	}
}

// An unset secret was a 500 at the first request.
func TestUnsetSecretEndsAtStart(t *testing.T) {
	t.Parallel()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compat.Handler(svc, compat.Options{}); err == nil || !strings.Contains(err.Error(), "Options.Secret") {
		t.Errorf("got %v, want an error that names the secret", err)
	}
}

// files returns the contents of the database and of the files next to it; nothing without one.
func files(t *testing.T, database string) []string {
	t.Helper()
	if database == "" {
		return nil
	}
	names, err := filepath.Glob(database + "*")
	if err != nil || len(names) == 0 {
		t.Fatalf("no database at %s: %v", database, err)
	}
	var all []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	return all
}
