package compat_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/compat"
)

const (
	noKey       = `{"detail":"An API key must be passed as query or header"}`
	badKey      = `{"detail":"Wrong, revoked, or expired API key."}`
	noSecret    = `{"detail":"secret_key must be passed as a header field"}`
	wrongSecret = `{"detail":"Wrong secret key. If not set through environment variable 'FASTAPI_AUTH_SECRET', ` +
		`it was generated automatically at startup and printed there once."}`
	notFound   = `{"detail":"API key not found"}`
	badDate    = `{"detail":"The expiration date could not be parsed. Please use ISO 8601."}`
	missingKey = `{"detail":[{"loc":["query","api-key"],"msg":"field required","type":"value_error.missing"}]}`
	userExists = `{"detail":"This user already exists in the database. Please choose another username or password."}`
	badEmail   = `{"detail":"This is not a valid email address. Please input a valid email address."}`
	in15Days   = "The new expiration date for the API key is 2026-12-08T06:45:15"
)

// TestContract has one row for each promise of the predecessor.
func TestContract(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		test func(t *testing.T, s *server)
	}{
		{"a key is taken from the query", func(t *testing.T, s *server) {
			key, _ := s.newKey("name", "ci")
			if a := s.send("GET", "/secure?api-key="+key); a.status != 200 || a.body != "ci" {
				t.Errorf("got %d %s, want 200 and the handler", a.status, a.body)
			}
		}},
		{"a key is taken from the header", func(t *testing.T, s *server) {
			key, _ := s.newKey("name", "ci")
			if a := s.secure(key); a.status != 200 || a.body != "ci" {
				t.Errorf("got %d %s, want 200 and the handler", a.status, a.body)
			}
		}},
		{"the query is tried before the header", func(t *testing.T, s *server) {
			first, _ := s.newKey("name", "first")
			second, _ := s.newKey("name", "second")
			if a := s.send("GET", "/secure?api-key="+first, "api-key: "+second); a.body != "first" {
				t.Errorf("got %d %s, want the key of the query", a.status, a.body)
			}
		}},
		{"one good key of two is enough", func(t *testing.T, s *server) {
			key, _ := s.newKey("name", "ci")
			if a := s.send("GET", "/secure?api-key=wrong", "api-key: "+key); a.status != 200 {
				t.Errorf("bad in the query, good in the header: %d, want 200", a.status)
			}
			if a := s.send("GET", "/secure?api-key="+key, "api-key: wrong"); a.status != 200 {
				t.Errorf("good in the query, bad in the header: %d, want 200", a.status)
			}
			s.send("GET", "/secure?api-key=wrong", "api-key: wrong too").wants(403, badKey)
		}},
		{"an empty key counts as not given", func(_ *testing.T, s *server) {
			s.send("GET", "/secure?api-key=").wants(403, noKey)
			s.send("GET", "/secure", "api-key: ").wants(403, noKey)
			s.send("GET", "/secure?api-key=", "api-key: ").wants(403, noKey)
		}},
		{"no key is 403 and its text", func(t *testing.T, s *server) {
			a := s.send("GET", "/secure").wants(403, noKey)
			if a.header.Get("Cache-Control") != "no-store" {
				t.Error("the refusal may be stored by a cache")
			}
		}},
		{"wrong, revoked and expired keys are 403 alike", func(_ *testing.T, s *server) {
			revoked, _ := s.newKey()
			s.admin("/revoke", "api-key", revoked).wants(200, "null")
			expired, _ := s.newKey()
			s.admin("/renew", "api-key", expired, "expiration-date", "2026-11-23T06:45:14")
			for _, key := range []string{"wrong", revoked, expired, nobodyID} {
				s.secure(key).wants(403, badKey)
				s.send("GET", "/secure?api-key="+key).wants(403, badKey)
			}
		}},
		{"no secret is 403 and its text", func(_ *testing.T, s *server) {
			for _, path := range compat.Paths() {
				s.send("GET", "/auth"+path).wants(403, noSecret)
				s.send("GET", "/auth"+path, "secret-key: ").wants(403, noSecret)
			}
		}},
		{"a wrong secret is 403 and its text", func(_ *testing.T, s *server) {
			for _, path := range compat.Paths() {
				s.send("GET", "/auth"+path, "secret-key: "+secret+"x").wants(403, wrongSecret)
			}
		}},
		{"the secret is never read from the query", func(t *testing.T, s *server) {
			s.send("GET", "/auth/new?secret-key="+secret).wants(403, noSecret)
			s.send("GET", "/auth/new?secret_key="+secret).wants(403, noSecret)
			s.sendBody("POST", "/auth/new", "secret-key="+secret, "Content-Type: application/x-www-form-urlencoded").wants(403, noSecret)
			if keys, _ := s.counts(); keys != 0 {
				t.Errorf("%d keys were made", keys)
			}
		}},
		{"the secret comes before the parameters", func(_ *testing.T, s *server) {
			s.send("GET", "/auth/revoke").wants(403, noSecret)
			s.send("GET", "/auth/new?never_expires=maybe").wants(403, noSecret)
		}},
		{"other methods are 405 with Allow", func(t *testing.T, s *server) {
			for _, path := range compat.Paths() {
				for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS"} {
					a := s.send(method, "/auth"+path, "secret-key: "+secret).wants(405, detail("Method Not Allowed"))
					if got := a.header.Get("Allow"); got != "GET, POST" {
						t.Errorf("%s %s: Allow %q, want \"GET, POST\"", method, path, got)
					}
				}
				if a := s.send("HEAD", "/auth"+path, "secret-key: "+secret); a.status != 405 {
					t.Errorf("HEAD %s: %d, want 405", path, a.status)
				}
			}
			if keys, _ := s.counts(); keys != 0 {
				t.Errorf("%d keys were made", keys)
			}
		}},
		{"POST is accepted beside GET", func(t *testing.T, s *server) {
			a := s.send("POST", "/auth/new?name=ci", "secret-key: "+secret)
			key := a.text()
			if got := s.stored(); got.Name != "ci" {
				t.Errorf("name %q, want ci", got.Name)
			}
			s.send("POST", "/auth/renew?api-key="+key, "secret-key: "+secret).wants(200, `"`+in15Days+`"`)
			s.send("POST", "/auth/revoke?api-key="+key, "secret-key: "+secret).wants(200, "null")
			if a := s.send("POST", "/auth/logs", "secret-key: "+secret); a.status != 200 {
				t.Errorf("logs: %d %s", a.status, a.body)
			}
		}},
		{"new takes a name and answers the key", func(t *testing.T, s *server) {
			key, _ := s.newKey("name", "ci")
			if got := s.stored(); got.Name != "ci" || got.UserID != "" || !got.ExpiresAt.Equal(start.Add(15*24*time.Hour)) {
				t.Errorf("stored %+v, want the name ci, no user and 15 days", got)
			}
			if a := s.secure(key); a.status != 200 {
				t.Errorf("the key is not good: %d", a.status)
			}
		}},
		{"new takes a username in place of a name", func(t *testing.T, s *server) {
			s.newKey("username", "ci")
			if got := s.stored(); got.Name != "ci" || got.UserID != "" {
				t.Errorf("stored %+v, want the name ci and no user", got)
			}
		}},
		{"new needs no parameter", func(t *testing.T, s *server) {
			key, _ := s.newKey()
			if got := s.stored(); got.Name != "" || got.UserID != "" || !got.ExpiresAt.Equal(start.Add(15*24*time.Hour)) {
				t.Errorf("stored %+v, want no name, no user and 15 days", got)
			}
			if a := s.secure(key); a.status != 200 {
				t.Errorf("the key is not good: %d", a.status)
			}
		}},
		{"names without a form need not be unique", func(_ *testing.T, s *server) {
			s.newKey("name", "ci")
			s.newKey("name", "ci")
			s.newKey("username", "ci")
		}},
		{"new with an e-mail address and a password answers an object", func(t *testing.T, s *server) {
			a := s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password)
			key := strings.TrimSuffix(strings.TrimPrefix(a.body, `{"api-key":"`), `"}`)
			a.wants(200, `{"api-key":"`+key+`"}`)
			if a := s.secure(key); a.status != 200 {
				t.Errorf("the key is not good: %d", a.status)
			}
			user, err := s.svc.UserByIdentifier(t.Context(), "jane")
			if err != nil || user.Email != "jane@example.com" || !user.HasPassword || s.stored().UserID != user.ID {
				t.Errorf("user %+v, %v, key %+v", user, err, s.stored())
			}
		}},
		{"bools are true, 1, yes, on and their opposites in any case", func(t *testing.T, s *server) {
			for text, never := range map[string]bool{
				"true": true, "1": true, "yes": true, "on": true, "True": true, "YES": true, "oN": true,
				"false": false, "0": false, "no": false, "off": false, "False": false, "NO": false, "oFF": false,
			} {
				_, id := s.newKey("never_expires", text)
				key, err := s.svc.Key(t.Context(), id)
				if err != nil || key.ExpiresAt.IsZero() != never {
					t.Errorf("never_expires=%s: expires %v, %v", text, key.ExpiresAt, err)
				}
			}
			keys, _ := s.counts()
			for _, text := range []string{"", "maybe", "2", "truee", " true", "нет"} {
				s.admin("/new", "never_expires", text).wants(422, `{"detail":[{"loc":["query","never_expires"],`+
					`"msg":"value could not be parsed to a boolean","type":"type_error.bool"}]}`)
			}
			if now, _ := s.counts(); now != keys {
				t.Errorf("%d keys were made", now-keys)
			}
		}},
		{"revoke answers null, also for an unknown or already revoked key", func(_ *testing.T, s *server) {
			key, id := s.newKey()
			s.admin("/revoke", "api-key", key).wants(200, "null")
			s.admin("/revoke", "api-key", key).wants(200, "null")
			s.admin("/revoke", "api-key", id).wants(200, "null")
			for _, unknown := range []string{"", "123456", nobodyID, "\x00", strings.Repeat("x", 9000)} {
				s.admin("/revoke", "api-key", unknown).wants(200, "null")
			}
			s.secure(key).wants(403, badKey)
		}},
		{"renew gives 15 days from now by default", func(t *testing.T, s *server) {
			key, _ := s.newKey()
			s.clock.advance(24 * time.Hour)
			s.admin("/renew", "api-key", key).wants(200, `"The new expiration date for the API key is 2026-12-09T06:45:15"`)
			s.admin("/renew", "api-key", key, "expiration-date", "").wants(200, `"The new expiration date for the API key is 2026-12-09T06:45:15"`)
			if got := s.stored().ExpiresAt; !got.Equal(time.Date(2026, 12, 9, 6, 45, 15, 0, time.UTC)) {
				t.Errorf("stored %v, want what the answer says", got)
			}
		}},
		{"renew by default shortens, too", func(_ *testing.T, s *server) {
			key, _ := s.newKey()
			s.admin("/renew", "api-key", key, "expiration-date", "2222-01-01")
			s.admin("/renew", "api-key", key).wants(200, `"`+in15Days+`"`)
		}},
		{"renew leaves a key that never expires so", func(t *testing.T, s *server) {
			key, _ := s.newKey("never_expires", "true")
			s.admin("/renew", "api-key", key).wants(200, `"The new expiration date for the API key is 9999-12-31T23:59:59"`)
			if got := s.stored().ExpiresAt; !got.IsZero() {
				t.Errorf("it ends at %v", got)
			}
			s.admin("/renew", "api-key", key, "expiration-date", "2000-01-01").
				wants(200, `"The new expiration date for the API key is 9999-12-31T23:59:59"`)
			if got := s.stored().ExpiresAt; !got.IsZero() {
				t.Errorf("renewed with a date in the past, it ends at %v", got)
			}
			s.admin("/renew", "api-key", key, "expiration-date", "2027-01-01").
				wants(200, `"The new expiration date for the API key is 2027-01-01T00:00:00"`)
			if got := s.stored().ExpiresAt; got.IsZero() {
				t.Error("renewed with a date to come, it still never ends")
			}
		}},
		{"renew tells of a revoked key that it was", func(t *testing.T, s *server) {
			key, _ := s.newKey()
			s.admin("/revoke", "api-key", key)
			s.admin("/renew", "api-key", key).wants(200, `"This API key was revoked and has been reactivated. `+in15Days+`"`)
			if a := s.secure(key); a.status != 200 {
				t.Errorf("the key is not good: %d", a.status)
			}
			s.admin("/renew", "api-key", key).wants(200, `"`+in15Days+`"`)
		}},
		{"renew brings an expired key back", func(t *testing.T, s *server) {
			key, _ := s.newKey()
			s.clock.advance(16 * 24 * time.Hour)
			s.secure(key).wants(403, badKey)
			s.admin("/renew", "api-key", key).wants(200, `"The new expiration date for the API key is 2026-12-24T06:45:15"`)
			if a := s.secure(key); a.status != 200 {
				t.Errorf("the key is not good: %d", a.status)
			}
		}},
		{"renew of an unknown key is 404", func(_ *testing.T, s *server) {
			for _, unknown := range []string{"", "123456", nobodyID, "\x00", "kf_" + nobodyID} {
				s.admin("/renew", "api-key", unknown).wants(404, notFound)
				s.admin("/renew", "api-key", unknown, "expiration-date", "tomorrow").wants(404, notFound)
			}
		}},
		{"a missing key is 422 in the shape of FastAPI", func(_ *testing.T, s *server) {
			s.admin("/revoke").wants(422, missingKey)
			s.admin("/renew").wants(422, missingKey)
			s.admin("/renew", "api_key", nobodyID).wants(422, missingKey)
		}},
		{"dates are ISO 8601 and UTC without a zone", func(t *testing.T, s *server) {
			key, _ := s.newKey()
			for date, want := range map[string]string{
				"2222-01-01":                    "2222-01-01T00:00:00",
				"2222-01-01T06":                 "2222-01-01T06:00:00",
				"2222-01-01T06:45":              "2222-01-01T06:45:00",
				"2222-01-01T06:45:15":           "2222-01-01T06:45:15",
				"2222-01-01 06:45:15":           "2222-01-01T06:45:15",
				"2222-01-01t06:45:15z":          "2222-01-01T06:45:15",
				"2222-01-01T06:45:15.999":       "2222-01-01T06:45:15",
				"2222-01-01T06:45:15,999999999": "2222-01-01T06:45:15",
				"2222-01-01T06:45:15.5+02:00":   "2222-01-01T04:45:15",
				"2222-01-01T00:00:00-05:30":     "2222-01-01T05:30:00",
				"2222-01-01T06:45+0200":         "2222-01-01T04:45:00",
				"2222-01-01T06+02":              "2222-01-01T04:00:00",
				"2024-02-29":                    "2024-02-29T00:00:00",
				"9999-12-31T23:59:59":           "9999-12-31T23:59:59",
			} {
				s.admin("/renew", "api-key", key, "expiration-date", date).wants(200, `"The new expiration date for the API key is `+want+`"`)
				if got := s.stored().ExpiresAt.UTC().Format("2006-01-02T15:04:05"); got != want {
					t.Errorf("%s: stored %s, want %s", date, got, want)
				}
			}
		}},
		{"a past date is accepted and expires the key", func(_ *testing.T, s *server) {
			key, _ := s.newKey()
			for date, said := range map[string]string{
				"2026-11-23T06:45:15": "2026-11-23T06:45:15", "2000-01-01": "2000-01-01T00:00:00",
				"1969-07-20": "1970-01-01T00:00:00", "0001-01-01": "1970-01-01T00:00:00",
			} {
				s.admin("/renew", "api-key", key, "expiration-date", date).wants(200, `"The new expiration date for the API key is `+said+`"`)
				s.secure(key).wants(403, badKey)
			}
		}},
		{"a bad date is 422 and leaves the key as it was", func(t *testing.T, s *server) {
			key, _ := s.newKey()
			s.admin("/revoke", "api-key", key)
			before := s.stored()
			for _, date := range []string{
				"2222-22-22", "2023-02-29", "tomorrow", "2222-1-1", "2222-01-01T", "2222-01-01T1", "2222-01-01T1:00", "2222-01-01T24:00",
				"2222-01-01T06:60", "2222-01-01T06:45:60", "2222-01-01T06:45:15 02:00", "2222-01-01T06:45:15+2", "2222-01-01Z", "2222-01-01X06:45",
				"0000-01-01", "99999-01-01", "9999-12-31T23:59:59-01:00", " 2222-01-01", "2222-01-01 ", "1798761600", "\x00", "2222-01-01T06:45:15\u00e9",
			} {
				s.admin("/renew", "api-key", key, "expiration-date", date).wants(422, badDate)
			}
			if after := s.stored(); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("the key was %+v and is %+v", before, after)
			}
		}},
		{"logs have the names, the order and the nulls of the contract", func(t *testing.T, s *server) {
			s.admin("/logs").wants(200, `{"logs":[]}`)
			nameless, namelessID := s.newKey()
			s.clock.advance(time.Minute)
			_, neverID := s.newKey("name", "R&D <ä>", "never_expires", "1")
			s.clock.advance(time.Minute)
			s.admin("/new", "username", "jane", "email", "Jane@Example.com", "password", password)
			user := s.logs()[0]
			s.clock.advance(time.Minute)
			s.secure(nameless)
			s.secure(nameless)
			s.admin("/revoke", "api-key", "kf_"+neverID) // as /logs shows it
			a := s.admin("/logs").wants(200, `{"logs":[`+
				`{"api_key":"`+user.APIKey+`","name":"jane","username":"jane","email":"Jane@example.com","is_active":true,"never_expire":false,`+
				`"expiration_date":"2026-12-08T06:47:15","latest_query_date":null,"total_queries":0},`+
				`{"api_key":"kf_`+neverID+`","name":"R&D <ä>","username":"R&D <ä>","email":null,"is_active":false,"never_expire":true,`+
				`"expiration_date":"9999-12-31T23:59:59","latest_query_date":null,"total_queries":0},`+
				`{"api_key":"kf_`+namelessID+`","name":null,"username":null,"email":null,"is_active":true,"never_expire":false,`+
				`"expiration_date":"2026-12-08T06:45:15","latest_query_date":"2026-11-23T06:48:15","total_queries":2}]}`)
			if a.header.Get("Cache-Control") != "no-store" {
				t.Error("the logs may be stored by a cache")
			}
		}},
		{"a key whose user is disabled is not active", func(t *testing.T, s *server) {
			s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password)
			if err := s.svc.DisableUser(t.Context(), s.stored().UserID, "left"); err != nil {
				t.Fatal(err)
			}
			if s.logs()[0].IsActive {
				t.Error("the logs tell of an active key, which /secure refuses")
			}
		}},
		{"revoke and renew take the whole key or its public part", func(t *testing.T, s *server) {
			key, id := s.newKey()
			s.admin("/revoke", "api-key", id).wants(200, "null")
			s.secure(key).wants(403, badKey)
			s.admin("/renew", "api-key", id).wants(200, `"This API key was revoked and has been reactivated. `+in15Days+`"`)
			s.admin("/revoke", "api-key", key).wants(200, "null")
			s.secure(key).wants(403, badKey)
			s.admin("/renew", "api-key", key)
			if a := s.secure(key); a.status != 200 {
				t.Errorf("the key is not good: %d", a.status)
			}
			s.secure(id).wants(403, badKey) // the public part alone is not a key
		}},
		{"a password is longer than 8 with digit, upper case and special", func(t *testing.T, s *server) {
			for bad, needs := range map[string]string{
				"":            "at least 9 characters; a digit; an upper-case letter; a special character",
				"Short-2a":    "at least 9 characters", // 8
				"no-UPPER":    "at least 9 characters; a digit",
				"Summer-time": "a digit",
				"summer-2026": "an upper-case letter",
				"Summer2026x": "a special character",
			} {
				s.admin("/new", "username", "jane", "email", "jane@example.com", "password", bad).
					wants(403, detail("This password cannot be used. It needs: "+needs))
			}
			if keys, users := s.counts(); keys != 0 || users != 0 {
				t.Errorf("%d keys and %d users were made", keys, users)
			}
			for i, good := range []string{"Summer-26", "Password1!", "jane@Example.com1", "Jährlich 2026 €"} {
				if a := s.admin("/new", "username", fmt.Sprint("jane", i), "email", fmt.Sprint("jane@example", i, ".com"), "password", good); a.status != 200 {
					t.Errorf("%q: %d %s", good, a.status, a.body)
				}
			}
		}},
		{"an e-mail address must be valid", func(t *testing.T, s *server) {
			for _, bad := range []string{"", "jane", "jane@", "@example.com", "jane@localhost", "Jane <jane@example.com>", "a b@example.com", "\x00@example.com"} {
				s.admin("/new", "username", "jane", "email", bad, "password", password).wants(403, badEmail)
			}
			if keys, users := s.counts(); keys != 0 || users != 0 {
				t.Errorf("%d keys and %d users were made", keys, users)
			}
		}},
		{"users that exist are 403, and no key is made", func(t *testing.T, s *server) {
			s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password)
			for _, other := range [][2]string{
				{"jane", "other@example.com"}, {"JANE", "other@example.com"}, {"other", "jane@example.com"}, {"other", "JANE@EXAMPLE.com"},
			} {
				s.admin("/new", "username", other[0], "email", other[1], "password", password).wants(403, userExists)
				s.admin("/new", "name", other[0], "email", other[1], "password", password).wants(403, userExists)
			}
			if keys, users := s.counts(); keys != 1 || users != 1 {
				t.Errorf("%d keys and %d users, want one of each", keys, users)
			}
		}},
		{"an e-mail address and a password need no name", func(t *testing.T, s *server) {
			a := s.admin("/new", "email", "nameless@example.com", "password", password)
			key := strings.TrimSuffix(strings.TrimPrefix(a.body, `{"api-key":"`), `"}`)
			a.wants(200, `{"api-key":"`+key+`"}`)
			if a := s.secure(key); a.status != 200 {
				t.Errorf("the key is not good: %d", a.status)
			}
			if got := s.logs()[0]; shown(got.Name) != "null" || shown(got.Username) != "null" || shown(got.Email) != "nameless@example.com" {
				t.Errorf("the log has %s, %s, %s; want the e-mail address alone", shown(got.Name), shown(got.Username), shown(got.Email))
			}
		}},
		{"an e-mail address without a password, or a password alone, is 422", func(t *testing.T, s *server) {
			for _, name := range [][]string{nil, {"name", "jane"}, {"username", "jane"}} {
				s.admin("/new", append(name, "email", "jane@example.com")...).
					wants(422, `{"detail":[{"loc":["query","password"],"msg":"field required","type":"value_error.missing"}]}`)
				s.admin("/new", append(name, "password", password)...).
					wants(422, `{"detail":[{"loc":["query","email"],"msg":"field required","type":"value_error.missing"}]}`)
			}
			if keys, users := s.counts(); keys != 0 || users != 0 {
				t.Errorf("%d keys and %d users were made", keys, users)
			}
		}},
		{"names that cannot be are 422 and name the parameter", func(t *testing.T, s *server) {
			for _, test := range [][]string{
				{"name", "name", strings.Repeat("x", 129)},
				{"username", "username", "a\nb"},
				{"username", "username", "Jane Doe", "email", "jane@example.com", "password", password},
				{"name", "name", "jane@example.com", "email", "jane@example.com", "password", password},
			} {
				a := s.admin("/new", test[1:]...)
				if want := `{"detail":[{"loc":["query","` + test[0] + `"],"msg":"`; a.status != 422 || !strings.HasPrefix(a.body, want) {
					t.Errorf("%q: %d %s, want 422 %s…", test[1:], a.status, a.body, want)
				}
			}
			if keys, users := s.counts(); keys != 0 || users != 0 {
				t.Errorf("%d keys and %d users were made", keys, users)
			}
		}},
		{"other parameters are ignored, and of two the last counts", func(t *testing.T, s *server) {
			s.newKey("name", "first", "name", "last", "color", "red;blue")
			if got := s.stored().Name; got != "last" {
				t.Errorf("name %q, want the last", got)
			}
			s.send("GET", "/auth/new?name=%zz", "secret-key: "+secret).
				wants(422, `{"detail":[{"loc":["query"],"msg":"the query is not well formed","type":"value_error"}]}`)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			onEveryStore(t, changes{}, row.test)
		})
	}
}

