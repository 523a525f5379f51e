package httpadapter

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

// Problem is the answer to a request that failed: a problem document (RFC 9457) of the
// type "about:blank", with the additional members code and field.
type Problem struct {
	// Title is the text of the status, such as "Not Found".
	Title string `json:"title"`
	// Status is the HTTP status, from 400 to 599.
	Status int `json:"status"`
	// Detail explains the problem to people.
	Detail string `json:"detail,omitempty"`
	// Code identifies the problem for programs. Codes are part of the compatibility
	// promise.
	Code string `json:"code"`
	// Field is the name of the field that was refused, for the codes "invalid" and
	// "conflict".
	Field string `json:"field,omitempty"`

	// Challenge is the value of the WWW-Authenticate header. If it is empty, the header is
	// not sent.
	Challenge string `json:"-"`
	// RetryAfter is the value of the Retry-After header, rounded up to seconds. If it is
	// zero, the header is not sent.
	RetryAfter time.Duration `json:"-"`
}

// The challenges of RFC 6750 section 3. The answer to a request without credentials has
// only the realm.
const (
	challenge         = `Bearer realm="api"`
	challengeToken    = challenge + `, error="invalid_token"`
	challengeScope    = challenge + `, error="insufficient_scope"`
	challengeRequest  = challenge + `, error="invalid_request"`
	shortestRetry     = time.Second
	detailUnavailable = "Nothing was decided. Try again later."
)

// ProblemOf returns the answer for an error of this module:
//
//	keyfold.ErrUnauthenticated   401 invalid_token; ErrInvalidCredentials has invalid_credentials and
//	                             ErrInvalidOneTimeToken invalid_one_time_token
//	keyfold.ErrForbidden         403 scope, ip or, without a reason, forbidden
//	keyfold.ErrRateLimited       429 rate_limited or credits
//	keyfold.ErrUnavailable       503 unavailable; also ErrRetry, ErrClosed and a context that has ended
//	ErrAmbiguous                 400 ambiguous_credentials
//	keyfold.ErrInvalid           422 invalid, with the field
//	keyfold.ErrNotFound          404 not_found
//	keyfold.ErrConflict          409 conflict, with the field
//	keyfold.ErrStale             412 stale
//	every other, and nil         500 internal
//
// The answer never says why a request is unauthenticated. It is the same, byte for byte,
// for unknown, revoked, expired and other bad keys, so that clients cannot find out the
// state of a key. Only the answer to a request without a key has a shorter
// WWW-Authenticate header, as RFC 6750 section 3.1 requires. The time to answer may reveal
// whether the ID of a key exists; IDs are public. The answer never contains the text of an
// error either, because it may come from the database.
func ProblemOf(err error) Problem {
	switch {
	case errors.Is(err, keyfold.ErrInvalidCredentials):
		p := problem(http.StatusUnauthorized, "invalid_credentials", "The username or password is incorrect.")
		p.Challenge = challenge
		return p
	case errors.Is(err, keyfold.ErrInvalidOneTimeToken):
		p := problem(http.StatusUnauthorized, "invalid_one_time_token", "The token is invalid, has expired, or was already used.")
		p.Challenge = challenge
		return p
	case errors.Is(err, keyfold.ErrUnauthenticated):
		p := problem(http.StatusUnauthorized, "invalid_token", "Present a valid API key, as Authorization: Bearer or X-API-Key.")
		p.Challenge = challengeToken
		if keyfold.OutcomeOf(err) == keyfold.OutcomeMissing {
			p.Challenge = challenge
		}
		return p
	case errors.Is(err, keyfold.ErrForbidden):
		return forbidden(keyfold.OutcomeOf(err))
	case errors.Is(err, keyfold.ErrRateLimited) && !errors.Is(err, keyfold.ErrUnavailable): // both: this process is overloaded
		return limited(err)
	case errors.Is(err, ErrAmbiguous):
		p := problem(http.StatusBadRequest, "ambiguous_credentials", "The request has two different API keys. Send only one.")
		p.Challenge = challengeRequest
		return p
	case isUnavailable(err):
		p := problem(http.StatusServiceUnavailable, "unavailable", detailUnavailable)
		p.RetryAfter = max(keyfold.RetryAfter(err), shortestRetry)
		return p
	case errors.Is(err, keyfold.ErrInvalid):
		return invalid(err)
	case errors.Is(err, keyfold.ErrNotFound):
		return problem(http.StatusNotFound, "not_found", "The requested resource does not exist.")
	case errors.Is(err, keyfold.ErrConflict):
		return conflict(err)
	case errors.Is(err, keyfold.ErrStale):
		return problem(http.StatusPreconditionFailed, "stale", "The resource has changed since you read it. Read it again, then repeat the change.")
	}
	return problem(http.StatusInternalServerError, "internal", "")
}

