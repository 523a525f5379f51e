package httpadapter_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
	"github.com/keyfold/keyfold/store/memory"
)

// broken is a store that cannot be read.
type broken struct{ keyfold.Store }

const storeText = "dial tcp 10.1.2.3: password=hunter2"

func (broken) VerifyKey(context.Context, string) (keyfold.VerifyRecord, error) {
	return keyfold.VerifyRecord{}, errors.New(storeText)
}

// outcomes returns each kind of error of Verify by its code. A real Service returns them.
func outcomes(t *testing.T) map[keyfold.Outcome]error {
	t.Helper()
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	svc := newService(t, &keyfold.Options{Now: func() time.Time { return now }})
	found := map[keyfold.Outcome]error{}
	try := func(svc *keyfold.Service, r keyfold.Request) {
		_, err := svc.Verify(t.Context(), r)
		found[keyfold.OutcomeOf(err)] = err
	}

	id, good := newKey(t, svc, keyfold.NewKey{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	revokedID, revoked := newKey(t, svc, keyfold.NewKey{})
	disabledID, disabled := newKey(t, svc, keyfold.NewKey{})
	_, expired := newKey(t, svc, keyfold.NewKey{TTL: time.Minute})
	_, idle := newKey(t, svc, keyfold.NewKey{IdleTimeout: time.Minute})
	if err := errors.Join(svc.RevokeKey(t.Context(), revokedID, ""), svc.DisableKey(t.Context(), disabledID, "")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	try(svc, keyfold.Request{})
	try(svc, keyfold.Request{Token: "garbage"})
	try(svc, keyfold.Request{Token: madeUp("")})
	try(svc, keyfold.Request{Token: madeUp(id)})
	try(svc, keyfold.Request{Token: revoked})
	try(svc, keyfold.Request{Token: disabled})
	try(svc, keyfold.Request{Token: expired})
	try(svc, keyfold.Request{Token: idle})
	try(svc, keyfold.Request{Token: good})
	try(svc, keyfold.Request{Token: good, IP: netip.MustParseAddr("192.0.2.1"), Scopes: []string{"a:b"}})
	try(newServiceOn(t, broken{memory.New()}, nil), keyfold.Request{Token: good})
	return found
}

type wire struct {
	status                             int
	code, challenge, retryAfter, field string
}

const (
	plain     = `Bearer realm="api"`
	bad       = plain + `, error="invalid_token"`
	tooLittle = plain + `, error="insufficient_scope"`
	twice     = plain + `, error="invalid_request"`
)

// The mutation that made this fail: err.Error() as the detail of the code
// "internal".
func TestEveryOutcomeOnTheWire(t *testing.T) {
	t.Parallel()
	found := outcomes(t)
	for code, want := range map[keyfold.Outcome]wire{
		keyfold.OutcomeMissing:     {401, "invalid_token", plain, "", ""},
		keyfold.OutcomeMalformed:   {401, "invalid_token", bad, "", ""},
		keyfold.OutcomeUnknown:     {401, "invalid_token", bad, "", ""},
		keyfold.OutcomeWrongSecret: {401, "invalid_token", bad, "", ""},
		keyfold.OutcomeRevoked:     {401, "invalid_token", bad, "", ""},
		keyfold.OutcomeDisabled:    {401, "invalid_token", bad, "", ""},
		keyfold.OutcomeExpired:     {401, "invalid_token", bad, "", ""},
		keyfold.OutcomeIdle:        {401, "invalid_token", bad, "", ""},
		keyfold.OutcomeScope:       {403, "scope", tooLittle, "", ""},
		keyfold.OutcomeIP:          {403, "ip", "", "", ""},
		keyfold.OutcomeUnavailable: {503, "unavailable", "", "1", ""},
	} {
		err := found[code]
		if err == nil {
			t.Errorf("no error with the code %v was made", code)
			continue
		}
		checkWire(t, err, want)
	}
	for err, want := range map[error]wire{
		keyfold.ErrUnauthenticated: {401, "invalid_token", bad, "", ""},
		keyfold.ErrForbidden:       {403, "forbidden", "", "", ""},
		keyfold.ErrRateLimited:     {429, "rate_limited", "", "1", ""},
		keyfold.ErrUnavailable:     {503, "unavailable", "", "1", ""},
		keyfold.ErrRetry:           {503, "unavailable", "", "1", ""},
		keyfold.ErrClosed:          {503, "unavailable", "", "1", ""},
		context.Canceled:           {503, "unavailable", "", "1", ""},
		context.DeadlineExceeded:   {503, "unavailable", "", "1", ""},
		keyfold.ErrNotFound:        {404, "not_found", "", "", ""},
		keyfold.ErrConflict:        {409, "conflict", "", "", ""},
		keyfold.ErrStale:           {412, "stale", "", "", ""},
		keyfold.ErrInvalid:         {422, "invalid", "", "", ""},
		&keyfold.InvalidError{Field: "scopes[2]", Reason: `must be "a:b", <…>`}: {422, "invalid", "", "", "scopes[2]"},
		keyfold.ErrInvalidCredentials:  {401, "invalid_credentials", `Bearer realm="api"`, "", ""},
		keyfold.ErrInvalidOneTimeToken: {401, "invalid_one_time_token", `Bearer realm="api"`, "", ""},
		&keyfold.ConflictError{Field: "email", Reason: "the e-mail address is taken"}: {409, "conflict", "", "", "email"},
		httpadapter.ErrAmbiguous: {400, "ambiguous_credentials", twice, "", ""},
		errors.New(storeText):    {500, "internal", "", "", ""},
	} {
		checkWire(t, err, want)
		checkWire(t, fmt.Errorf("%s: %w", storeText, err), want)
	}
	checkWire(t, nil, wire{500, "internal", "", "", ""})
}

func checkWire(t *testing.T, err error, want wire) {
	t.Helper()
	status, header, body := httpadapter.Response(err)
	var problem httpadapter.Problem
	if e := json.Unmarshal(body, &problem); e != nil {
		t.Fatalf("%v: %v in %s", err, e, body)
	}
	got := wire{status, problem.Code, header.Get("WWW-Authenticate"), header.Get("Retry-After"), problem.Field}
	if got != want {
		t.Errorf("%v: got %+v, want %+v", err, got, want)
	}
	if problem.Status != status || problem.Title != http.StatusText(status) {
		t.Errorf("%v: got status %d and title %q in the body, want those of %d", err, problem.Status, problem.Title, status)
	}
	if header.Get("Content-Type") != "application/problem+json" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v: got %v", err, header)
	}
	if strings.Contains(string(body), "hunter2") {
		t.Errorf("%v: the store's text is in %s", err, body)
	}
	if marshalled, _ := json.Marshal(httpadapter.ProblemOf(err)); !bytes.Equal(body, append(marshalled, '\n')) {
		t.Errorf("%v: got %s, json.Marshal has %s", err, body, marshalled)
	}
	w := httptest.NewRecorder()
	httpadapter.ProblemOf(err).Write(w)
	if w.Code != status || !reflect.DeepEqual(w.Header(), header) || !bytes.Equal(w.Body.Bytes(), body) {
		t.Errorf("%v: Write and Reply differ: %d %v %s", err, w.Code, w.Header(), w.Body)
	}
}

// The mutation that made this fail: the reason of OutcomeOf as the problem's code.
func TestUnauthenticatedReasonsAreIndistinguishable(t *testing.T) {
	t.Parallel()
	found := outcomes(t)
	_, wantHeader, wantBody := httpadapter.Response(found[keyfold.OutcomeUnknown])
	seen := 0
	for code, err := range found {
		if !errors.Is(err, keyfold.ErrUnauthenticated) {
			continue
		}
		seen++
		status, header, body := httpadapter.Response(err)
		if status != 401 || !bytes.Equal(body, wantBody) {
			t.Errorf("%v: got %d %s, want 401 %s", code, status, body, wantBody)
		}
		if code != keyfold.OutcomeMissing && !reflect.DeepEqual(header, wantHeader) {
			t.Errorf("%v: got %v, want %v", code, header, wantHeader)
		}
	}
	if seen != 8 {
		t.Errorf("got %d reasons, want 8", seen)
	}
}

func TestRetryAfterIsRoundedUp(t *testing.T) {
	t.Parallel()
	for wait, want := range map[time.Duration]string{
		0: "", time.Nanosecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", time.Hour: "3600",
	} {
		if got := (httpadapter.Problem{Status: 429, RetryAfter: wait}).Header().Get("Retry-After"); got != want {
			t.Errorf("%v: got %q, want %q", wait, got, want)
		}
	}
}

func TestProblemStatusIsAlwaysAnError(t *testing.T) {
	t.Parallel()
	for _, status := range []int{-1, 0, 99, 200, 399, 600, 1000} {
		w := httptest.NewRecorder()
		httpadapter.Problem{Status: status}.Write(w)
		if w.Code != 500 || !strings.Contains(w.Body.String(), `"status":500`) {
			t.Errorf("%d: got %d %s, want 500", status, w.Code, w.Body)
		}
	}
}

func TestWriteKeepsOtherHeaders(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	w.Header().Set("Content-Length", "1")
	w.Header().Set("Cache-Control", "public")
	w.Header().Set("Vary", "Accept-Encoding")
	w.Header().Set("X-Request-ID", "req-1")
	httpadapter.ProblemOf(keyfold.ErrNotFound).Write(w)
	want := http.Header{
		"Content-Type": {"application/problem+json"}, "Cache-Control": {"no-store"}, "Vary": {"Accept-Encoding"}, "X-Request-Id": {"req-1"},
	}
	if got := w.Result().Header; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// compress is a middleware that compresses responses. It sets the Content-Encoding before
// it calls the handler. The test failed while refusals removed this header, because
// clients could not decode the response.
func compress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		zipped := gzip.NewWriter(w)
		defer zipped.Close()
		next.ServeHTTP(&compressing{w, zipped}, r)
	})
}

