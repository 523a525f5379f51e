package admin_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
)

// A handler of the host that writes json.Marshal of a record answers as this API does.
func TestAnswersAreTheJSONOfTheRecords(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	same := func(target string, record any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.do("GET", target, "").wants(http.StatusOK); got.body != string(want)+"\n" {
			t.Errorf("GET %s\n got %s\nwant %s", target, got.body, want)
		}
	}
	ctx := t.Context()

	var created keyfold.CreatedKey
	answer := f.do("POST", "/keys", `{"name":"a <b> & c","scopes":["reports:read"],"networks":["192.0.2.0/24"],"metadata":{"plan":"gold"},"idle_timeout":"30d"}`).wants(http.StatusCreated)
	if err := json.Unmarshal([]byte(answer.body), &created); err != nil {
		t.Fatal(err)
	}
	key, err := f.svc.Key(ctx, created.Key.ID)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := json.Marshal(keyfold.CreatedKey{Key: key, Token: created.Token}); err != nil || string(again)+"\n" != answer.body {
		t.Errorf("POST /keys\n got %s\nwant %s, %v", answer.body, again, err)
	}
	user, err := f.svc.CreateUser(ctx, keyfold.NewUser{Username: "olga", Email: "olga@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.svc.Verify(ctx, keyfold.Request{Token: created.Token.Reveal()}); err == nil {
		t.Fatal("a key that is bound to a network was used from nowhere")
	}
	if err := f.svc.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := f.svc.DisableUser(ctx, user.ID, "left"); err != nil {
		t.Fatal(err)
	}
	if err := f.svc.RevokeKey(ctx, created.Key.ID, "leaked"); err != nil {
		t.Fatal(err)
	}

	key, err = f.svc.Key(ctx, created.Key.ID)
	same("/keys/"+key.ID, key, err)
	keys, err := f.svc.Keys(ctx, keyfold.KeyQuery{})
	same("/keys", keys, err)
	keys, err = f.svc.Keys(ctx, keyfold.KeyQuery{OwnerID: keyfold.Only("nobody")})
	same("/keys?owner_id=nobody", keys, err)
	user, err = f.svc.User(ctx, user.ID)
	same("/users/"+user.ID, user, err)
	users, err := f.svc.Users(ctx, keyfold.UserQuery{})
	same("/users", users, err)
	events, err := f.svc.Usage(ctx, keyfold.UsageQuery{})
	same("/usage/events", events, err)
	if len(events.Events) == 0 {
		t.Error("there is no event to compare")
	}
	totals, err := f.svc.UsageTotals(ctx, keyfold.UsageQuery{})
	same("/usage/totals", totals, err)
	report, err := f.svc.UsageReport(ctx, keyfold.UsageReportQuery{By: keyfold.UsageByDay})
	same("/usage/report?by=day", report, err)
	entries, err := f.svc.Audit(ctx, keyfold.AuditQuery{})
	same("/audit", entries, err)
	if body, err := json.Marshal(entries); err != nil || !strings.Contains(string(body), `"after":{"disabled_at":"2`) {
		t.Errorf("the audit log has no documents: %s, %v", body, err)
	}
}
