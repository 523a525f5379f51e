// Ownkeys lets each customer of an application manage their own API keys.
//
//	go run ./ownkeys    # serves on localhost:8080
//	curl -H "Customer: cust_42" -d name=ci -d scope=reports:read localhost:8080/keys
//	curl -H "Customer: cust_42" localhost:8080/keys
package main

import (
	"context"
	"encoding/json"
	"fmt"
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
	// A real application reads its session here. Any client can set this header.
	customer := func(r *http.Request) string { return r.Header.Get("Customer") }
	server := &http.Server{Addr: "localhost:8080", Handler: routes(svc, customer), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// routes answers for the customer who is logged in, and refuses requests that
// another site makes a browser send. It finds every key by its owner, so that the ID
// of another customer's key is answered like one that does not exist.
func routes(svc *keyfold.Service, customer func(*http.Request) string) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, serve func(r *http.Request, owner string) (record any, err error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			owner := customer(r)
			if owner == "" {
				httpadapter.Problem{Title: "Unauthorized", Status: http.StatusUnauthorized, Code: "log_in", Detail: "Log in first."}.Write(w)
				return
			}
			record, err := serve(r, owner)
			answer(w, record, err)
		})
	}
	handle("GET /keys", func(r *http.Request, owner string) (any, error) {
		return svc.Keys(r.Context(), keyfold.KeyQuery{OwnerID: keyfold.Only(owner), Cursor: r.FormValue("cursor")})
	})
	handle("POST /keys", func(r *http.Request, owner string) (any, error) {
		name := r.PostFormValue("name")
		return createKey(r.Context(), svc, owner, name, r.PostForm["scope"])
	})
	handle("GET /keys/{id}", func(r *http.Request, owner string) (any, error) {
		return ownKey(r.Context(), svc, owner, r.PathValue("id"))
	})
	handle("PATCH /keys/{id}", func(r *http.Request, owner string) (any, error) {
		return renameKey(r.Context(), svc, owner, r.PathValue("id"), r.PostFormValue("name"))
	})
	handle("POST /keys/{id}/rotate", func(r *http.Request, owner string) (any, error) {
		return rotateKey(r.Context(), svc, owner, r.PathValue("id"))
	})
	handle("DELETE /keys/{id}", func(r *http.Request, owner string) (any, error) {
		return nil, revokeKey(r.Context(), svc, owner, r.PathValue("id"))
	})
	return http.NewCrossOriginProtection().Handler(mux)
}

func ownKey(ctx context.Context, svc *keyfold.Service, owner, id string) (keyfold.Key, error) {
	key, err := svc.Key(ctx, id)
	if err == nil && key.OwnerID != owner {
		return keyfold.Key{}, keyfold.ErrNotFound
	}
	return key, err
}

// createKey gives a customer at most ten active keys, with the scopes that customers
// may choose from.
func createKey(ctx context.Context, svc *keyfold.Service, owner, name string, scopes []string) (created keyfold.CreatedKey, err error) {
	for i, scope := range scopes {
		if scope != "reports:read" && scope != "reports:write" { // refuses wildcards too
			return created, &keyfold.InvalidError{Field: fmt.Sprintf("scopes[%d]", i), Reason: "must be reports:read or reports:write"}
		}
	}
	active, err := activeKeys(ctx, svc, owner)
	if err != nil {
		return created, err
	}
	if active >= 10 {
		return created, &keyfold.ConflictError{Reason: "you have ten active keys; revoke one first"}
	}
	created.Key, created.Token, err = svc.CreateKey(ctx, keyfold.NewKey{Name: name, OwnerID: owner, Scopes: scopes})
	return created, err
}

// activeKeys counts the active keys of a customer.
func activeKeys(ctx context.Context, svc *keyfold.Service, owner string) (count int, err error) {
	for _, err := range svc.AllKeys(ctx, keyfold.KeyQuery{OwnerID: keyfold.Only(owner), State: keyfold.KeyActive}) {
		if err != nil {
			return 0, err
		}
		count++
	}
	return count, nil
}

func renameKey(ctx context.Context, svc *keyfold.Service, owner, id, name string) (keyfold.Key, error) {
	key, err := ownKey(ctx, svc, owner, id)
	if err != nil {
		return key, err
	}
	return svc.UpdateKey(ctx, id, keyfold.KeyUpdate{Version: key.Version, Name: &name})
}

// rotateKey returns a new key that inherits everything but ID and secret. The old key
// works for another day.
func rotateKey(ctx context.Context, svc *keyfold.Service, owner, id string) (created keyfold.CreatedKey, err error) {
	if _, err := ownKey(ctx, svc, owner, id); err != nil {
		return created, err
	}
	created.Key, created.Token, err = svc.RotateKey(ctx, id, keyfold.RotateOptions{Overlap: 24 * time.Hour})
	return created, err
}

func revokeKey(ctx context.Context, svc *keyfold.Service, owner, id string) error {
	if _, err := ownKey(ctx, svc, owner, id); err != nil {
		return err
	}
	return svc.RevokeKey(ctx, id, "revoked by the customer")
}

// answer writes the record in the JSON of the admin API, or the error. No cache
// keeps it, because it may hold a token.
func answer(w http.ResponseWriter, record any, err error) {
	if err != nil {
		httpadapter.ProblemOf(err).Write(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if record == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(record)
}
