package apitest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/store/memory"
)

const secret = "an-admin-secret-of-32-characters"

// server is the admin API: its handler, and that under /auth/ on 127.0.0.1.
type server struct {
	store   *memory.Store
	svc     *keyfold.Service
	handler http.Handler
	base    string // ends in /auth/
}

// noMail is a Mailer that delivers nothing.
type noMail struct{}

func (noMail) SendOneTimeToken(context.Context, keyfold.IssuedOneTimeToken) error { return nil }

// newServer starts the API of a program that sends mail if mailer is not nil.
func newServer(t *testing.T, mailer keyfold.Mailer) *server {
	t.Helper()
	store := memory.New()
	svc, err := keyfold.New(store, &keyfold.Options{Mailer: mailer})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := admin.Handler(svc, admin.Options{Secret: secret, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", handler))
	listening := httptest.NewServer(mux)
	t.Cleanup(func() {
		listening.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = svc.Close(ctx) // the store may be closed already
	})
	return &server{store: store, svc: svc, handler: handler, base: listening.URL + "/auth/"}
}
