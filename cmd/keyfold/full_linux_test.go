package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/internal/wire"
	"github.com/keyfold/keyfold/store/sqlite"
)

// fullDisk starts a server on a SQLite database. It returns the server and functions
// that fill and empty its disk. The disk is a separate file system if this process may
// mount one. Otherwise the routes of the server run in the test, and the size of the
// database is limited.
func fullDisk(t *testing.T) (s *server, fill, empty func()) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=8m"); err == nil {
		t.Cleanup(func() { must(syscall.Unmount(dir, syscall.MNT_DETACH)) })
		ballast := filepath.Join(dir, "ballast")
		return startServer(t, dir, "sqlite:keyfold.db", testSecret), func() {
			file, err := os.Create(ballast)
			must(err)
			for err == nil {
				_, err = file.Write(make([]byte, 4096))
			}
			must(file.Close())
		}, func() { must(os.Remove(ballast)) }
	}
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "keyfold.db"))
	must(err)
	t.Cleanup(func() { must(store.Close()) })
	quiet := slog.New(slog.DiscardHandler)
	svc, err := keyfold.New(store, &keyfold.Options{Logger: quiet})
	must(err)
	t.Cleanup(func() { must(svc.Close(t.Context())) })
	api, err := admin.Handler(svc, admin.Options{Secret: testSecret, Logger: quiet})
	must(err)
	web := httptest.NewServer(newRoutes(svc, api, httpadapter.RequireKey(svc)))
	t.Cleanup(web.Close)
	bound := func(pages string) func() {
		return func() {
			_, err := store.DB().ExecContext(t.Context(), "PRAGMA max_page_count = "+pages)
			must(err)
		}
	}
	return &server{t: t, url: web.URL, secret: testSecret}, bound("1"), bound("1000000") // SQLite raises 1 to the current size
}

func TestServerOnAFullDisk(t *testing.T) {
	t.Parallel()
	s, fill, empty := fullDisk(t)
	addr := strings.TrimPrefix(s.url, "http://")
	var created wire.CreatedKey
	s.admin("POST", "/keys", `{}`, http.StatusCreated, &created)
	s.awaitStatus("/readyz", http.StatusOK)
	fill()
	var refused response
	for range 10_000 { // the first ones may use free space in the files
		var err error
		refused, err = send(t.Context(), http.DefaultClient, "POST", s.url+"/auth/keys", `{}`, "secret-key", s.secret, "Content-Type", "application/json")
		if err != nil {
			t.Fatal(err)
		}
		if refused.status != http.StatusCreated {
			break
		}
	}
	if refused.status != http.StatusServiceUnavailable || !strings.Contains(string(refused.body), `"code":"unavailable"`) {
		t.Errorf("POST /auth/keys on a full disk: %d %s", refused.status, refused.body)
	}
	s.awaitStatus("/readyz", http.StatusServiceUnavailable) // the last answer is kept for a second
	a, err := send(t.Context(), http.DefaultClient, "GET", s.url+"/readyz", "")
	if err != nil || !strings.Contains(string(a.body), `"code":"changes_refused"`) || !strings.Contains(string(a.body), "it has no space left") {
		t.Errorf("/readyz on a full disk: %v, %d %s", err, a.status, a.body)
	}
	if got := call(t, nil, "healthcheck", "--addr", addr); got.code != exitFailure || !strings.Contains(got.stderr, "reports that changes fail; see its log") {
		t.Errorf("healthcheck on a full disk: %+v", got)
	}
	if status := s.get("/healthz"); status != http.StatusOK {
		t.Errorf("/healthz on a full disk: %d", status)
	}
	if status := s.get("/secure", "X-API-Key", created.Token); status != http.StatusOK {
		t.Errorf("/secure on a full disk: %d", status)
	}
	empty()
	s.awaitStatus("/readyz", http.StatusOK)
	s.awaitUses(created.Key.ID, 1) // the use on the full disk is stored too
}