type compressing struct {
	http.ResponseWriter
	zipped io.Writer
}

func (c *compressing) Write(b []byte) (int, error) { return c.zipped.Write(b) }

func TestRefusalBehindACompressingMiddlewareCanBeRead(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	server := httptest.NewServer(compress(httpadapter.RequireKey(svc)(whose)))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var problem httpadapter.Problem
	if err := json.NewDecoder(response.Body).Decode(&problem); err != nil || response.StatusCode != 401 || problem.Code != "invalid_token" {
		t.Errorf("%d, %+v, %v; want a 401 that can be read", response.StatusCode, problem, err)
	}
}

func TestProblemDetail(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		keyfold.ErrInvalidCredentials:  "The username or password is incorrect.",
		keyfold.ErrInvalidOneTimeToken: "The token is invalid, has expired, or was already used.",
		keyfold.ErrUnauthenticated:     "Present a valid API key, as Authorization: Bearer or X-API-Key.",
		keyfold.ErrConflict:            "The current state does not allow this change.",
		&keyfold.ConflictError{Field: "email", Reason: "the e-mail address is taken"}: "The e-mail address is taken.",
	} {
		if got := httpadapter.ProblemOf(err).Detail; got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}

func TestBodyEndsWithANewLine(t *testing.T) {
	t.Parallel()
	if body := httpadapter.ProblemOf(keyfold.ErrNotFound).Body(); body[len(body)-1] != '\n' || bytes.Count(body, []byte("\n")) != 1 {
		t.Errorf("got %q, want one line", body)
	}
}

