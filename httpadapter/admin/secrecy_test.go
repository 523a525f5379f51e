package admin_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/internal/wire"
)

// Mutation tried: ServeHTTP logging the headers of each request.
func TestOnlyCreateAndRotateAnswerWithAToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var secrets []string // what no other answer may hold
	keep := func(created wire.CreatedKey) {
		t.Helper()
		record, err := f.store.Key(context.Background(), created.Key.ID)
		if err != nil {
			t.Fatal(err)
		}
		part := strings.Split(strings.TrimPrefix(created.Token, created.Key.ID), "_")
		secrets = append(secrets, part[len(part)-2], hex.EncodeToString(record.Secret.Sum[:]), string(record.Secret.Sum[:]))
	}
	created := f.create(`{"owner_id":"a","scopes":["a:b"]}`)
	keep(created)
	path := "/keys/" + created.Key.ID
	rotated := decode[wire.CreatedKey](f.do("POST", path+"/rotate", `{"overlap":"1h"}`).wants(http.StatusCreated))
	keep(rotated)
	f.verify(created.Token)
	f.verify(rotated.Token)
	if err := f.svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	fresh := "/keys/" + rotated.Key.ID
	answers := []answer{
		f.do("GET", "/keys", ""), f.do("GET", path, ""), f.do("PATCH", fresh, `{"version":1,"name":"x"}`),
		f.do("POST", fresh+"/renew", ""), f.do("POST", fresh+"/disable", ""), f.do("POST", fresh+"/enable", ""),
		f.do("POST", fresh+"/revoke", ""), f.do("POST", path+"/rotate", ""), f.do("POST", "/keys/bulk/disable", `{"owner_id":"a"}`),
		f.do("POST", "/keys/bulk/revoke", `{"owner_id":"a"}`), f.do("GET", "/usage/events", ""), f.do("GET", "/usage/export", ""), f.do("GET", "/usage/export?format=csv", ""), f.do("GET", "/usage/totals", ""), f.do("GET", "/usage/report", ""),
		f.do("GET", "/keys/"+rotated.Token, ""), f.do("POST", "/keys", `{"owner":"`+rotated.Token+`"}`),
		f.do("POST", "/keys", `{"ttl":"`+rotated.Token+`"}`), f.do("GET", "/keys?limit="+rotated.Token, ""),
		f.do("GET", "/keys", "", "secret-key:"+rotated.Token), f.do("DELETE", path, ""),
	}
	for i, a := range answers {
		if a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("answer %d may be stored", i)
		}
		for _, s := range append(secrets, secret) {
			if strings.Contains(a.body+fmt.Sprint(a.header), s) {
				t.Errorf("answer %d (%d) holds a secret", i, a.status)
			}
		}
	}
	f.store.broken.Store(true)
	f.do("GET", path, "").wants(http.StatusServiceUnavailable)
	for _, s := range append(secrets, secret) {
		if strings.Contains(f.log.String(), s) {
			t.Error("the log holds a secret")
		}
	}
}

