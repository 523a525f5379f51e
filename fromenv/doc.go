// Package fromenv makes a ready Service out of a .env file and the environment.
//
//	app, err := fromenv.Open(ctx, sqlite.Opener{}, postgres.Opener{})
//	if err != nil {
//		return err
//	}
//	defer app.Close(context.Background()) // writes the last uses, then closes the store
//	mux.Handle("GET /reports", httpadapter.RequireKey(app.Service)(reports))
//
// The openers say which databases the program can use, and the program links
// their drivers and no other. Which one it does use is in KEYFOLD_DATABASE_URL;
// without it, SQLite in the file keyfold.db.
//
// [Variables] lists what is read; docs/configuration.md has the same as a table.
// The process environment wins over the file, and a KEYFOLD_ name over the
// predecessor's name for the same thing. A value that is not understood, and a
// name that begins with KEYFOLD_ and is unknown, are errors that name the
// variable and never repeat its value; all of them come at once. Nothing is
// written to the environment of the process.
//
// # Quoting
//
// Values in a .env file belong in single quotes. Outside them the parser
// (github.com/joho/godotenv) takes "$" for the beginning of a variable's name,
// so a password pa$WORD would end as pa; for variables of Keyfold that is an
// error. And without any quotes " #" begins a comment, which nobody can tell
// from a value that holds it.
//
// # Secrets
//
// Secrets and connection strings can be read from files: KEYFOLD_SECRET_FILE
// names one that holds what KEYFOLD_SECRET would. They are kept as [Secret] and
// [Database], which hide themselves from fmt, log/slog and encoders.
package fromenv
