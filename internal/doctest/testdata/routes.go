// A mux to add routes to, with handlers that say who asks.
package wrapper

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/httpadapter/compat"
	"github.com/keyfold/keyfold/store/memory"
)

func Run(t *testing.T) {
	ctx := t.Context()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(context.Background())
	_, token, err := svc.CreateKey(ctx, keyfold.NewKey{Name: "ci", OwnerID: "cust_42", Scopes: []string{"reports:read"}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	listReports := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpadapter.IdentityFrom(r.Context())
		fmt.Fprintf(w, "the reports of %s", id.OwnerID())
	})
	deleteReport, reports := listReports, listReports
	request := httptest.NewRequest("GET", "/reports", nil)
	request.Header.Set("Authorization", "Bearer "+token.Reveal())
	get := func(target, token string) {
		r := httptest.NewRequestWithContext(ctx, "GET", target, nil)
		if token != "" {
			r.Header.Set("X-API-Key", token)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, strings.TrimSpace(w.Body.String()))
	}
	_, _, _, _ = deleteReport, reports, request, get
	err = func() error {
		// BLOCK
		return nil
	}()
	if err != nil {
		t.Fatal(err)
	}
}