// Mutations tried: the password hash as a member of User; Before and After of the
// audit log with the hash; the one-time token in the log.
func TestNoAnswerHoldsAPasswordOrItsHash(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const first, second = "a first long passphrase", "a second long passphrase"
	user := decode[wire.User](f.do("POST", "/users", `{"username":"olga","email":"olga@example.com","password":"`+first+`"}`).wants(http.StatusCreated))
	path := "/users/" + user.ID
	login := func(password string) answer {
		return f.do("POST", "/users/authenticate", `{"identifier":"olga","password":"`+password+`"}`)
	}
	made := f.do("POST", path+"/one-time-tokens", `{"purpose":"reset_password"}`).wants(http.StatusCreated)
	token := decode[admin.CreatedOneTimeToken](made).Token
	secrets := []string{first, second, token, "$argon2id$"}
	answers := []answer{
		f.do("GET", path, ""), f.do("GET", "/users", ""), login(first).wants(http.StatusOK), login(second).wants(http.StatusUnprocessableEntity),
		f.do("POST", "/one-time-tokens/reset-password", `{"token":"`+token+`","password":"short"}`).wants(http.StatusUnprocessableEntity),
		f.do("POST", "/one-time-tokens/reset-password", `{"token":"`+token+`","password":"`+second+`"}`).wants(http.StatusOK),
		f.do("POST", "/one-time-tokens/reset-password", `{"token":"`+token+`","password":"`+first+`"}`).wants(http.StatusUnprocessableEntity),
		f.do("POST", path+"/password", `{"password":"`+first+`"}`).wants(http.StatusNoContent),
		f.do("POST", path+"/password", `{"passwords":"`+first+`"}`).wants(http.StatusUnprocessableEntity),
		f.do("POST", "/users", `{"username":"`+first+`","password":"`+first+`"}`).wants(http.StatusUnprocessableEntity),
		f.do("PATCH", path, `{"version":3,"username":"o"}`), f.do("POST", path+"/disable", ""), f.do("POST", path+"/enable", ""),
		f.do("GET", "/audit", "").wants(http.StatusOK), f.do("DELETE", path, "").wants(http.StatusNoContent),
	}
	for i, a := range answers {
		for _, s := range secrets {
			if strings.Contains(a.body+fmt.Sprint(a.header), s) {
				t.Errorf("answer %d (%d) holds a secret: %s", i, a.status, a.body)
			}
		}
	}
	f.store.broken.Store(true)
	login(first).wants(http.StatusServiceUnavailable)
	for _, s := range secrets {
		t.Run(s, func(t *testing.T) {
			if strings.Contains(f.log.String(), s) {
				t.Error("the log holds a secret")
			}
		})
	}
}

// A token that was pasted where a name belongs must not come back, and from there
// get into a log. Mutations tried: the name as the field of an unknown member, of
// an unknown parameter, and of each of the two given twice; null in metadata with
// its place; huma's own text for unknown parameters.
func TestNoAnswerRepeatsANameThatTheClientChose(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const canary = "kf_Canary0Canary0Ca_abcdefghijklmnopqrstuvwxyz012345_AbCdEf"
	id := f.create(`{}`).Key.ID
	for _, route := range append(slices.Clone(guarded), []struct{ method, path, body string }{
		{"PATCH", "/keys/" + id, `{"version":1}`},
		{"POST", "/keys/" + id + "/rotate", ""},
		{"DELETE", "/keys/" + id, ""},
		{"POST", "/users", `{"username":"olga"}`},
		{"GET", "/users", ""},
		{"POST", "/users/authenticate", `{"identifier":"olga","password":"x"}`},
		{"POST", "/one-time-tokens/send", `{"purpose":"reset_password","identifier":"olga"}`},
		{"POST", "/one-time-tokens/reset-password", `{"token":"x","password":"y"}`},
		{"GET", "/audit", ""},
	}...) {
		targets := []string{
			route.path + "?" + canary, route.path + "?" + canary + "=1", route.path + "?limit=1&" + canary + "=1", route.path + "?%zz" + canary,
			route.path + "?" + canary + "=1&" + canary + "=2", route.path + "?limit[" + canary + "]=1", route.path + "/" + canary, "/" + canary,
		}
		for _, target := range targets {
			f.doesNotRepeat(route.method, target, route.body, canary)
		}
		if route.method == "GET" {
			continue
		}
		for _, body := range []string{
			`{"` + canary + `":1}`, `{"` + canary + `":1,"` + canary + `":2}`, `{"name":"a","` + canary + `":{"x":1,"x":2}}`, `{"metadata":{"` + canary + `":null}}`,
			`{"metadata":{"` + canary + `":"1","` + canary + `":"2"}}`, `{"metadata":{"` + canary + `":1}}`, `{"metadata":{"` + canary + strings.Repeat("x", 200) + `":"1"}}`,
			`{"scopes":[{"` + canary + `":1}]}`, `[{"` + canary + `":1,"` + canary + `":1}]`, `{"` + canary + `\ud800":1}`, `{"` + canary, `{"name":{"` + canary + `":1}}`,
			`{"purpose":"` + canary + `","identifier":"x"}`,
		} {
			f.doesNotRepeat(route.method, route.path, body, canary)
		}
		f.doesNotRepeat(route.method, route.path, route.body, canary, "Content-Type: application/json; "+canary+"=x")
		f.doesNotRepeat(route.method, route.path, route.body, canary, "Content-Type: application/"+canary)
		f.doesNotRepeat(route.method, route.path, route.body, canary, "Content-Encoding: "+canary)
	}
	f.doesNotRepeat(canary[:9], "/keys", "", canary[:9])
	f.doesNotRepeat("GET", "/keys", "", canary, canary+": x", "secret-key: wrong")
}

