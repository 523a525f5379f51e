package admin_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

const short, shortPrevious = "8-chars!", "8-before"

func proxies(t *testing.T, list string) httpadapter.Proxies {
	t.Helper()
	p, err := httpadapter.ParseProxies(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func allowShort(o *admin.Options) { o.Secret, o.AllowShortSecrets = short, true }

// from makes a request with that secret from that address.
func (f *fixture) from(address, secret string, headers ...string) answer {
	f.t.Helper()
	r := httptest.NewRequest("GET", "/keys", nil)
	r.RemoteAddr = net.JoinHostPort(address, "1234")
	r.Header.Set("secret-key", secret)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return f.send(r)
}

// stranger is an address of its own for each n.
func stranger(n int) string {
	return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}).String()
}

// Mutations tried: the limit asked before the secret, as it was; a missing secret
// that is counted.
func TestRightSecretPassesWhateverOthersSend(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const address = "198.51.100.7"
	for i := range 50 {
		f.from(address, "")                                        // a probe, a preflight, an image
		f.from(address, "wrong")                                   // somebody who guesses
		f.from(address, secret).wants(http.StatusOK)               // an administrator behind the same address
		f.do("OPTIONS", "/keys", "", "secret-key:", "Origin: x")   // another address
		f.clock.advance(time.Duration(i) * 100 * time.Millisecond) // through several windows
		f.from(address, secret).wants(http.StatusOK)               // and again
		f.do("GET", "/keys", "", "secret-key:"+secret).wants(200)  // from elsewhere
		f.do("GET", "/none", "", "secret-key:").wants(http.StatusUnauthorized)
	}
}

func TestMissingSecretIsNeverCounted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const address = "198.51.100.7"
	for range 100 {
		f.from(address, "").wantsProblem(http.StatusUnauthorized, "invalid_secret", "")
		f.from(address, "  ").wantsProblem(http.StatusUnauthorized, "invalid_secret", "")
	}
	for range 10 {
		f.from(address, "wrong").wants(http.StatusUnauthorized)
	}
	f.from(address, "").wants(http.StatusUnauthorized)
	if log := f.log.String(); strings.Count(log, "a wrong admin secret was sent") != 2 {
		t.Errorf("the log has other lines than those for the first and the tenth wrong secret:\n%s", log)
	}
}

// Mutation tried: Fail counting nothing.
func TestWrongSecretsAreSlowedByAddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const here, elsewhere = "198.51.100.7", "198.51.100.8"
	for range 10 {
		f.from(here, "wrong").wants(http.StatusUnauthorized)
		f.clock.advance(time.Second)
	}
	a := f.from(here, "wrong").wantsProblem(http.StatusTooManyRequests, "too_many_failures", "")
	if got := a.header.Get("Retry-After"); got != "50" {
		t.Errorf("Retry-After %q, want 50: the minute began 10 seconds ago", got)
	}
	f.from(here, secret).wants(http.StatusOK)
	f.from(elsewhere, "wrong").wants(http.StatusUnauthorized)
	f.clock.advance(50*time.Second - time.Millisecond)
	f.from(here, "wrong").wants(http.StatusTooManyRequests)
	f.clock.advance(time.Millisecond)
	f.from(here, "wrong").wants(http.StatusUnauthorized)
}

func TestWrongSecretsAreCountedByClient(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *admin.Options) { o.TrustedProxies = proxies(t, "127.0.0.0/8") })
	via := func(client, secret string) answer { return f.from("127.0.0.1", secret, "X-Forwarded-For", client) }
	for i := range 10 {
		via(fmt.Sprintf("2001:db8:0:1::%x", i), "wrong").wants(http.StatusUnauthorized)
	}
	via("2001:db8:0:1::ffff", "wrong").wants(http.StatusTooManyRequests) // the same /64
	via("2001:db8:0:2::1", "wrong").wants(http.StatusUnauthorized)
	via("2001:db8:0:1::1, 203.0.113.9", "wrong").wants(http.StatusUnauthorized) // what the client claims is not read
}

func TestWrongSecretsSideBySideGetNoMoreTries(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var refused, throttled atomic.Int64
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			r := httptest.NewRequest("GET", "/keys", nil)
			r.Header.Set("secret-key", "wrong")
			w := httptest.NewRecorder()
			f.handler.ServeHTTP(w, r)
			switch w.Code {
			case http.StatusUnauthorized:
				refused.Add(1)
			case http.StatusTooManyRequests:
				throttled.Add(1)
			}
		})
	}
	group.Wait()
	if refused.Load() != 10 || throttled.Load() != 90 {
		t.Errorf("%d times 401 and %d times 429, want 10 and 90", refused.Load(), throttled.Load())
	}
}

