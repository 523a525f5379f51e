package admin_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/wire"
)

func TestRevokeIsFinal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{}`)
	path := "/keys/" + created.Key.ID
	if code := f.verify(created.Token); code != keyfold.OutcomeAllowed {
		t.Fatalf("a new key verifies as %v", code)
	}
	k := decode[wire.Key](f.do("POST", path+"/revoke", `{"reason":"leaked"}`).wants(http.StatusOK))
	if k.State != string(keyfold.KeyRevoked) || k.RevokedAt == nil || k.RevokedReason == nil || *k.RevokedReason != "leaked" {
		t.Errorf("after revoke: %+v", k)
	}
	if code := f.verify(created.Token); code != keyfold.OutcomeRevoked {
		t.Errorf("a revoked key verifies as %v", code)
	}
	k = decode[wire.Key](f.do("POST", path+"/revoke", `{"reason":"again"}`).wants(http.StatusOK))
	if *k.RevokedReason != "leaked" {
		t.Errorf("revoking again changed the reason to %q", *k.RevokedReason)
	}
	for _, verb := range []string{"/enable", "/disable", "/renew", "/rotate"} {
		t.Run(verb, func(t *testing.T) {
			a := f.do("POST", path+verb, "").wantsProblem(http.StatusConflict, "conflict", "revoked_at")
			if detail := decode[problem](a).Detail; !strings.Contains(detail, "is revoked") {
				t.Errorf("%s: detail %q does not say that the key is revoked", verb, detail)
			}
		})
	}
}

func TestDisableAndEnable(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{"ttl":"never"}`) // the state in JSON is that of the system's clock
	path := "/keys/" + created.Key.ID
	k := decode[wire.Key](f.do("POST", path+"/disable", `{"reason":"abuse"}`).wants(http.StatusOK))
	if k.State != string(keyfold.KeyDisabled) || k.DisabledReason == nil || *k.DisabledReason != "abuse" {
		t.Errorf("after disable: %+v", k)
	}
	if code := f.verify(created.Token); code != keyfold.OutcomeDisabled {
		t.Errorf("a disabled key verifies as %v", code)
	}
	k = decode[wire.Key](f.do("POST", path+"/enable", "").wants(http.StatusOK))
	if k.State != string(keyfold.KeyActive) || k.DisabledAt != nil || k.DisabledReason != nil {
		t.Errorf("after enable: %+v", k)
	}
	if code := f.verify(created.Token); code != keyfold.OutcomeAllowed {
		t.Errorf("an enabled key verifies as %v", code)
	}
}

