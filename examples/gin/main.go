// Gin guards the routes of a gin engine with API keys that are kept in
// keyfold.db.
//
//	go run ./gin key    # creates a key and prints its token, once
//	go run ./gin        # serves on localhost:8080
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

	"github.com/gin-gonic/gin"

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
	r := gin.New()
	r.GET("/reports/:id", requireKey(svc, "reports:read"), report)
	r.DELETE("/reports/:id", requireKey(svc, "reports:write"), report)
	return r
}

// requireKey runs httpadapter.RequireKey as a gin middleware. The handlers after it
// find the Identity in the context of the request.
func requireKey(svc *keyfold.Service, scopes ...string) gin.HandlerFunc {
	guard := httpadapter.RequireKey(svc, httpadapter.Scopes(scopes...))
	return func(c *gin.Context) {
		c.Request.Pattern = c.FullPath() // names the route in the usage log
		allowed := false
		guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			allowed, c.Request = true, r
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !allowed {
			c.Abort() // the guard has written the answer
		}
	}
}

func report(c *gin.Context) {
	id, _ := httpadapter.IdentityFrom(c.Request.Context())
	c.String(http.StatusOK, "%s %s for %s\n", c.Request.Method, c.Param("id"), id.Name())
}
