// Package keyfold provides API-key authentication for Go programs. It stores
// keys, users and usage in a database that the program already has, or in a
// SQLite file.
//
//	store, err := sqlite.Open(ctx, "keyfold.db")
//	svc, err := keyfold.New(store, nil)
//	key, token, err := svc.CreateKey(ctx, keyfold.NewKey{Name: "ci", Scopes: []string{"reports:read"}})
//	fmt.Println(token.Reveal()) // only its hash is stored
//
//	mux.Handle("GET /reports", httpadapter.RequireKey(svc, httpadapter.Scopes("reports:read"))(reports))
//
// Keys expire after 15 days unless NewKey.TTL or Options.KeyTTL says otherwise.
//
// Keys can belong to users, who log in with a username or an e-mail address and
// a password: see [Service.CreateUser], [Service.Authenticate] and
// [Service.CreateOneTimeToken].
//
// # Security
//
// The database contains hashes of 190-bit random secrets, so a stolen copy
// contains no usable key. Passwords are hashed with Argon2id, and guesses are
// limited per account and per address in all processes together. A key is
// refused from the moment its revocation is committed. If the store fails or
// answers too late, the request is refused. Malformed tokens never reach the
// store, and requests without a valid key never cause a write of their own.
// Tokens hide themselves from logs, errors and encoders.
//
// Keyfold does not protect against an attacker who controls the process or can
// write to its database, or against a holder who gives a token away. Networks,
// scopes, expiry and rotation limit the damage.
//
// # Compatibility
//
// The token format, the texts and numbers of [Outcome], and the stored hashes
// will not change. Before version 1 the Go API may change between minor
// versions; the CHANGELOG lists each change. The packages under query are
// generated and have no stable API.
package keyfold