func problem(status int, code, detail string) Problem {
	return Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}
}

func forbidden(reason keyfold.Outcome) Problem {
	switch reason {
	case keyfold.OutcomeScope:
		p := problem(http.StatusForbidden, reason.String(), "The key does not hold a scope that this needs.")
		p.Challenge = challengeScope
		return p
	case keyfold.OutcomeIP:
		return problem(http.StatusForbidden, reason.String(), "The key may not be used from this address.")
	}
	return problem(http.StatusForbidden, "forbidden", "The key is not allowed to do this.")
}

// limited asks the client to wait, unless waiting does not help.
func limited(err error) Problem {
	wait := keyfold.RetryAfter(err)
	if keyfold.OutcomeOf(err) == keyfold.OutcomeCredits {
		p := problem(http.StatusTooManyRequests, keyfold.OutcomeCredits.String(), "The key's credits are spent.")
		p.RetryAfter = wait
		return p
	}
	p := problem(http.StatusTooManyRequests, keyfold.OutcomeRateLimited.String(), "Too many requests. Wait, then try again.")
	p.RetryAfter = max(wait, shortestRetry)
	return p
}

// isUnavailable includes a context that has ended: either the client is gone, or the server
// is stopping and the client should try again.
func isUnavailable(err error) bool {
	for _, reason := range [...]error{
		keyfold.ErrUnavailable, keyfold.ErrRetry, keyfold.ErrClosed, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// invalid names the field and says what it must be. It does not repeat the value.
func invalid(err error) Problem {
	p := problem(http.StatusUnprocessableEntity, "invalid", "")
	if refused, ok := errors.AsType[*keyfold.InvalidError](err); ok {
		p.Field, p.Detail = refused.Field, refused.Field+" "+refused.Reason+"."
	}
	return p
}

// conflict names the field that prevents the change, with the reason from the Service.
func conflict(err error) Problem {
	p := problem(http.StatusConflict, "conflict", "The current state does not allow this change.")
	if inTheWay, ok := errors.AsType[*keyfold.ConflictError](err); ok && inTheWay.Reason != "" {
		p.Field, p.Detail = inTheWay.Field, strings.ToUpper(inTheWay.Reason[:1])+inTheWay.Reason[1:]+"."
	}
	return p
}

// Response returns the status, the headers and the body of [ProblemOf], for frameworks that
// do not use net/http. The caller may change them.
func Response(err error) (status int, header http.Header, body []byte) {
	p := ProblemOf(err)
	return p.status(), p.Header(), p.Body()
}

// Write answers the request with the problem. Like [http.Error], it removes a
// Content-Length header, which may belong to another answer. It does not remove other
// headers: a Content-Encoding may belong to a middleware that compresses the answer.
func (p Problem) Write(w http.ResponseWriter) {
	header := w.Header()
	delete(header, "Content-Length")
	p.setHeader(header)
	w.WriteHeader(p.status())
	_, _ = w.Write(p.Body()) // an error means that the client is gone
}

// status is Status, or 500 if Status does not stand for a failure, so that a mistake
// cannot look like a success.
func (p Problem) status() int {
	if p.Status < 400 || p.Status > 599 {
		return http.StatusInternalServerError
	}
	return p.Status
}

// Header returns the headers of the answer. Cache-Control is always no-store.
func (p Problem) Header() http.Header {
	header := make(http.Header, 4)
	p.setHeader(header)
	return header
}

func (p Problem) setHeader(header http.Header) {
	values := [...]string{"application/problem+json", "no-store", p.Challenge, ""}
	header["Content-Type"] = values[0:1:1]
	header["Cache-Control"] = values[1:2:2]
	if p.Challenge != "" {
		header["Www-Authenticate"] = values[2:3:3]
	}
	if p.RetryAfter > 0 {
		values[3] = strconv.FormatInt(int64((p.RetryAfter+time.Second-1)/time.Second), 10)
		header["Retry-After"] = values[3:4:4]
	}
}

// Body returns the problem as JSON, with a line break at its end.
func (p Problem) Body() []byte {
	out := make([]byte, 0, 192)
	out = appendString(append(out, `{"title":`...), p.Title)
	out = strconv.AppendInt(append(out, `,"status":`...), int64(p.status()), 10)
	if p.Detail != "" {
		out = appendString(append(out, `,"detail":`...), p.Detail)
	}
	out = appendString(append(out, `,"code":`...), p.Code)
	if p.Field != "" {
		out = appendString(append(out, `,"field":`...), p.Field)
	}
	return append(out, "}\n"...)
}

// appendString appends s as JSON. It is fast for texts that need no escapes, because
// refusing a request must be cheap.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}
