package postgres

import (
	"context"
	"regexp"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// schema is where the tables are. A pool finds it by the search_path once, when the
// Store is made, and every later statement names it: a session whose search_path
// was changed since, by the program or by others behind a pooler, would answer from
// the tables of another schema.
type schema struct {
	quoted string // as an identifier
	begin  string // begins a transaction in it

	statements sync.Map // as they are generated → with the schema in front of each table
}

// findSchema must be called once there are tables.
func findSchema(ctx context.Context, db sessions) (*schema, error) {
	var name string
	err := db.QueryRow(ctx, "SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "+
		"WHERE c.relname = 'keyfold_meta' AND pg_catalog.pg_table_is_visible(c.oid)").Scan(&name)
	if err != nil {
		return nil, err
	}
	quoted := pgx.Identifier{name}.Sanitize()
	// What is temporary comes last: it would hide the tables otherwise.
	path := strings.ReplaceAll(quoted+", pg_temp", "'", "''")
	return &schema{quoted: quoted, begin: beginOwn + ", pg_catalog.set_config('search_path', '" + path + "', true)"}, nil
}

// beginIn begins a transaction of the Store's own.
func (s *schema) beginIn() string {
	if s == nil {
		return beginOwn
	}
	return s.begin
}

// qualify puts the schema in front of every table. The statements are those that
// sqlc generates, so there are few, and none has a table's name in a string.
func (s *schema) qualify(statement string) string {
	if s == nil {
		return statement
	}
	if known, ok := s.statements.Load(statement); ok {
		return known.(string)
	}
	tables := regexp.MustCompile(`\bkeyfold_[a-z]`)
	qualified := tables.ReplaceAllStringFunc(statement, func(table string) string { return s.quoted + "." + table })
	s.statements.Store(statement, qualified)
	return qualified
}
