package httpadapter_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/memory"
)

// whose answers with the name of the request's key.
var whose = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id, ok := httpadapter.IdentityFrom(r.Context())
	if !ok {
		_, _ = io.WriteString(w, "stranger")
		return
	}
	_, _ = io.WriteString(w, id.Name())
})

func TestGoodKeyReachesHandlerWithIdentity(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	_, token := newKey(t, svc, keyfold.NewKey{Name: "ci", Scopes: []string{"reports:read"}})
	h := httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"))(whose)
	for _, header := range [][2]string{
		{"Authorization", "Bearer " + token},
		{"Authorization", "bEaReR   " + token + " "},
		{"X-API-Key", token},
		{"api-key", "\t" + token},
	} {
		w := send(h, "GET", "/reports", header[0], header[1])
		if w.Code != http.StatusOK || w.Body.String() != "ci" {
			t.Errorf("%s: got %d %q, want 200 \"ci\"", header[0], w.Code, w.Body)
		}
	}
}

// The mutation that made this fail: no test of id.IsZero() in the guard.
func TestGuardRequiresAnIdentityAndNoError(t *testing.T) {
	t.Parallel()
	reached := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the handler was reached") })
	for name, verifier := range map[string]*spy{
		"no error and no identity":  {},
		"an error, no identity":     {err: keyfold.ErrUnauthenticated},
		"an error and an identity":  {err: keyfold.ErrForbidden, id: somebody(t)},
		"an error of no known kind": {err: errors.New("surprise"), id: somebody(t)},
	} {
		t.Run(name, func(t *testing.T) {
			for _, guard := range []func(httpadapter.Verifier, ...httpadapter.Option) func(http.Handler) http.Handler{
				httpadapter.RequireKey, httpadapter.OptionalKey,
			} {
				if w := send(guard(verifier)(reached), "GET", "/", "X-API-Key", madeUp("")); w.Code < 400 {
					t.Errorf("%s: got %d, want a refusal", name, w.Code)
				}
			}
		})
	}
}

func TestIdentityFromWithoutGuard(t *testing.T) {
	t.Parallel()
	if id, ok := httpadapter.IdentityFrom(context.Background()); ok || !id.IsZero() {
		t.Errorf("got %v, %t, want the zero Identity, false", id, ok)
	}
}

func TestNilVerifierPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("got no panic")
		}
	}()
	httpadapter.RequireKey(nil)
}

// Such a route would answer every key with 403.
func TestScopeThatNoKeyCanHavePanics(t *testing.T) {
	t.Parallel()
	svc, err := keyfold.New(memory.New(), &keyfold.Options{Scopes: []string{"reports:read", "bills:*"}})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(t.Context())
	for _, row := range []struct {
		verifier httpadapter.Verifier
		scope    string
		panics   bool
	}{
		{svc, "reports:read", false},
		{svc, "bills:write", false},
		{svc, "reports:write", true},
		{svc, "reports:*", true},
		{svc, "bills:*", true},
		{svc, "", true},
		{&spy{}, "reports:write", false},
		{&spy{}, "reports:*", true},
		{&spy{}, "reports read", true},
	} {
		func() {
			defer func() {
				if panicked := recover() != nil; panicked != row.panics {
					t.Errorf("RequireKey of a %T with scope %q: panics %t, want %t", row.verifier, row.scope, panicked, row.panics)
				}
			}()
			httpadapter.RequireKey(row.verifier, httpadapter.Scopes("bills:read", row.scope))
		}()
	}
}

func TestVerifyReceivesAllDataOfTheRequest(t *testing.T) {
	t.Parallel()
	verifier := &spy{id: somebody(t)}
	token := madeUp("")
	mux := http.NewServeMux()
	mux.Handle("GET /reports/{id}", httpadapter.RequireKey(verifier,
		httpadapter.Scopes("reports:read"), httpadapter.Scopes("reports:list"))(whose))
	send(mux, "GET", "/reports/7?x=1", "X-API-Key", token, "X-Request-ID", "req-1", "User-Agent", "curl/8",
		"X-Forwarded-For", "203.0.113.9")
	if len(verifier.seen) != 1 {
		t.Fatalf("got %d verifies, want 1", len(verifier.seen))
	}
	got := verifier.seen[0]
	if got.Token != token || strings.Join(got.Scopes, " ") != "reports:read reports:list" ||
		got.IP != netip.MustParseAddr("192.0.2.1") || got.Route != "GET /reports/{id}" ||
		got.RequestID != "req-1" || got.UserAgent != "curl/8" {
		t.Errorf("got %+v", got)
	}
}

