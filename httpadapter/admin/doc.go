// Package admin serves the admin API: create, list, change, revoke, renew and
// rotate keys over HTTP, and read what they were used for; keep users, check
// their passwords and make one-time tokens for them; and read who changed what.
// It is described by an OpenAPI 3.1 document at /openapi.json, and a page at
// /docs shows that document and tries the calls.
//
//	handler, err := admin.Handler(svc, admin.Options{Secret: secret})
//	mux.Handle("/auth/", http.StripPrefix("/auth", handler))
//
// # Who may use it
//
// Every route but these two, unknown ones included, needs the admin secret in the
// header "secret-key"; it is never read from a URL. Whoever has it may do
// everything.
//
// The right secret always passes, whatever other requests sent before. A request
// without a secret is answered 401 and is not counted. Wrong secrets are counted
// by address (IPv6: by /64): after ten in a minute, further wrong ones are
// answered 429 until the minute is over. They are logged with the address, at
// most 20 lines a minute.
//
// # Short secrets
//
// A secret under 32 characters, which Options.AllowShortSecrets admits, can be
// guessed, and is the one exception. Texts of that length are compared at most
// ten times a second for each Service in the process; five of these are kept for
// addresses that sent no wrong secret within the last minute. Further requests
// are answered 429, with the right secret too. These are always compared:
//
//   - requests from addresses that presented the right secret in the last 24
//     hours, as far as the process remembers them: the last 1024, until it ends;
//   - requests from a loopback address without a header of a proxy, such as
//     X-Forwarded-For or Via.
//
// Behind a proxy that Options.TrustedProxies does not name, all clients have one
// address. If that proxy runs on the same machine and adds none of these headers,
// all its clients count as loopback, and nothing bounds their guesses. So name the
// proxy, and set a longer secret.
//
// # The documentation page
//
// Document and page are the same for everybody and tell nothing about a server
// but that it is one; Options.HideDocs removes both. The page holds all that it
// needs, asks no other host for anything, and keeps the secret that is typed into
// it in its memory alone. Its Content-Security-Policy lets nothing but its own
// scripts run, by their hashes.
//
// Requests that change something are POST, PATCH or DELETE and are refused when
// a browser sends them from another origin. There is no CORS.
//
// # What it speaks
//
// Bodies are one JSON object of at most 64 KiB in UTF-8. Names that are unknown
// or given twice are refused, and so are unknown query parameters. No answer
// repeats such a name, since it may be a token in the wrong place. Times are RFC
// 3339, in UTC in answers. Durations are days of 24 hours, hours, minutes and
// seconds: "15d", "36h", "1d12h"; a time to live may also be "never". What there
// is none of is null. Failures are problem documents of RFC 9457 as in
// [httpadapter.Problem], with a stable code and, for "invalid", the field.
//
// Only the answers to creating and rotating a key hold a token, and only that to
// making a one-time token holds one of those; none holds a password or its hash.
// No answer may be stored by a cache.
package admin

const description = `Everything but this document and its page needs the admin secret in the header secret-key.
Durations are days of 24 hours, hours, minutes and seconds: "15d", "36h", "1d12h".
Times are RFC 3339. What there is none of is null.`
