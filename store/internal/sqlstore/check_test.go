package sqlstore_test

import (
	"context"
	"errors"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	migrations "github.com/keyfold/keyfold/sql"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// schema counts how often the version of the schema is read.
type schema struct {
	sqlstore.Querier
	meta  model.Meta
	reads int
}

func (s *schema) Meta(context.Context) (model.Meta, error) {
	s.reads++
	return s.meta, nil
}

// A poll of an unchanged database must not read a table. Mutations tried: a state that
// is never stored, and one that is stored after a check that failed.
func TestSchemaIsReadAgainOnlyAfterAStateChange(t *testing.T) {
	t.Parallel()
	db := &schema{meta: model.Meta{SchemaVersion: 2, OldestVersion: 1}}
	state := "1"
	store := sqlstore.New(sqlstore.Engine{
		Migrations: migrations.SQLite(),
		Pool:       sqlstore.Session{Querier: db},
		State:      func(context.Context) string { return state },
		Class:      func(error) sqlstore.Class { return sqlstore.Other },
	})
	check := func(when string, reads int, refused bool) {
		t.Helper()
		before := db.reads
		for range 3 {
			if err := store.Check(t.Context()); errors.Is(err, keyfold.ErrCheckFailed) != refused || err != nil && !refused {
				t.Errorf("%s: got %v, want refused %t", when, err, refused)
			}
		}
		if got := db.reads - before; got != reads {
			t.Errorf("%s: three checks read the schema %d times, want %d", when, got, reads)
		}
	}
	check("the first state", 1, false)
	state = "2"
	check("another state", 1, false)
	state = ""
	check("an unknown state", 3, false)
	state, db.meta = "3", model.Meta{SchemaVersion: 9, OldestVersion: 9}
	check("a schema only for newer processes", 3, true)
	db.meta = model.Meta{SchemaVersion: 2, OldestVersion: 1}
	check("a schema that fits again", 1, false)
}
