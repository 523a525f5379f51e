package httpadapter

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/internal/failures"
	"github.com/keyfold/keyfold/httpadapter/internal/perservice"
	"github.com/keyfold/keyfold/internal/scope"
)

// Verifier decides on requests; a [keyfold.Service] is one.
type Verifier interface {
	// Verify must return a nil error only beside the Identity that the token
	// proved. It must not change the Request's Scopes, which are shared by all
	// requests.
	Verify(ctx context.Context, r keyfold.Request) (keyfold.Identity, error)
}

// RequireKey returns a middleware that lets a request through to its handler
// when the key that it presents is good for it, and answers it with a
// [Problem] otherwise. The handler learns whose key it was from
// [IdentityFrom].
//
// An address (IPv6: its /64) that sends more than ten bad keys in a minute is
// answered 429 for further ones, until the minute is over; good keys pass. It
// tells clients that go on with a dead key to stop: see [DisableFailureLimit].
//
// Each request is one Verify; nothing is remembered between requests. A request
// without a key is verified as well, so that it is counted. Only a request with
// two different keys is refused without, by [ErrAmbiguous].
//
// The usage log names requests by their route. It is [http.Request.Pattern],
// which a [http.ServeMux] sets before it calls the handlers registered with
// it: wrap those, one by one. A middleware around the mux as a whole runs before
// any route is known and records none. [RouteFunc] helps with other routers.
//
// RequireKey panics, at start rather than in requests, for a nil Verifier and for
// a scope that no key can hold: one that is malformed, that holds a wildcard, or
// that is missing from Options.Scopes of the Service.
func RequireKey(v Verifier, opts ...Option) func(http.Handler) http.Handler {
	return newGuard(v, opts).wrap
}

// OptionalKey is [RequireKey], except that a request which presents no key at
// all reaches the handler too, without an Identity: [IdentityFrom] then reports
// false, and the handler must treat the caller as a stranger. A key that is
// presented has to be good, scopes included; a bad one is refused, not ignored.
//
// Any Bearer token counts as a key that is presented. Where strangers come with
// Bearer tokens of another system, route them elsewhere before OptionalKey.
func OptionalKey(v Verifier, opts ...Option) func(http.Handler) http.Handler {
	g := newGuard(v, opts)
	g.optional = true
	return g.wrap
}

// guard is one configured middleware.
type guard struct {
	verifier Verifier
	optional bool
	scopes   []string
	query    string                       // name of the query parameter; empty: none is read
	keys     func(*http.Request) []string // in place of the headers and the query; nil: they are read
	trusted  Proxies
	route    func(*http.Request) string
	refuse   func(http.ResponseWriter, *http.Request, error)
	failures *failures.Limiter // nil: none are counted
	now      func() time.Time  // of failures
}

func newGuard(v Verifier, opts []Option) *guard {
	if v == nil {
		panic("keyfold/httpadapter: nil Verifier")
	}
	var routes routeNames
	g := &guard{
		verifier: v,
		route:    routes.of,
		refuse:   func(w http.ResponseWriter, _ *http.Request, err error) { ProblemOf(err).Write(w) },
		failures: limiterOf(v),
		now:      time.Now,
	}
	for _, opt := range opts {
		opt(g)
	}
	g.checkScopes()
	svc, _ := v.(*keyfold.Service) // nil for a Verifier of the host's own
	perservice.WarnOnce(svc, slog.Default(), g.trusted.Warnings())
	return g
}

// checkScopes panics where the route asks for a scope that no key can hold.
func (g *guard) checkScopes() {
	if v, ok := g.verifier.(interface{ CheckScopes(scopes ...string) error }); ok {
		if err := v.CheckScopes(g.scopes...); err != nil {
			panic("keyfold/httpadapter: every key would be refused: " + err.Error())
		}
		return
	}
	for _, wanted := range g.scopes {
		if !scope.IsConcrete(wanted) {
			panic("keyfold/httpadapter: every key would be refused: a scope " + scope.ConcreteRule)
		}
	}
}

// limiters are those of the Services that are in use: the middlewares of one,
// on however many routes, count together.
var limiters perservice.States[failures.Limiter]

