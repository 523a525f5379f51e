package httpadapter

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/internal/failures"
	"github.com/keyfold/keyfold/httpadapter/internal/perservice"
	"github.com/keyfold/keyfold/internal/scope"
)

// Guard makes the middlewares of a program that have options in common, such as
// [TrustedProxies] or [ErrorHandler], and counts bad keys for all of them. Make one
// with [NewGuard] and share it; it is safe for concurrent use.
//
//	guard := httpadapter.NewGuard(svc, httpadapter.TrustedProxies(proxies))
//	mux.Handle("GET /reports", guard.RequireKey(httpadapter.Scopes("reports:read"))(listReports))
//	mux.Handle("POST /reports", guard.RequireKey(httpadapter.Scopes("reports:write"))(createReport))
//
// A program without common options does not need one: [RequireKey] and
// [OptionalKey] make the Guard for a single middleware.
type Guard struct {
	base func() *middleware // not a pointer: for some verbs fmt prints what that points to, such as the Verifier
}

// NewGuard returns a Guard for this Verifier. The options apply to every middleware
// of the Guard.
//
// All Guards of one [keyfold.Service] count bad keys together, in this process and
// in bounded memory, and so do the Guards of a Verifier that embeds the Service. A
// Guard of any other Verifier has a count of its own.
//
// NewGuard panics if v is nil, or if [Scopes] names a scope that no key can have:
// see [RequireKey].
func NewGuard(v Verifier, opts ...Option) *Guard {
	if svc, ok := v.(*keyfold.Service); v == nil || ok && svc == nil {
		panic("keyfold/httpadapter: the Verifier must not be nil")
	}
	var routes routeNames
	base := &middleware{
		verifier: v,
		warnings: new(perservice.Warnings),
		config: config{
			route:    routes.of,
			refuse:   func(w http.ResponseWriter, _ *http.Request, err error) { ProblemOf(err).Write(w) },
			failures: failures.New(),
			now:      time.Now,
		},
	}
	if owner, ok := v.(perservice.Owner); ok {
		base.failures, base.warnings = perservice.Of(owner, failures.New), perservice.WarningsOf(owner)
	}
	base = base.with(opts)
	return &Guard{func() *middleware { return base }}
}

// RequireKey is the function [RequireKey] with the options of the Guard. Options
// given here apply to this middleware only: they replace the option of the same
// name, except for [Scopes], which add up.
func (g *Guard) RequireKey(opts ...Option) func(http.Handler) http.Handler {
	return g.base().with(opts).wrap
}

// OptionalKey is the function [OptionalKey] with the options of the Guard. It takes
// options as [Guard.RequireKey] does.
func (g *Guard) OptionalKey(opts ...Option) func(http.Handler) http.Handler {
	m := g.base().with(opts)
	m.optional = true
	return m.wrap
}

// LimitFailures counts a bad key that came from this address. It returns the error to
// answer with: a [keyfold.ErrRateLimited] once the address has sent more than ten bad
// keys in a minute, and err in all other cases. With [DisableFailureLimit] it always
// returns err.
//
// The middlewares of the Guard do this themselves. LimitFailures is for gRPC
// interceptors and for frameworks that do not use net/http; they count together with
// the middlewares. Call it with the error of every Verify, or with nil: only bad keys
// are counted. A good key passes from any address, so the bad keys of one client
// cannot lock out other clients behind the same address.
func (g *Guard) LimitFailures(client netip.Addr, err error) error {
	return g.base().limit(err, func() netip.Addr { return client })
}

// RequireKey returns a middleware that verifies the key of each request. If the key
// is good and has the required scopes, the request reaches the handler, which
// learns whose key it was from [IdentityFrom]. Otherwise the middleware answers with
// a [Problem]. RequireKey is the short form of [NewGuard] and [Guard.RequireKey].
//
// If an address (IPv6: its /64) sends more than ten bad keys in a minute, further bad
// keys are answered with 429 until the minute is over; good keys still pass. This
// tells clients with a dead key to stop: see [DisableFailureLimit].
//
// Each request is one Verify; nothing is remembered between requests. A request
// without a key is verified too, so that it is counted. Only a request with two
// different keys is refused without a Verify, with [ErrAmbiguous].
//
// The usage log names requests by their route, which is [http.Request.Pattern]. An
// [http.ServeMux] sets it before it calls a handler, so wrap the handlers one by
// one: a middleware around the whole mux runs before the route is known, and
// records none. For other routers, use [RouteFunc].
//
// RequireKey panics if v is nil, or if [Scopes] names a scope that no key can have: one
// that is malformed, contains a wildcard, or is missing from Options.Scopes of the
// Service. It does so when the program starts, not during a request.
func RequireKey(v Verifier, opts ...Option) func(http.Handler) http.Handler {
	return NewGuard(v, opts...).RequireKey()
}

// OptionalKey is [RequireKey], except that a request without a key reaches the
// handler too, without an Identity. [IdentityFrom] then reports false, and the handler
// must treat the caller as unauthenticated. A key that is present must be good and
// have the required scopes; otherwise the request is refused.
//
// Any Bearer token counts as a key. If your clients also send Bearer tokens of
// another system, route those requests elsewhere before OptionalKey.
func OptionalKey(v Verifier, opts ...Option) func(http.Handler) http.Handler {
	return NewGuard(v, opts...).OptionalKey()
}

// LimitFailures is [Guard.LimitFailures] for a program without a Guard. The Verifier
// must be a [keyfold.Service], or embed one, because the Service keeps the count. For
// any other Verifier nothing is counted and err is returned: use a Guard.
func LimitFailures(v Verifier, client netip.Addr, err error) error {
	owner, ok := v.(perservice.Owner)
	if !ok || !isBadKey(err) {
		return err
	}
	return limitFailures(perservice.Of(owner, failures.New), time.Now(), client, err)
}

// config is what the options set.
type config struct {
	scopes   []string
	query    string                       // the name of the query parameter; "": none is read
	keys     func(*http.Request) []string // replaces headers and query; nil: they are read
	trusted  Proxies
	route    func(*http.Request) string
	refuse   func(http.ResponseWriter, *http.Request, error)
	failures *failures.Limiter // nil: failures are not limited
	now      func() time.Time  // for failures
	inFlight *inFlight         // nil: requests in progress are not limited
}

// with returns a copy to which the options are applied.
func (m *middleware) with(opts []Option) *middleware {
	changed := *m
	changed.scopes = slices.Clone(m.scopes)
	for _, opt := range opts {
		opt(&changed.config)
	}
	changed.checkScopes()
	changed.warnings.Log(slog.Default(), changed.trusted.Warnings())
	return &changed
}

// checkScopes panics if a required scope is one that no key can have.
func (m *middleware) checkScopes() {
	if v, ok := m.verifier.(interface{ CheckScopes(scopes ...string) error }); ok {
		if err := v.CheckScopes(m.scopes...); err != nil {
			panic("keyfold/httpadapter: every key would be refused: " + err.Error())
		}
		return
	}
	for _, wanted := range m.scopes {
		if !scope.IsConcrete(wanted) {
			panic("keyfold/httpadapter: every key would be refused: a scope " + scope.ConcreteRule)
		}
	}
}
