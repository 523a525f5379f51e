package main

import (
	"encoding/json"
	"errors"
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
	create := func(target string, form url.Values) (created keyfold.CreatedKey) {
		t.Helper()
		if err := json.Unmarshal([]byte(call("a", "POST", target, form, 200)), &created); err != nil {
			t.Fatal(err)
		}
		if _, err := svc.Verify(t.Context(), keyfold.Request{Token: created.Token.Reveal(), Scopes: []string{"reports:read"}}); err != nil {
			t.Error(err)
		}
		return created
	}
	created := create("/keys", url.Values{"name": {"ci"}, "scope": {"reports:read"}})
	path := "/keys/" + created.Key.ID
	for customer, want := range map[string]int{"a": 1, "b": 0} {
		var page keyfold.KeyPage
		if err := json.Unmarshal([]byte(call(customer, "GET", "/keys", nil, 200)), &page); err != nil || len(page.Keys) != want {
			t.Errorf("%s sees %d keys, %v; want %d", customer, len(page.Keys), err, want)
		}
	}
	for other, status := range map[string]int{"b": 404, "": 401} {
		for _, method := range []string{"GET", "PATCH", "DELETE"} {
			call(other, method, path, url.Values{"name": {"mine"}}, status)
		}
		call(other, "POST", path+"/rotate", nil, status)
	}
	call("", "GET", "/keys", nil, 401)
	call("", "POST", "/keys", url.Values{"name": {"ci"}}, 401)
	if body := call("a", "PATCH", path, url.Values{"name": {"deploy"}}, 200); !strings.Contains(body, `"name":"deploy"`) {
		t.Errorf("renamed: %s", body)
	}
	next := create(path+"/rotate", nil)
	if next.Key.RotatedFrom != created.Key.ID || next.Key.Name != "deploy" {
		t.Errorf("rotated: %+v", next.Key)
	}
	path = "/keys/" + next.Key.ID
	call("a", "DELETE", path, nil, 204)
	if body := call("a", "GET", path, nil, 200); !strings.Contains(body, `"state":"revoked"`) {
		t.Errorf("revoked: %s", body)
	}
}

func TestCustomersChooseScopesFromAList(t *testing.T) {
	svc := keyfoldtest.New(t, nil)
	for _, scope := range []string{"reports:delete", "reports:*", "**", ""} {
		if _, err := createKey(t.Context(), svc, "a", "ci", []string{"reports:read", scope}); !errors.Is(err, keyfold.ErrInvalid) {
			t.Errorf("%q: got %v, want an InvalidError", scope, err)
		}
	}
	created, err := createKey(t.Context(), svc, "a", "ci", []string{"reports:read", "reports:write"})
	if err != nil || len(created.Key.Scopes) != 2 {
		t.Errorf("got %q, %v", created.Key.Scopes, err)
	}
}

func TestCustomerHasAtMostTenActiveKeys(t *testing.T) {
	svc := keyfoldtest.New(t, nil)
	var last keyfold.CreatedKey
	for range 10 {
		var err error
		if last, err = createKey(t.Context(), svc, "a", "ci", nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := createKey(t.Context(), svc, "a", "ci", nil); !errors.Is(err, keyfold.ErrConflict) {
		t.Errorf("the eleventh key: got %v, want a conflict", err)
	}
	if _, err := createKey(t.Context(), svc, "b", "ci", nil); err != nil {
		t.Errorf("a key of another customer: %v", err)
	}
	if err := revokeKey(t.Context(), svc, "a", last.Key.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := createKey(t.Context(), svc, "a", "ci", nil); err != nil {
		t.Errorf("a key in place of a revoked one: %v", err)
	}
}

func TestAnswersWithATokenAreNotCachedAndOtherSitesGetNone(t *testing.T) {
	handler := routes(keyfoldtest.New(t, nil), func(*http.Request) string { return "a" })
	for site, want := range map[string]int{"same-origin": 200, "cross-site": 403} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/keys", nil)
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != want || want == 200 && w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %d, %v; want %d", site, w.Code, w.Header(), want)
		}
	}
}
