package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/internal/wire"
)

func TestBulkChangesTheKeysThatMatchBoth(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.seed(2, "a", "x")
	s.seed(1, "a", "y")
	s.seed(1, "b", "x")
	count := func(args ...string) int {
		return len(documents[wire.Key](t, s.prints(append([]string{"keys", "list", "--all", "--json"}, args...)...)))
	}
	s.fails(exitUsage, "keyfold keys disable asks for confirmation", "keys", "disable", "--owner", "a")
	if got := s.prints("keys", "disable", "--owner", "a", "--tenant", "y", "--yes"); got != "disabled 1 key\n" || count("--state", "disabled") != 1 {
		t.Errorf("disable prints %q", got)
	}
	if got := decoded[admin.BulkChange](t, s.prints("keys", "revoke", "--owner", "a", "--yes", "--json", "--reason", "gone")); got.Changed != 3 {
		t.Errorf("revoke: %+v", got)
	}
	if got := s.prints("keys", "revoke", "--owner", "a", "--yes"); got != "revoked 0 keys\n" {
		t.Errorf("again: %q", got)
	}
	if revoked, active := count("--state", "revoked"), count("--state", "active"); revoked != 3 || active != 1 {
		t.Errorf("%d revoked, %d active, want 3 and 1", revoked, active)
	}
	s.fails(exitUsage, "keyfold keys revoke asks for confirmation, and standard input is not a terminal; add --yes", "keys", "revoke", "--tenant", "x")
	s.fails(exitUsage, "--tenant must be at most 128 bytes", "keys", "revoke", "--yes", "--tenant", strings.Repeat("x", 129))
	if active := count("--state", "active"); active != 1 {
		t.Errorf("a refused command left %d active keys, want 1", active)
	}
}

func TestOnlyYesConfirms(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]bool{"yes\n": true, " yes \r\n": true, "yes": true, "y\n": false, "no\n": false, "\n": false, "": false, "yes yes\n": false} {
		t.Run(answer, func(t *testing.T) {
			var stderr bytes.Buffer
			c := &command{stdin: strings.NewReader(answer), stderr: &stderr}
			err := c.confirm(t.Context(), "Sure?")
			if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "nothing was changed") {
				t.Errorf("%q: %v, want it confirmed: %v", answer, err, want)
			}
			if !strings.HasPrefix(stderr.String(), "Sure? Type yes") {
				t.Errorf("asked %q", &stderr)
			}
		})
	}
}

func TestQuestionEndsWithTheCommand(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	silent, _ := io.Pipe()
	c := &command{stdin: silent, stderr: io.Discard}
	if err := classify(c.confirm(ctx, "Sure?")); err == nil || err.Error() != "interrupted" {
		t.Errorf("got %v, want to be interrupted", err)
	}
}
