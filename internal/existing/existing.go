// Package existing lets a program open a database without creating its schema.
// The command uses it so that a mistyped connection string does not become a
// new, empty database.
package existing

import (
	"context"
	"errors"
)

// ErrEmpty is the error of a store that may not create its schema and finds none.
var ErrEmpty = errors.New("keyfold: the database does not have the tables of Keyfold")

type marker struct{}

// Only returns a context under which stores open a database only if it has a
// schema, of any version. They return an [ErrEmpty] otherwise.
func Only(ctx context.Context) context.Context { return context.WithValue(ctx, marker{}, true) }

// Check returns an [ErrEmpty] if ctx is from [Only] and the version of the schema
// is 0, which means that there is no schema.
func Check(ctx context.Context, version int64) error {
	if version == 0 && ctx.Value(marker{}) != nil {
		return ErrEmpty
	}
	return nil
}
