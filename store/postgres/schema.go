package postgres

import (
	"context"
	"regexp"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// schema is the schema that contains the tables. The search_path determines it once, when
// the Store is opened, and every later statement names it. The search_path of a session
// may change later, through the program or through other users of a pooler, and would
// then lead to other tables.
type schema struct {
	quoted string // as an identifier
	begin  string // begins a transaction in the schema

	statements sync.Map // generated statement to statement with qualified tables
}

// findSchema must be called after the migration.
func findSchema(ctx context.Context, db sessions) (*schema, error) {
	var name string
	err := db.QueryRow(ctx, "SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "+
		"WHERE c.relname = 'keyfold_meta' AND pg_catalog.pg_table_is_visible(c.oid)").Scan(&name)
	if err != nil {
		return nil, err
	}
	quoted := pgx.Identifier{name}.Sanitize()
	// pg_temp is last, because temporary tables would otherwise hide the tables.
	path := strings.ReplaceAll(quoted+", pg_temp", "'", "''")
	return &schema{quoted: quoted, begin: beginOwn + ", pg_catalog.set_config('search_path', '" + path + "', true)"}, nil
}

// beginIn returns the statement that begins a transaction of the Store.
func (s *schema) beginIn() string {
	if s == nil {
		return beginOwn
	}
	return s.begin
}

// qualify adds the schema to every table in a statement. It is meant for the statements
// of sqlc: there are few, and none contains the name of a table in a string.
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
