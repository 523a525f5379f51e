package admin_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/store/memory"
)

// guarded is one request for each route.
var guarded = []struct{ method, path, body string }{
	{"POST", "/keys", `{}`},
	{"GET", "/keys", ""},
	{"GET", "/keys/" + nobodyID, ""},
	{"PATCH", "/keys/" + nobodyID, `{"version":1}`},
	{"DELETE", "/keys/" + nobodyID, ""},
	{"POST", "/keys/" + nobodyID + "/revoke", ""},
	{"POST", "/keys/" + nobodyID + "/disable", ""},
	{"POST", "/keys/" + nobodyID + "/enable", ""},
	{"POST", "/keys/" + nobodyID + "/renew", ""},
	{"POST", "/keys/" + nobodyID + "/rotate", ""},
	{"POST", "/keys/bulk/revoke", `{"owner_id":"a"}`},
	{"POST", "/keys/bulk/disable", `{"owner_id":"a"}`},
	{"GET", "/usage/events", ""},
	{"GET", "/usage/export", ""},
	{"GET", "/usage/totals", ""},
	{"GET", "/usage/report", ""},
	{"GET", "/", ""},
	{"POST", "/docs", ""},
	{"GET", "/docs/", ""},
	{"POST", "/openapi.json", ""},
	{"GET", "/no/such/route", ""},
}

// Mutation tried: admit returning nil for a request without the header.
func TestEveryRouteNeedsTheSecret(t *testing.T) {
	t.Parallel()
	for _, route := range guarded {
		for name, header := range map[string]string{
			"none":           "",
			"wrong":          strings.Repeat("x", len(secret)),
			"a part of it":   secret[:len(secret)-1],
			"more than it":   secret + "x",
			"other case":     strings.ToUpper(secret),
			"not ASCII":      "ключ-\u00ff\xff\xfe" + secret,
			"a stored HMAC?": strings.Repeat("\x00", 32),
		} {
			f := newFixture(t)
			a := f.do(route.method, route.path, route.body, "secret-key:"+header)
			a.wantsProblem(http.StatusUnauthorized, "invalid_secret", "")
			if a.header.Get("WWW-Authenticate") == "" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s, secret %s: headers %v", route.method, route.path, name, a.header)
			}
			if got := f.count(); got != 0 {
				t.Errorf("%s %s, secret %s: a key was stored", route.method, route.path, name)
			}
		}
	}
}

func TestMissingAndWrongSecretsHaveOneAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	missing, wrong := f.do("GET", "/keys", "", "secret-key:"), f.do("GET", "/keys", "", "secret-key: wrong")
	if missing.status != wrong.status || missing.body != wrong.body || fmt.Sprint(missing.header) != fmt.Sprint(wrong.header) {
		t.Errorf("missing %+v, wrong %+v", missing, wrong)
	}
}

func TestSecretIsNotReadFromElsewhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("GET", "/keys?secret-key="+secret, "", "secret-key:").wantsProblem(401, "invalid_secret", "")
	f.do("GET", "/keys?secret_key="+secret, "", "secret-key:").wantsProblem(401, "invalid_secret", "")
	f.do("GET", "/keys", "", "secret-key:", "Authorization: Bearer "+secret).wantsProblem(401, "invalid_secret", "")
	f.do("GET", "/keys", "", "secret-key:", "Cookie: secret-key="+secret).wantsProblem(401, "invalid_secret", "")
	r := httptest.NewRequest("GET", "/keys", nil)
	r.Header["Secret-Key"] = []string{secret, secret}
	f.send(r).wantsProblem(401, "invalid_secret", "")
}