func TestPolicyInForceIsSaidOnceAtStart(t *testing.T) {
	t.Parallel()
	said := func(s *server) string {
		s.newKey("username", "jane", "color", "red")
		return s.log.String()
	}
	weak := said(newServer(t, changes{}))
	if strings.Count(weak, `"level":"WARN"`) != 1 || !strings.Contains(weak, "the predecessor's rule for passwords is in force") {
		t.Errorf("the log is %s, want one warning", weak)
	}
	if !strings.Contains(weak, `"min_length":9`) {
		t.Errorf("the log is %s, want the predecessor's minimum", weak)
	}
	longer := changes{service: []func(*keyfold.Options){func(o *keyfold.Options) { o.PasswordPolicy.MinLength = 12 }}}
	if got := said(newServer(t, longer)); !strings.Contains(got, `"min_length":12`) {
		t.Errorf("the log is %s, want the minimum that is in force", got)
	}
	own := changes{service: []func(*keyfold.Options){func(o *keyfold.Options) { o.PasswordPolicy = keyfold.PasswordPolicy{} }}}
	s := newServer(t, own)
	strict := said(s)
	if strings.Contains(strict, `"level":"WARN"`) || strings.Count(strict, "stricter policy than compat.PasswordPolicy") != 1 {
		t.Errorf("the log is %s, want one line that is no warning", strict)
	}
	if a := s.admin("/new", "username", "john", "email", "john@example.com", "password", password); a.status != 403 ||
		!strings.Contains(a.body, "at least 15 characters") {
		t.Errorf("a short password: %d %s, want it refused by the Service's own policy", a.status, a.body)
	}
}

