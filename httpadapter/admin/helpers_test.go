package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/internal/wire"
	"github.com/keyfold/keyfold/store/memory"
)

const (
	secret   = "an-admin-secret-of-32-characters"
	previous = "the-secret-of-last-month-32-chars"
	nobodyID = "0000000000000000"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// brokenStore is the memory store until it is broken.
type brokenStore struct {
	keyfold.Store
	broken atomic.Bool
}

func (s *brokenStore) Key(ctx context.Context, id string) (keyfold.KeyRecord, error) {
	if s.broken.Load() {
		return keyfold.KeyRecord{}, errors.New("the disk is gone")
	}
	return s.Store.Key(ctx, id)
}

func (s *brokenStore) UserByUsername(ctx context.Context, key string) (keyfold.UserRecord, error) {
	if s.broken.Load() {
		return keyfold.UserRecord{}, errors.New("the disk is gone")
	}
	return s.Store.UserByUsername(ctx, key)
}

// fixture is an API on a Service of its own.
type fixture struct {
	t       *testing.T
	clock   *clock
	store   *brokenStore
	svc     *keyfold.Service
	handler http.Handler
	log     *strings.Builder
	outbox  outbox
}

// outbox is a Mailer that keeps what it is given.
type outbox chan keyfold.IssuedOneTimeToken

func (o outbox) SendOneTimeToken(_ context.Context, mail keyfold.IssuedOneTimeToken) error {
	o <- mail
	return nil
}

func newFixture(t *testing.T, change ...func(*admin.Options)) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: &clock{at: start}, store: &brokenStore{Store: memory.New()}, log: &strings.Builder{}, outbox: make(outbox, 10)}
	logger := slog.New(slog.NewJSONHandler(f.log, nil))
	svc, err := keyfold.New(f.store, &keyfold.Options{
		Now: f.clock.now, Logger: logger, FlushInterval: 10 * time.Millisecond, Mailer: f.outbox,
	})
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() { _ = svc.Close(context.Background()) })
	f.svc = svc
	options := admin.Options{Secret: secret, Now: f.clock.now, Logger: logger}
	for _, apply := range change {
		apply(&options)
	}
	if f.handler, err = admin.Handler(svc, options); err != nil {
		t.Fatalf("Handler: %v", err)
	}
	return f
}

// answer is a response that was read.
type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// do sends a request with the secret. A body is sent as JSON. Headers are
// given as "Name: value" and replace those, or take them away: "Name:".
func (f *fixture) do(method, target, body string, headers ...string) answer {
	f.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(f.t.Context(), method, target, reader)
	r.Header.Set("secret-key", secret)
	r.Header.Set("Accept-Encoding", "identity")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ":")
		if value = strings.TrimSpace(value); value == "" {
			r.Header.Del(name)
		} else {
			r.Header.Set(name, value)
		}
	}
	return f.send(r)
}

func (f *fixture) send(r *http.Request) answer {
	f.t.Helper()
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return answer{t: f.t, status: w.Code, header: w.Header(), body: w.Body.String()}
}

// wants ends the test unless the answer has that status.
func (a answer) wants(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d; body %s", a.status, status, a.body)
	}
	return a
}

// decode reads the answer's body.
func decode[T any](a answer) T {
	a.t.Helper()
	var v T
	decoder := json.NewDecoder(strings.NewReader(a.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		a.t.Fatalf("decode %q: %v", a.body, err)
	}
	return v
}

type problem struct {
	Title, Detail, Code, Field string
	Status                     int
}

// wantsProblem ends the test unless the answer is that problem.
func (a answer) wantsProblem(status int, code, field string) answer {
	a.t.Helper()
	a.wants(status)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	p := decode[problem](a)
	if p.Code != code || p.Field != field || p.Status != status || p.Title != http.StatusText(status) {
		a.t.Errorf("problem %+v, want code %q, field %q, status %d", p, code, field, status)
	}
	return a
}

type list struct {
	Keys []wire.Key
	Next *string
}

type events struct {
	Events []wire.UsageEvent
	Next   *string
}

// create makes a key over the API.
func (f *fixture) create(body string) wire.CreatedKey {
	f.t.Helper()
	return decode[wire.CreatedKey](f.do("POST", "/keys", body).wants(http.StatusCreated))
}

// count is the number of keys in the store.
func (f *fixture) count() int {
	f.t.Helper()
	total := 0
	for q := (keyfold.KeyQuery{Limit: 200}); ; {
		page, err := f.svc.Keys(f.t.Context(), q)
		if err != nil {
			f.t.Fatalf("Keys: %v", err)
		}
		total += len(page.Keys)
		if q.Cursor = page.Next; page.Next == "" {
			return total
		}
	}
}

// verify asks whether a token is good.
func (f *fixture) verify(token string) keyfold.Outcome {
	f.t.Helper()
	_, err := f.svc.Verify(f.t.Context(), keyfold.Request{Token: token, Route: "GET /reports"})
	return keyfold.OutcomeOf(err)
}
