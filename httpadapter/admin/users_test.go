package admin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/internal/wire"
	"github.com/keyfold/keyfold/store/memory"
)

const (
	password = "nine purple herons over the lake"
	another  = "eleven copper kettles in a row"
)

// createUser makes a user over the API.
func (f *fixture) createUser(body string) wire.User {
	f.t.Helper()
	return decode[wire.User](f.do("POST", "/users", body).wants(http.StatusCreated))
}

func (f *fixture) olga() wire.User {
	f.t.Helper()
	return f.createUser(`{"username":"Olga","email":"olga@example.com","password":"` + password + `"}`)
}

func login(name, password string) string {
	return fmt.Sprintf(`{"identifier":%q,"password":%q}`, name, password)
}

func TestUserIsCreatedReadAndListed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.do("POST", "/users", `{"username":"Olga","email":"Olga@Example.com","password":"`+password+`"}`).wants(http.StatusCreated)
	created := decode[wire.User](a)
	if created.Username == nil || *created.Username != "Olga" || !created.HasPassword || created.State != string(keyfold.UserActive) ||
		created.EmailVerifiedAt != nil || a.header.Get("ETag") != `"1"` {
		t.Errorf("created %s with ETag %s", a.body, a.header.Get("ETag"))
	}
	if strings.Contains(a.body, "herons") || strings.Contains(a.body, "argon2") {
		t.Errorf("the answer tells of the password: %s", a.body)
	}
	f.createUser(`{"email":"pavel@example.com"}`)
	if read := f.do("GET", "/users/"+created.ID, "").wants(http.StatusOK); read.body != a.body {
		t.Errorf("read %s, created %s", read.body, a.body)
	}
	for query, want := range map[string]int{"": 2, "?username=OLGA": 1, "?email=olga@example.com": 1, "?username=nobody": 0, "?state=disabled": 0, "?state=active": 2} {
		t.Run(query, func(t *testing.T) {
			if page := decode[wire.UserPage](f.do("GET", "/users"+query, "").wants(http.StatusOK)); len(page.Users) != want || page.Users == nil {
				t.Errorf("GET /users%s lists %d users, want %d", query, len(page.Users), want)
			}
		})
	}
	f.do("GET", "/users?state=gone", "").wantsProblem(http.StatusUnprocessableEntity, "invalid", "state")
	f.do("GET", "/users/"+nobodyID, "").wantsProblem(http.StatusNotFound, "not_found", "")
}

func TestUsersArePagedToTheEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 5 {
		f.createUser(fmt.Sprintf(`{"username":"user-%d"}`, i))
		f.clock.advance(time.Second)
	}
	seen := map[string]bool{}
	target := "/users?limit=2"
	for range 4 {
		page := decode[wire.UserPage](f.do("GET", target, "").wants(http.StatusOK))
		for _, user := range page.Users {
			seen[*user.Username] = true
		}
		if page.Next == nil {
			break
		}
		target = "/users?limit=2&cursor=" + *page.Next
	}
	if len(seen) != 5 {
		t.Errorf("paging showed %d users, want 5: %v", len(seen), seen)
	}
}

func TestTakenNamesAreConflictsThatSayWhich(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.olga()
	for _, row := range [][3]string{
		{`{"username":"OLGA"}`, "username", "The username is taken."},
		{`{"email":"OLGA@example.com"}`, "email", "The e-mail address is taken."},
	} {
		a := f.do("POST", "/users", row[0]).wantsProblem(http.StatusConflict, "conflict", row[1])
		if got := decode[problem](a).Detail; got != row[2] {
			t.Errorf("%s: detail %q, want %q", row[0], got, row[2])
		}
	}
}

func TestBadUsersAreRefusedByField(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for body, field := range map[string]string{
		`{}`:                                       "username",
		`{"username":"../x"}`:                      "username",
		`{"username":"user@host"}`:                 "username",
		`{"email":"not an address"}`:               "email",
		`{"username":"olga","password":"short"}`:   "password",
		`{"username":"olga","pasword":"mistyped"}`: "body",
		`{"username":"olga","password":"` + strings.Repeat("x1", 300) + `"}`: "password",
	} {
		t.Run(body, func(t *testing.T) {
			a := f.do("POST", "/users", body).wantsProblem(http.StatusUnprocessableEntity, "invalid", field)
			if strings.Contains(a.body, "short") {
				t.Errorf("the answer repeats the password: %s", a.body)
			}
		})
	}
	if page, err := f.svc.Users(t.Context(), keyfold.UserQuery{}); err != nil || len(page.Users) != 0 {
		t.Errorf("%d users were stored (%v)", len(page.Users), err)
	}
}

