// Ownkeys lets each customer of an application manage their own API keys.
//
//	go run ./ownkeys    # serves on localhost:8080
//	curl -H "Customer: cust_42" -d name=ci localhost:8080/keys
//	curl -H "Customer: cust_42" localhost:8080/keys
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
	// A real application reads its session here. Any client can set this header.
	customer := func(r *http.Request) string { return r.Header.Get("Customer") }
	server := &http.Server{Addr: "localhost:8080", Handler: routes(svc, customer), ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// routes finds every key by its owner, so that the id of another customer's key is
// answered like one that does not exist.
func routes(svc *keyfold.Service, customer func(*http.Request) string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, r *http.Request) {
		page, err := svc.Keys(r.Context(), keyfold.KeyQuery{OwnerID: keyfold.Only(customer(r)), Cursor: r.FormValue("cursor")})
		answer(w, page, err)
	})
	mux.HandleFunc("POST /keys", func(w http.ResponseWriter, r *http.Request) {
		if customer(r) == "" {
			answer(w, nil, keyfold.ErrForbidden)
			return
		}
		key, token, err := svc.CreateKey(r.Context(), keyfold.NewKey{Name: r.FormValue("name"), OwnerID: customer(r)})
		answer(w, keyfold.CreatedKey{Key: key, Token: token}, err)
	})
	mux.HandleFunc("GET /keys/{id}", func(w http.ResponseWriter, r *http.Request) {
		key, err := ownKey(svc, r, customer(r))
		answer(w, key, err)
	})
	mux.HandleFunc("PATCH /keys/{id}", func(w http.ResponseWriter, r *http.Request) {
		key, err := ownKey(svc, r, customer(r))
		if err == nil {
			name := r.FormValue("name")
			key, err = svc.UpdateKey(r.Context(), key.ID, keyfold.KeyUpdate{Version: key.Version, Name: &name})
		}
		answer(w, key, err)
	})
	mux.HandleFunc("DELETE /keys/{id}", func(w http.ResponseWriter, r *http.Request) {
		key, err := ownKey(svc, r, customer(r))
		if err == nil {
			err = svc.RevokeKey(r.Context(), key.ID, "revoked by the customer")
		}
		answer(w, nil, err)
	})
	return mux
}

func ownKey(svc *keyfold.Service, r *http.Request, owner string) (keyfold.Key, error) {
	key, err := svc.Key(r.Context(), r.PathValue("id"))
	if err == nil && (owner == "" || key.OwnerID != owner) {
		return keyfold.Key{}, keyfold.ErrNotFound
	}
	return key, err
}

// answer writes the record in the JSON of the admin API, or the error.
func answer(w http.ResponseWriter, record any, err error) {
	if err != nil {
		httpadapter.ProblemOf(err).Write(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(record)
}
