package httpadapter

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/internal/failures"
	"github.com/keyfold/keyfold/httpadapter/internal/perservice"
)

// Verifier decides on requests. A [keyfold.Service] is a Verifier.
type Verifier interface {
	// Verify must return a nil error only together with the Identity that the token
	// proved. It must not change the Request's Scopes, which all requests share.
	Verify(ctx context.Context, r keyfold.Request) (keyfold.Identity, error)
}

// middleware is one configured middleware.
type middleware struct {
	config
	verifier Verifier
	optional bool // a request without a key reaches the handler
	warnings *perservice.Warnings
}

func (m *middleware) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := m.identify(r)
		switch {
		case err != nil:
			m.refuse(w, r, m.limit(err, func() netip.Addr { return m.trusted.ClientIP(r) }))
		case id.IsZero(): // only if the key is optional
			next.ServeHTTP(w, r)
		default:
			m.serve(next, w, r, id)
		}
	})
}

// serve passes the request on with its Identity, unless too many requests of the key
// are in progress.
func (m *middleware) serve(next http.Handler, w http.ResponseWriter, r *http.Request, id keyfold.Identity) {
	ctx := &identityContext{r.Context(), id, m.inFlight}
	if m.inFlight != nil {
		outer, nested := r.Context().Value(identityKey{}).(*identityContext)
		if !nested || outer.counted != m.inFlight || outer.id.KeyID() != id.KeyID() {
			if !m.inFlight.enter(id.KeyID()) {
				m.refuse(w, r, tooManyInFlight{})
				return
			}
			defer m.inFlight.leave(id.KeyID())
		}
	}
	next.ServeHTTP(w, r.WithContext(ctx))
}

// limit is [Guard.LimitFailures] for a client whose address is looked up only if it
// is needed.
func (m *middleware) limit(err error, client func() netip.Addr) error {
	if m.failures == nil || !isBadKey(err) {
		return err
	}
	return limitFailures(m.failures, m.now(), client(), err)
}

func limitFailures(limiter *failures.Limiter, now time.Time, client netip.Addr, err error) error {
	if _, wait := limiter.Fail(now, client); wait > 0 {
		return &tooManyFailures{wait}
	}
	return err
}

// isBadKey reports whether err refuses a key. A request without a key is not a
// guess, and an error without a decision is not a failure.
func isBadKey(err error) bool {
	return errors.Is(err, keyfold.ErrUnauthenticated) && keyfold.OutcomeOf(err) != keyfold.OutcomeMissing
}

// tooManyFailures is the [keyfold.ErrRateLimited] for an address that sends bad keys.
type tooManyFailures struct{ wait time.Duration }

func (t *tooManyFailures) Error() string {
	return "keyfold: too many bad keys came from this address"
}
func (t *tooManyFailures) Unwrap() error             { return keyfold.ErrRateLimited }
func (t *tooManyFailures) RetryAfter() time.Duration { return t.wait }

// identify returns the owner of the key in the request. The Identity is zero if the
// key is optional and the request has none.
func (m *middleware) identify(r *http.Request) (keyfold.Identity, error) {
	if m.keys != nil {
		return m.firstGood(r)
	}
	token, err := m.credential(r)
	if err != nil {
		return keyfold.Identity{}, err
	}
	return m.verify(r, token)
}

// firstGood tries the keys in turn. If none is good, it prefers the error for a key
// that lacks permission to the error for a text that is not a valid key: it says
// more.
func (m *middleware) firstGood(r *http.Request) (keyfold.Identity, error) {
	var refused error
	for _, token := range m.keys(r) {
		if token == "" {
			continue
		}
		id, err := m.verify(r, token)
		forbidden := errors.Is(err, keyfold.ErrForbidden)
		if err == nil || !forbidden && !errors.Is(err, keyfold.ErrUnauthenticated) {
			return id, err
		}
		if refused == nil || forbidden {
			refused = err
		}
	}
	if refused != nil {
		return keyfold.Identity{}, refused
	}
	return m.verify(r, "")
}

func (m *middleware) verify(r *http.Request, token string) (keyfold.Identity, error) {
	if token == "" && m.optional {
		return keyfold.Identity{}, nil
	}
	id, err := m.verifier.Verify(r.Context(), m.request(r, token))
	if err == nil && id.IsZero() {
		err = keyfold.ErrUnauthenticated // a Verifier must not let a request in without an Identity
	}
	if err != nil {
		return keyfold.Identity{}, err
	}
	return id, nil
}

func (m *middleware) credential(r *http.Request) (string, error) {
	var found credentials
	found.fromHeaders(func(name string) []string { return r.Header[name] })
	if m.query != "" {
		found.fromQuery(r.URL.RawQuery, m.query)
	}
	return found.choose()
}

func (m *middleware) request(r *http.Request, token string) keyfold.Request {
	return keyfold.Request{
		Token:     token,
		Scopes:    m.scopes,
		IP:        m.trusted.ClientIP(r),
		Route:     m.route(r),
		RequestID: bounded(first(r.Header["X-Request-Id"])),
		UserAgent: bounded(first(r.Header["User-Agent"])),
	}
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// maxText bounds the part of a header that is passed on, in bytes.
const maxText = 256

// bounded cuts s to maxText. It copies the rest, because usage events outlive
// requests and would otherwise keep the whole header in memory.
func bounded(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.Clone(s[:maxText])
}
