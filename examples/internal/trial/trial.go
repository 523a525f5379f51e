// Package trial is the test that every example passes.
package trial

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/sqlite"
)

// Request is what a guarded application is asked, and must answer to a key that
// holds the scope "reports:read".
type Request struct {
	Method, Target string
	Status         int
	Body           string // of a 200
	Route          string // in the usage log
}

// Run tries the application that start returns on a new SQLite database: each
// request with a good key, and the first one with none, a bad one and a revoked
// one.
func Run(t *testing.T, start func(*keyfold.Service) func(*http.Request) (*http.Response, error), requests ...Request) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "keyfold.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	svc, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(t.Context())
	key, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{Name: "ci", Scopes: []string{"reports:read"}})
	if err != nil {
		t.Fatal(err)
	}
	app := &app{t: t, send: start(svc)}

	for _, r := range requests {
		body := app.expect("a good key", r, token.Reveal(), r.Status)
		if r.Status == http.StatusOK && body != r.Body {
			t.Errorf("%s %s: got %q, want %q", r.Method, r.Target, body, r.Body)
		}
	}
	app.expect("no key", requests[0], "", http.StatusUnauthorized)
	app.expect("a mistyped key", requests[0], token.Reveal()+"x", http.StatusUnauthorized)
	if err := svc.RevokeKey(t.Context(), key.ID, "trial"); err != nil {
		t.Fatal(err)
	}
	app.expect("a revoked key", requests[0], token.Reveal(), http.StatusUnauthorized)

	checkRoutes(t, svc, key.ID, requests)
}

type app struct {
	t    *testing.T
	send func(*http.Request) (*http.Response, error)
}

// expect sends a request and returns the body of the answer.
func (a *app) expect(name string, r Request, token string, status int) string {
	a.t.Helper()
	req := httptest.NewRequest(r.Method, r.Target, nil)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := a.send(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if resp.StatusCode != status {
		a.t.Errorf("%s, %s %s: got %d %s, want %d", name, r.Method, r.Target, resp.StatusCode, body, status)
	}
	if challenged := resp.Header.Get("WWW-Authenticate") != ""; status == http.StatusUnauthorized && !challenged {
		a.t.Errorf("%s, %s %s: got no WWW-Authenticate", name, r.Method, r.Target)
	}
	if problem := resp.Header.Get("Content-Type") == "application/problem+json"; problem != (status >= 400) {
		a.t.Errorf("%s, %s %s: got Content-Type %q", name, r.Method, r.Target, resp.Header.Get("Content-Type"))
	}
	return string(body)
}

// checkRoutes compares the routes in the usage log with those of the requests.
func checkRoutes(t *testing.T, svc *keyfold.Service, keyID string, requests []Request) {
	t.Helper()
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := svc.Usage(t.Context(), keyfold.UsageQuery{KeyID: keyfold.Only(keyID)})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, event := range page.Events {
		seen[event.Route] = true
	}
	for _, r := range requests {
		if !seen[r.Route] {
			t.Errorf("got the routes %v, want %q among them", seen, r.Route)
		}
	}
}

// Handler lets a net/http handler take the requests of [Run].
func Handler(h http.Handler) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	}
}
