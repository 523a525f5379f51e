package main

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/compat"
)

// newRoutes returns the routes of the server. guard protects /secure.
func newRoutes(svc *keyfold.Service, api http.Handler, guard func(http.Handler) http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", api))
	mux.HandleFunc("GET /healthz", alive)
	mux.Handle("GET /readyz", httpadapter.Readiness(svc))
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

// alive checks nothing else: a restart does not help a server that can respond.
func alive(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
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

func answer(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client is gone
}
