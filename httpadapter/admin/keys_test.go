package admin_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/wire"
)

func TestCreateReturnsTheTokenAndEveryField(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.do("POST", "/keys", `{"name":"ci","notes":"line\nline","owner_id":"cust_42","tenant":"eu","scopes":["reports:read"],
		"networks":["192.0.2.0/24"],"metadata":{"plan":"pro"},"ttl":"1d12h","idle_timeout":"30d","environment":"live"}`).wants(http.StatusCreated)
	created := decode[wire.CreatedKey](a)
	if code := f.verify(created.Token); code != keyfold.OutcomeIP { // good, but from nowhere
		t.Errorf("the new token verifies as %v, want ip", code)
	}
	k := created.Key
	if !strings.HasPrefix(created.Token, "kf_live_"+k.ID+"_") {
		t.Errorf("the token does not begin with the key's head and id")
	}
	if k.Name != "ci" || k.Notes != "line\nline" || k.OwnerID != "cust_42" || k.Tenant != "eu" || k.Environment != "live" ||
		k.Version != 1 || k.Uses != 0 || k.LastUsedAt != nil || k.RevokedAt != nil ||
		!slices.Equal(k.Scopes, []string{"reports:read"}) || !slices.Equal(k.Networks, []string{"192.0.2.0/24"}) ||
		!maps.Equal(k.Metadata, map[string]string{"plan": "pro"}) {
		t.Errorf("created %+v", k)
	}
	if k.ExpiresAt == nil || !k.ExpiresAt.Equal(start.Add(36*time.Hour)) {
		t.Errorf("expires_at %v, want 36 hours from now", k.ExpiresAt)
	}
	if k.IdleTimeout == nil || *k.IdleTimeout != "30d" {
		t.Errorf("idle_timeout %v, want 30d", k.IdleTimeout)
	}
	if got := a.header.Get("ETag"); got != `"1"` {
		t.Errorf("ETag %q, want \"1\"", got)
	}
}

func TestWhatThereIsNoneOfIsNull(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{"ttl":"never"}`)
	var fields map[string]any
	if err := json.Unmarshal([]byte(f.do("GET", "/keys/"+created.Key.ID, "").wants(http.StatusOK).body), &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"expires_at", "idle_timeout", "disabled_at", "disabled_reason", "revoked_at", "revoked_reason",
		"rotated_from", "rotated_to", "last_used_at",
	} {
		t.Run(name, func(t *testing.T) {
			if value, ok := fields[name]; !ok || value != nil {
				t.Errorf("%s is %v (there: %v), want null", name, value, ok)
			}
		})
	}
	for name, want := range map[string]string{"scopes": "[]", "networks": "[]", "metadata": "{}"} {
		t.Run(name, func(t *testing.T) {
			if got, _ := json.Marshal(fields[name]); string(got) != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		})
	}
}

func TestCreateRefusesBadFields(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, test := range []struct{ body, field string }{
		{`{"name":"a\u0000b"}`, "name"},
		{`{"name":"` + strings.Repeat("n", 129) + `"}`, "name"},
		{`{"name":7}`, "name"},
		{`{"scopes":["non sense"]}`, "scopes[0]"},
		{`{"scopes":["a:b",null]}`, "scopes[1]"},
		{`{"scopes":"a:b"}`, "scopes"},
		{`{"scopes":[{"a":1}]}`, "scopes"},
		{`{"networks":["192.0.2.1/24"]}`, "networks[0]"},
		{`{"networks":["10.0.0.0/8","here"]}`, "networks[1]"},
		{`{"metadata":{"a":null}}`, "metadata"},
		{`{"metadata":{"a":1}}`, "metadata"},
		{`{"metadata":["a"]}`, "metadata"},
		{`{"ttl":"0s"}`, "ttl"},
		{`{"ttl":"-1ns"}`, "ttl"},
		{`{"ttl":"15"}`, "ttl"},
		{`{"ttl":15}`, "ttl"},
		{`{"ttl":"1d","expires_at":"2027-01-01T00:00:00Z"}`, "ttl"},
		{`{"ttl":"999999d"}`, "ttl"},
		{`{"expires_at":"tomorrow"}`, "expires_at"},
		{`{"expires_at":"2020-01-01T00:00:00Z"}`, "expires_at"},
		{`{"expires_at":"0001-01-01T00:00:00Z"}`, "expires_at"},
		{`{"idle_timeout":"1s"}`, "idle_timeout"},
		{`{"idle_timeout":"0s"}`, "idle_timeout"},
		{`{"environment":"LIVE"}`, "environment"},
	} {
		f.do("POST", "/keys", test.body).wantsProblem(http.StatusUnprocessableEntity, "invalid", test.field)
	}
	if got := f.count(); got != 0 {
		t.Errorf("%d keys are stored, want none", got)
	}
}

func TestNullIsAsIfAFieldWereNotThere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{"name":null,"scopes":null,"metadata":null,"idle_timeout":null}`)
	if k := created.Key; k.ExpiresAt == nil || !k.ExpiresAt.Equal(start.Add(15*24*time.Hour)) {
		t.Errorf("expires_at %v, want the default of 15 days", k.ExpiresAt)
	}
}

