package compat_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/httpadapter/compat"
	"github.com/keyfold/keyfold/store/memory"
)

func ExampleHandler() {
	svc, err := keyfold.New(memory.New(), &keyfold.Options{PasswordPolicy: compat.PasswordPolicy()})
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close(context.Background())
	handler, err := compat.Handler(svc, compat.Options{
		Secret: "read-this-from-a-file-or-a-variable",
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, path := range compat.Paths() {
		mux.Handle("/auth"+path, http.StripPrefix("/auth", handler))
	}

	r := httptest.NewRequest("GET", "/auth/renew?api-key=unknown", nil)
	r.Header.Set("secret-key", "read-this-from-a-file-or-a-variable")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output: 404 {"detail":"API key not found"}
}

func ExamplePaths() {
	fmt.Println(compat.Paths())
	// Output: [/new /revoke /renew /logs]
}

func ExampleRequireKey() {
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close(context.Background())
	_, token, err := svc.CreateKey(context.Background(), keyfold.NewKey{Name: "ci"})
	if err != nil {
		log.Fatal(err)
	}
	secure := compat.RequireKey(svc)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpadapter.IdentityFrom(r.Context())
		fmt.Fprint(w, "hello ", id.Name())
	}))
	for _, target := range []string{"/secure?api-key=" + token.Reveal(), "/secure"} {
		w := httptest.NewRecorder()
		secure.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 hello ci
	// 403 {"detail":"An API key must be passed as query or header"}
}

func ExamplePasswordPolicy() {
	svc, err := keyfold.New(memory.New(), &keyfold.Options{PasswordPolicy: compat.PasswordPolicy()})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(svc.CheckPassword("Summer-2026"))
	fmt.Println(svc.CheckPassword("summer"))
	// Output:
	// <nil>
	// keyfold: password must have at least 9 characters; must contain a digit; must contain an upper-case letter; must contain a special character
}
