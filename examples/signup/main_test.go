package main

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/keyfoldtest"
)

func TestSignUpGivesAUserAndAKey(t *testing.T) {
	handler := routes(keyfoldtest.New(t, nil))
	call := func(method, target, token string, form url.Values, status int) string {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != status {
			t.Fatalf("%s %s: got %d %s, want %d", method, target, w.Code, w.Body, status)
		}
		return w.Body.String()
	}
	created := func(body string) (created keyfold.CreatedKey) {
		t.Helper()
		if err := json.Unmarshal([]byte(body), &created); err != nil {
			t.Fatal(err)
		}
		return created
	}
	form := url.Values{"username": {"olga"}, "password": {"nine purple herons"}}
	first := created(call("POST", "/sign-up", "", form, 200))
	call("POST", "/sign-up", "", form, 409)
	call("POST", "/sign-up", "", url.Values{"username": {"anna"}, "password": {"short"}}, 422)
	call("POST", "/log-in", "", url.Values{"username": {"olga"}, "password": {"eight purple herons"}}, 401)
	second := created(call("POST", "/log-in", "", form, 200))
	if first.Key.UserID != second.Key.UserID || first.Key.ID == second.Key.ID {
		t.Errorf("the keys are %+v and %+v, want two of one user", first.Key, second.Key)
	}
	call("GET", "/keys", "", nil, 401)
	var page keyfold.KeyPage
	if err := json.Unmarshal([]byte(call("GET", "/keys", second.Token.Reveal(), nil, 200)), &page); err != nil || len(page.Keys) != 2 {
		t.Errorf("got %d keys, %v; want 2", len(page.Keys), err)
	}
}
