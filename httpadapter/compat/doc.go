// Package compat serves the routes of Keyfold's predecessor, the Python package
// fastapi_auth2, so that you can move a program to Keyfold without changing its clients.
// It is for existing clients only: new clients should use the package admin.
//
//	handler, err := compat.Handler(svc, compat.Options{Secret: secret})
//	for _, path := range compat.Paths() {
//		mux.Handle("/auth"+path, http.StripPrefix("/auth", handler))
//	}
//	mux.Handle("GET /reports", compat.RequireKey(svc)(reports))
//
// # The contract
//
// Every route accepts GET and POST. They have the same effect, but POST also accepts its
// parameters in a form. All routes require the admin secret in the header "secret-key". It
// is never read from a URL.
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
// Failures are {"detail":…}: 403 for every failure to authenticate, 404 if the key to renew
// does not exist, 405 with Allow, and 422 in the form of FastAPI for a parameter that is
// missing or wrong. In addition to the contract, there are 429, after more than ten wrong
// secrets in a minute from one address, and 503, if the store does not respond. Both have
// Retry-After. The right secret always passes, with one exception: see "Short secrets" in
// the package admin. Wrong secrets are counted together with those that are sent to the
// handler of admin on the same Service.
//
// # Differences
//
// The predecessor stored keys in plain text and listed them in full. Here, api_key in
// /logs is the beginning of the key up to its ID, "kf_<id>", which is public. /revoke and
// /renew accept the whole key, that beginning, or the ID.
//
// /revoke calls [keyfold.Service.DisableKey], so that /renew can reactivate the key with
// EnableKey and RenewKey, in one transaction. A key that was revoked in another way, or
// replaced by rotation, cannot be reactivated: /renew answers 404.
//
// A key that never expires has the expiration_date 9999-12-31T23:59:59. If it is renewed
// without a date, or with a date in the past, it does not change. If it is renewed with a
// date in the future, it expires then; the predecessor gave the same answer, but did not
// stop accepting the key.
//
// # Users
//
// With an e-mail address and a password, /new creates a [keyfold.User] and a key that
// belongs to the user; either both are created or neither. An e-mail address without a
// password, or the reverse, is a 422. The name becomes the username if there is one, so it
// must not be taken and must not contain spaces; otherwise the answer is 422. Without a
// user, it is the name of the key and need not be unique. In /logs, "name" is the name of
// the key. "username" is the name of the user, or the name of the key if there is no user
// with a username.
//
// Passwords must satisfy the policy of the Service, which is the predecessor's policy if
// the Service was made with [PasswordPolicy]. Use [keyfold.Service.Authenticate] to check
// them.
//
// # Risks of the contract
//
// GET requests change data, with the key and the password in the URL, and URLs appear in
// the logs of servers and proxies. This package does not log them, but others do. Send
// POST requests with a form where you can, and remove these routes when the last client
// has moved.
package compat
