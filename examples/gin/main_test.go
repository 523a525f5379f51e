package main

import (
	"net/http"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/examples/internal/trial"
)

func TestGuardedRoutes(t *testing.T) {
	start := func(svc *keyfold.Service) func(*http.Request) (*http.Response, error) {
		return trial.Handler(routes(svc))
	}
	trial.Run(t, start,
		trial.Request{Method: "GET", Target: "/reports/7", Status: 200, Body: "GET 7 for ci\n", Route: "GET /reports/:id"},
		trial.Request{Method: "DELETE", Target: "/reports/7", Status: 403, Route: "DELETE /reports/:id"},
	)
}