// doesNotRepeat reports an answer or a log that repeats the text.
func (f *fixture) doesNotRepeat(method, target, body, text string, headers ...string) {
	f.t.Helper()
	a := f.do(method, target, body, headers...)
	if strings.Contains(a.body+fmt.Sprint(a.header), text) {
		f.t.Errorf("%s %s %s %q: the answer repeats it: %s", method, target, body, headers, a.body)
	}
	if strings.Contains(f.log.String(), text) {
		f.t.Fatalf("%s %s %s %q: the log repeats it: %s", method, target, body, headers, f.log)
	}
}

func TestAdministratorsSideBySide(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const workers, rounds = 8, 25
	send := func(method, target, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("secret-key", secret)
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		return w
	}
	common := f.create(`{"name":"0","ttl":"never"}`).Key
	var group sync.WaitGroup
	var mu sync.Mutex
	updated := 0
	for worker := range workers {
		group.Go(func() {
			for round := range rounds {
				a := answer{t: t, body: send("POST", "/keys", fmt.Sprintf(`{"owner_id":"w%d"}`, worker)).Body.String()}
				path := "/keys/" + decode[wire.CreatedKey](a).Key.ID
				for _, step := range []struct {
					method, path, body string
					want               int
				}{
					{"POST", path + "/disable", "", 200},
					{"POST", path + "/enable", "", 200},
					{"POST", path + "/renew", `{"ttl":"30d"}`, 200},
					{"POST", path + "/rotate", "", 201},
					{"POST", path + "/rotate", "", 409},
					{"POST", path + "/revoke", "", 200},
					{"POST", path + "/enable", "", 409},
					{"GET", "/keys?limit=5", "", 200},
				} {
					if w := send(step.method, step.path, step.body); w.Code != step.want {
						t.Errorf("%s %s: %d %s, want %d", step.method, step.path, w.Code, w.Body, step.want)
					}
				}
				// Everybody edits one key: of those who read a version, one wins.
				w := send("PATCH", "/keys/"+common.ID, fmt.Sprintf(`{"name":"%d-%d","version":%d}`, worker, round, round+1))
				switch w.Code {
				case http.StatusOK:
					mu.Lock()
					updated++
					mu.Unlock()
				case http.StatusPreconditionFailed:
				default:
					t.Errorf("PATCH: %d %s", w.Code, w.Body)
				}
			}
		})
	}
	group.Wait()
	key, err := f.svc.Key(t.Context(), common.ID)
	if err != nil || key.Version != int64(updated)+1 {
		t.Errorf("version %d, %v after %d updates that were acknowledged", key.Version, err, updated)
	}
	if got, want := f.count(), 1+2*workers*rounds; got != want {
		t.Errorf("%d keys are stored, want %d", got, want)
	}
	page, err := f.svc.Keys(t.Context(), keyfold.KeyQuery{State: keyfold.KeyRevoked, Limit: 200})
	if err != nil || len(page.Keys) != workers*rounds {
		t.Errorf("%d keys are revoked, %v, want %d", len(page.Keys), err, workers*rounds)
	}
}