func TestRequestWithoutKeyIsVerified(t *testing.T) {
	t.Parallel()
	verifier := &spy{err: keyfold.ErrUnauthenticated}
	send(httpadapter.RequireKey(verifier)(whose), "GET", "/")
	if len(verifier.seen) != 1 || verifier.seen[0].Token != "" {
		t.Errorf("got %+v, want one verify without a token", verifier.seen)
	}
}

// The mutation that made this fail: the second key replacing the first.
func TestTwoDifferentKeysAreRefusedWithoutVerify(t *testing.T) {
	t.Parallel()
	verifier := &spy{id: somebody(t)}
	h := httpadapter.RequireKey(verifier, httpadapter.QueryParam("key"))(whose)
	one, other := madeUp(""), madeUp("BBBBBBBBBBBBBBBB")
	for name, w := range map[string]*httptest.ResponseRecorder{
		"in two headers":             send(h, "GET", "/", "X-API-Key", one, "Authorization", "Bearer "+other),
		"in one header twice":        send(h, "GET", "/", "X-API-Key", one, "X-API-Key", other),
		"in a header and in the URL": send(h, "GET", "/?key="+one, "X-API-Key", other),
	} {
		t.Run(name, func(t *testing.T) {
			if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `"code":"ambiguous_credentials"`) {
				t.Errorf("%s: got %d %s", name, w.Code, w.Body)
			}
		})
	}
	if len(verifier.seen) != 0 {
		t.Errorf("got %d verifies, want none", len(verifier.seen))
	}
}

// The mutation that made this fail: calling the handler after an error of Verify.
func TestOptionalKeyAcceptsMissingButNotBadKeys(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	_, good := newKey(t, svc, keyfold.NewKey{Name: "ci", Scopes: []string{"a:b"}})
	_, weak := newKey(t, svc, keyfold.NewKey{Name: "weak"})
	h := httpadapter.OptionalKey(svc, httpadapter.Scopes("a:b"))(whose)
	for _, row := range []struct {
		name    string
		headers []string
		status  int
		body    string
	}{
		{"no key", nil, 200, "stranger"},
		{"an empty key", []string{"X-API-Key", " "}, 200, "stranger"},
		{"Basic credentials", []string{"Authorization", "Basic dTpw"}, 200, "stranger"},
		{"a good key", []string{"X-API-Key", good}, 200, "ci"},
		{"a key without the scope", []string{"X-API-Key", weak}, 403, ""},
		{"an unknown key", []string{"X-API-Key", madeUp("")}, 401, ""},
		{"garbage", []string{"X-API-Key", "garbage"}, 401, ""},
		{"a Bearer token of another system", []string{"Authorization", "Bearer a.b.c"}, 401, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := send(h, "GET", "/", row.headers...)
			if w.Code != row.status || row.body != "" && w.Body.String() != row.body {
				t.Errorf("%s: got %d %s, want %d %s", row.name, w.Code, w.Body, row.status, row.body)
			}
		})
	}
}

// The mutation that made this fail: QueryParam's name defaulting to "api_key".
func TestQueryParameterIsReadOnlyWithQueryParam(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	_, token := newKey(t, svc, keyfold.NewKey{Name: "ci"})
	for _, row := range []struct {
		name    string
		options []httpadapter.Option
		query   string
		status  int
	}{
		{"off by default", nil, "api_key=" + token, 401},
		{"an empty name leaves it off", []httpadapter.Option{httpadapter.QueryParam("")}, "=" + token + "&" + token, 401},
		{"on", []httpadapter.Option{httpadapter.QueryParam("api_key")}, "a=b&api_key=" + token, 200},
		{"on, escaped", []httpadapter.Option{httpadapter.QueryParam("api_key")}, "api%5Fkey=%20" + token + "+&x", 200},
		{"another name", []httpadapter.Option{httpadapter.QueryParam("api_key")}, "key=" + token, 401},
		{"bad escapes", []httpadapter.Option{httpadapter.QueryParam("api_key")}, "%zz=1&api_key=%zz&api_key", 401},
		{"a semicolon", []httpadapter.Option{httpadapter.QueryParam("api_key")}, "api_key=" + token + ";", 401},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := send(httpadapter.RequireKey(svc, row.options...)(whose), "GET", "/?"+row.query)
			if w.Code != row.status {
				t.Errorf("%s: got %d, want %d", row.name, w.Code, row.status)
			}
		})
	}
}

