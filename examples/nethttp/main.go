// Nethttp guards a net/http server with API keys that are kept in keyfold.db.
//
//	go run ./nethttp key    # creates a key and prints its token, once
//	go run ./nethttp        # serves on localhost:8080
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

// routes guards each route by itself, so that each can ask for its own scopes.
func routes(svc *keyfold.Service) http.Handler {
	read := httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"))
	write := httpadapter.RequireKey(svc, httpadapter.Scopes("reports:write"))
	mux := http.NewServeMux()
	mux.Handle("GET /reports/{id}", read(http.HandlerFunc(report)))
	mux.Handle("DELETE /reports/{id}", write(http.HandlerFunc(report)))
	return mux
}

func report(w http.ResponseWriter, r *http.Request) {
	id, _ := httpadapter.IdentityFrom(r.Context())
	fmt.Fprintf(w, "%s %s for %s\n", r.Method, r.PathValue("id"), id.Name())
}
