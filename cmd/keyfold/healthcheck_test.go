package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/internal/faulttest"
	"github.com/keyfold/keyfold/internal/testdb"
)

func TestHealthcheckAsksARunningServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, dir, "sqlite:keyfold.db", "")
	addr := strings.TrimPrefix(s.url, "http://")
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, given := range []string{addr, "localhost:" + port, ":" + port, "0.0.0.0:" + port} {
		t.Run(given, func(t *testing.T) {
			// A proxy for everything else must not be asked.
			got := execute(t, dir, append(environment(""), "HTTP_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1"), "healthcheck", "--addr", given)
			if got.code != exitOK || got.stdout != "ok\n" || got.stderr != "" {
				t.Errorf("--addr %s: %+v", given, got)
			}
		})
	}
	if got := execute(t, dir, environment(""), "healthcheck", "--addr", addr, "--json"); got.stdout != `{"status":"ok"}`+"\n" {
		t.Errorf("--json: %+v", got)
	}
	s.stop()
	if got := execute(t, dir, environment(""), "healthcheck", "--addr", addr); got.code != exitFailure || !strings.Contains(got.stderr, "no answer from "+addr) {
		t.Errorf("a server that has stopped: %+v", got)
	}
}

func TestHealthcheckFailsWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	way, db := faulttest.Through(t, testdb.Postgres(t))
	s := startServer(t, t.TempDir(), db, testSecret)
	addr := strings.TrimPrefix(s.url, "http://")
	way.Cut(true)
	s.awaitStatus("/readyz", http.StatusServiceUnavailable)
	if got := call(t, nil, "healthcheck", "--addr", addr); got.code != exitFailure || !strings.Contains(got.stderr, "reports that its database does not respond") {
		t.Errorf("%+v", got)
	}
}

func TestHealthcheckNamesThePartThatFails(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("../../docs/command.md")
	if err != nil {
		t.Fatal(err)
	}
	for code, says := range map[string]string{
		"database_unavailable": "reports that its database does not respond",
		"check_failed":         "reports that the check of its database failed; see its log",
		"changes_refused":      "reports that changes fail; see its log",
		"usage_not_stored":     "reports that usage cannot be stored; see its log",
	} {
		t.Run(code, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				httpadapter.Problem{Status: http.StatusServiceUnavailable, Code: code}.Write(w)
			}))
			addr := server.Listener.Addr().String()
			if got := call(t, nil, "healthcheck", "--addr", addr); got.code != exitFailure || got.stderr != "keyfold: "+addr+" "+says+"\n" {
				t.Errorf("%s: %+v, want the message %q", code, got, says)
			}
			server.Close()
			if row := "| `127.0.0.1:8080 " + says + "` | `" + code + "` |"; !strings.Contains(string(docs), row) {
				t.Errorf("docs/command.md lacks the row %s", row)
			}
		})
	}
}

func TestHealthcheckWantsAKeyfoldServer(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	defer other.Close()
	if got := call(t, nil, "healthcheck", "--addr", other.Listener.Addr().String()); got.code != exitFailure || !strings.Contains(got.stderr, "status 302") {
		t.Errorf("a redirect: %+v", got)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	began := time.Now()
	got := call(t, nil, "healthcheck", "--timeout", "50ms", "--addr", silent.Addr().String())
	if took := time.Since(began); got.code != exitFailure || took > patience || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("a server that says nothing: %+v after %v", got, took)
	}
	for args, says := range map[string]string{
		"--addr localhost": "--addr must be host:port", "--timeout 0s": "--timeout must be a duration above zero",
		"--timeout x": "--timeout must be a duration", "here": "takes no arguments", "--addr a/b:80": "--addr must be host:port",
	} {
		t.Run(args, func(t *testing.T) {
			if got := call(t, nil, append([]string{"healthcheck"}, strings.Fields(args)...)...); got.code != exitUsage || !strings.Contains(got.stderr, says) {
				t.Errorf("healthcheck %s: %+v", args, got)
			}
		})
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":8080": "127.0.0.1:8080", "0.0.0.0:8080": "127.0.0.1:8080", "[::]:8080": "[::1]:8080", "192.0.2.7:80": "192.0.2.7:80", "example.com:80": "example.com:80",
	} {
		t.Run(addr, func(t *testing.T) {
			if got := reachable(addr); got != want {
				t.Errorf("reachable(%q) = %q, want %q", addr, got, want)
			}
		})
	}
}