func TestRenew(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{"ttl":"1h"}`)
	path := "/keys/" + created.Key.ID + "/renew"
	f.clock.advance(2 * time.Hour)
	if code := f.verify(created.Token); code != keyfold.OutcomeExpired {
		t.Fatalf("an expired key verifies as %v", code)
	}
	now := f.clock.now()
	for _, test := range []struct {
		body string
		want time.Time
	}{
		{`{"ttl":"2d"}`, now.Add(48 * time.Hour)},
		{``, now.Add(15 * 24 * time.Hour)},
		{`{}`, now.Add(15 * 24 * time.Hour)},
		{`{"ttl":"1h"}`, now.Add(15 * 24 * time.Hour)}, // never shorter
		{`{"expires_at":"2026-03-02T01:00:00+01:00"}`, time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)},
		{`{"ttl":"never"}`, time.Time{}},
	} {
		t.Run(test.body, func(t *testing.T) {
			k := decode[wire.Key](f.do("POST", path, test.body).wants(http.StatusOK))
			got := time.Time{}
			if k.ExpiresAt != nil {
				got = *k.ExpiresAt
			}
			if !got.Equal(test.want) {
				t.Errorf("renew %s: expires_at %v, want %v", test.body, got, test.want)
			}
		})
	}
	if code := f.verify(created.Token); code != keyfold.OutcomeAllowed {
		t.Errorf("a renewed key verifies as %v", code)
	}
	f.do("POST", path, `{"ttl":"soon"}`).wantsProblem(422, "invalid", "ttl")
	f.do("POST", path, `{"ttl":"1d","expires_at":"2027-01-01T00:00:00Z"}`).wantsProblem(422, "invalid", "ttl")
}

func TestRotateHandsOver(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	old := f.create(`{"name":"ci","scopes":["a:b"],"ttl":"10d"}`)
	fresh := decode[wire.CreatedKey](f.do("POST", "/keys/"+old.Key.ID+"/rotate", `{"overlap":"1h","ttl":"20d"}`).wants(http.StatusCreated))
	if fresh.Key.ID == old.Key.ID || fresh.Token == old.Token || fresh.Key.Name != "ci" ||
		fresh.Key.RotatedFrom == nil || *fresh.Key.RotatedFrom != old.Key.ID || !fresh.Key.ExpiresAt.Equal(start.Add(20*24*time.Hour)) {
		t.Errorf("rotate: %+v", fresh.Key)
	}
	if before, after := f.verify(old.Token), f.verify(fresh.Token); before != keyfold.OutcomeAllowed || after != keyfold.OutcomeAllowed {
		t.Errorf("during the overlap: old %v, new %v, want both allowed", before, after)
	}
	f.do("POST", "/keys/"+old.Key.ID+"/rotate", "").wantsProblem(http.StatusConflict, "conflict", "rotated_to")
	f.clock.advance(time.Hour)
	if before, after := f.verify(old.Token), f.verify(fresh.Token); before != keyfold.OutcomeExpired || after != keyfold.OutcomeAllowed {
		t.Errorf("after the overlap: old %v, new %v, want expired and allowed", before, after)
	}
	at := f.do("POST", "/keys/"+fresh.Key.ID+"/rotate", `{"overlap":"0s"}`).wants(http.StatusCreated)
	last := decode[wire.CreatedKey](at)
	if before, after := f.verify(fresh.Token), f.verify(last.Token); before != keyfold.OutcomeRevoked || after != keyfold.OutcomeAllowed {
		t.Errorf("without overlap: old %v, new %v, want revoked and allowed", before, after)
	}
	for body, field := range map[string]string{`{"overlap":"8d"}`: "overlap", `{"overlap":"-1s"}`: "overlap", `{"overlap":1}`: "overlap", `{"ttl":"x"}`: "ttl"} {
		f.do("POST", "/keys/"+last.Key.ID+"/rotate", body).wantsProblem(422, "invalid", field)
	}
}

func TestBulk(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var ids []string
	for range 3 {
		ids = append(ids, f.create(`{"owner_id":"a","tenant":"x"}`).Key.ID)
	}
	f.create(`{"owner_id":"b","tenant":"x"}`)
	f.create(`{"owner_id":"b","tenant":"y"}`)
	type changed struct{ Changed int }
	for _, test := range []struct {
		path, body string
		want       int
	}{
		{"disable", `{"ids":["` + ids[0] + `","` + nobodyID + `"],"reason":"x"}`, 1},
		{"disable", `{"owner_id":"a"}`, 2},
		{"revoke", `{"owner_id":"b","tenant":"x"}`, 1},
		{"revoke", `{"tenant":"x","reason":"gone"}`, 3},
		{"revoke", `{"tenant":"x"}`, 0},
	} {
		t.Run(test.path, func(t *testing.T) {
			if got := decode[changed](f.do("POST", "/keys/bulk/"+test.path, test.body).wants(http.StatusOK)); got.Changed != test.want {
				t.Errorf("%s %s changed %d, want %d", test.path, test.body, got.Changed, test.want)
			}
		})
	}
	for _, verb := range []string{"revoke", "disable"} {
		path := "/keys/bulk/" + verb
		f.do("POST", path, `{}`).wantsProblem(422, "invalid", "filter")
		f.do("POST", path, ``).wantsProblem(400, "malformed_body", "")
		f.do("POST", path, `{"ids":["x"]}`).wantsProblem(422, "invalid", "ids[0]")
		f.do("POST", path, `{"ids":[]}`).wantsProblem(422, "invalid", "ids")
		f.do("POST", path, `{"owner_id":"a","reason":"\u0000"}`).wantsProblem(422, "invalid", "reason")
	}
	if left := decode[list](f.do("GET", "/keys?state=active", "")); len(left.Keys) != 1 {
		t.Errorf("%d keys are left active, want 1", len(left.Keys))
	}
}

func TestRoutesOnAKeyRefuseBadAndUnknownIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, verb := range []string{"revoke", "disable", "enable", "renew", "rotate"} {
		f.do("POST", "/keys/"+nobodyID+"/"+verb, "").wantsProblem(http.StatusNotFound, "not_found", "")
		f.do("POST", "/keys/%00/"+verb, "").wantsProblem(http.StatusUnprocessableEntity, "invalid", "id")
		f.do("POST", "/keys/short/"+verb, "").wantsProblem(http.StatusUnprocessableEntity, "invalid", "id")
	}
	for _, method := range []string{"GET", "DELETE"} {
		f.do(method, "/keys/x%2F..%2Fy", "").wantsProblem(http.StatusUnprocessableEntity, "invalid", "id")
	}
	for _, verb := range []string{"revoke", "disable"} {
		f.do("POST", "/keys/"+nobodyID+"/"+verb, `{"reason":"`+strings.Repeat("r", 257)+`"}`).wantsProblem(422, "invalid", "reason")
	}
}

func TestChangesAreWrittenUnderTheActor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{}`)
	f.do("POST", "/keys/"+created.Key.ID+"/revoke", "", "X-Request-Id: req-7").wants(http.StatusOK)
	page, err := f.svc.Audit(t.Context(), keyfold.AuditQuery{Target: keyfold.Only(created.Key.ID)})
	if err != nil || len(page.Entries) == 0 {
		t.Fatalf("Audit: %v, %v", page, err)
	}
	if e := page.Entries[0]; e.Actor != "admin" || e.IP != netip.MustParseAddr("192.0.2.1") || e.RequestID != "req-7" || e.Action != "key.revoke" {
		t.Errorf("audit entry %+v, want admin from 192.0.2.1 with req-7", e.Mutation)
	}
}

