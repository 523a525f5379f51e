package compat_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/compat"
	"github.com/keyfold/keyfold/internal/testdb"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/mongo"
	"github.com/keyfold/keyfold/store/mysql"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

const (
	secret   = "an-admin-secret-of-32-characters"
	previous = "the-secret-of-last-month-32-chars"
	password = "Summer-2026"
	nobodyID = "0000000000000000"
)

var start = time.Date(2026, 11, 23, 6, 45, 15, 123e6, time.UTC)

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

// logBuffer is a log that several goroutines may write.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// server is the predecessor's example program, as its clients see it: the routes
// under /auth, and /secure behind a guard. They talk to it over TCP.
type server struct {
	t     testing.TB
	clock *clock
	svc   *keyfold.Service
	log   *logBuffer
	url   string
	file  string // of SQLite
}

type changes struct {
	service []func(*keyfold.Options)
	compat  []func(*compat.Options)
	guard   []httpadapter.Option
	store   func(keyfold.Store) keyfold.Store
}

// onEveryStore runs a test on a server with each store.
func onEveryStore(t *testing.T, c changes, test func(t *testing.T, s *server)) {
	t.Helper()
	var file string
	for name, open := range map[string]func(ctx context.Context, t *testing.T) (keyfold.Store, error){
		"memory": func(context.Context, *testing.T) (keyfold.Store, error) { return memory.New(), nil },
		"sqlite": func(ctx context.Context, t *testing.T) (keyfold.Store, error) {
			file = testdb.SQLite(t)
			return sqlite.Open(ctx, file)
		},
		"postgres": func(ctx context.Context, t *testing.T) (keyfold.Store, error) {
			return postgres.Open(ctx, testdb.Postgres(t))
		},
		"mariadb": func(ctx context.Context, t *testing.T) (keyfold.Store, error) {
			return mysql.Open(ctx, testdb.MariaDB(t))
		},
		"mongodb": func(ctx context.Context, t *testing.T) (keyfold.Store, error) {
			return mongo.Open(ctx, testdb.Mongo(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := open(t.Context(), t)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			s := newServerOn(t, store, c)
			if name == "sqlite" {
				s.file = file
			}
			test(t, s)
		})
	}
}

func newServer(t testing.TB, c changes) *server {
	t.Helper()
	return newServerOn(t, memory.New(), c)
}

func newServerOn(t testing.TB, store keyfold.Store, c changes) *server {
	t.Helper()
	s := &server{t: t, clock: &clock{at: start}, log: &logBuffer{}}
	logger := slog.New(slog.NewJSONHandler(s.log, nil))
	if c.store != nil {
		store = c.store(store)
	}
	options := keyfold.Options{Now: s.clock.now, Logger: logger, PasswordPolicy: compat.PasswordPolicy()}
	for _, change := range c.service {
		change(&options)
	}
	svc, err := keyfold.New(store, &options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Close(context.Background()) })
	s.svc = svc
	compatible := compat.Options{Secret: secret, Now: s.clock.now, Logger: logger}
	for _, change := range c.compat {
		change(&compatible)
	}
	handler, err := compat.Handler(svc, compatible)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, path := range compat.Paths() {
		mux.Handle("/auth"+path, http.StripPrefix("/auth", handler))
	}
	mux.Handle("GET /secure", compat.RequireKey(svc, c.guard...)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpadapter.IdentityFrom(r.Context())
		_, _ = io.WriteString(w, id.Name())
	})))
	mux.HandleFunc("GET /unsecure", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "open") })
	s.url = listen(t, mux)
	return s
}

func listen(t testing.TB, handler http.Handler) (url string) {
	t.Helper()
	listening := httptest.NewServer(handler)
	t.Cleanup(listening.Close)
	return listening.URL
}

// answer is a response that was read.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   string
}

// send sends a request. Headers are given as "Name: value".
func (s *server) send(method, target string, headers ...string) answer {
	s.t.Helper()
	return s.sendBody(method, target, "", headers...)
}

func (s *server) sendBody(method, target, body string, headers ...string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{s.t, response.StatusCode, response.Header, string(read)}
}

// admin gets one of the routes with the secret. Parameters are given in pairs.
func (s *server) admin(path string, params ...string) answer {
	s.t.Helper()
	return s.send("GET", "/auth"+path+"?"+query(params...), "secret-key: "+secret)
}

func query(params ...string) string {
	values := url.Values{}
	for i := 0; i < len(params); i += 2 {
		values.Add(params[i], params[i+1])
	}
	return values.Encode()
}

// secure asks the guarded route with a key in the header.
func (s *server) secure(key string) answer {
	s.t.Helper()
	return s.send("GET", "/secure", "api-key: "+key)
}

// wants reports an answer of another status or body.
func (a answer) wants(status int, body string) answer {
	a.t.Helper()
	if a.status != status || a.body != body {
		a.t.Errorf("got %d %s, want %d %s", a.status, a.body, status, body)
	}
	if got := a.header.Get("Content-Type"); got != "application/json" {
		a.t.Errorf("Content-Type %q, want application/json", got)
	}
	return a
}

// text ends the test unless the answer is 200 and a JSON string, which it returns.
func (a answer) text() string {
	a.t.Helper()
	var text string
	if err := json.Unmarshal([]byte(a.body), &text); a.status != http.StatusOK || err != nil {
		a.t.Fatalf("got %d %s, want 200 and a string", a.status, a.body)
	}
	return text
}

// newKey makes a key over the routes and returns it whole, and its public part.
func (s *server) newKey(params ...string) (key, id string) {
	s.t.Helper()
	key = s.admin("/new", params...).text()
	token, err := keyfold.ParseToken(key)
	if err != nil {
		s.t.Fatalf("the answer is no key: %v", err)
	}
	return key, token.ID()
}

// stored returns the only key that there is, as Keyfold has it.
func (s *server) stored() keyfold.Key {
	s.t.Helper()
	page, err := s.svc.Keys(s.t.Context(), keyfold.KeyQuery{})
	if err != nil || len(page.Keys) != 1 {
		s.t.Fatalf("%d keys are stored, %v; want one", len(page.Keys), err)
	}
	return page.Keys[0]
}

// counts returns how many keys and users there are.
func (s *server) counts() (keys, users int) {
	s.t.Helper()
	k, err := s.svc.Keys(s.t.Context(), keyfold.KeyQuery{Limit: 200})
	if err != nil {
		s.t.Fatal(err)
	}
	u, err := s.svc.Users(s.t.Context(), keyfold.UserQuery{Limit: 200})
	if err != nil {
		s.t.Fatal(err)
	}
	return len(k.Keys), len(u.Users)
}

// line is one of /logs as a client in Python reads it.
type line struct {
	APIKey          string `json:"api_key"`
	Name            *string
	Username        *string
	Email           *string
	IsActive        bool    `json:"is_active"`
	NeverExpire     bool    `json:"never_expire"`
	ExpirationDate  string  `json:"expiration_date"`
	LatestQueryDate *string `json:"latest_query_date"`
	TotalQueries    int64   `json:"total_queries"`
}

func (s *server) logs() []line {
	s.t.Helper()
	a := s.admin("/logs")
	var read struct{ Logs []line }
	if err := json.Unmarshal([]byte(a.body), &read); err != nil || a.status != http.StatusOK {
		s.t.Fatalf("got %d %s, %v; want 200 and logs", a.status, a.body, err)
	}
	return read.Logs
}

func detail(text string) string { return `{"detail":"` + text + `"}` }

func shown(text *string) string {
	if text == nil {
		return "null"
	}
	return *text
}