func limiterOf(v Verifier) *failures.Limiter {
	if svc, ok := v.(*keyfold.Service); ok {
		return limiters.Of(svc, failures.New)
	}
	return failures.New()
}

func (g *guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := g.identify(r)
		switch {
		case err != nil:
			g.refuse(w, r, g.limit(r, err))
		case id.IsZero(): // only where a key is optional
			next.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r.WithContext(&identityContext{r.Context(), id}))
		}
	})
}

// limit is [LimitFailures] for a request.
func (g *guard) limit(r *http.Request, err error) error {
	if g.failures == nil || !isBadKey(err) {
		return err
	}
	return limitFailures(g.failures, g.now(), g.trusted.ClientIP(r), err)
}

// LimitFailures counts a refusal of the Verifier against the client's address and
// returns the error to answer with: err itself, or a [keyfold.ErrRateLimited] once the
// address has sent more than ten bad keys in a minute. [RequireKey] does this by
// itself; LimitFailures is for gRPC interceptors and for frameworks that do not use
// net/http. Both count together for one [keyfold.Service], in bounded memory.
//
// Call it with the error of every Verify, or with nil: only bad keys are counted.
// A good key passes from any address, so that a client is never locked out by what
// others behind the same address send.
func LimitFailures(v Verifier, client netip.Addr, err error) error {
	if !isBadKey(err) {
		return err
	}
	return limitFailures(limiterOf(v), time.Now(), client, err)
}

func limitFailures(limiter *failures.Limiter, now time.Time, client netip.Addr, err error) error {
	if _, wait := limiter.Fail(now, client); wait > 0 {
		return &tooManyFailures{wait}
	}
	return err
}

// isBadKey reports whether err refuses a key. A request without a key is not a guess,
// and an error that decided nothing is not a failure.
func isBadKey(err error) bool {
	return errors.Is(err, keyfold.ErrUnauthenticated) && keyfold.OutcomeOf(err) != keyfold.OutcomeMissing
}

// tooManyFailures is the [keyfold.ErrRateLimited] of an address that sends bad keys.
type tooManyFailures struct{ wait time.Duration }

func (t *tooManyFailures) Error() string {
	return "keyfold: too many bad keys came from this address"
}
func (t *tooManyFailures) Unwrap() error             { return keyfold.ErrRateLimited }
func (t *tooManyFailures) RetryAfter() time.Duration { return t.wait }

// identify returns whose key the request presents; nobody's where it presents
// none and may do so.
func (g *guard) identify(r *http.Request) (keyfold.Identity, error) {
	if g.keys != nil {
		return g.firstGood(r)
	}
	token, err := g.credential(r)
	if err != nil {
		return keyfold.Identity{}, err
	}
	return g.verify(r, token)
}

// firstGood tries the keys in turn. Where none is good, that a key may not do
// this tells more than that another is no key.
func (g *guard) firstGood(r *http.Request) (keyfold.Identity, error) {
	var refused error
	for _, token := range g.keys(r) {
		if token == "" {
			continue
		}
		id, err := g.verify(r, token)
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
	return g.verify(r, "")
}

func (g *guard) verify(r *http.Request, token string) (keyfold.Identity, error) {
	if token == "" && g.optional {
		return keyfold.Identity{}, nil
	}
	id, err := g.verifier.Verify(r.Context(), g.request(r, token))
	if err == nil && id.IsZero() {
		err = keyfold.ErrUnauthenticated // nobody is nobody, whatever the Verifier says
	}
	if err != nil {
		return keyfold.Identity{}, err
	}
	return id, nil
}

func (g *guard) credential(r *http.Request) (string, error) {
	var found credentials
	found.fromHeaders(func(name string) []string { return r.Header[name] })
	if g.query != "" {
		found.fromQuery(r.URL.RawQuery, g.query)
	}
	return found.choose()
}

func (g *guard) request(r *http.Request, token string) keyfold.Request {
	return keyfold.Request{
		Token:     token,
		Scopes:    g.scopes,
		IP:        g.trusted.ClientIP(r),
		Route:     g.route(r),
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

// maxText bounds what is handed on of a header, in bytes.
const maxText = 256

// bounded cuts s. It copies the rest, because usage events outlive requests and
// would keep all of a long header in memory.
func bounded(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.Clone(s[:maxText])
}
