// Huma guards the operations of a huma API with API keys that are kept in
// keyfold.db. The OpenAPI document at /openapi.json names the scopes.
//
//	go run ./huma key    # creates a key and prints its token, once
//	go run ./huma        # serves on localhost:8080
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

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

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
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Reports", "1.0.0")
	config.CreateHooks = nil // no "$schema" in answers
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer"}}
	api := humago.New(mux, config)
	huma.Register(api, guarded(svc, http.MethodGet, "/reports/{id}", "reports:read"), report)
	huma.Register(api, guarded(svc, http.MethodDelete, "/reports/{id}", "reports:write"), report)
	return mux
}

// guarded returns an operation that needs a key with these scopes. Its middleware
// runs httpadapter.RequireKey, so that the handler finds the Identity in its context.
func guarded(svc *keyfold.Service, method, path string, scopes ...string) huma.Operation {
	guard := httpadapter.RequireKey(svc, httpadapter.Scopes(scopes...))
	return huma.Operation{
		Method: method, Path: path, OperationID: method + path,
		Security: []map[string][]string{{"key": scopes}},
		Middlewares: huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
			r, w := humago.Unwrap(ctx)
			guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				next(huma.WithContext(ctx, r.Context()))
			})).ServeHTTP(w, r)
		}},
	}
}

type reportOutput struct {
	Body struct {
		ID  string `json:"id"`
		For string `json:"for"`
	}
}

func report(ctx context.Context, in *struct {
	ID string `path:"id"`
},
) (*reportOutput, error) {
	id, ok := httpadapter.IdentityFrom(ctx)
	if !ok {
		return nil, huma.Error401Unauthorized("a valid API key is required")
	}
	out := &reportOutput{}
	out.Body.ID, out.Body.For = in.ID, id.Name()
	return out, nil
}
