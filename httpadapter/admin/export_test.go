package admin_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/internal/wire"
	"github.com/keyfold/keyfold/store/memory"
)

func TestExportHasEveryEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{"name":"ci","owner_id":"a"}`)
	const verifies = 2500 // more than one read of the store
	for range verifies {
		f.verify(created.Token)
	}
	if err := f.svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := f.do("GET", "/usage/export", "").wants(http.StatusOK)
	if got := lines.header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("the content type is %q", got)
	}
	decoder, events := json.NewDecoder(strings.NewReader(lines.body)), 0
	for ; decoder.More(); events++ {
		var e wire.UsageEvent
		if err := decoder.Decode(&e); err != nil || e.Outcome != "allowed" || e.KeyID == nil || *e.KeyID != created.Key.ID {
			t.Fatalf("line %d: %+v, %v", events, e, err)
		}
	}
	sheet := f.do("GET", "/usage/export?format=csv&owner_id=a", "").wants(http.StatusOK)
	rows, err := csv.NewReader(strings.NewReader(sheet.body)).ReadAll()
	if events != verifies || err != nil || len(rows) != verifies+1 {
		t.Errorf("%d lines and %d rows (%v), want %d and one more", events, len(rows), err, verifies)
	}
	if got := sheet.header.Get("Content-Disposition"); got != `attachment; filename="usage.csv"` || sheet.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", sheet.header)
	}
	if none := f.do("GET", "/usage/export?outcome=revoked", "").wants(http.StatusOK); none.body != "" {
		t.Errorf("no event matches, and the export is %q", none.body)
	}
	f.do("GET", "/usage/export?format=xml", "").wantsProblem(422, "invalid", "format")
	f.do("GET", "/usage/export?limit=3", "").wantsProblem(422, "invalid", "query")
	f.do("GET", "/usage/export?key_id=x", "").wantsProblem(422, "invalid", "key_id")
}

// failingUsage lists usage events so many times, and then fails.
type failingUsage struct {
	keyfold.Store
	left atomic.Int64
}

func (s *failingUsage) UsageEvents(ctx context.Context, scan keyfold.UsageScan) ([]keyfold.UsageEvent, error) {
	if s.left.Add(-1) < 0 {
		return nil, errors.New("the database is away")
	}
	return s.Store.UsageEvents(ctx, scan)
}

// Mutation tried: the handler returns where the export is cut off.
func TestExportThatIsCutOffDoesNotLookComplete(t *testing.T) {
	t.Parallel()
	store := &failingUsage{Store: memory.New()}
	svc, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Close(context.Background()) })
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2500 {
		if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	handler, err := admin.Handler(svc, admin.Options{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	get := func(reads int64) (status int, body []byte, err error) {
		store.left.Store(reads)
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/usage/export", nil)
		r.Header.Set("secret-key", secret)
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err = io.ReadAll(response.Body)
		return response.StatusCode, body, err
	}
	if status, body, err := get(3); status != http.StatusOK || err != nil || strings.Count(string(body), "\n") != 2500 {
		t.Errorf("a store that works: %d, %d lines, %v", status, strings.Count(string(body), "\n"), err)
	}
	if status, _, err := get(1); status != http.StatusOK || err == nil {
		t.Errorf("a store that fails after 1000 events: %d, %v; want an error of the connection", status, err)
	}
	if status, _, err := get(0); status != http.StatusServiceUnavailable || err != nil {
		t.Errorf("a store that fails at once: %d, %v; want 503", status, err)
	}
}
