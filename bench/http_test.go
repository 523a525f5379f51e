package bench_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keyfold/keyfold/bench/keyset"
	"github.com/keyfold/keyfold/httpadapter"
)

// BenchmarkHTTPOpen and BenchmarkHTTPGuarded are a route without and with the
// middleware, called without a network. What it makes of requests over one is
// measured by cmd/load.
func BenchmarkHTTPOpen(b *testing.B) { serveHTTP(b, "/open/17", nil) }

// BenchmarkHTTPGuarded also measures the open route, in turns.
func BenchmarkHTTPGuarded(b *testing.B) { serveHTTP(b, "/guarded/17", new(string("/open/17"))) }

func serveHTTP(b *testing.B, path string, floor *string) {
	c := newCached(b, 10_000)
	order := keyset.Zipf(c.keys.Len())
	mux := http.NewServeMux()
	hello := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	mux.Handle("GET /open/{id}", hello)
	mux.Handle("GET /guarded/{id}", httpadapter.RequireKey(c.svc)(hello))
	ctx := serverContext(b)
	headers := make([][]string, c.keys.Len())
	for i := range headers {
		headers[i] = []string{"Bearer " + c.keys.Token(i)}
	}
	call := func(path string) func(int) {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
		var w discard
		return func(i int) {
			r.Header["Authorization"] = headers[order[i&(len(order)-1)]]
			w.status = http.StatusOK
			mux.ServeHTTP(&w, r)
			if w.status != http.StatusOK {
				b.Fatalf("status %d", w.status)
			}
		}
	}
	var baseline func(int)
	if floor != nil {
		baseline = call(*floor)
	}
	paired(b, chunk, call(path), baseline, func() { flush(b, c.svc) })
}

// discard is a ResponseWriter that keeps the status alone.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}

func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
