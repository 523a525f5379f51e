// Package compat serves the routes of Keyfold's predecessor, the Python package
// fastapi_auth2, so that programs can move without changing a client. It is for
// moving: new clients have the package admin.
//
//	handler, err := compat.Handler(svc, compat.Options{Secret: secret})
//	for _, path := range compat.Paths() {
//		mux.Handle("/auth"+path, http.StripPrefix("/auth", handler))
//	}
//	mux.Handle("GET /reports", compat.RequireKey(svc)(reports))
//
// # The contract
//
// Every route takes GET, and POST, which is the same with its parameters in the
// query or in a form. All need the admin secret in the header "secret-key". It is
// never read from a URL.
//
//	/new     name, username, email, password, never_expires; all optional
//	         "<key>", or {"api-key":"<key>"} with an e-mail address and a password
//	/revoke  api-key
//	         null
//	/renew   api-key, expiration-date (ISO 8601; Options.KeyTTL from now)
//	         "The new expiration date for the API key is 2026-12-08T06:45:15"
//	/logs    {"logs":[{"api_key":…,"name":…,"username":…,"email":…,"is_active":…,
//	         "never_expire":…,"expiration_date":…,"latest_query_date":…,"total_queries":…}]}
//
// Failures are {"detail":…}: 403 for every failure to authenticate, 404 for a key
// that is not there to renew, 422 in the shape of FastAPI for a parameter that is
// missing or wrong, 405 with Allow. Beyond the contract there are 429 and 503,
// with Retry-After: more than ten wrong secrets in a minute from one address, and a
// store that does not answer. The right secret always passes; the one exception is
// described under "Short secrets" in the package admin, with whose handler on the
// same Service all of this is counted together.
//
// # Where it departs
//
// The predecessor kept keys in clear and listed them whole. Here api_key in /logs
// is the key's id, its public part. /revoke and /renew take the whole key or that.
//
// /revoke is [keyfold.Service.DisableKey], so that /renew can reactivate a key, by
// EnableKey and RenewKey in one transaction. What was revoked by Keyfold's own
// means, or replaced by rotation, stays so: /renew answers 404.
//
// A key that never expires has the expiration_date 9999-12-31T23:59:59. Renewing it
// without a date, or with a date in the past, leaves it as it is. With a later date
// it expires then; the predecessor answered so, but went on accepting the key.
//
// # Users
//
// With an e-mail address and a password, /new creates a [keyfold.User] that the key
// belongs to; both are created or neither is. One of the two without the other is
// 422. The name, if there is one, becomes the username, so it must be free and must
// not contain spaces: 422 otherwise. Without a user it is the name of the key, and
// need not be unique. "name" in /logs is that of the key; "username"
// is the user's, or the key's where there is no user with one. Passwords have to
// pass the Service's policy, which is the predecessor's if it is made with
// [PasswordPolicy]; they can be checked, by [keyfold.Service.Authenticate].
//
// # What is unsafe in the contract itself
//
// A GET changes things, with key and password in the URL: URLs end up in the logs
// of every server and proxy on the way. Nothing here logs them, but others do.
// Send POST with a form where you can, and leave these routes when the last client
// has moved.
package compat
