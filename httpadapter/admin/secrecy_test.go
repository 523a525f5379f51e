package admin_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

// Mutation tried: ServeHTTP logging the headers of each request.
func TestOnlyCreateAndRotateAnswerWithAToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var secrets []string // what no other answer may hold
	keep := func(created admin.CreatedKey) {
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
	rotated := decode[admin.CreatedKey](f.do("POST", path+"/rotate", `{"overlap":"1h"}`).wants(http.StatusOK))
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
		f.do("POST", "/keys/bulk/revoke", `{"owner_id":"a"}`), f.do("GET", "/usage/events", ""), f.do("GET", "/usage/totals", ""), f.do("GET", "/usage/report", ""),
		f.do("GET", "/openapi.json", ""), f.do("GET", "/keys/"+rotated.Token, ""), f.do("POST", "/keys", `{"owner":"`+rotated.Token+`"}`),
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
	user := decode[admin.User](f.do("POST", "/users", `{"username":"olga","email":"olga@example.com","password":"`+first+`"}`).wants(http.StatusCreated))
	path := "/users/" + user.ID
	login := func(password string) answer {
		return f.do("POST", "/users/authenticate", `{"login":"olga","password":"`+password+`"}`)
	}
	made := f.do("POST", path+"/one-time-tokens", `{"purpose":"reset_password"}`).wants(http.StatusCreated)
	token := decode[admin.OneTime](made).Token
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
		if strings.Contains(f.log.String(), s) {
			t.Error("the log holds a secret")
		}
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
				path := "/keys/" + decode[admin.CreatedKey](a).Key.ID
				for _, step := range []struct {
					method, path, body string
					want               int
				}{
					{"POST", path + "/disable", "", 200},
					{"POST", path + "/enable", "", 200},
					{"POST", path + "/renew", `{"ttl":"30d"}`, 200},
					{"POST", path + "/rotate", "", 200},
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
	page, err := f.svc.Keys(t.Context(), keyfold.KeysQuery{State: keyfold.KeyRevoked, Limit: 200})
	if err != nil || len(page.Keys) != workers*rounds {
		t.Errorf("%d keys are revoked, %v, want %d", len(page.Keys), err, workers*rounds)
	}
}