func TestUpdateOfUserNeedsItsVersion(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user := f.olga()
	path := "/users/" + user.ID
	f.do("PATCH", path, `{"username":"olga2"}`).wantsProblem(http.StatusPreconditionRequired, "precondition_required", "")
	f.do("PATCH", path, `{"username":"olga2"}`, `If-Match: "7"`).wantsProblem(http.StatusPreconditionFailed, "stale", "")
	changed := decode[wire.User](f.do("PATCH", path, `{"username":"olga2","email":null}`, `If-Match: "1"`).wants(http.StatusOK))
	if *changed.Username != "olga2" || changed.Email != nil || changed.Version != 2 {
		t.Errorf("changed to %+v", changed)
	}
	f.do("PATCH", path, `{"username":null,"version":2}`).wantsProblem(http.StatusUnprocessableEntity, "invalid", "username")
}

func TestAuthenticateTellsNoReason(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user := f.olga()
	f.createUser(`{"username":"without"}`)
	f.createUser(`{"username":"disabled","password":"` + password + `"}`)
	page, err := f.svc.Users(t.Context(), keyfold.UserQuery{Username: keyfold.Only("disabled")})
	if err != nil {
		t.Fatal(err)
	}
	f.do("POST", "/users/"+page.Users[0].ID+"/disable", `{"reason":"left"}`).wants(http.StatusOK)
	for _, name := range []string{"olga", "OLGA", "olga@example.com"} {
		t.Run(name, func(t *testing.T) {
			if got := decode[wire.User](f.do("POST", "/users/authenticate", login(name, password)).wants(http.StatusOK)); got.ID != user.ID {
				t.Errorf("%s is %+v", name, got)
			}
		})
	}
	answers := map[string]bool{}
	for _, body := range []string{
		login("olga", another), login("nobody", password), login("without", ""), login("disabled", password),
		login("disabled", another), login("../x", password), login("olga", strings.Repeat("x", 5000)),
	} {
		answers[f.do("POST", "/users/authenticate", body).wantsProblem(http.StatusUnprocessableEntity, "invalid_login", "").body] = true
	}
	if len(answers) != 1 {
		t.Errorf("refusals can be told apart: %v", answers)
	}
	f.do("POST", "/users/authenticate", `{"identifier":"olga","password":"x","ip":"nowhere"}`).
		wantsProblem(http.StatusUnprocessableEntity, "invalid", "ip")
}

func TestAuthenticateIsThrottled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.olga()
	for range 5 {
		f.do("POST", "/users/authenticate", login("olga", another)).wantsProblem(http.StatusUnprocessableEntity, "invalid_login", "")
	}
	a := f.do("POST", "/users/authenticate", login("olga", password)).wantsProblem(http.StatusTooManyRequests, "rate_limited", "")
	if got := a.header.Get("Retry-After"); got != "30" {
		t.Errorf("Retry-After %q, want 30", got)
	}
	f.clock.advance(30 * time.Second)
	f.do("POST", "/users/authenticate", login("olga", password)).wants(http.StatusOK)
}

func TestPasswordIsReplaced(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user := f.olga()
	f.do("POST", "/users/"+user.ID+"/password", `{"password":"short"}`).wantsProblem(http.StatusUnprocessableEntity, "invalid", "password")
	f.do("POST", "/users/"+user.ID+"/password", `{"password":"`+another+`"}`).wants(http.StatusNoContent)
	f.do("POST", "/users/authenticate", login("olga", password)).wantsProblem(http.StatusUnprocessableEntity, "invalid_login", "")
	f.do("POST", "/users/authenticate", login("olga", another)).wants(http.StatusOK)
}

// loginFrom is the body of a log-in from an address.
func loginFrom(name, password, address string) string {
	return `{"identifier":"` + name + `","password":"` + password + `","ip":"` + address + `"}`
}