func TestUnknownPathsAreNotFound(t *testing.T) {
	t.Parallel()
	s := newServer(t, changes{})
	handler, err := compat.Handler(s.svc, compat.Options{Secret: secret, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.url = listen(t, handler)
	for _, path := range []string{"/", "/keys", "/new/", "/newer", "/auth/new"} {
		s.send("GET", path, "secret-key: "+secret).wants(404, detail("Not Found"))
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	svc := newServer(t, changes{}).svc
	for _, test := range []struct {
		name    string
		options compat.Options
		field   string
	}{
		{"no secret", compat.Options{}, "Options.Secret"},
		{"31 characters", compat.Options{Secret: secret[:31]}, "Options.Secret"},
		{"a short one before", compat.Options{Secret: secret, PreviousSecret: "8-before"}, "Options.PreviousSecret"},
		{"7 where short ones are allowed", compat.Options{Secret: "7-chars", AllowShortSecrets: true}, "Options.Secret"},
		{"a life below a second", compat.Options{Secret: secret, KeyTTL: time.Millisecond}, "Options.KeyTTL"},
		{"a previous secret equal to it", compat.Options{Secret: secret, PreviousSecret: secret}, "Options.PreviousSecret"},
		{"a life of two hundred years", compat.Options{Secret: secret, KeyTTL: 200 * 365 * 24 * time.Hour}, "Options.KeyTTL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := compat.Handler(svc, test.options)
			invalid, ok := errors.AsType[*keyfold.InvalidError](err)
			if !ok || invalid.Field != test.field {
				t.Errorf("%s: %v, want an error for %s", test.name, err, test.field)
			} else if test.options.Secret != "" && strings.Contains(err.Error(), test.options.Secret) {
				t.Errorf("%s: the error repeats the secret", test.name)
			}
		})
	}
	if _, err := compat.Handler(nil, compat.Options{Secret: secret}); !errors.Is(err, keyfold.ErrInvalid) {
		t.Errorf("without a Service: %v", err)
	}
}

func TestSecretsAreTakenFromEverySlot(t *testing.T) {
	t.Parallel()
	s := newServer(t, changes{compat: []func(*compat.Options){func(o *compat.Options) {
		o.Secret, o.PreviousSecret, o.AllowShortSecrets = "8-chars!", previous, true
	}}})
	for _, good := range []string{"8-chars!", previous} {
		t.Run(good, func(t *testing.T) {
			if a := s.send("GET", "/auth/logs", "secret-key: "+good); a.status != 200 {
				t.Errorf("%d %s, want 200", a.status, a.body)
			}
		})
	}
	s.send("GET", "/auth/logs", "secret-key: "+secret).wants(403, wrongSecret)
	s.send("GET", "/auth/logs", "secret-key: 8-chars!", "secret-key: 8-chars!").wants(403, wrongSecret)
}

func TestLifeOfKeysIsAnOption(t *testing.T) {
	t.Parallel()
	life := func(ttl time.Duration) changes {
		return changes{compat: []func(*compat.Options){func(o *compat.Options) { o.KeyTTL = ttl }}}
	}
	s := newServer(t, life(time.Hour))
	key, _ := s.newKey()
	if got := s.stored().ExpiresAt; !got.Equal(start.Add(time.Hour)) {
		t.Errorf("a new key ends at %v, want in an hour", got)
	}
	s.admin("/renew", "api-key", key).wants(200, `"The new expiration date for the API key is 2026-11-23T07:45:15"`)

	s = newServer(t, life(keyfold.Never))
	key, _ = s.newKey()
	s.admin("/renew", "api-key", key, "expiration-date", "2030-01-01")
	s.admin("/renew", "api-key", key).wants(200, `"The new expiration date for the API key is 9999-12-31T23:59:59"`)
	if got := s.stored().ExpiresAt; !got.IsZero() {
		t.Errorf("it ends at %v, want never", got)
	}
}

func TestGuardTakesTheOptionsOfTheOther(t *testing.T) {
	t.Parallel()
	s := newServer(t, changes{guard: []httpadapter.Option{httpadapter.Scopes("reports:read"), httpadapter.QueryParam("key")}})
	_, token, err := s.svc.CreateKey(t.Context(), keyfold.NewKey{Name: "reader", Scopes: []string{"reports:read"}})
	if err != nil {
		t.Fatal(err)
	}
	if a := s.secure(token.Reveal()); a.status != 200 || a.body != "reader" {
		t.Errorf("with the scope: %d %s", a.status, a.body)
	}
	without, _ := s.newKey()
	s.secure(without).wants(403, detail("The key does not hold a scope that this needs."))
	s.send("GET", "/secure?key="+token.Reveal()).wants(403, noKey) // the contract says where keys are
	s.send("GET", "/secure", "X-API-Key: "+token.Reveal()).wants(403, noKey)
	s.send("GET", "/secure", "Authorization: Bearer "+token.Reveal()).wants(403, noKey)
}

func TestNilVerifierPanicsAtStart(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	compat.RequireKey(nil)
}

func TestFormsKeepSecretsOutOfURLs(t *testing.T) {
	t.Parallel()
	s := newServer(t, changes{})
	const form = "Content-Type: application/x-www-form-urlencoded"
	post := func(path, body string, headers ...string) answer {
		return s.sendBody("POST", "/auth"+path, body, append(headers, "secret-key: "+secret)...)
	}
	made := post("/new?email=query@example.com", "username=jane&email=jane@example.com&password="+password, form+"; charset=utf-8")
	if made.status != 200 {
		t.Fatalf("%d %s", made.status, made.body)
	}
	if user, err := s.svc.UserByIdentifier(t.Context(), "jane"); err != nil || user.Email != "jane@example.com" {
		t.Errorf("user %+v, %v, want the address of the form, which comes last", user, err)
	}
	post("/revoke", "api-key="+s.stored().ID, form).wants(200, "null")

	fault := func(in, msg string) string {
		return `{"detail":[{"loc":["` + in + `"],"msg":"` + msg + `","type":"value_error"}]}`
	}
	other := fault("body", "send parameters in the query, or as application/x-www-form-urlencoded")
	post("/new", `{"name":"ci"}`, "Content-Type: application/json").wants(422, other)
	post("/new", "name=ci").wants(422, other)
	post("/new", "name=%zz", form).wants(422, fault("body", "the form is not well formed"))
	post("/new", "name="+strings.Repeat("x", 64<<10), form).wants(422, fault("body", "the body is longer than 64 KiB, or broke off"))
	if keys, _ := s.counts(); keys != 1 {
		t.Errorf("%d keys, want one", keys)
	}
}

func TestChangesAreAudited(t *testing.T) {
	t.Parallel()
	s := newServer(t, changes{})
	key, id := s.newKey()
	s.admin("/revoke", "api-key", key)
	s.admin("/renew", "api-key", key)
	page, err := s.svc.Audit(t.Context(), keyfold.AuditQuery{Target: keyfold.Only(id)})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, entry := range page.Entries {
		actions = append(actions, entry.Action)
		if entry.Actor != "admin" || entry.IP != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("%s by %q at %s, want the admin at 127.0.0.1", entry.Action, entry.Actor, entry.IP)
		}
	}
	if got, want := strings.Join(actions, " "), "key.enable key.renew key.disable key.create"; got != want {
		t.Errorf("audited: %s, want %s", got, want)
	}
}
