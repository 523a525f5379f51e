package mysql

import (
	"context"

	"github.com/keyfold/keyfold"
)

// Opener implements fromenv.Opener.
type Opener struct{}

// Engine returns "mysql".
func (Opener) Engine() string { return "mysql" }

// OpenStore is [Open].
func (Opener) OpenStore(ctx context.Context, dsn string) (keyfold.Store, error) {
	store, err := Open(ctx, dsn)
	if err != nil {
		return nil, err // a nil *Store would be a Store that is not nil
	}
	return store, nil
}
