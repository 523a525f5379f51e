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

// Problem is the answer to a request that failed: a problem document of RFC 9457
// whose type is "about:blank", with the members code and field.
type Problem struct {
	// Title is the text of the status.
	Title string `json:"title"`
	// Status is the HTTP status, from 400 to 599.
	Status int `json:"status"`
	// Detail says what the caller can do, for people.
	Detail string `json:"detail,omitempty"`
	// Code says what failed, for programs. Codes are part of the compatibility
	// promise.
	Code string `json:"code"`
	// Field names the field that was refused, for the codes "invalid" and "conflict".
	Field string `json:"field,omitempty"`

	// Challenge is the WWW-Authenticate header; empty: none.
	Challenge string `json:"-"`
	// RetryAfter is the Retry-After header, rounded up to seconds; zero: none.
	RetryAfter time.Duration `json:"-"`
}

// The challenges of RFC 6750 section 3. A request without credentials gets the
// plain one.
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
//	keyfold.ErrRateLimited           429 rate_limited or credits
//	keyfold.ErrUnavailable       503 unavailable; ErrRetry, ErrClosed and a context that ended, too
//	ErrAmbiguous                 400 ambiguous_credentials
//	keyfold.ErrInvalid           422 invalid, with the field
//	keyfold.ErrNotFound          404 not_found
//	keyfold.ErrConflict          409 conflict, with the field
//	keyfold.ErrStale             412 stale
//	every other, and nil         500 internal
//
// Why a request is unauthenticated is never told. Unknown, revoked, expired and
// the rest have one answer, to the byte, so that clients cannot find out the state
// of a key; only a request without any key gets a shorter WWW-Authenticate, as RFC
// 6750 section 3.1 asks for. IDs of keys are public, and the time of an answer may
// tell whether one exists. The text of errors is never told either, since it
// may be that of a database.
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
	case errors.Is(err, keyfold.ErrRateLimited) && !errors.Is(err, keyfold.ErrUnavailable): // both: this process has enough to do
		return limited(err)
	case errors.Is(err, ErrAmbiguous):
		p := problem(http.StatusBadRequest, "ambiguous_credentials", "Present one API key, not two different ones.")
		p.Challenge = challengeRequest
		return p
	case isUnavailable(err):
		p := problem(http.StatusServiceUnavailable, "unavailable", detailUnavailable)
		p.RetryAfter = max(keyfold.RetryAfter(err), shortestRetry)
		return p
	case errors.Is(err, keyfold.ErrInvalid):
		return invalid(err)
	case errors.Is(err, keyfold.ErrNotFound):
		return problem(http.StatusNotFound, "not_found", "It does not exist.")
	case errors.Is(err, keyfold.ErrConflict):
		return conflict(err)
	case errors.Is(err, keyfold.ErrStale):
		return problem(http.StatusPreconditionFailed, "stale", "It was changed meanwhile. Read it again and decide anew.")
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

// limited asks to wait, unless waiting does not help.
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

// isUnavailable counts a context that ended: nobody reads the answer, or the
// server is stopping and the caller should try again.
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

// invalid names the field and what it may hold, neither of which has the value.
func invalid(err error) Problem {
	p := problem(http.StatusUnprocessableEntity, "invalid", "")
	if refused, ok := errors.AsType[*keyfold.InvalidError](err); ok {
		p.Field, p.Detail = refused.Field, refused.Field+" "+refused.Reason+"."
	}
	return p
}

// conflict names the field in the way and says why, in the Service's own words.
func conflict(err error) Problem {
	p := problem(http.StatusConflict, "conflict", "The current state does not allow this change.")
	if inTheWay, ok := errors.AsType[*keyfold.ConflictError](err); ok && inTheWay.Reason != "" {
		p.Field, p.Detail = inTheWay.Field, strings.ToUpper(inTheWay.Reason[:1])+inTheWay.Reason[1:]+"."
	}
	return p
}

// Response returns the answer to a request that failed with err, for frameworks that
// are not net/http: status, headers and body of [ProblemOf]. The caller owns
// them.
func Response(err error) (status int, header http.Header, body []byte) {
	p := ProblemOf(err)
	return p.status(), p.Header(), p.Body()
}

// Write answers the request with the problem. As [http.Error] does, it removes a
// Content-Length, which may be that of another answer, and leaves other headers
// alone: a Content-Encoding belongs to a middleware that compresses what is written.
func (p Problem) Write(w http.ResponseWriter) {
	header := w.Header()
	delete(header, "Content-Length")
	p.setHeader(header)
	w.WriteHeader(p.status())
	_, _ = w.Write(p.Body()) // the connection is gone; there is nobody to tell
}

// status is 500 where Status is none of a failure, so that no mistake becomes a
// success.
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

// Body returns the problem as JSON, with a new line at its end.
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

// appendString appends s as JSON. Refusing has to be cheap, and nearly every
// text here needs no escapes.
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