// guesses makes ten wrong log-ins from ten networks, which keep the name waiting.
func (f *fixture) guesses(name string) {
	f.t.Helper()
	for i := range 10 {
		f.do("POST", "/users/authenticate", loginFrom(name, another, fmt.Sprintf("198.18.%d.1", i))).
			wantsProblem(http.StatusUnprocessableEntity, "invalid_login", "")
	}
}

func TestUnlockLiftsTheWaitsOfAUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user := f.olga()
	f.guesses("olga")
	right := loginFrom("olga", password, "203.0.113.9")
	f.do("POST", "/users/authenticate", right).wantsProblem(http.StatusTooManyRequests, "rate_limited", "")
	unlock := "/users/" + user.ID + "/unlock"
	f.do("POST", unlock, `{"ip":"home"}`).wantsProblem(http.StatusUnprocessableEntity, "invalid", "ip")
	f.do("POST", "/users/"+nobodyID+"/unlock", "").wantsProblem(http.StatusNotFound, "not_found", "")
	f.do("POST", "/users/authenticate", right).wantsProblem(http.StatusTooManyRequests, "rate_limited", "")
	f.do("POST", unlock, "").wants(http.StatusNoContent)
	f.do("POST", "/users/authenticate", loginFrom("olga", password, "203.0.114.9")).wants(http.StatusOK)
	f.do("POST", unlock, `{"ip":"203.0.113.9"}`).wants(http.StatusNoContent)
	f.guesses("olga")
	f.do("POST", "/users/authenticate", right).wants(http.StatusOK)
	page := decode[wire.AuditPage](f.do("GET", "/audit?target="+user.ID, "").wants(http.StatusOK))
	if len(page.Entries) != 3 || page.Entries[0].Action != "user.unlock" || string(page.Entries[0].After) != `{"known_address":"203.0.113.9/32"}` {
		t.Errorf("the log is %+v", page.Entries)
	}
}

func TestOneTimeTokensTakeTheAddressOfTheUser(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user := f.olga()
	for i, row := range []struct{ purpose, route, more string }{
		{`"verify_email"`, "verify-email", ""},
		{`"change_email","email":"olga@example.org"`, "change-email", ""},
		{`"reset_password"`, "reset-password", `,"password":"` + password + `"`},
	} {
		f.clock.advance(24 * time.Hour)
		made := decode[admin.CreatedOneTimeToken](f.do("POST", "/users/"+user.ID+"/one-time-tokens", `{"purpose":`+row.purpose+`}`).wants(http.StatusCreated))
		use := func(address string) answer {
			return f.do("POST", "/one-time-tokens/"+row.route, `{"token":"`+made.Token+`","ip":"`+address+`"`+row.more+`}`)
		}
		use("home").wantsProblem(http.StatusUnprocessableEntity, "invalid", "ip")
		address := fmt.Sprintf("203.0.113.%d", i)
		use(address).wants(http.StatusOK)
		f.guesses("olga")
		f.do("POST", "/users/authenticate", loginFrom("olga", password, "203.0.113.99")).wantsProblem(http.StatusTooManyRequests, "rate_limited", "")
		f.do("POST", "/users/authenticate", loginFrom("olga", password, address)).wants(http.StatusOK)
	}
}

func TestKnownAndUnknownNamesGetTheSameAnswersAtAnAddress(t *testing.T) {
	// Mutation tried: attempts from a known address that count apart are 422 for
	// olga where they are 429 for a name without a user.
	t.Parallel()
	const office = "192.0.2.1"
	answers := func(name string) (seen []string) {
		f := newFixture(t)
		f.olga()
		f.do("POST", "/users/authenticate", loginFrom("olga", password, office)).wants(http.StatusOK)
		try := func(name string) {
			a := f.do("POST", "/users/authenticate", loginFrom(name, another, office))
			seen = append(seen, fmt.Sprint(a.status, a.header, a.body))
		}
		for i := range 8 {
			try(fmt.Sprint("stranger", i))
			try(name)
			f.clock.advance(10 * time.Second)
		}
		return seen
	}
	known, unknown := answers("olga"), answers("nobody")
	for i := range known {
		if known[i] != unknown[i] {
			t.Errorf("attempt %d: known\n\t%s\nunknown\n\t%s", i+1, known[i], unknown[i])
		}
	}
}

