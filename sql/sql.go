// Package sql embeds the migrations of each engine. sqlc generates the packages under
// query/ from the migrations and the queries in this directory.
package sql

import (
	"embed"
	"io/fs"
)

//go:embed sqlite/migrations/*.sql postgres/migrations/*.sql mysql/migrations/*.sql
var files embed.FS

// SQLite returns the migrations of SQLite, as files NNNN_word.sql.
func SQLite() fs.FS { return migrations("sqlite") }

// Postgres returns the migrations of PostgreSQL, as files NNNN_word.sql.
func Postgres() fs.FS { return migrations("postgres") }

// MySQL returns the migrations of MySQL and MariaDB, as files NNNN_word.sql.
func MySQL() fs.FS { return migrations("mysql") }

func migrations(engine string) fs.FS {
	sub, err := fs.Sub(files, engine+"/migrations")
	if err != nil {
		panic(err) // the path is a constant and valid
	}
	return sub
}