// Mutations tried: the value as an attribute; no bound on the lines.
func TestWrongSecretsAreLoggedWithTheAddressAndWithoutTheValue(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const guess = "a-guess-that-is-32-characters-ok"
	f.from("198.51.100.7", guess)
	log := f.log.String()
	if !strings.Contains(log, `"ip":"198.51.100.7"`) || !strings.Contains(log, `"level":"WARN"`) {
		t.Errorf("the log does not have the address: %s", log)
	}
	for n := range 500 {
		f.from(stranger(n), guess)
	}
	log = f.log.String()
	if lines := strings.Count(log, "\n"); lines != 20 {
		t.Errorf("%d lines in one minute, want 20", lines)
	}
	f.clock.advance(time.Minute)
	f.from("198.51.100.7", guess)
	log = f.log.String()
	if !strings.Contains(log, `"omitted":481`) {
		t.Errorf("the log does not say how many lines were left out: %s", log[len(log)-300:])
	}
	if strings.Contains(log, guess) || strings.Contains(log, secret) {
		t.Error("a secret is in the log")
	}
}

func TestPreviousSecretIsAcceptedAndItsUseLogged(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *admin.Options) { o.PreviousSecret = previous })
	const line = "the previous admin secret is still in use"
	f.from("198.51.100.7", secret).wants(http.StatusOK)
	if strings.Contains(f.log.String(), line) {
		t.Errorf("the current secret is logged as the previous one: %s", f.log)
	}
	for range 10 {
		f.from("198.51.100.7", previous).wants(http.StatusOK)
	}
	f.from("198.51.100.8", previous).wants(http.StatusOK)
	if got := strings.Count(f.log.String(), line); got != 2 || !strings.Contains(f.log.String(), `"ip":"198.51.100.8"`) {
		t.Errorf("%d lines, want one for each address: %s", got, f.log)
	}
	for n := range 500 {
		f.from(stranger(n), previous).wants(http.StatusOK)
	}
	if got := strings.Count(f.log.String(), line); got != 20 {
		t.Errorf("%d lines in one minute, want 20", got)
	}
	f.clock.advance(time.Hour)
	f.from("198.51.100.7", previous).wants(http.StatusOK)
	if got := strings.Count(f.log.String(), line); got != 21 {
		t.Errorf("%d lines after an hour, want one more", got)
	}
	if strings.Contains(f.log.String(), previous) {
		t.Error("the log holds the secret")
	}
	newFixture(t).from("198.51.100.7", previous).wants(http.StatusUnauthorized)
}

// Mutation tried: no word about short secrets.
func TestShortSecretsHaveToBeAllowedAndAreLoggedAtStart(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *admin.Options) { o.Secret, o.PreviousSecret, o.AllowShortSecrets = short, shortPrevious, true })
	if log := f.log.String(); strings.Count(log, "fewer than 32 characters") != 1 || strings.Contains(log, short) {
		t.Errorf("log %s, want one warning", log)
	}
	f.from("198.51.100.7", short).wants(http.StatusOK)
	f.from("198.51.100.7", shortPrevious).wants(http.StatusOK)
	f.from("198.51.100.7", secret).wants(http.StatusUnauthorized)
	if log := newFixture(t, func(o *admin.Options) { o.AllowShortSecrets = true }).log.String(); strings.Contains(log, "32 characters") {
		t.Errorf("a warning of a long secret: %s", log)
	}
}

// Mutations tried: no bound; a bound on the machine itself; one on addresses that
// are known; one on secrets that are long.
func TestShortSecretsFromNewAddressesAreComparedTenTimesASecond(t *testing.T) {
	t.Parallel()
	f := newFixture(t, allowShort, func(o *admin.Options) { o.PreviousSecret = secret })
	const admins = "198.51.100.7"
	f.from(admins, short).wants(http.StatusOK)
	f.clock.advance(time.Second)
	n := 0
	flood := func(times int) (compared int) {
		for range times {
			n++
			if f.from(stranger(n), "guess").status == http.StatusUnauthorized {
				compared++
			}
		}
		return compared
	}
	if got := flood(1000); got != 10 {
		t.Errorf("%d of 1000 guesses from as many addresses were compared, want 10", got)
	}
	a := f.from("203.0.113.9", short).wantsProblem(http.StatusTooManyRequests, "too_many_failures", "")
	if got := a.header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After %q, want 1", got)
	}
	f.from("203.0.113.9", secret).wants(http.StatusOK) // the long one, from a new address
	f.from(admins, short).wants(http.StatusOK)
	f.from("127.0.0.1", short).wants(http.StatusOK)
	f.from("::1", short).wants(http.StatusOK)
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"} { // from a proxy on this machine that is not named
		f.from("127.0.0.2", short, header, "203.0.113.10").wants(http.StatusTooManyRequests)
	}
	if got := strings.Count(f.log.String(), "were not compared"); got != 1 {
		t.Errorf("%d lines about it, want one a minute", got)
	}

	f.clock.advance(time.Second - time.Millisecond)
	if got := flood(100); got != 0 {
		t.Errorf("%d guesses were compared within the same second, want none", got)
	}
	f.clock.advance(time.Millisecond)
	f.from("203.0.113.11", short).wants(http.StatusOK)
	if got := flood(100); got != 9 {
		t.Errorf("%d guesses were compared in the next second, want the other 9", got)
	}

	f.clock.advance(24*time.Hour - 3*time.Second)
	flood(100)
	f.from("203.0.113.9", short).wants(http.StatusOK)
	f.clock.advance(3 * time.Second)
	flood(100)
	f.from(admins, short).wants(http.StatusTooManyRequests) // too long ago
	f.from("203.0.113.9", short).wants(http.StatusOK)
}

