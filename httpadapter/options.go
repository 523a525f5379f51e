package httpadapter

import "net/http"

// Option tunes [RequireKey] and [OptionalKey].
type Option func(*config)

// Scopes makes the middleware refuse keys that do not hold all of these scopes
// (403). Several Scopes add up. Without any, every good key will do.
func Scopes(scopes ...string) Option {
	return func(c *config) { c.scopes = append(c.scopes, scopes...) }
}

// QueryParam makes the middleware take a key from the query parameter of that
// name as well. It is off by default, and an empty name leaves it off: URLs end
// up in the logs of every proxy on the way, in browser histories and in Referer
// headers (RFC 6750 section 5.3), so use it only for clients that cannot set a
// header, and with keys that can do little.
func QueryParam(name string) Option {
	return func(c *config) { c.query = name }
}

// KeyFunc makes the middleware take keys from read, instead of from the headers
// and the parameter that [ExtractToken] and [QueryParam] know. Each key is one Verify,
// in that order, until one is good for the request; empty ones are passed over.
// So two different keys are not an [ErrAmbiguous] here, and the handler learns
// only of the one that was good. It is for clients of an older contract, as
// those of the package compat; read should return few. A nil read changes nothing.
func KeyFunc(read func(*http.Request) []string) Option {
	return func(c *config) {
		if read != nil {
			c.keys = read
		}
	}
}

// TrustedProxies names the proxies whose X-Forwarded-For header is trusted. By
// default none is, and the client's address is that of the connection. The last
// TrustedProxies counts. See [ClientIP] for the rules.
//
// Name only the proxies themselves: a client that connects from a trusted network
// can claim to have any address, and so get past the networks of a key. What
// [Proxies.Warnings] returns is logged to slog.Default() when the middleware is
// made, unless another handler of the Service has logged it.
func TrustedProxies(proxies Proxies) Option {
	return func(c *config) { c.trusted = proxies }
}

// DisableFailureLimit makes the middleware answer every bad key alike, however many
// an address sends. It is for tests, and for programs that limit by themselves.
// By default ten a minute are answered 401 and further ones 429, counted in this
// process for each Service, in bounded memory. No key is safer for it, keys
// cannot be guessed, and none that is good is refused.
func DisableFailureLimit() Option { return func(c *config) { c.failures = nil } }

// RouteFunc makes the middleware ask pattern for the route that the usage log names
// a request by, instead of reading [http.Request.Pattern]. It is for routers
// that keep their pattern elsewhere. It must return a pattern such as
// "GET /reports/{id}", never the path: paths hold ids and secrets, and every new
// one is kept. A nil pattern changes nothing.
func RouteFunc(pattern func(*http.Request) string) Option {
	return func(c *config) {
		if pattern != nil {
			c.route = pattern
		}
	}
}

// ErrorHandler makes handle answer every request that is refused. It must
// write a response, or the caller sees an empty 200; [ProblemOf] has the one to
// fall back on. The error is as Verify returned it, or [ErrAmbiguous];
// [keyfold.OutcomeOf] has the reason for the log, which the response must not tell:
// a caller who learns that a key is revoked rather than unknown has learned that
// it was real. The request holds no Identity. A nil handle changes nothing.
func ErrorHandler(handle func(w http.ResponseWriter, r *http.Request, err error)) Option {
	return func(c *config) {
		if handle != nil {
			c.refuse = handle
		}
	}
}
