package compat_test

import "testing"

// TestSuiteOfThePredecessor is the part of the predecessor's own test suite that
// speaks HTTP, in its order. Each test starts on an empty database and makes its
// key as that suite does: by GET /auth/new with the secret and no parameter.
func TestSuiteOfThePredecessor(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		test func(t *testing.T, s *server)
	}{
		{"1 the open route answers, the guarded one wants a key", func(t *testing.T, s *server) {
			if a := s.send("GET", "/unsecure"); a.status != 200 {
				t.Errorf("the open route: %d", a.status)
			}
			s.send("GET", "/secure").wants(403, noKey)
		}},
		{"2 a key is made without any parameter", func(_ *testing.T, s *server) { s.bareKey() }},
		{"3 a key in the query", func(t *testing.T, s *server) {
			if a := s.send("GET", "/secure?api-key="+s.bareKey()); a.status != 200 {
				t.Errorf("got %d %s", a.status, a.body)
			}
		}},
		{"4 a key in the header", func(t *testing.T, s *server) {
			if a := s.secure(s.bareKey()); a.status != 200 {
				t.Errorf("got %d %s", a.status, a.body)
			}
		}},
		{"5 a revoked key", func(t *testing.T, s *server) {
			key := s.bareKey()
			s.admin("/revoke", "api-key", key).wants(200, "null")
			s.secure(key).wants(403, badKey)
		}},
		{"6 renew without a date", func(t *testing.T, s *server) { s.admin("/renew", "api-key", s.bareKey()).text() }},
		{"7 renew with a date", func(t *testing.T, s *server) {
			s.admin("/renew", "api-key", s.bareKey(), "expiration-date", "2222-01-01").text()
		}},
		{"8 renew with a date that does not exist", func(t *testing.T, s *server) {
			s.admin("/renew", "api-key", s.bareKey(), "expiration-date", "2222-22-22").wants(422, badDate)
		}},
		{"9 renew of an unknown key", func(t *testing.T, s *server) { s.admin("/renew", "api-key", "123456").wants(404, notFound) }},
		{"10 renew of a revoked key", func(t *testing.T, s *server) {
			key := s.bareKey()
			s.admin("/revoke", "api-key", key).wants(200, "null")
			s.admin("/renew", "api-key", key).wants(200, `"This API key was revoked and has been reactivated. `+in15Days+`"`)
		}},
		{"11 five uses are five in the log, at once", func(t *testing.T, s *server) {
			key := s.bareKey()
			for range 5 {
				if a := s.send("GET", "/secure?api-key="+key); a.status != 200 {
					t.Errorf("got %d %s", a.status, a.body)
				}
			}
			if logs := s.logs(); len(logs) != 1 || logs[0].TotalQueries != 5 {
				t.Errorf("the logs are %+v, want one line with 5 queries", logs)
			}
		}},
		{"12 new without a secret", func(_ *testing.T, s *server) { s.send("GET", "/auth/new").wants(403, noSecret) }},
		{"13 new with a wrong secret", func(_ *testing.T, s *server) {
			s.send("GET", "/auth/new", "secret-key: WRONG_SECRET").wants(403, wrongSecret)
		}},
		{"14 a name is in the log", func(t *testing.T, s *server) {
			s.admin("/new", "name", "Test").text()
			if logs := s.logs(); len(logs) != 1 || shown(logs[0].Name) != "Test" {
				t.Errorf("the logs are %+v, want one line with the name Test", logs)
			}
		}},
		{"15 a key that never expires is in the log", func(t *testing.T, s *server) {
			s.admin("/new", "never_expires", "True").text()
			if logs := s.logs(); len(logs) != 1 || !logs[0].NeverExpire {
				t.Errorf("the logs are %+v, want one line that never expires", logs)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			onEveryStore(t, changes{}, row.test)
		})
	}
}

// bareKey makes a key as the predecessor's suite does.
func (s *server) bareKey() string {
	s.t.Helper()
	return s.send("GET", "/auth/new", "secret-key: "+secret).text()
}