func TestKeyFuncTriesKeysInOrder(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	_, reader := newKey(t, svc, keyfold.NewKey{Name: "reader", Scopes: []string{"reports:read"}})
	_, writer := newKey(t, svc, keyfold.NewKey{Name: "writer", Scopes: []string{"reports:write"}})
	for _, test := range []struct {
		name   string
		keys   []string
		status int
		body   string // of the handler
	}{
		{"the first is good", []string{reader, "bad"}, 200, "reader"},
		{"the second is good", []string{"bad", reader}, 200, "reader"},
		{"the first may not do this", []string{writer, reader}, 200, "reader"},
		{"an empty one is passed over", []string{"", reader}, 200, "reader"},
		{"none is good", []string{"bad", madeUp("")}, 401, ""},
		{"one may not do this, the other is none", []string{writer, "bad"}, 403, ""},
		{"one is none, the other may not do this", []string{"bad", writer}, 403, ""},
		{"there is none", nil, 401, ""},
		{"all are empty", []string{"", ""}, 401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			read := httpadapter.KeyFunc(func(*http.Request) []string { return test.keys })
			h := httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"), read)(whose)
			w := send(h, "GET", "/reports?key="+reader, "X-API-Key", reader) // KeyFunc replaces both
			if w.Code != test.status || test.body != "" && w.Body.String() != test.body {
				t.Errorf("%s: got %d %q, want %d %q", test.name, w.Code, w.Body, test.status, test.body)
			}
		})
	}
	none := httpadapter.KeyFunc(func(*http.Request) []string { return nil })
	if w := send(httpadapter.OptionalKey(svc, none)(whose), "GET", "/", "X-API-Key", reader); w.Body.String() != "stranger" {
		t.Errorf("optional and none: got %d %q, want the handler without an identity", w.Code, w.Body)
	}
	if w := send(httpadapter.RequireKey(svc, httpadapter.KeyFunc(nil))(whose), "GET", "/", "X-API-Key", reader); w.Body.String() != "reader" {
		t.Errorf("nil: got %d %q, want the key of the header", w.Code, w.Body)
	}
}

func TestKeyFuncStopsIfVerifyCannotDecide(t *testing.T) {
	t.Parallel()
	verifier := &spy{err: keyfold.ErrUnavailable}
	h := httpadapter.RequireKey(verifier, httpadapter.KeyFunc(func(*http.Request) []string { return []string{"a", "b"} }))(whose)
	if w := send(h, "GET", "/"); w.Code != http.StatusServiceUnavailable || len(verifier.seen) != 1 {
		t.Errorf("got %d after %d verifies, want 503 after one", w.Code, len(verifier.seen))
	}
}

func TestErrorHandlerReplacesTheAnswer(t *testing.T) {
	t.Parallel()
	var got error
	h := httpadapter.RequireKey(newService(t, nil), httpadapter.ErrorHandler(nil),
		httpadapter.ErrorHandler(func(w http.ResponseWriter, r *http.Request, err error) {
			got = err
			if _, ok := httpadapter.IdentityFrom(r.Context()); ok {
				t.Error("got an Identity in the error handler")
			}
			w.WriteHeader(http.StatusTeapot)
		}))(whose)
	w := send(h, "GET", "/", "X-API-Key", "garbage")
	if w.Code != http.StatusTeapot || keyfold.OutcomeOf(got) != keyfold.OutcomeMalformed {
		t.Errorf("got %d, %v, want 418, malformed", w.Code, got)
	}
}

func TestLongHeadersAreTruncated(t *testing.T) {
	t.Parallel()
	verifier := &spy{id: somebody(t)}
	long := strings.Repeat("x", 1<<20)
	w := send(httpadapter.RequireKey(verifier)(whose), "GET", "/", "X-API-Key", long,
		"X-Request-ID", long, "User-Agent", long, "X-Forwarded-For", long)
	got := verifier.seen[0]
	if w.Code != 200 || len(got.RequestID) != 256 || len(got.UserAgent) != 256 {
		t.Errorf("got %d, request id of %d bytes, user agent of %d", w.Code, len(got.RequestID), len(got.UserAgent))
	}
}

// stub is a Verifier that costs nothing.
type stub struct{ id keyfold.Identity }

func (s stub) Verify(context.Context, keyfold.Request) (keyfold.Identity, error) { return s.id, nil }

