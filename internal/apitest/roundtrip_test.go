package apitest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
)

// unknownID is not the id of any key or user.
const unknownID = "0000000000000000"

// call is a request that the round trip sends, and the status it wants.
type call struct {
	operation string
	id        string // stands for {id} in the path
	body      string // "" is the example of the document; "-" is none
	query     string
	header    http.Header
	from      string // the address; "" is one that has done nothing wrong
	stranger  bool   // without the secret
	want      int
}

// roundTrip calls operations and checks each answer against the document.
type roundTrip struct {
	t      *testing.T
	doc    *document
	server *server
	given  map[string]map[int]bool // the statuses that each operation answered with
	codes  map[string]bool         // of the problems that any operation answered with
}

func newRoundTrip(t *testing.T) *roundTrip {
	s := newServer(t, noMail{})
	return &roundTrip{t: t, server: s, doc: describe(t, s.handler), given: map[string]map[int]bool{}, codes: map[string]bool{}}
}

// do returns the body of the answer.
func (r *roundTrip) do(c call) []byte {
	r.t.Helper()
	op, ok := r.doc.operations[c.operation]
	if !ok {
		r.t.Fatalf("the document has no operation %s", c.operation)
	}
	request := r.request(op, c)
	// What should work has to be what the document says; what should not may be
	// anything.
	if c.want < 300 {
		if ok, errs := r.doc.validator.ValidateHttpRequest(request); !ok {
			r.t.Errorf("%s: the request is not as described: %s", c.operation, explain(errs))
		}
	}
	w := httptest.NewRecorder()
	r.server.handler.ServeHTTP(w, request)
	body := w.Body.Bytes()
	if w.Code != c.want {
		r.t.Errorf("%s: got %d %s, want %d", c.operation, w.Code, body, c.want)
	}
	if ok, errs := r.doc.validator.ValidateHttpResponse(request, w.Result()); !ok {
		r.t.Errorf("%s: the answer %d is not as described: %s", c.operation, w.Code, explain(errs))
	}
	if r.given[c.operation] == nil {
		r.given[c.operation] = map[int]bool{}
	}
	r.given[c.operation][w.Code] = true
	if w.Code >= 400 {
		var problem struct{ Code string }
		if err := json.Unmarshal(body, &problem); err != nil {
			r.t.Errorf("%s: %s: %v", c.operation, body, err)
		}
		if !slices.Contains(op.codes[w.Code], problem.Code) {
			r.t.Errorf("%s: the response %d has the code %s, the examples have %q", c.operation, w.Code, problem.Code, op.codes[w.Code])
		}
		r.codes[problem.Code] = true
	}
	return body
}

func (r *roundTrip) request(op operation, c call) *http.Request {
	target := strings.ReplaceAll(op.path, "{id}", c.id)
	if c.query != "" {
		target += "?" + c.query
	}
	body := c.body
	switch body {
	case "":
		body = string(op.example)
	case "-":
		body = ""
	}
	request := httptest.NewRequest(op.method, target, nil)
	if body != "" {
		request.Body, request.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		request.Header.Set("Content-Type", "application/json")
	}
	if !c.stranger {
		request.Header.Set("secret-key", secret)
	}
	if c.from != "" {
		request.RemoteAddr = c.from
	}
	for name, values := range c.header {
		request.Header[name] = values
	}
	return request
}

// A new route needs calls here: one that succeeds, and one for each failure that is
// particular to it. The method failures tries the failures that all routes share.
//
// Mutations tried: a call left out; a state that the document does not have; a
// status that it does not have; a code that no example has.
func TestEveryDescribedAnswerIsGivenAsDescribed(t *testing.T) {
	t.Parallel()
	r := newRoundTrip(t)

	r.keys()
	r.users()
	r.oneTimeTokens()
	for _, c := range []call{
		{operation: "list-usage", want: 200},
		{operation: "export-usage", want: 200},
		{operation: "export-usage", query: "format=csv", want: 200},
		{operation: "report-usage", query: "by=day", want: 200},
		{operation: "list-audit", want: 200},
		{operation: "list-audit", query: "limit=1", want: 200},
	} {
		r.do(c)
	}
	r.failures()

	for id, op := range r.doc.operations {
		for _, status := range op.statuses {
			if !r.given[id][status] {
				t.Errorf("%s %s (%s) never answered with %d, which it describes: add a call", op.method, op.path, id, status)
			}
			for _, code := range op.codes[status] {
				if !r.codes[code] {
					t.Errorf("no operation answered with the code %s, which %s describes: add a call", code, id)
				}
			}
		}
	}
}

