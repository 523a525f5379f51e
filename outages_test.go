package keyfold_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// Mutations tried: no report; no limit; a report for callers who went away; the
// counter not set back.
func TestVerifiesThatCannotBeDecidedLeaveFewLinesInTheLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	clock, store := newClock(), newSpy()
	svc := newService(t, store, &keyfold.Options{Now: clock.now, DisableCache: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	_, token := create(t, svc, keyfold.NewKey{})
	on(&store.verify, func(context.Context) error { return errors.New("prepared statement does not exist") })
	lines := func() []string {
		text := strings.TrimSpace(log.String())
		log.Reset()
		if text == "" {
			return nil
		}
		return strings.Split(text, "\n")
	}
	verify := func(ctx context.Context, n int) {
		for range n {
			if _, err := svc.Verify(ctx, keyfold.Request{Token: token}); err == nil {
				t.Fatal("a verify passed while the store fails")
			}
		}
	}
	verify(t.Context(), 5)
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "prepared statement does not exist") ||
		!strings.Contains(got[0], "omitted=0") || strings.Contains(got[0], token) {
		t.Errorf("five verifies logged %q, want one line with the reason", got)
	}
	clock.add(9 * time.Second)
	verify(t.Context(), 1)
	if got := lines(); len(got) != 0 {
		t.Errorf("nine seconds later: %q, want nothing", got)
	}
	clock.add(time.Second)
	verify(t.Context(), 2)
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "omitted=5") {
		t.Errorf("ten seconds later: %q, want one line that counts five verifies", got)
	}
	clock.add(time.Minute)
	gone, cancel := context.WithCancel(t.Context())
	on(&store.verify, func(context.Context) error { cancel(); return errors.New("connection closed") })
	verify(gone, 2)
	on(&store.verify, nil)
	if _, err := svc.Verify(t.Context(), keyfold.Request{Token: "kf_garbage"}); !errors.Is(err, keyfold.ErrUnauthenticated) {
		t.Errorf("garbage: %v", err)
	}
	if got := lines(); len(got) != 0 {
		t.Errorf("a caller who went away and a refusal logged %q, want nothing", got)
	}
	if err := svc.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	verify(t.Context(), 2)
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "service is closed") || !strings.Contains(got[0], "omitted=1") {
		t.Errorf("after Close: %q, want one line with the reason that counts one verify", got)
	}
}
