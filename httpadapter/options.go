package httpadapter

import "net/http"

// Option is an option of [NewGuard], [RequireKey] and [OptionalKey].
type Option func(*config)

// Scopes makes the middleware refuse keys that do not have all of these scopes, with 403.
// Several Scopes add up. Without Scopes, any good key is accepted.
func Scopes(scopes ...string) Option {
	return func(c *config) { c.scopes = append(c.scopes, scopes...) }
}

// QueryParam makes the middleware accept a key in the query parameter of this name, in
// addition to the headers. By default, and if the name is empty, no parameter is read.
//
// URLs appear in the logs of every proxy, in browser histories and in Referer headers
// (RFC 6750 section 5.3). Use QueryParam only for clients that cannot set a header, and
// with keys that have few permissions.
func QueryParam(name string) Option {
	return func(c *config) { c.query = name }
}

// KeyFunc makes the middleware read keys with this function, and not from the headers and
// the query parameter of [ExtractToken] and [QueryParam]. It is for clients that send keys
// in another place, such as a cookie, or by an older contract, as in the package compat.
//
// The middleware verifies the keys in the order in which read returns them, until one is
// good for the request. Empty keys are skipped, two different keys are not an
// [ErrAmbiguous], and the handler gets the Identity of the good key. Each key costs a
// Verify, so read should return few. If read is nil, KeyFunc has no effect.
func KeyFunc(read func(*http.Request) []string) Option {
	return func(c *config) {
		if read != nil {
			c.keys = read
		}
	}
}

// TrustedProxies sets the proxies whose X-Forwarded-For header is trusted. By default no
// proxy is trusted, and the client's address is the peer of the connection. If there are
// several TrustedProxies, the last one applies. See [ClientIP] for the rules.
//
// Name only the proxies: a client in a trusted network can claim any address, and so
// bypass the networks that a key is bound to. When the middleware is made, the
// [Proxies.Warnings] are logged to slog.Default(), once for each Service.
func TrustedProxies(proxies Proxies) Option {
	return func(c *config) { c.trusted = proxies }
}

// DisableFailureLimit makes the middleware answer every bad key with 401, regardless of
// how many bad keys an address sends. It is for tests, and for programs with a limit of
// their own.
//
// By default, an address gets 401 for ten bad keys in a minute and 429 for further ones,
// counted in this process for each Service, in bounded memory. The limit does not make
// keys safer, because keys cannot be guessed, and it never refuses a good key: it tells
// clients with a dead key to stop.
func DisableFailureLimit() Option { return func(c *config) { c.failures = nil } }

// RouteFunc makes the middleware get the route for the usage log from this function, and
// not from [http.Request.Pattern]. It is for routers that keep their pattern in another
// place. The function must return a pattern such as "GET /reports/{id}", and never the
// path: paths contain IDs and secrets, and the usage log stores every new one. If pattern
// is nil, RouteFunc has no effect.
func RouteFunc(pattern func(*http.Request) string) Option {
	return func(c *config) {
		if pattern != nil {
			c.route = pattern
		}
	}
}

// ErrorHandler makes this function answer every request that is refused. It must write a
// response, because otherwise the client gets an empty 200; [ProblemOf] returns the
// default response. If handle is nil, ErrorHandler has no effect.
//
// The error is the error of Verify, [ErrAmbiguous], or a [keyfold.ErrRateLimited] for an
// address that sends too many bad keys. [keyfold.OutcomeOf] returns the reason for the
// log. Do not send the reason to the client: a client that learns that a key is revoked,
// and not unknown, learns that the key was real. The request has no Identity.
func ErrorHandler(handle func(w http.ResponseWriter, r *http.Request, err error)) Option {
	return func(c *config) {
		if handle != nil {
			c.refuse = handle
		}
	}
}
