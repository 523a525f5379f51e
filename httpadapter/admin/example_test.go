package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/store/memory"
)

func ExampleHandler() {
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close(context.Background())
	handler, err := admin.Handler(svc, admin.Options{Secret: "read-this-from-a-file-or-a-variable"})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", http.StripPrefix("/auth", handler))
	server := httptest.NewServer(mux)
	defer server.Close()

	request, err := http.NewRequest("POST", server.URL+"/auth/keys", strings.NewReader(`{"name": "ci", "ttl": "30d"}`))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("secret-key", "read-this-from-a-file-or-a-variable")
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	var created keyfold.CreatedKey
	if err := json.NewDecoder(response.Body).Decode(&created); err != nil {
		log.Fatal(err)
	}
	_, err = svc.Verify(context.Background(), keyfold.Request{Token: created.Token.Reveal()})
	fmt.Println(response.Status, created.Key.Name, err)
	// Output: 201 Created ci <nil>
}

func ExampleParseDuration() {
	d, err := admin.ParseDuration("1d12h")
	fmt.Println(d, err)
	// Output: 36h0m0s <nil>
}