// The two allocations are a context with the Identity and a copy of the request.
func TestGuardAddsTwoAllocations(t *testing.T) {
	verifier := stub{id: somebody(t)}
	proxies := proxies(t, "192.0.2.0/24")
	open := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for _, row := range []struct {
		name, pattern, query string
		headers              http.Header
		guard                func(http.Handler) http.Handler
	}{
		{
			"Bearer, method in the pattern", "GET /reports/{id}", "",
			http.Header{"Authorization": {"Bearer " + madeUp("")}},
			httpadapter.RequireKey(verifier, httpadapter.Scopes("reports:read")),
		},
		{
			"X-API-Key, no method in the pattern", "/reports/{id}", "",
			http.Header{"X-Api-Key": {madeUp("")}, "User-Agent": {"curl/8"}, "X-Request-Id": {"1"}},
			httpadapter.RequireKey(verifier),
		},
		{
			"query and proxies", "/", "a=b&key=" + madeUp(""),
			http.Header{"X-Forwarded-For": {"2001:db8::1, 192.0.2.7"}},
			httpadapter.RequireKey(verifier, httpadapter.QueryParam("key"), httpadapter.TrustedProxies(proxies)),
		},
	} {
		r := httptest.NewRequest("GET", "/reports/7?"+row.query, nil)
		r.Header, r.Pattern = row.headers, row.pattern
		w := httptest.NewRecorder()
		guarded := row.guard(open)
		if got := testing.AllocsPerRun(1000, func() { guarded.ServeHTTP(w, r) }); got > 2 {
			t.Errorf("%s: got %v allocations, want at most 2", row.name, got)
		}
		if w.Code != 200 {
			t.Errorf("%s: got %d", row.name, w.Code)
		}
	}
}

func BenchmarkRefuse(b *testing.B) {
	h := httpadapter.RequireKey(&constant{keyfold.ErrUnauthenticated})(whose)
	r := httptest.NewRequest("GET", "/", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(discard{http.Header{}}, r)
	}
}

type constant struct{ err error }

func (c *constant) Verify(context.Context, keyfold.Request) (keyfold.Identity, error) {
	return keyfold.Identity{}, c.err
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// Mutation tried: options of a middleware that change the Guard, or the next middleware.
func TestMiddlewareCombinesItsOptionsWithThoseOfTheGuard(t *testing.T) {
	t.Parallel()
	verifier := &spy{id: somebody(t)}
	status := func(code int) httpadapter.Option {
		return httpadapter.ErrorHandler(func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(code) })
	}
	guard := httpadapter.NewGuard(verifier, httpadapter.Scopes("a", "b", "c"), httpadapter.TrustedProxies(proxies(t, "10.0.0.0/8")), status(418))
	first := guard.RequireKey(httpadapter.Scopes("first"), status(499))
	second := guard.OptionalKey(httpadapter.Scopes("second"))
	third := guard.RequireKey()
	for _, test := range []struct {
		name   string
		guard  func(http.Handler) http.Handler
		scopes []string
		status int
	}{
		{"first", first, []string{"a", "b", "c", "first"}, 499},
		{"second", second, []string{"a", "b", "c", "second"}, 418},
		{"third", third, []string{"a", "b", "c"}, 418},
	} {
		t.Run(test.name, func(t *testing.T) {
			verifier.seen, verifier.err = nil, nil
			h := test.guard(whose)
			r := httptest.NewRequest("GET", "/reports", nil)
			r.RemoteAddr = "10.0.0.1:4711"
			r.Header.Set("X-API-Key", madeUp(""))
			r.Header.Set("X-Forwarded-For", "198.51.100.7")
			h.ServeHTTP(httptest.NewRecorder(), r)
			if len(verifier.seen) != 1 || !slices.Equal(verifier.seen[0].Scopes, test.scopes) || verifier.seen[0].IP.String() != "198.51.100.7" {
				t.Errorf("%s verified %v, want the scopes %v and the client 198.51.100.7", test.name, verifier.seen, test.scopes)
			}
			verifier.err = keyfold.ErrForbidden
			if w := send(h, "GET", "/reports", "X-API-Key", madeUp("")); w.Code != test.status {
				t.Errorf("%s refused with %d, want %d", test.name, w.Code, test.status)
			}
		})
	}
	if w := send(second(whose), "GET", "/reports"); w.Code != http.StatusOK {
		t.Errorf("an optional key that is missing: %d, want 200", w.Code)
	}
	if w := send(third(whose), "GET", "/reports"); w.Code != 418 {
		t.Errorf("a required key that is missing, after OptionalKey of the same Guard: %d, want 418", w.Code)
	}
}

func TestGuardPanicsAtStart(t *testing.T) {
	t.Parallel()
	svc := newService(t, &keyfold.Options{Scopes: []string{"reports:read"}})
	guard := httpadapter.NewGuard(svc)
	for name, call := range map[string]func(){
		"a nil Verifier":                   func() { httpadapter.NewGuard(nil) },
		"a nil Service":                    func() { httpadapter.NewGuard((*keyfold.Service)(nil)) },
		"a scope of the Guard, not listed": func() { httpadapter.NewGuard(svc, httpadapter.Scopes("reports:write")) },
		"a scope of a route, not listed":   func() { guard.RequireKey(httpadapter.Scopes("reports:write")) },
		"a wildcard for an optional key":   func() { guard.OptionalKey(httpadapter.Scopes("reports:*")) },
	} {
		t.Run(name, func(t *testing.T) {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: no panic", name)
					}
				}()
				call()
			}()
		})
	}
}
