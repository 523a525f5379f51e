package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/compat"
)

// newRoutes returns what is served. guard is what /secure asks for.
func newRoutes(svc *keyfold.Service, api http.Handler, guard func(http.Handler) http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", api))
	mux.Handle("GET /healthz", &health{ping: svc.Ping})
	mux.Handle("GET /secure", guard(http.HandlerFunc(secure)))
	mux.HandleFunc("GET /unsecure", unsecure)
	return mux
}

// addCompatible adds the routes of the predecessor.
func addCompatible(mux *http.ServeMux, app *fromenv.App, log *slog.Logger) error {
	c := app.Config
	handler, err := compat.Handler(app.Service, compat.Options{
		Secret: c.Secret.Reveal(), PreviousSecret: c.PreviousSecret.Reveal(), AllowShortSecrets: c.ShortSecret,
		KeyTTL: c.Options().KeyTTL, TrustedProxies: c.TrustedProxies, Logger: log,
	})
	if err != nil {
		return err
	}
	for _, path := range compat.Paths() {
		mux.Handle("/auth"+path, http.StripPrefix("/auth", handler))
	}
	return nil
}

func unsecure(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"message": "this route needs no key"})
}

func secure(w http.ResponseWriter, r *http.Request) {
	id, ok := httpadapter.IdentityFrom(r.Context())
	if !ok {
		httpadapter.ProblemOf(keyfold.ErrUnauthenticated).Write(w)
		return
	}
	answer(w, http.StatusOK, map[string]string{"key_id": id.KeyID(), "name": id.Name(), "owner_id": id.OwnerID()})
}

// health answers whether the database does and may be decided on. It asks once a second at most,
// however often it is asked: it is open to everybody.
type health struct {
	ping func(context.Context) error

	mu    sync.Mutex
	asked time.Time
	err   error
}

const (
	healthAge     = time.Second
	healthTimeout = 2 * time.Second

	// checkFailed is the status of a server that must not decide on its database.
	// The reason is in its log only, because any client can ask for the status.
	checkFailed = "check_failed"
)

func (h *health) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	switch err := h.check(); {
	case errors.Is(err, keyfold.ErrCheckFailed):
		answer(w, http.StatusServiceUnavailable, map[string]string{"status": checkFailed})
		return
	case err != nil:
		answer(w, http.StatusServiceUnavailable, map[string]string{"status": "unavailable"})
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (h *health) check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked.IsZero() || time.Since(h.asked) >= healthAge {
		// Not the request's context: others wait for the same answer.
		ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
		defer cancel()
		h.err = h.ping(ctx)
		h.asked = time.Now()
	}
	return h.err
}

func answer(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone; there is nobody to tell
}
