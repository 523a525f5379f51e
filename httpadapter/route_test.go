package httpadapter_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keyfold/keyfold/httpadapter"
)

// The mutation that made this fail: no test of isMethod.
func TestRouteIsThePatternNeverThePath(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, pattern, method, want string }{
		{"method in the pattern", "GET /reports/{id}", "GET", "GET /reports/{id}"},
		{"HEAD is served by GET", "GET /reports/{id}", "HEAD", "GET /reports/{id}"},
		{"no method in the pattern", "/reports/{id}", "POST", "POST /reports/{id}"},
		{"a host in the pattern", "example.com/reports/{id}", "GET", "GET example.com/reports/{id}"},
		{"a method that the client made up", "/reports/{id}", "EVIL-17", "/reports/{id}"},
	} {
		t.Run(row.name, func(t *testing.T) {
			verifier := &spy{id: somebody(t)}
			mux := http.NewServeMux()
			mux.Handle(row.pattern, httpadapter.RequireKey(verifier)(whose))
			for range 2 { // the second name comes from the memory
				send(mux, row.method, "http://example.com/reports/s3cret")
			}
			for _, got := range verifier.seen {
				if got.Route != row.want {
					t.Errorf("%s: got %q, want %q", row.name, got.Route, row.want)
				}
			}
		})
	}
}

func TestRouteIsEmptyAroundTheMux(t *testing.T) {
	t.Parallel()
	verifier := &spy{id: somebody(t)}
	mux := http.NewServeMux()
	mux.Handle("GET /reports/{id}", whose)
	send(httpadapter.RequireKey(verifier)(mux), "GET", "/reports/7")
	if got := verifier.seen[0].Route; got != "" {
		t.Errorf("got %q, want none", got)
	}
}

func TestRouteOptionReplacesThePattern(t *testing.T) {
	t.Parallel()
	verifier := &spy{id: somebody(t)}
	h := httpadapter.RequireKey(verifier, httpadapter.RouteFunc(nil),
		httpadapter.RouteFunc(func(*http.Request) string { return "GET /from/{router}" }))(whose)
	send(h, "GET", "/from/7")
	if got := verifier.seen[0].Route; got != "GET /from/{router}" {
		t.Errorf("got %q", got)
	}
}

func TestRoutesBeyondTheLimitAreNamed(t *testing.T) {
	t.Parallel()
	verifier := &spy{id: somebody(t)}
	h := httpadapter.RequireKey(verifier)(whose)
	for i := range 1100 {
		r := httptest.NewRequest("GET", "/", nil)
		r.Pattern = fmt.Sprintf("/p%d/{id}", i)
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got, want := verifier.seen[i].Route, "GET "+r.Pattern; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}
