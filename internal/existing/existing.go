// Package existing lets the command control how a store opens its database. The
// command does not create a schema by accident, so that a mistyped connection
// string does not become a new, empty database. It also learns when a database has
// answered, so that it can give up on a silent host and still wait for a long
// migration.
package existing

import (
	"context"
	"errors"
)

// ErrEmpty is the error of a store that may not create its schema and finds none.
var ErrEmpty = errors.New("keyfold: the database does not have the tables of Keyfold")

type (
	marker   struct{}
	answered struct{}
)

// Only returns a context under which stores open a database only if it has a
// schema, of any version. They return an [ErrEmpty] otherwise.
func Only(ctx context.Context) context.Context { return context.WithValue(ctx, marker{}, true) }

// OnAnswer returns a context under which an SQL store calls answer when it has read
// the version of the schema, before it migrates. It may do so several times.
func OnAnswer(ctx context.Context, answer func()) context.Context {
	return context.WithValue(ctx, answered{}, answer)
}

// Check is called by a store that has read the version of the schema. It returns an
// [ErrEmpty] if ctx is from [Only] and the
// version is 0, which means that there is no schema.
func Check(ctx context.Context, version int64) error {
	if answer, ok := ctx.Value(answered{}).(func()); ok {
		answer()
	}
	if version == 0 && ctx.Value(marker{}) != nil {
		return ErrEmpty
	}
	return nil
}
