// Package fromenv opens a Service that is configured by a .env file and the environment.
//
//	app, err := fromenv.Open(ctx, sqlite.Opener{}, postgres.Opener{})
//	if err != nil {
//		return err
//	}
//	defer app.Close(context.Background()) // writes the remaining usage, then closes the store
//	mux.Handle("GET /reports", httpadapter.RequireKey(app.Service)(reports))
//
// The openers say which databases the program supports, and the program links only their
// drivers. KEYFOLD_DATABASE_URL selects the database; without it, the program uses SQLite
// in the file keyfold.db.
//
// [Variables] lists the variables that are read; docs/configuration.md has the same list
// as a table. The environment of the process takes precedence over the file, and a
// KEYFOLD_ name over the predecessor's name for the same setting. A value that is not
// valid is an error, and so is an unknown name that begins with KEYFOLD_. All errors are
// reported at once. They name the variables and never repeat a value. The package does
// not change the environment of the process.
//
// # Quoting
//
// Put values in a .env file in single quotes. Outside single quotes, the parser
// (github.com/joho/godotenv) reads "$" as the beginning of a variable's name, so the
// password pa$WORD would become pa. In a variable of Keyfold this is an error. Without
// any quotes, " #" begins a comment, which cannot be told from a part of the value.
//
// # Secrets
//
// Secrets and connection strings can be read from files: KEYFOLD_SECRET_FILE names a file
// that contains the value of KEYFOLD_SECRET. The types [Secret] and [Database] hide them
// from fmt, log/slog and encoders.
package fromenv
