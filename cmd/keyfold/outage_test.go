package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/internal/faulttest"
	"github.com/keyfold/keyfold/internal/wire"
)

// A database that goes away in flight means 503, and nothing has to be done
// when it is back.
func TestServerOutlivesItsDatabase(t *testing.T) {
	t.Parallel()
	for _, engine := range engines[1:] {
		t.Run(engine.name, func(t *testing.T) {
			t.Parallel()
			way, db := faulttest.Through(t, engine.open(t))
			s := startServer(t, t.TempDir(), db, engine.secret)
			var created wire.CreatedKey
			s.admin("POST", "/keys", `{}`, http.StatusCreated, &created)
			way.Cut(true)
			s.awaitStatus("/readyz", http.StatusServiceUnavailable)
			for _, request := range [][]string{
				{"GET", "/auth/keys/" + created.Key.ID, "secret-key", s.secret},
				{"POST", "/auth/keys/" + created.Key.ID + "/revoke", "secret-key", s.secret},
			} {
				a, err := send(t.Context(), http.DefaultClient, request[0], s.url+request[1], "", request[2:]...)
				if err != nil || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" ||
					!strings.Contains(string(a.body), `"code":"unavailable"`) {
					t.Errorf("%s %s while the database is away: %d, %v: %s", request[0], request[1], a.status, err, a.body)
				}
			}
			way.Cut(false)
			s.awaitStatus("/readyz", http.StatusOK)
			s.awaitStatus("/secure", http.StatusOK, "X-API-Key", created.Token)
			s.admin("POST", "/keys/"+created.Key.ID+"/revoke", "", http.StatusOK, nil)
			s.awaitStatus("/secure", http.StatusUnauthorized, "X-API-Key", created.Token)
			s.stop()
		})
	}
}
