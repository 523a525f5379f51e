package httpadapter

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/keyfold/keyfold"
)

const (
	readyAge     = time.Second
	readyTimeout = 2 * time.Second
)

// Readiness returns a handler for a readiness check, such as GET /readyz. It answers
// 200 if the Service can do all of its work, see [keyfold.Service.Ready], and otherwise
// 503 with a [Problem] whose code names the first part that does not work:
//
//	database_unavailable   the database does not respond
//	check_failed           this process must not decide on its database
//	changes_refused        keys and users cannot be changed; verifies may still succeed
//	usage_not_stored       the usage of keys is kept in memory; verifies may still succeed
//
// The answer does not contain errors of the database, so the handler can be public. It
// calls the Service at most once a second. A liveness check should answer 200 without
// calling anything, because a restart does not repair a database.
func Readiness(svc *keyfold.Service) http.Handler { return &readiness{ready: svc.Ready} }

type readiness struct {
	ready func(context.Context) error

	mu    sync.Mutex
	asked time.Time
	err   error
}

// ServeHTTP implements http.Handler.
func (h *readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if err := h.check(); err != nil {
		notReady(err).Write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(`{"status":"ok"}` + "\n"))
}

func (h *readiness) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked.IsZero() || time.Since(h.asked) >= readyAge {
		// Not the request's context, because other requests wait for the same result.
		ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
		defer cancel()
		h.err = h.ready(ctx)
		h.asked = time.Now()
	}
	return h.err
}

func notReady(err error) Problem {
	code, detail := "database_unavailable", "The database does not respond."
	if failed, ok := errors.AsType[*keyfold.NotReadyError](err); ok {
		switch failed.Part {
		case keyfold.PartCheck:
			code, detail = "check_failed", "The database does not fit this process. The log of the process says why."
		case keyfold.PartChanges:
			code, detail = "changes_refused", "Changes fail. The log of the process says why."
		case keyfold.PartUsage:
			code, detail = "usage_not_stored", "Usage cannot be stored. The log of the process says why."
		}
		switch {
		case errors.Is(err, keyfold.ErrNoSpace):
			detail = "The database refuses changes because it has no space left."
		case errors.Is(err, keyfold.ErrReadOnly):
			detail = "The database refuses changes because it is read-only."
		}
	}
	p := problem(http.StatusServiceUnavailable, code, detail)
	p.RetryAfter = shortestRetry
	return p
}
