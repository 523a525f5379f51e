package httpadapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

func TestReadinessAsksOnceASecondAndRevealsNoError(t *testing.T) {
	t.Parallel()
	asked := 0
	h := &readiness{ready: func(context.Context) error { asked++; return errors.New("secret.internal is down") }}
	for range 10 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "secret.internal") || !strings.Contains(w.Body.String(), `"code":"database_unavailable"`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if asked != 1 {
		t.Errorf("the Service was asked %d times at once, want once", asked)
	}
}

// sick is a store with a part that fails.
type sick struct {
	keyfold.Store
	probe, record error
}

func (s *sick) Probe(context.Context) error { return s.probe }

func (s *sick) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	if s.record != nil {
		return keyfold.UsageResult{}, s.record
	}
	return s.Store.RecordUsage(ctx, batch)
}

func TestReadinessNamesThePartThatFails(t *testing.T) {
	t.Parallel()
	because := func(cause error) error { return fmt.Errorf("secret.internal: %w", cause) }
	unknown := errors.New("no idea")
	for name, test := range map[string]struct {
		store        sick
		code, detail string
	}{
		"changes, no space":  {sick{probe: because(keyfold.ErrNoSpace)}, "changes_refused", "The database refuses changes because it has no space left."},
		"changes, read-only": {sick{probe: because(keyfold.ErrReadOnly)}, "changes_refused", "The database refuses changes because it is read-only."},
		"changes, unknown":   {sick{probe: because(unknown)}, "changes_refused", "Changes fail. The log of the process says why."},
		"usage, no space":    {sick{record: because(keyfold.ErrNoSpace)}, "usage_not_stored", "The database refuses changes because it has no space left."},
		"usage, unknown":     {sick{record: because(unknown)}, "usage_not_stored", "Usage cannot be stored. The log of the process says why."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.store.Store = memory.New()
			svc, err := keyfold.New(&test.store, &keyfold.Options{FlushInterval: time.Minute, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				stop, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond) // the usage cannot be stored
				defer cancel()
				_ = svc.Close(stop)
			}()
			if test.store.record != nil {
				_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
				if err == nil {
					_, err = svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()})
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := svc.Flush(t.Context()); err == nil {
					t.Fatal("Flush: got no error")
				}
			}
			w := httptest.NewRecorder()
			Readiness(svc).ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
			var body struct{ Code, Detail string }
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusServiceUnavailable ||
				body.Code != test.code || body.Detail != test.detail {
				t.Errorf("got %d %s (%v), want 503 with code %q and detail %q", w.Code, w.Body, err, test.code, test.detail)
			}
			header := w.Header()
			if header.Get("Content-Type") != "application/problem+json" || header.Get("Cache-Control") != "no-store" || header.Get("Retry-After") == "" {
				t.Errorf("got headers %v, want a problem that is not cached, with Retry-After", header)
			}
			if strings.Contains(w.Body.String(), "secret.internal") {
				t.Errorf("the body holds the error of the database: %s", w.Body)
			}
		})
	}
}
