// Package httpadapter puts [keyfold.Service.Verify] in front of net/http
// handlers, and gives other frameworks the parts to do the same. It translates
// and decides nothing: whether a request is allowed is one Verify.
//
//	mux.Handle("GET /reports", httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"))(reports))
//
// In the handler, [IdentityFrom] says whose key it was. A refusal is answered
// with a problem document (RFC 9457); [ProblemOf] lists them.
//
// Every routed middleware has the signature func(http.Handler) http.Handler,
// so it fits each router that is built on net/http. A framework that is not
// uses [ExtractToken], [ClientIP] and [Response] around its own call of Verify.
//
// # What to know when deploying
//
// The client's address is the connection's own peer until [TrustedProxies]
// says who may report another. Behind a proxy, without it, all clients have
// the proxy's address.
//
// Shared caches know that answers to requests with an Authorization header are
// private (RFC 9111 section 3.5); they do not know that of X-API-Key. Handlers
// whose answers depend on the key should set "Cache-Control: private" or
// "no-store". Refusals always carry no-store.
//
// Browsers send a CORS preflight without credentials, so CORS handling belongs
// outside of [RequireKey].
package httpadapter
