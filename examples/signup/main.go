// Signup is an application whose users sign up and get their first API key in one
// step. They log in with their password for another one.
//
//	go run ./signup    # serves on localhost:8080
//	curl -d username=olga -d password="nine purple herons" localhost:8080/sign-up
//	curl -H "Authorization: Bearer $TOKEN" localhost:8080/keys
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/sqlite"
)

func main() {
	store, err := sqlite.Open(context.Background(), "keyfold.db")
	if err != nil {
		log.Fatal(err)
	}
	svc, err := keyfold.New(store, nil)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "localhost:8080", Handler: routes(svc), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func routes(svc *keyfold.Service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sign-up", func(w http.ResponseWriter, r *http.Request) {
		created, err := signUp(r.Context(), svc, r.PostFormValue("username"), r.PostFormValue("password"))
		answer(w, created, err)
	})
	mux.HandleFunc("POST /log-in", func(w http.ResponseWriter, r *http.Request) {
		credentials := keyfold.Credentials{
			Identifier: r.PostFormValue("username"), Password: r.PostFormValue("password"),
			IP: httpadapter.ClientIP(r.RemoteAddr, nil, httpadapter.Proxies{}),
		}
		created, err := logIn(r.Context(), svc, credentials)
		answer(w, created, err)
	})
	mux.Handle("GET /keys", httpadapter.RequireKey(svc)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := httpadapter.IdentityFrom(r.Context())
		page, err := svc.Keys(r.Context(), keyfold.KeyQuery{UserID: keyfold.Only(id.UserID())})
		answer(w, page, err)
	})))
	return mux
}

// signUp creates the user and the first key, or neither.
func signUp(ctx context.Context, svc *keyfold.Service, username, password string) (created keyfold.CreatedKey, err error) {
	hashed, err := svc.HashPassword(ctx, password, username)
	if err != nil {
		return created, err
	}
	err = svc.InTx(ctx, func(k *keyfold.Service) error {
		user, err := k.CreateUser(ctx, keyfold.NewUser{Username: username, HashedPassword: hashed})
		if err != nil {
			return err
		}
		created.Key, created.Token, err = k.CreateKey(ctx, keyfold.NewKey{Name: "first key", UserID: user.ID})
		return err
	})
	return created, err
}

// logIn creates a key that lasts for twelve hours.
func logIn(ctx context.Context, svc *keyfold.Service, c keyfold.Credentials) (created keyfold.CreatedKey, err error) {
	user, err := svc.Authenticate(ctx, c)
	if err != nil {
		return created, err
	}
	created.Key, created.Token, err = svc.CreateKey(ctx, keyfold.NewKey{Name: "log-in", UserID: user.ID, TTL: 12 * time.Hour})
	return created, err
}

// answer writes the record in the JSON of the admin API, or the error. No cache
// keeps it, because it may hold a token.
func answer(w http.ResponseWriter, record any, err error) {
	if err != nil {
		httpadapter.ProblemOf(err).Write(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(record)
}