func TestUsersKeysStopAndGoWithThem(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user := f.olga()
	created := f.create(`{"user_id":"` + user.ID + `"}`)
	if created.Key.UserID == nil || *created.Key.UserID != user.ID {
		t.Errorf("the key belongs to %v", created.Key.UserID)
	}
	if code := f.verify(created.Token); code != keyfold.OutcomeAllowed {
		t.Fatalf("the key of an active user verifies as %v", code)
	}
	f.do("POST", "/users/"+user.ID+"/disable", "").wants(http.StatusOK)
	if code := f.verify(created.Token); code != keyfold.OutcomeUserDisabled {
		t.Errorf("the key of a disabled user verifies as %v", code)
	}
	if key := decode[wire.Key](f.do("GET", "/keys/"+created.Key.ID, "").wants(http.StatusOK)); key.State != string(keyfold.KeyUserDisabled) {
		t.Errorf("the key of a disabled user has the state %q, want %q", key.State, keyfold.KeyUserDisabled)
	}
	for state, want := range map[string]int{"user_disabled": 1, "active": 0, "disabled": 0} {
		t.Run(state, func(t *testing.T) {
			if keys := decode[list](f.do("GET", "/keys?user_id="+user.ID+"&state="+state, "").wants(http.StatusOK)); len(keys.Keys) != want {
				t.Errorf("%d keys of a disabled user have the state %s, want %d", len(keys.Keys), state, want)
			}
		})
	}
	late := f.create(`{"user_id":"` + user.ID + `"}`).Key
	if late.State != string(keyfold.KeyUserDisabled) {
		t.Errorf("a key that was created for a disabled user has the state %q, want %q", late.State, keyfold.KeyUserDisabled)
	}
	f.do("DELETE", "/keys/"+late.ID, "").wants(http.StatusNoContent)
	f.do("POST", "/users/"+user.ID+"/enable", "").wants(http.StatusOK)
	if code := f.verify(created.Token); code != keyfold.OutcomeAllowed {
		t.Errorf("the key of an enabled user verifies as %v", code)
	}
	if err := f.svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(time.Second)
	totals := decode[wire.UsageTotals](f.do("GET", "/usage/totals?user_id="+user.ID, "").wants(http.StatusOK))
	if totals.Counts["allowed"] != 2 || totals.Counts["user_disabled"] != 1 {
		t.Errorf("the user's usage is %v, want 2 allowed and 1 user_disabled", totals.Counts)
	}
	if keys := decode[list](f.do("GET", "/keys?user_id="+user.ID, "").wants(http.StatusOK)); len(keys.Keys) != 1 {
		t.Errorf("the user has %d keys, want 1", len(keys.Keys))
	}
	f.do("DELETE", "/users/"+user.ID, "").wants(http.StatusNoContent)
	if code := f.verify(created.Token); code != keyfold.OutcomeUnknown {
		t.Errorf("the key of a deleted user verifies as %v", code)
	}
	f.do("POST", "/keys", `{"user_id":"`+user.ID+`"}`).wantsProblem(http.StatusUnprocessableEntity, "invalid", "user_id")
	f.do("POST", "/keys", `{"user_id":"somebody"}`).wantsProblem(http.StatusUnprocessableEntity, "invalid", "user_id")
}

func TestOneTimeTokensWorkOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user := f.olga()
	key := f.create(`{"user_id":"` + user.ID + `"}`)
	make := func(body string) admin.CreatedOneTimeToken {
		return decode[admin.CreatedOneTimeToken](f.do("POST", "/users/"+user.ID+"/one-time-tokens", body).wants(http.StatusCreated))
	}
	use := func(route, body string) answer { return f.do("POST", "/one-time-tokens/"+route, body) }
	token := func(o admin.CreatedOneTimeToken) string { return `"token":"` + o.Token + `"` }

	verify := make(`{"purpose":"verify_email"}`)
	if verify.To != "olga@example.com" || verify.UserID != user.ID || !verify.ExpiresAt.Equal(start.Add(24*time.Hour)) {
		t.Errorf("made %+v", verify)
	}
	use("change-email", `{`+token(verify)+`}`).wantsProblem(http.StatusUnprocessableEntity, "invalid_one_time_token", "")
	if got := decode[wire.User](use("verify-email", `{`+token(verify)+`}`).wants(http.StatusOK)); got.EmailVerifiedAt == nil {
		t.Error("the address is not verified")
	}
	use("verify-email", `{`+token(verify)+`}`).wantsProblem(http.StatusUnprocessableEntity, "invalid_one_time_token", "")

	change := make(`{"purpose":"change_email","email":"olga@example.org"}`)
	if got := decode[wire.User](use("change-email", `{`+token(change)+`}`).wants(http.StatusOK)); *got.Email != "olga@example.org" {
		t.Errorf("the address is %s", *got.Email)
	}

	reset := make(`{"purpose":"reset_password"}`)
	use("reset-password", `{`+token(reset)+`,"password":"short"}`).wantsProblem(http.StatusUnprocessableEntity, "invalid", "password")
	use("reset-password", `{`+token(reset)+`,"password":"`+another+`","revoke_keys":true}`).wants(http.StatusOK)
	f.do("POST", "/users/authenticate", login("olga", another)).wants(http.StatusOK)
	if code := f.verify(key.Token); code != keyfold.OutcomeRevoked {
		t.Errorf("after a reset that revokes keys the key verifies as %v", code)
	}
	for body, field := range map[string]string{
		`{"purpose":"anything"}`:                             "purpose",
		`{"purpose":"change_email"}`:                         "email",
		`{"purpose":"verify_email","email":"a@example.com"}`: "email",
	} {
		f.do("POST", "/users/"+user.ID+"/one-time-tokens", body).wantsProblem(http.StatusUnprocessableEntity, "invalid", field)
	}
}

func TestSendingATokenTellsNobodyWhoExists(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.olga()
	send := func(login string) string {
		a := f.do("POST", "/one-time-tokens/send", `{"purpose":"reset_password","identifier":"`+login+`"}`).wants(http.StatusAccepted)
		return fmt.Sprint(a.header) + a.body
	}
	if known, unknown := send("olga"), send("nobody"); known != unknown {
		t.Errorf("known %q, unknown %q", known, unknown)
	}
	if mail := <-f.outbox; mail.To != "olga@example.com" || mail.Purpose != keyfold.PurposeResetPassword {
		t.Errorf("mailed %+v", mail)
	}
	f.do("POST", "/one-time-tokens/send", `{"purpose":"change_email","identifier":"olga"}`).wantsProblem(http.StatusUnprocessableEntity, "invalid", "purpose")
}

func TestSendingWithoutAMailerIsNotImplemented(t *testing.T) {
	t.Parallel()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Close(context.Background()) })
	f := newFixture(t)
	if f.handler, err = admin.Handler(svc, admin.Options{Secret: secret}); err != nil {
		t.Fatal(err)
	}
	f.do("POST", "/one-time-tokens/send", `{"purpose":"reset_password","identifier":"olga"}`).wantsProblem(http.StatusNotImplemented, "no_mailer", "")
}

func TestAuditTellsWhoChangedWhat(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	user := f.olga()
	f.do("POST", "/users/"+user.ID+"/password", `{"password":"`+another+`"}`, "X-Request-Id: r-1").wants(http.StatusNoContent)
	f.create(`{}`)
	a := f.do("GET", "/audit?target="+user.ID, "").wants(http.StatusOK)
	page := decode[wire.AuditPage](a)
	if len(page.Entries) != 2 || page.Entries[0].Action != "user.set_password" || page.Entries[1].Action != "user.create" {
		t.Fatalf("the log is %s", a.body)
	}
	if e := page.Entries[0]; e.Actor == nil || *e.Actor != "admin" || e.RequestID == nil || *e.RequestID != "r-1" {
		t.Errorf("the entry is %+v", e)
	}
	var after map[string]any
	if err := json.Unmarshal(page.Entries[1].After, &after); err != nil || after["username"] != "Olga" {
		t.Errorf("after is %s", page.Entries[1].After)
	}
	for _, word := range []string{"herons", "kettles", "argon2"} {
		t.Run(word, func(t *testing.T) {
			if strings.Contains(a.body, word) {
				t.Errorf("the log holds %q", word)
			}
		})
	}
	if all := decode[wire.AuditPage](f.do("GET", "/audit?limit=2", "").wants(http.StatusOK)); len(all.Entries) != 2 || all.Next == nil {
		t.Errorf("the first page is %+v", all)
	}
}
