// Package httpadapter protects net/http handlers with API keys, and has the parts to do
// the same in other frameworks. [keyfold.Service.Verify] decides whether a request is
// allowed; this package only translates.
//
//	mux.Handle("GET /reports", httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"))(reports))
//
// In the handler, [IdentityFrom] returns the identity of the key. Refused requests are
// answered with a problem document (RFC 9457); [ProblemOf] lists them. If several routes
// have options in common, make a [Guard].
//
// The middlewares have the type func(http.Handler) http.Handler, so they work with every
// router that uses net/http. In other frameworks, call [ExtractToken], [ClientIP], Verify,
// [LimitFailures] and [Response].
//
// # Deployment
//
// The client's address is the peer of the connection, unless [TrustedProxies] names the
// proxies that may report another address. Without it, all clients behind a proxy have
// the address of the proxy.
//
// Shared caches do not store answers to requests with an Authorization header (RFC 9111
// section 3.5), but they may store answers to requests with X-API-Key. Handlers whose
// answers depend on the key should set "Cache-Control: private" or "no-store". Refusals
// always have no-store.
//
// Browsers send CORS preflight requests without credentials, so handle CORS outside of
// [RequireKey].
package httpadapter