func TestGRPCCodes(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]uint32{
		nil: 0, context.Canceled: 1, context.DeadlineExceeded: 4, keyfold.ErrUnauthenticated: 16, keyfold.ErrForbidden: 7, keyfold.ErrRateLimited: 8,
		keyfold.ErrUnavailable: 14, keyfold.ErrRetry: 14, keyfold.ErrClosed: 14, keyfold.ErrInvalid: 3, httpadapter.ErrAmbiguous: 3,
		keyfold.ErrNotFound: 5, keyfold.ErrConflict: 9, keyfold.ErrStale: 10, errors.New("other"): 13,
		&keyfold.InvalidError{Field: "name"}: 3,
	} {
		if got := httpadapter.GRPCCode(err); got != want {
			t.Errorf("%v: got %d, want %d", err, got, want)
		}
		if err != nil && httpadapter.GRPCCode(fmt.Errorf("wrapped: %w", err)) != want {
			t.Errorf("%v, wrapped: want %d", err, want)
		}
	}
	busy := errors.Join(keyfold.ErrRateLimited, keyfold.ErrUnavailable) // the process is overloaded
	if got := httpadapter.GRPCCode(busy); got != 14 {
		t.Errorf("busy: got %d, want 14", got)
	}
}

func TestRepliesAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	_, header, body := httpadapter.Response(keyfold.ErrUnauthenticated)
	header["Cache-Control"][0], body[0] = "public", '!'
	if _, header, body := httpadapter.Response(keyfold.ErrUnauthenticated); header.Get("Cache-Control") != "no-store" || body[0] != '{' {
		t.Errorf("got %v %s", header, body)
	}
}
