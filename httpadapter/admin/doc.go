// Package admin serves the admin API. Over HTTP, administrators create, list,
// update, revoke, renew and rotate keys and read their usage; manage users, check
// their passwords and create one-time tokens for them; and read the audit log. An
// OpenAPI 3.1 document at /openapi.json describes the API, and the page at /docs
// shows that document and can send requests.
//
//	handler, err := admin.Handler(svc, admin.Options{Secret: secret})
//	mux.Handle("/auth/", http.StripPrefix("/auth", handler))
//
// # Authentication
//
// Every request must have the admin secret in the header "secret-key", except
// requests for the document and the page. Unknown paths require it as well. The
// secret is never read from a URL. It gives full access.
//
// The correct secret is always accepted, whatever other clients send. A request
// without a secret is answered with 401 and is not counted. Wrong secrets are
// counted by address, and IPv6 addresses by /64: after ten in a minute, further
// wrong secrets from that address are answered with 429 until the minute is over.
// Wrong secrets are logged with the address, at most 20 lines a minute.
//
// # Short secrets
//
// Options.AllowShortSecrets permits secrets of fewer than 32 characters. Because
// such a secret can be guessed, it is the exception to the rule above. Secrets of
// its length are compared at most ten times a second for each Service in the
// process. Five of these comparisons are reserved for addresses that sent no wrong
// secret within the last minute. Further requests are answered with 429, even if
// they have the correct secret. The limit does not apply to:
//
//   - addresses that presented the correct secret in the last 24 hours. The process
//     remembers the last 1024 of them in memory.
//   - loopback addresses, if the request has no header that a proxy adds, such as
//     X-Forwarded-For or Via.
//
// Behind a proxy that Options.TrustedProxies does not name, all clients share the
// address of the proxy. If that proxy runs on the same machine and adds none of
// these headers, all its clients count as loopback, and the number of their guesses
// is not limited. List the proxy in TrustedProxies and use a longer secret.
//
// # The documentation page
//
// The document and the page are the same on every server and contain nothing about
// its data. Options.HideDocs removes both. The page is self-contained: it sends
// requests only to this API, and it keeps the secret that is typed into it in memory
// only. Its Content-Security-Policy permits only its own scripts, by their hashes.
//
// POST, PATCH and DELETE requests are refused if a browser sends them from another
// origin. The API does not support CORS.
//
// # Requests and responses
//
// A request body is a single JSON object in UTF-8 of at most 64 KiB. Unknown
// members, duplicate members and unknown query parameters are refused. Responses
// never repeat such a name, because it may be a token that was pasted into the wrong
// place. Times are RFC 3339; in responses, they are in UTC. Durations have the form
// that [ParseDuration] accepts, such as "15d", "36h" or "1d12h". A time to live may
// also be "never". Absent values are null. Errors are RFC 9457 problem documents, as
// [httpadapter.Problem] describes, with a stable code. If the code is "invalid" or
// "conflict", the document may also name the field.
//
// A key's token appears only in the response that creates or rotates the key, and a
// one-time token only in the response that creates it. No response contains a
// password or a hash. Responses are marked as not cacheable, except for the document
// and the page.
package admin

const description = `Manage keys and users, and read the usage of keys and the audit log.

Every request must have the admin secret in the header ` + "`secret-key`" + `, except requests for this document and its page.

Durations consist of years of 365 days, weeks, days of 24 hours, hours, minutes and seconds, in this order: "15d", "36h", "1d12h".
Times are RFC 3339. Absent values are null.
Errors are problem documents (RFC 9457) with a stable code.`