func TestStoreFailureIs503AndLogged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{}`)
	f.store.broken.Store(true)
	for _, a := range []answer{
		f.do("GET", "/keys/"+created.Key.ID, ""),
		f.do("POST", "/keys/"+created.Key.ID+"/renew", ""),
	} {
		a.wantsProblem(http.StatusServiceUnavailable, "unavailable", "")
		if a.header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		if strings.Contains(a.body, "disk") {
			t.Errorf("the answer tells the store's own error: %s", a.body)
		}
	}
	if !strings.Contains(f.log.String(), "the disk is gone") {
		t.Errorf("the log does not say what failed: %s", f.log)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	created := f.create(`{"owner_id":"a"}`)
	for range 3 {
		f.verify(created.Token)
		f.clock.advance(time.Millisecond)
	}
	f.do("POST", "/keys/"+created.Key.ID+"/disable", "").wants(http.StatusOK)
	f.verify(created.Token)
	if err := f.svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]int{
		"?key_id=" + created.Key.ID:         4,
		"?owner_id=a":                       4,
		"?owner_id=b":                       0,
		"?outcome=allowed":                  3,
		"?outcome=allowed&outcome=disabled": 4,
		"?outcome=revoked":                  0,
		"?from=2026-03-01T00:00:00Z&to=2026-03-01T11:00:00Z": 0,
	} {
		t.Run(query, func(t *testing.T) {
			got := decode[events](f.do("GET", "/usage/events"+query, "").wants(http.StatusOK))
			if len(got.Events) != want {
				t.Errorf("GET /usage/events%s: %d events, want %d", query, len(got.Events), want)
			}
		})
	}
	first := decode[events](f.do("GET", "/usage/events?limit=3&key_id="+created.Key.ID, "").wants(http.StatusOK))
	if e := first.Events[0]; e.Outcome != "disabled" || e.Route == nil || *e.Route != "GET /reports" || e.KeyID == nil || e.IP != nil {
		t.Errorf("newest event %+v", e)
	}
	second := decode[events](f.do("GET", "/usage/events?limit=3&key_id="+created.Key.ID+"&cursor="+*first.Next, "").wants(http.StatusOK))
	if len(second.Events) != 1 || second.Next != nil {
		t.Errorf("second page %+v, want the one event that is left", second)
	}

	type totals struct {
		From, To time.Time
		Counts   map[string]int64
	}
	count := decode[totals](f.do("GET", "/usage/totals?owner_id=a", "").wants(http.StatusOK))
	if count.Counts["allowed"] != 3 || count.Counts["disabled"] != 1 || len(count.Counts) != 2 {
		t.Errorf("totals %v, want 3 allowed, 1 disabled", count.Counts)
	}
	if k := decode[wire.Key](f.do("GET", "/keys/"+created.Key.ID, "")); k.Uses != 3 || k.LastUsedAt == nil {
		t.Errorf("uses %d, last used %v, want 3 and a time", k.Uses, k.LastUsedAt)
	}
	type report struct {
		By        string
		Intervals []wire.UsageInterval
	}
	days := decode[report](f.do("GET", "/usage/report?by=day&key_id="+created.Key.ID, "").wants(http.StatusOK))
	if n := len(days.Intervals); days.By != "day" || n != 31 || days.Intervals[n-1].Counts["allowed"] != 3 ||
		days.Intervals[n-1].Counts["disabled"] != 1 || days.Intervals[0].Counts == nil || days.Intervals[0].StartAt.Hour() != 0 {
		t.Errorf("report by day %+v, want 31 days with all uses on the last", days)
	}
	hours := decode[report](f.do("GET", "/usage/report?outcome=disabled", "").wants(http.StatusOK))
	if n := len(hours.Intervals); hours.By != "hour" || n != 25 || hours.Intervals[n-1].Counts["disabled"] != 1 || len(hours.Intervals[n-1].Counts) != 1 {
		t.Errorf("report by hour %+v, want 25 hours with one refusal in the last", hours)
	}
	f.do("GET", "/usage/report?by=week", "").wantsProblem(422, "invalid", "by")
	f.do("GET", "/usage/report?from=2026-01-01T00:00:00Z", "").wantsProblem(422, "invalid", "from")
	for _, path := range []string{"/usage/events", "/usage/export", "/usage/totals", "/usage/report"} {
		f.do("GET", path+"?key_id=x", "").wantsProblem(422, "invalid", "key_id")
		f.do("GET", path+"?outcome=great", "").wantsProblem(422, "invalid", "outcome")
		f.do("GET", path+"?from=x", "").wantsProblem(422, "invalid", "from")
		f.do("GET", path+"?to=x", "").wantsProblem(422, "invalid", "to")
		f.do("GET", path+"?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "").wantsProblem(422, "invalid", "from")
		f.do("GET", path+"?owner_id=a&key_id="+created.Key.ID, "").wantsProblem(422, "invalid", "owner_id")
	}
	f.do("GET", "/usage/events?limit=0", "").wantsProblem(422, "invalid", "limit")
	f.do("GET", "/usage/events?cursor=x", "").wantsProblem(422, "invalid", "cursor")
	f.do("GET", "/usage/totals?limit=3", "").wantsProblem(422, "invalid", "query")
}

// A client that fills in an owner it does not have must not reach everybody's keys.
func TestConditionThatIsGivenAndEmptyIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.do("POST", "/keys", `{"owner_id":"cust_42"}`).wants(http.StatusCreated)
	id := decode[wire.KeyPage](f.do("GET", "/keys", "").wants(http.StatusOK)).Keys[0].ID
	for _, target := range []string{
		"/keys?owner_id=", "/keys?user_id=", "/keys?tenant=&state=active", "/keys?state=", "/users?username=", "/users?email=",
		"/usage/events?key_id=", "/usage/totals?owner_id=", "/usage/report?user_id=", "/audit?target=",
	} {
		f.do("GET", target, "").wants(http.StatusUnprocessableEntity)
	}
	for _, member := range []string{"owner_id", "user_id", "tenant"} {
		for _, verb := range []string{"revoke", "disable"} {
			f.do("POST", "/keys/bulk/"+verb, `{"ids":["`+id+`"],"`+member+`":""}`).wants(http.StatusUnprocessableEntity)
			f.do("POST", "/keys/bulk/"+verb, `{"ids":["`+id+`"],"`+member+`":null}`).wants(http.StatusUnprocessableEntity)
		}
	}
	for _, none := range []string{"[]", "null"} {
		for _, verb := range []string{"revoke", "disable"} {
			f.do("POST", "/keys/bulk/"+verb, `{"ids":`+none+`,"owner_id":"cust_42"}`).wantsProblem(422, "invalid", "ids")
		}
	}
	if key, err := f.svc.Key(t.Context(), id); err != nil || !key.RevokedAt.IsZero() || !key.DisabledAt.IsZero() {
		t.Errorf("the key is %+v, %v; want it untouched", key, err)
	}
}
