// Fiber guards a Fiber app, which is not built on net/http, with API keys that
// are kept in keyfold.db.
//
//	go run ./fiber key    # creates a key and prints its token, once
//	go run ./fiber        # serves on localhost:8080
//	curl -H "Authorization: Bearer $TOKEN" localhost:8080/reports/7
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/gofiber/fiber/v3"

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
	app := routes(svc)
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- app.Shutdown() })
	if err := app.Listen("localhost:8080"); err != nil {
		return err
	}
	return <-stopped // waits for the requests in progress
}

func routes(svc *keyfold.Service) *fiber.App {
	app := fiber.New()
	app.Get("/reports/:id", requireKey(svc, "reports:read"), report)
	app.Delete("/reports/:id", requireKey(svc, "reports:write"), report)
	return app
}

type identityKey struct{}

// requireKey does in Fiber what httpadapter.RequireKey does in net/http.
func requireKey(svc *keyfold.Service, scopes ...string) fiber.Handler {
	return func(c fiber.Ctx) error {
		token, err := httpadapter.ExtractToken(func(name string) (values []string) {
			for _, value := range c.Request().Header.PeekAll(name) {
				values = append(values, string(value)) // a copy: Fiber reuses its buffers
			}
			return values
		})
		client := httpadapter.ClientIP(c.RequestCtx().RemoteAddr().String(), nil, httpadapter.Proxies{})
		var id keyfold.Identity
		if err == nil {
			id, err = svc.Verify(c.Context(), keyfold.Request{
				Token:  token,
				Scopes: scopes,
				IP:     client,
				Route:  c.Method() + " " + c.FullPath(), // the pattern, not the path
			})
		}
		if err = httpadapter.LimitFailures(svc, client, err); err != nil {
			status, header, body := httpadapter.Response(err)
			for name := range header {
				c.Set(name, header.Get(name))
			}
			return c.Status(status).Send(body)
		}
		c.Locals(identityKey{}, id)
		return c.Next()
	}
}

func report(c fiber.Ctx) error {
	id, ok := c.Locals(identityKey{}).(keyfold.Identity)
	if !ok {
		return fiber.ErrUnauthorized
	}
	return c.SendString(fmt.Sprintf("%s %s for %s\n", c.Method(), c.Params("id"), id.Name()))
}
