// Chi guards a chi router with API keys that are kept in keyfold.db.
//
//	go run ./chi key    # creates a key and prints its token, once
//	go run ./chi        # serves on localhost:8080
//	curl -H "Authorization: Bearer $TOKEN" localhost:8080/reports/7
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/sqlite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, len(os.Args) > 1 && os.Args[1] == "key"); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, newKey bool) error {
	store, err := sqlite.Open(ctx, "keyfold.db")
	if err != nil {
		return err
	}
	defer store.Close()
	svc, err := keyfold.New(store, nil)
	if err != nil {
		return err
	}
	defer svc.Close(context.Background()) // writes the usage that is still in memory

	if newKey {
		_, token, err := svc.CreateKey(ctx, keyfold.NewKey{Name: "first", Scopes: []string{"reports:read"}})
		if err != nil {
			return err
		}
		fmt.Println(token.Reveal()) // this is the only time that the token is shown
		return nil
	}
	server := &http.Server{Addr: "localhost:8080", Handler: routes(svc), ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- server.Shutdown(context.Background()) })
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return <-stopped // waits for the requests in progress
}

func routes(svc *keyfold.Service) http.Handler {
	r := chi.NewRouter()

	// These routes are guarded together. The guard runs before chi has found the
	// route, so RouteFunc looks it up for the usage log.
	r.Route("/reports", func(r chi.Router) {
		r.Use(httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"), httpadapter.RouteFunc(pattern)))
		r.Get("/{id}", report)
	})
	// This route is guarded by itself. The guard runs after chi has set
	// http.Request.Pattern, which RequireKey reads. This also works with r.Group.
	r.With(httpadapter.RequireKey(svc, httpadapter.Scopes("invoices:read"))).Get("/invoices/{id}", report)
	return r
}

// pattern returns a name such as "GET /reports/{id}", or "" if chi has no such route.
func pattern(r *http.Request) string {
	found := chi.RouteContext(r.Context()).Routes.Find(chi.NewRouteContext(), r.Method, r.URL.Path)
	if found == "" {
		return ""
	}
	return r.Method + " " + found
}

func report(w http.ResponseWriter, r *http.Request) {
	id, _ := httpadapter.IdentityFrom(r.Context())
	fmt.Fprintf(w, "%s %s for %s\n", r.Method, chi.URLParam(r, "id"), id.Name())
}