// Mutation tried: the same bound for addresses that sent wrong secrets.
func TestOneAddressThatGuessesDoesNotUseUpTheComparesOfOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, allowShort)
	compared := 0
	for range 1000 {
		a := f.from("203.0.113.66", "guess")
		if a.status == http.StatusUnauthorized || a.header.Get("Retry-After") != "1" {
			compared++
		}
	}
	if compared != 5 {
		t.Errorf("%d guesses of one address were compared in a second, want 5", compared)
	}
	for n := range 5 {
		f.from(stranger(n), short).wants(http.StatusOK)
	}
}

// Only administrators can fill the memory for addresses, and it is bounded.
func TestAddressThatWasForgottenIsNewAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, allowShort)
	f.from("203.0.113.9", short).wants(http.StatusOK)
	for n := range 1024 {
		f.clock.advance(time.Second)
		f.from(stranger(n), short).wants(http.StatusOK)
	}
	f.clock.advance(time.Second)
	for n := range 10 {
		f.from(stranger(5000+n), "guess").wants(http.StatusUnauthorized)
	}
	f.from("203.0.113.9", short).wants(http.StatusTooManyRequests)
	f.from(stranger(0), short).wants(http.StatusOK)
}

// overUnix makes requests to the handler through a real Unix socket.
func (f *fixture) overUnix() func(secret string, headers ...string) int {
	f.t.Helper()
	path := filepath.Join(f.t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		f.t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: f.handler}}
	server.Start()
	f.t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	f.t.Cleanup(client.CloseIdleConnections)
	return func(secret string, headers ...string) int {
		f.t.Helper()
		r, err := http.NewRequestWithContext(f.t.Context(), "GET", "http://unix/keys", nil)
		if err != nil {
			f.t.Fatal(err)
		}
		r.Header.Set("secret-key", secret)
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		response, err := client.Do(r)
		if err != nil {
			f.t.Fatal(err)
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode
	}
}

func TestStrangersBehindAUnixSocketLockNobodyOut(t *testing.T) {
	t.Parallel()
	for _, list := range []string{"", "unix"} {
		t.Run(list, func(t *testing.T) {
			f := newFixture(t, func(o *admin.Options) { o.TrustedProxies = proxies(t, list) })
			send := f.overUnix()
			for range 20 {
				send("", "X-Forwarded-For", "203.0.113.66")
				send("wrong", "X-Forwarded-For", "203.0.113.66")
			}
			if got := send(secret, "X-Forwarded-For", "203.0.113.9"); got != http.StatusOK {
				t.Errorf("trusted %q: the right secret: %d, want 200", list, got)
			}
			want := map[string]int{"": http.StatusTooManyRequests, "unix": http.StatusUnauthorized}[list] // all clients have one count, or each its own
			if got := send("wrong", "X-Forwarded-For", "203.0.113.9"); got != want {
				t.Errorf("trusted %q: a wrong secret of another client: %d, want %d", list, got, want)
			}
			address := map[string]string{"": "unknown", "unix": "203.0.113.66"}[list]
			if !strings.Contains(f.log.String(), `"ip":"`+address+`"`) {
				t.Errorf("trusted %q: the log does not name the address %s: %s", list, address, f.log)
			}
		})
	}
}

// Behind a Unix socket that is not named all clients are one unknown address.
func TestUnixSocketIsNotThisMachine(t *testing.T) {
	t.Parallel()
	f := newFixture(t, allowShort)
	send := f.overUnix()
	for n := range 10 {
		f.from(stranger(n), "guess").wants(http.StatusUnauthorized)
	}
	if got := send(short); got != http.StatusTooManyRequests {
		t.Errorf("the short secret over a Unix socket during a flood: %d, want 429", got)
	}
	f.clock.advance(time.Second)
	if got := send(short); got != http.StatusOK {
		t.Errorf("the short secret over a Unix socket: %d, want 200", got)
	}
}

func TestWideProxiesAreLoggedAtStart(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(o *admin.Options) { o.TrustedProxies = proxies(t, "10.0.0.0/7") })
	if log := f.log.String(); strings.Count(log, "10.0.0.0/7") != 1 {
		t.Errorf("log %s, want one warning", log)
	}
}
