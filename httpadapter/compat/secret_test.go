package compat_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/httpadapter/compat"
)

const tooMany = "Too many wrong secrets were sent. Wait, then try again."

// behindProxy trusts the address that the tests connect from.
func behindProxy(t *testing.T, more ...func(*compat.Options)) changes {
	t.Helper()
	proxies, err := httpadapter.ParseProxies("127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	return changes{compat: append([]func(*compat.Options){func(o *compat.Options) { o.TrustedProxies = proxies }}, more...)}
}

// from asks for the logs with that secret as a client of the proxy.
func (s *server) from(client, secret string) answer {
	s.t.Helper()
	return s.send("GET", "/auth/logs", "secret-key: "+secret, "X-Forwarded-For: "+client)
}

// passes reports an answer other than 200.
func (a answer) passes() {
	a.t.Helper()
	if a.status != http.StatusOK {
		a.t.Errorf("%d %s, want 200", a.status, a.body)
	}
}

// Mutations tried: the limit asked before the secret, as it was; a missing secret
// that is counted.
func TestRightSecretPassesWhateverOthersSend(t *testing.T) {
	t.Parallel()
	s := newServer(t, behindProxy(t))
	const here = "198.51.100.7"
	for range 30 {
		s.from(here, "").wants(403, noSecret)
	}
	for range 10 {
		s.from(here, "wrong").wants(403, wrongSecret)
		s.from(here, secret).passes()
	}
	s.clock.advance(10 * time.Second)
	a := s.from(here, "wrong").wants(429, detail(tooMany))
	if got := a.header.Get("Retry-After"); got != "50" {
		t.Errorf("Retry-After %q, want 50", got)
	}
	s.from(here, secret).passes()
	s.from(here, "").wants(403, noSecret)
	s.from("198.51.100.8", "wrong").wants(403, wrongSecret)
	s.clock.advance(50 * time.Second)
	s.from(here, "wrong").wants(403, wrongSecret)
}

func TestWrongAndPreviousSecretsAreLoggedWithTheAddress(t *testing.T) {
	t.Parallel()
	s := newServer(t, behindProxy(t, func(o *compat.Options) { o.PreviousSecret = previous }))
	const guess = "a-guess-that-is-32-characters-ok"
	for range 5 {
		s.from("198.51.100.7", guess).wants(403, wrongSecret)
		s.from("198.51.100.8", previous).passes()
		s.from("198.51.100.9", secret).passes()
	}
	log := s.log.String()
	for line, address := range map[string]string{
		"a wrong admin secret was sent":             "198.51.100.7",
		"the previous admin secret is still in use": "198.51.100.8",
	} {
		t.Run(line, func(t *testing.T) {
			if strings.Count(log, line) != 1 || strings.Count(log, `"ip":"`+address+`"`) != 1 {
				t.Errorf("the log does not say once that %s by %s: %s", line, address, log)
			}
		})
	}
	for _, value := range []string{guess, previous, secret, "198.51.100.9"} {
		t.Run(value, func(t *testing.T) {
			if strings.Contains(log, value) {
				t.Errorf("the log holds %s: %s", value, log)
			}
		})
	}
}

func TestShortSecretsFromNewAddressesAreComparedTenTimesASecond(t *testing.T) {
	t.Parallel()
	s := newServer(t, behindProxy(t, func(o *compat.Options) { o.Secret, o.AllowShortSecrets = "8-chars!", true }))
	if log := s.log.String(); strings.Count(log, "fewer than 32 characters") != 1 {
		t.Errorf("log %s, want one warning at start", log)
	}
	s.from("198.51.100.7", "8-chars!").passes()
	s.clock.advance(time.Second)
	for n := range 10 {
		s.from(fmt.Sprint("203.0.113.", n), "guess").wants(403, wrongSecret)
	}
	a := s.from("203.0.113.99", "8-chars!").wants(429, detail(tooMany))
	if got := a.header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q, want 1", got)
	}
	s.from("198.51.100.7", "8-chars!").passes()
	s.send("GET", "/auth/logs", "secret-key: 8-chars!").passes() // from this machine
	s.clock.advance(time.Second)
	s.from("203.0.113.99", "8-chars!").passes()
}

// Mutation tried: a state for each handler.
func TestHandlersOfOneServiceCountTogether(t *testing.T) {
	t.Parallel()
	c := behindProxy(t, func(o *compat.Options) { o.Secret, o.AllowShortSecrets = "8-chars!", true })
	s := newServer(t, c)
	var trusting compat.Options
	c.compat[0](&trusting)
	api, err := admin.Handler(s.svc, admin.Options{
		Secret: "8-chars!", AllowShortSecrets: true, TrustedProxies: trusting.TrustedProxies, Now: s.clock.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	other := *s
	other.url = listen(t, api)
	keys := func(client, secret string) int {
		return other.send("GET", "/keys", "secret-key: "+secret, "X-Forwarded-For: "+client).status
	}
	for n := range 5 {
		s.from(fmt.Sprint("203.0.113.", n), "guess")
		keys(fmt.Sprint("203.0.113.", 100+n), "guess")
	}
	if got := keys("203.0.113.99", "8-chars!"); got != http.StatusTooManyRequests {
		t.Errorf("ten compares a second for both: %d, want 429", got)
	}
	s.clock.advance(time.Second)
	if got := keys("203.0.113.99", "8-chars!"); got != http.StatusOK {
		t.Errorf("a second later: %d, want 200", got)
	}
	for n := range 9 {
		s.from(fmt.Sprint("203.0.113.", 200+n), "guess")
	}
	s.from("203.0.113.99", "8-chars!").passes() // known from the other
}

// A token that was pasted where a name belongs must not come back. Mutation tried:
// the 404 with the path.
func TestNoAnswerRepeatsANameThatTheClientChose(t *testing.T) {
	t.Parallel()
	s := newServer(t, changes{})
	const canary = "kf_Canary0Canary0Ca_abcdefghijklmnopqrstuvwxyz012345_AbCdEf"
	const form = "Content-Type: application/x-www-form-urlencoded"
	var answers []answer
	for _, path := range append(compat.Paths(), "/none", "/"+canary) {
		for _, query := range []string{canary, canary + "=1", canary + "=1&" + canary + "=2", "never_expires=" + canary, "%zz" + canary, "name=a&" + canary} {
			answers = append(answers,
				s.send("GET", "/auth"+path+"?"+query, "secret-key: "+secret), s.send("GET", "/auth"+path+"?"+query),
				s.sendBody("POST", "/auth"+path, query, form, "secret-key: "+secret))
		}
		answers = append(answers,
			s.send("GET", "/auth"+path, canary+": x", "secret-key: wrong"), s.send("DELETE", "/auth"+path+"?"+canary, "secret-key: "+secret),
			s.sendBody("POST", "/auth"+path, "a=b", "Content-Type: application/"+canary, "secret-key: "+secret))
	}
	answers = append(answers, s.send("GET", "/secure?"+canary), s.send("GET", "/secure?"+canary+"=1", canary+": x"))
	for i, a := range answers {
		if strings.Contains(a.body+fmt.Sprint(a.header), canary) {
			t.Errorf("answer %d repeats it: %d %s", i, a.status, a.body)
		}
	}
	if log := s.log.String(); strings.Contains(log, canary) {
		t.Errorf("the log repeats it: %s", log)
	}
}
