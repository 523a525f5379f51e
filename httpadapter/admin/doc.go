// Package admin serves the admin API: create, list, change, revoke, renew and
// rotate keys over HTTP, and read what they were used for. It is described by
// an OpenAPI 3.1 document at /openapi.json.
//
//	handler, err := admin.Handler(svc, admin.Options{Secret: secret})
//	mux.Handle("/auth/", http.StripPrefix("/auth", handler))
//
// # Who may use it
//
// Every route but /openapi.json, unknown ones included, needs the admin secret
// in the header "secret-key"; it is never read from a URL. Whoever has it may do
// everything. Ten failures a minute from one address (IPv6: one /64), and that
// address is answered 429 whatever it sends, until the minute is over. The
// document at /openapi.json is the same for everybody and tells nothing about a
// server but that it is one; Options.HideDocs removes it.
//
// Requests that change something are POST, PATCH or DELETE and are refused when
// a browser sends them from another origin. There is no CORS.
//
// # What it speaks
//
// Bodies are one JSON object of at most 64 KiB in UTF-8. Names that are unknown
// or given twice are refused, and so are unknown query parameters. Times are RFC
// 3339, in UTC in answers. Durations are days of 24 hours, hours, minutes and
// seconds: "15d", "36h", "1d12h"; a time to live may also be "never". What there
// is none of is null. Failures are problem documents of RFC 9457 as in
// [httpadapter.Problem], with a stable code and, for "invalid", the field.
//
// Only the answers to creating and rotating a key hold a token. No answer may
// be stored by a cache.
package admin

const description = `Everything but this document needs the admin secret in the header secret-key.
Durations are days of 24 hours, hours, minutes and seconds: "15d", "36h", "1d12h".
Times are RFC 3339. What there is none of is null.`
