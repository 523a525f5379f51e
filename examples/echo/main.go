// Echo guards the routes of an Echo server with API keys that are kept in
// keyfold.db.
//
//	go run ./echo key    # creates a key and prints its token, once
//	go run ./echo        # serves on localhost:8080
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

	"github.com/labstack/echo/v4"

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
	e := echo.New()
	e.GET("/reports/:id", report, requireKey(svc, "reports:read"))
	e.DELETE("/reports/:id", report, requireKey(svc, "reports:write"))
	return e
}

// requireKey runs httpadapter.RequireKey as an Echo middleware. The handlers after
// it find the Identity in the context of the request.
func requireKey(svc *keyfold.Service, scopes ...string) echo.MiddlewareFunc {
	guard := echo.WrapMiddleware(httpadapter.RequireKey(svc, httpadapter.Scopes(scopes...)))
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		guarded := guard(next)
		return func(c echo.Context) error {
			c.Request().Pattern = c.Path() // names the route in the usage log
			return guarded(c)
		}
	}
}

func report(c echo.Context) error {
	id, ok := httpadapter.IdentityFrom(c.Request().Context())
	if !ok {
		return echo.ErrUnauthorized
	}
	return c.String(http.StatusOK, fmt.Sprintf("%s %s for %s\n", c.Request().Method, c.Param("id"), id.Name()))
}
