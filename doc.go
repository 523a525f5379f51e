// Package keyfold is API-key authentication that lives inside a Go program:
// import it, point it at the database that is already there (or at none:
// SQLite is built in), and every handler can ask whose key a request came
// with, and whether it may do what it asks for.
//
//	store, err := sqlite.Open(ctx, "keyfold.db")
//	svc, err := keyfold.New(store, nil)
//	key, token, err := svc.CreateKey(ctx, keyfold.NewKey{Name: "ci", Scopes: []string{"reports:read"}})
//	fmt.Println(token.Reveal()) // the only way to see it, once
//
//	mux.Handle("GET /reports", httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"))(reports))
//
// Users log in by username or e-mail address and password, and keys can belong
// to them: [Service.CreateUser], [Service.Authenticate], [Service.CreateOneTimeToken].
//
// # What it protects against
//
// A stolen database gives no usable key: only hashes of 190-bit secrets are
// stored. Passwords are kept as Argon2id, and guessing them is limited by account
// and by address in every process together. A token is refused from the moment its revocation is committed. A
// store that fails, or answers too late, refuses: nothing is ever allowed
// because it could not be checked. Malformed tokens cost no store call, and
// anonymous garbage writes nothing per request. Tokens hide themselves from
// logs, errors and encoders.
//
// It does not protect against whoever can change the process or write to its
// database, nor a token that its holder gives away; networks, scopes, expiry
// and rotation limit what that is worth.
//
// # Compatibility
//
// The token format, the codes of [Outcome] and the stored hashes are kept for the
// life of the module. Before version 1 the Go API may change between minor
// versions, with a line in the CHANGELOG. The packages under query are
// generated and promise nothing.
package keyfold