// In an answer null means never. A client that writes an empty pointer must get
// neither a key without an end nor, unnoticed, one of 15 days.
func TestEndOfAKeyIsNeverNull(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.create(`{}`).Key.ID
	for _, member := range []string{"ttl", "expires_at"} {
		for _, path := range []string{"/keys", "/keys/" + id + "/renew", "/keys/" + id + "/rotate"} {
			f.do("POST", path, `{"`+member+`":null}`).wantsProblem(422, "invalid", member)
		}
	}
	if got := f.count(); got != 1 {
		t.Errorf("%d keys are stored, want 1", got)
	}
}

func TestTimesAndLimitsAreOfOneForm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, bad := range []string{"2027-01-01T00:00:00,5Z", "2027-01-01T00:00:00+24:00", "2027-01-01T0:00:00Z", "2027-01-01", ""} {
		f.do("POST", "/keys", `{"expires_at":"`+bad+`"}`).wantsProblem(422, "invalid", "expires_at")
		if bad != "" {
			f.do("GET", "/keys?expiring_before="+url.QueryEscape(bad), "").wantsProblem(422, "invalid", "expiring_before")
		}
	}
	for _, bad := range []string{"%2B10", "-1", "1e1", "%2010", "0x10", "1_0", "010", "0"} {
		f.do("GET", "/keys?limit="+bad, "").wantsProblem(422, "invalid", "limit")
	}
	if got := f.count(); got != 0 {
		t.Errorf("%d keys are stored, want none", got)
	}
}

func TestListFiltersAndPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for range 3 {
		f.create(`{"owner_id":"a","tenant":"x","ttl":"never"}`)
		f.clock.advance(time.Second)
	}
	f.create(`{"owner_id":"b","tenant":"x","ttl":"1h"}`)
	f.clock.advance(time.Second)
	gone := f.create(`{"owner_id":"b","tenant":"y"}`)
	f.do("POST", "/keys/"+gone.Key.ID+"/revoke", "").wants(http.StatusOK)
	for query, want := range map[string]int{
		"":                                      5,
		"?owner_id=a":                           3,
		"?tenant=x":                             4,
		"?owner_id=b&tenant=x":                  1,
		"?state=revoked":                        1,
		"?state=active":                         4,
		"?owner_id=nobody":                      0,
		"?expiring_before=2026-03-02T00:00:00Z": 1,
	} {
		t.Run(query, func(t *testing.T) {
			if got := decode[list](f.do("GET", "/keys"+query, "").wants(http.StatusOK)); len(got.Keys) != want {
				t.Errorf("GET /keys%s: %d keys, want %d", query, len(got.Keys), want)
			}
		})
	}
	seen, next := map[string]bool{}, ""
	for pages := 0; ; pages++ {
		page := decode[list](f.do("GET", "/keys?limit=2&cursor="+next, "").wants(http.StatusOK))
		for _, key := range page.Keys {
			if seen[key.ID] {
				t.Errorf("key %s is on two pages", key.ID)
			}
			seen[key.ID] = true
		}
		if page.Next == nil {
			break
		}
		if next = *page.Next; pages > 5 {
			t.Fatal("the list has no end")
		}
	}
	if len(seen) != 5 {
		t.Errorf("paging found %d keys, want 5", len(seen))
	}
}

func TestListRefusesBadQueries(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, test := range []struct {
		query  string
		status int
		code   string
		field  string
	}{
		{"?limit=0", 422, "invalid", "limit"},
		{"?limit=201", 422, "invalid", "limit"},
		{"?limit=x", 422, "invalid", "limit"},
		{"?cursor=x", 422, "invalid", "cursor"},
		{"?state=gone", 422, "invalid", "state"},
		{"?expiring_before=soon", 422, "invalid", "expiring_before"},
		{"?expiring_before=0001-01-01T00:00:00Z", 422, "invalid", "expiring_before"},
		{"?owner_id=%FF", 422, "invalid", "owner_id"},
		{"?owner_id=a%00", 422, "invalid", "owner_id"},
		{"?owner=a", 422, "invalid", "query"},
		{"?owner_id=a&owner_id=b", 422, "invalid", "owner_id"},
		{"?owner_id=%zz", 400, "malformed_query", ""},
	} {
		f.do("GET", "/keys"+test.query, "").wantsProblem(test.status, test.code, test.field)
	}
}

