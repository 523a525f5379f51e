// The test of a reader: the function that run= names is declared, and runs.
package wrapper

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/keyfoldtest"
	"github.com/keyfold/keyfold/store/sqlite"
)

func Run(t *testing.T) { RUN(t) }

// routes are those of the reader's program.
func routes(v httpadapter.Verifier) http.Handler {
	mux := http.NewServeMux()
	read := httpadapter.RequireKey(v, httpadapter.Scopes("reports:read"))
	mux.Handle("GET /reports", read(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpadapter.IdentityFrom(r.Context())
		fmt.Fprint(w, reportTitle(id))
	})))
	return mux
}

// reportTitle is a function of the reader's program that takes an identity.
func reportTitle(id keyfold.Identity) string { return "the reports of " + id.OwnerID() }

var _ = routes

// BLOCK
