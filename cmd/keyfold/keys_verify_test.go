package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
)

// Mutation tried: a verify that records its use.
func TestKeysVerifyPrintsTheReasonAndCountsNothing(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	svc := s.openService()
	create := func(n keyfold.NewKey) (id, token string) {
		key, made, err := svc.CreateKey(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		return key.ID, made.Reveal()
	}
	good, goodToken := create(keyfold.NewKey{Scopes: []string{"a:b"}, TTL: keyfold.Never})
	revoked, revokedToken := create(keyfold.NewKey{})
	expired, expiredToken := create(keyfold.NewKey{})
	s.prints("keys", "revoke", revoked, "--yes", "--reason", "leaked")
	s.prints("keys", "renew", expired, "--expires-at", "2001-01-01")
	gone, goneToken := create(keyfold.NewKey{})
	s.prints("keys", "delete", gone, "--yes")
	for _, row := range []struct {
		input, flags string
		code         int
		says         string
	}{
		{goodToken + "\n", "", exitOK, "accepted: key " + good + " never expires\n"},
		{goodToken, "--scope a:b", exitOK, "accepted: key " + good},
		{goodToken, "--scope a:c", exitRefused, "the key does not have every required scope; its scopes are a:b; key " + good + " (scope)"},
		{revokedToken, "", exitRefused, " (leaked); key " + revoked + " (revoked)"},
		{expiredToken, "", exitRefused, "the token is refused: the key expired at 2001-01-01T00:00:00Z; key " + expired + " (expired)"},
		{goneToken, "", exitRefused, "its key does not exist (unknown)"},
		{"hunter-two", "", exitRefused, "it does not have the form of a token, or its checksum is wrong (malformed)"},
		{"", "", exitUsage, "standard input must contain a token"},
		{goodToken, "--ip hunter", exitUsage, "--ip must be an IP address"},
	} {
		t.Run(row.input, func(t *testing.T) {
			got := s.typed(row.input, append([]string{"keys", "verify"}, strings.Fields(row.flags)...)...)
			if said := got.stdout + got.stderr; got.code != row.code || !strings.Contains(said, row.says) || strings.Count(said, "\n") != 1 {
				t.Errorf("verify %s: %+v, want %d and %q", row.flags, got, row.code, row.says)
			}
		})
	}
	if got := s.typed(expiredToken, "keys", "verify", "--json"); got.code != exitRefused || got.stdout != `{"outcome":"expired","key_id":"`+expired+`"}`+"\n" {
		t.Errorf("--json: %+v", got)
	}
	s.fails(exitUsage, "takes no arguments", "keys", "verify", "hunter-two")
	if k := s.key(good); k.Uses != 0 || k.LastUsedAt != nil {
		t.Errorf("verify counted as a use: %+v", k)
	}
	if got := s.prints("usage", "events"); got != "" {
		t.Errorf("verify stored events:\n%s", got)
	}
}

func TestServeRedirectsToDocumentation(t *testing.T) {
	t.Parallel()
	s := startServer(t, t.TempDir(), "sqlite:keyfold.db", testSecret)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got, err := send(t.Context(), client, "GET", s.url+"/", "")
	if err != nil || got.status != http.StatusFound || got.header.Get("Location") != docsPath {
		t.Errorf("GET /: %d, %q, %v, want a redirect to %s", got.status, got.header.Get("Location"), err, docsPath)
	}
	if status := s.get(docsPath); status != http.StatusOK {
		t.Errorf("GET %s: %d", docsPath, status)
	}
	if status := s.get("/nowhere"); status != http.StatusNotFound {
		t.Errorf("GET /nowhere: %d, want 404", status)
	}
	if want := `"docs":"` + s.url + docsPath + `"`; !strings.Contains(s.stderr.String(), want) {
		t.Errorf("the log does not have %s:\n%s", want, s.stderr)
	}
	s.stop()
}

func TestRootIsNotFoundWithoutDocumentation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("KEYFOLD_HIDE_DOCS=true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, dir, "sqlite:keyfold.db", testSecret)
	for path, want := range map[string]int{"/": http.StatusNotFound, docsPath: http.StatusUnauthorized} { // the admin API hides which of its routes exist
		if status := s.get(path); status != want {
			t.Errorf("GET %s: %d, want %d", path, status, want)
		}
	}
	if strings.Contains(s.stderr.String(), `"docs":`) {
		t.Errorf("the log names a page that does not exist:\n%s", s.stderr)
	}
	s.stop()
}