func TestReadAndDelete(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{"name":"ci"}`)
	path := "/keys/" + created.Key.ID
	a := f.do("GET", path, "").wants(http.StatusOK)
	if got := decode[wire.Key](a); got.ID != created.Key.ID || got.Name != "ci" || a.header.Get("ETag") != `"1"` {
		t.Errorf("GET: %+v, ETag %q", got, a.header.Get("ETag"))
	}
	if a := f.do("DELETE", path, "").wants(http.StatusNoContent); a.body != "" {
		t.Errorf("DELETE answers %q, want nothing", a.body)
	}
	f.do("GET", path, "").wantsProblem(http.StatusNotFound, "not_found", "")
	f.do("DELETE", path, "").wantsProblem(http.StatusNotFound, "not_found", "")
	if code := f.verify(created.Token); code != keyfold.OutcomeUnknown {
		t.Errorf("the deleted key verifies as %v, want unknown", code)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{"name":"old","notes":"kept","owner_id":"a","scopes":["a:b"],"metadata":{"k":"v"},"idle_timeout":"1h"}`)
	path := "/keys/" + created.Key.ID

	a := f.do("PATCH", path, `{"name":"new","scopes":["c:d"]}`, `If-Match: "1"`).wants(http.StatusOK)
	k := decode[wire.Key](a)
	if k.Name != "new" || k.Notes != "kept" || k.OwnerID != "a" || !slices.Equal(k.Scopes, []string{"c:d"}) || k.Version != 2 ||
		a.header.Get("ETag") != `"2"` {
		t.Errorf("after the first PATCH: %+v", k)
	}
	k = decode[wire.Key](f.do("PATCH", path,
		`{"version":2,"owner_id":null,"scopes":null,"metadata":null,"idle_timeout":null,"networks":["10.0.0.0/8"]}`).wants(http.StatusOK))
	if k.Name != "new" || k.OwnerID != "" || len(k.Scopes) != 0 || len(k.Metadata) != 0 || k.IdleTimeout != nil || len(k.Networks) != 1 {
		t.Errorf("null did not empty the fields: %+v", k)
	}

	for _, test := range []struct {
		name, body, ifMatch string
		status              int
		code, field         string
	}{
		{"no version", `{"name":"x"}`, "", 428, "precondition_required", ""},
		{"stale If-Match", `{"name":"x"}`, `"1"`, 412, "stale", ""},
		{"stale version", `{"name":"x","version":1}`, "", 412, "stale", ""},
		{"any version", `{"name":"x"}`, `*`, 422, "invalid", "If-Match"},
		{"weak tag", `{"name":"x"}`, `W/"3"`, 422, "invalid", "If-Match"},
		{"list of tags", `{"name":"x"}`, `"2", "3"`, 422, "invalid", "If-Match"},
		{"no quotes", `{"name":"x"}`, `3`, 422, "invalid", "If-Match"},
		{"leading zero", `{"name":"x"}`, `"03"`, 422, "invalid", "If-Match"},
		{"two versions", `{"name":"x","version":2}`, `"3"`, 422, "invalid", "version"},
		{"version 0", `{"name":"x","version":0}`, "", 422, "invalid", "version"},
		{"version null", `{"name":"x","version":null}`, "", 422, "invalid", "version"},
		{"version text", `{"name":"x","version":"3"}`, "", 422, "invalid", "version"},
		{"version with a fraction", `{"name":"x","version":3.5}`, "", 422, "invalid", "version"},
		{"bad name", `{"name":"\u0007"}`, `"3"`, 422, "invalid", "name"},
		{"what cannot change", `{"expires_at":"2027-01-01T00:00:00Z"}`, `"3"`, 422, "invalid", "body"},
		{"bad network", `{"networks":["x"]}`, `"3"`, 422, "invalid", "networks[0]"},
		{"no body", ``, `"3"`, 400, "malformed_body", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.do("PATCH", path, test.body, "If-Match:"+test.ifMatch).wantsProblem(test.status, test.code, test.field)
		})
	}
	f.do("PATCH", "/keys/"+nobodyID, `{"name":"x"}`, `If-Match: "1"`).wantsProblem(http.StatusNotFound, "not_found", "")
	f.do("POST", path+"/revoke", "").wants(http.StatusOK)
	f.do("PATCH", path, `{"name":"x"}`, `If-Match: "4"`).wantsProblem(http.StatusConflict, "conflict", "revoked_at")
	if k := decode[wire.Key](f.do("GET", path, "")); k.Name != "new" {
		t.Errorf("a refused PATCH changed the name to %q", k.Name)
	}
}