// made is what the answers to creations have.
type made struct {
	ID    string // of a user
	Token string
	Key   struct{ ID string }
}

func (r *roundTrip) create(c call) (created made) {
	r.t.Helper()
	c.want = http.StatusCreated
	if err := json.Unmarshal(r.do(c), &created); err != nil {
		r.t.Fatal(err)
	}
	return created
}

func (r *roundTrip) keys() {
	r.t.Helper()
	created, revoked := r.create(call{operation: "create-key"}), r.create(call{operation: "create-key"}).Key.ID
	id := created.Key.ID
	if _, err := r.server.svc.Verify(r.t.Context(), keyfold.Request{Token: created.Token, Route: "GET /reports"}); err != nil {
		r.t.Fatal(err)
	}
	if err := r.server.svc.Flush(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	for _, c := range []call{
		{operation: "create-key", body: `{"user_id":"` + unknownID + `"}`, want: 422},
		{operation: "list-keys", want: 200},
		{operation: "list-keys", query: "owner_id=cust_42&state=active&limit=1", want: 200},
		{operation: "get-key", id: id, want: 200},
		{operation: "update-key", id: id, want: 200},
		{operation: "update-key", id: id, body: `{"name":"x","idle_timeout":"30d","metadata":null}`, header: http.Header{"If-Match": {`"2"`}}, want: 200},
		{operation: "update-key", id: id, want: 412},
		{operation: "update-key", id: id, body: `{"name":"x"}`, want: 428},
		{operation: "disable-key", id: id, want: 200},
		{operation: "get-key", id: id, want: 200},
		{operation: "enable-key", id: id, want: 200},
		{operation: "renew-key", id: id, want: 200},
		{operation: "renew-key", id: id, body: `{"ttl":"never"}`, want: 200},
		{operation: "rotate-key", id: id, want: 201},
		{operation: "rotate-key", id: id, want: 409},
		{operation: "revoke-key", id: revoked, want: 200},
		{operation: "revoke-key", id: revoked, body: "-", want: 200},
		{operation: "update-key", id: revoked, body: `{"version":2,"name":"x"}`, want: 409},
		{operation: "disable-key", id: revoked, want: 409},
		{operation: "enable-key", id: revoked, want: 409},
		{operation: "renew-key", id: revoked, want: 409},
		{operation: "get-key", id: revoked, want: 200},
		{operation: "count-usage", query: "key_id=" + id, want: 200},
		{operation: "disable-keys", want: 200},
		{operation: "revoke-keys", want: 200},
		{operation: "delete-key", id: revoked, want: 204},
	} {
		r.do(c)
	}
}

// users leaves the user olga, whose password is that of the examples.
func (r *roundTrip) users() {
	r.t.Helper()
	id, gone := r.create(call{operation: "create-user"}).ID, r.create(call{operation: "create-user", body: `{"username":"gone"}`}).ID
	key := r.create(call{operation: "create-key", body: `{"user_id":"` + id + `"}`}).Key.ID
	for _, c := range []call{
		{operation: "create-user", want: 409},
		{operation: "list-users", want: 200},
		{operation: "list-users", query: "email=olga@example.com&state=active&limit=1", want: 200},
		{operation: "get-user", id: id, want: 200},
		{operation: "update-user", id: id, want: 200},
		{operation: "update-user", id: id, want: 412},
		{operation: "update-user", id: id, body: `{"username":"olga"}`, want: 428},
		{operation: "update-user", id: id, body: `{"version":2,"username":"gone"}`, want: 409},
		{operation: "update-user", id: id, body: `{"username":"olga"}`, header: http.Header{"If-Match": {`"2"`}}, want: 200},
		{operation: "set-password", id: id, want: 204},
		{operation: "get-user", id: id, want: 200},
		{operation: "authenticate", want: 200},
		{operation: "authenticate", body: `{"identifier":"olga","password":"some other password"}`, want: 422},
		{operation: "unlock-user", id: id, want: 204},
		{operation: "disable-user", id: id, want: 200},
		{operation: "get-key", id: key, want: 200},
		{operation: "list-keys", query: "state=user_disabled", want: 200},
		{operation: "create-one-time-token", id: id, want: 409},
		{operation: "enable-user", id: id, want: 200},
		{operation: "delete-user", id: gone, want: 204},
	} {
		r.do(c)
	}
}

// oneTimeTokens needs the user olga.
func (r *roundTrip) oneTimeTokens() {
	r.t.Helper()
	olga, err := r.server.svc.Users(r.t.Context(), keyfold.UserQuery{Username: keyfold.Only("olga")})
	if err != nil || len(olga.Users) != 1 {
		r.t.Fatalf("the user olga: %v, %v", olga.Users, err)
	}
	id := olga.Users[0].ID
	token := func(body string) string {
		return r.create(call{operation: "create-one-time-token", id: id, body: body}).Token
	}
	proof, reset := token(`{"purpose":"verify_email"}`), token("")
	r.do(call{operation: "use-verify-email", body: `{"token":"` + proof + `"}`, want: 200})
	r.do(call{operation: "use-reset-password", body: `{"token":"` + reset + `","password":"another fifteen characters"}`, want: 200})

	change := token(`{"purpose":"change_email","email":"new@example.com"}`)
	taker := r.create(call{operation: "create-user", body: `{"email":"new@example.com"}`}).ID
	r.do(call{operation: "use-change-email", body: `{"token":"` + change + `"}`, want: 409})
	r.do(call{operation: "delete-user", id: taker, want: 204})
	change = token(`{"purpose":"change_email","email":"new@example.com"}`)
	r.do(call{operation: "use-change-email", body: `{"token":"` + change + `"}`, want: 200})

	for _, operation := range []string{"use-verify-email", "use-change-email", "use-reset-password"} {
		r.do(call{operation: operation, want: 422}) // the token of the example
	}

	r.do(call{operation: "send-one-time-token", want: 202})
	for !errors.Is(err, keyfold.ErrRateLimited) {
		if err = r.server.svc.SendPasswordReset(r.t.Context(), "ghost", netip.MustParseAddr("192.0.2.7")); err != nil && !errors.Is(err, keyfold.ErrRateLimited) {
			r.t.Fatal(err)
		}
	}
	r.do(call{operation: "send-one-time-token", want: 429})
	with := r.server
	r.server = newServer(r.t, nil)
	r.do(call{operation: "send-one-time-token", want: 501})
	r.server = with
}

// failures tries on each operation what any of them may answer.
func (r *roundTrip) failures() {
	address := 0
	for id, op := range r.doc.operations {
		address++
		from := fmt.Sprintf("198.51.100.%d:1234", address)
		unknown := call{operation: id, id: unknownID, query: "nonsense=1", want: 422}
		if op.method != http.MethodGet {
			unknown.query, unknown.body = "", `{"nonsense":1}`
		}
		r.do(unknown)
		if strings.Contains(op.path, "{id}") {
			r.do(call{operation: id, id: unknownID, want: 404})
		}
		r.do(call{operation: id, id: unknownID, query: "x=%zz", want: 400})
		if op.method != http.MethodGet {
			r.do(call{operation: id, id: unknownID, body: `{`, want: 400})
			r.do(call{operation: id, id: unknownID, header: http.Header{"Sec-Fetch-Site": {"cross-site"}}, want: 403})
			r.do(call{operation: id, id: unknownID, body: `{"name":"` + strings.Repeat("x", 64<<10) + `"}`, want: 413})
			r.do(call{operation: id, id: unknownID, body: `{}`, header: http.Header{"Content-Type": {"text/plain"}}, want: 415})
		}
		r.do(call{operation: id, id: unknownID, from: from, stranger: true, want: 401})
		wrong := http.Header{"Secret-Key": {strings.Repeat("wrong", 8)}}
		for range 10 {
			r.do(call{operation: id, id: unknownID, from: from, header: wrong, want: 401})
		}
		r.do(call{operation: id, id: unknownID, from: from, header: wrong, want: 429})
	}
	if err := r.server.store.Close(); err != nil {
		r.t.Fatal(err)
	}
	for id := range r.doc.operations {
		r.do(call{operation: id, id: unknownID, want: 503})
	}
}