func TestHandlerRefusesBadOptions(t *testing.T) {
	t.Parallel()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		options admin.Options
		field   string
	}{
		{"no secret", admin.Options{}, "Options.Secret"},
		{"31 characters", admin.Options{Secret: secret[:31]}, "Options.Secret"},
		{"not ASCII", admin.Options{Secret: secret + "ä"}, "Options.Secret"},
		{"ends in a blank", admin.Options{Secret: secret + " "}, "Options.Secret"},
		{"ends in a new line", admin.Options{Secret: secret + "\n"}, "Options.Secret"},
		{"too long", admin.Options{Secret: strings.Repeat("x", 513)}, "Options.Secret"},
		{"previous equal to it", admin.Options{Secret: secret, PreviousSecret: secret}, "Options.PreviousSecret"},
		{"short previous equal to it", admin.Options{Secret: "8-chars!", PreviousSecret: "8-chars!", AllowShortSecrets: true}, "Options.PreviousSecret"},
		{"short previous", admin.Options{Secret: secret, PreviousSecret: "short-secret"}, "Options.PreviousSecret"},
		{"7 characters where short ones are allowed", admin.Options{Secret: "7-chars", AllowShortSecrets: true}, "Options.Secret"},
		{"none where short ones are allowed", admin.Options{AllowShortSecrets: true}, "Options.Secret"},
		{"short one with a blank", admin.Options{Secret: "8-chars ", AllowShortSecrets: true}, "Options.Secret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := admin.Handler(svc, test.options)
			invalid, ok := errors.AsType[*keyfold.InvalidError](err)
			if !ok || invalid.Field != test.field {
				t.Errorf("%s: error %v, want one for %s", test.name, err, test.field)
				return
			}
			for _, value := range []string{test.options.Secret, test.options.PreviousSecret} {
				if value != "" && strings.Contains(err.Error(), value) {
					t.Errorf("%s: the error repeats the secret", test.name)
				}
			}
		})
	}
	if _, err := admin.Handler(nil, admin.Options{Secret: secret}); !errors.Is(err, keyfold.ErrInvalid) {
		t.Errorf("without a Service: %v", err)
	}
}

func TestOtherOriginsCannotChangeAnything(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, header := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: https://evil.example"} {
		t.Run(header, func(t *testing.T) {
			f.do("POST", "/keys", `{}`, header).wantsProblem(http.StatusForbidden, "cross_origin", "")
			a := f.do("GET", "/keys", "", header).wants(http.StatusOK)
			if a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("an answer has a CORS header")
			}
		})
	}
	if got := f.count(); got != 0 {
		t.Errorf("%d keys are stored, want none", got)
	}
	f.do("POST", "/keys", `{}`, "Sec-Fetch-Site: same-origin").wants(http.StatusCreated)
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, path := range []string{"/", "/docs/", "/docs.html", "/schemas/Key.json", "/openapi.yaml", "/openapi-3.0.json", "/keys/", "//keys", "/x/../keys", "/keys/" + nobodyID + "/none"} {
		f.do("GET", path, "").wantsProblem(http.StatusNotFound, "not_found", "")
	}
	for _, test := range []struct{ method, path, allow string }{
		{"PUT", "/keys", "GET, HEAD, POST"},
		{"DELETE", "/keys", "GET, HEAD, POST"},
		{"POST", "/keys/" + nobodyID, "DELETE, GET, HEAD, PATCH"},
		{"GET", "/keys/" + nobodyID + "/revoke", "POST"},
		{"GET", "/keys/" + nobodyID + "/rotate", "POST"},
		{"GET", "/keys/bulk/revoke", "POST"},
		{"POST", "/usage/totals", "GET, HEAD"},
	} {
		t.Run(test.method, func(t *testing.T) {
			a := f.do(test.method, test.path, "").wantsProblem(http.StatusMethodNotAllowed, "method_not_allowed", "")
			if got := a.header.Get("Allow"); got != test.allow {
				t.Errorf("%s %s: Allow %q, want %q", test.method, test.path, got, test.allow)
			}
		})
	}
}

func TestPrefixIsStripped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", f.handler))
	f.handler = mux
	f.do("GET", "/auth/keys", "").wants(http.StatusOK)
	f.do("GET", "/auth/openapi.json", "", "secret-key:").wants(http.StatusOK)
	f.do("GET", "/auth/", "").wants(http.StatusNotFound)

	// A mistake that must not end in a redirect to somewhere else.
	mux.Handle("/wrong/", http.StripPrefix("/wrong/", newFixture(t).handler))
	f.do("GET", "/wrong/keys", "").wantsProblem(http.StatusNotFound, "not_found", "")
}

func TestAnswersAreJSONWhateverIsAskedFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, accept := range []string{"text/html", "application/problem+json", "application/cbor", "application/json;q=0", "*/*"} {
		t.Run(accept, func(t *testing.T) {
			if got := f.do("GET", "/keys", "", "Accept:"+accept).wants(http.StatusOK).header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Accept %s is answered with %s", accept, got)
			}
			f.do("GET", "/keys?limit=0", "", "Accept:"+accept).wantsProblem(422, "invalid", "limit")
		})
	}
}
