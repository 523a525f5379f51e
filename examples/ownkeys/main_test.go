package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/keyfoldtest"
)

func TestCustomersManageTheirOwnKeysAlone(t *testing.T) {
	svc := keyfoldtest.New(t, nil)
	handler := routes(svc, func(r *http.Request) string { return r.Header.Get("Customer") })
	call := func(customer, method, target string, form url.Values, status int) string {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Customer", customer)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != status {
			t.Fatalf("%s: %s %s: got %d %s, want %d", customer, method, target, w.Code, w.Body, status)
		}
		return w.Body.String()
	}
	var created keyfold.CreatedKey
	if err := json.Unmarshal([]byte(call("a", "POST", "/keys", url.Values{"name": {"ci"}}, 200)), &created); err != nil {
		t.Fatal(err)
	}
	if _, err := svc.Verify(t.Context(), keyfold.Request{Token: created.Token.Reveal()}); err != nil {
		t.Error(err)
	}
	path := "/keys/" + created.Key.ID
	for customer, want := range map[string]int{"a": 1, "b": 0} {
		var page keyfold.KeyPage
		if err := json.Unmarshal([]byte(call(customer, "GET", "/keys", nil, 200)), &page); err != nil || len(page.Keys) != want {
			t.Errorf("%s sees %d keys, %v; want %d", customer, len(page.Keys), err, want)
		}
	}
	for _, other := range []string{"b", ""} {
		for _, method := range []string{"GET", "PATCH", "DELETE"} {
			call(other, method, path, url.Values{"name": {"mine"}}, 404)
		}
	}
	call("", "GET", "/keys", nil, 422)
	call("", "POST", "/keys", url.Values{"name": {"ci"}}, 403)
	if body := call("a", "PATCH", path, url.Values{"name": {"deploy"}}, 200); !strings.Contains(body, `"name":"deploy"`) {
		t.Errorf("renamed: %s", body)
	}
	call("a", "DELETE", path, nil, 200)
	if body := call("a", "GET", path, nil, 200); !strings.Contains(body, `"state":"revoked"`) {
		t.Errorf("revoked: %s", body)
	}
}
