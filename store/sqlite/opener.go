package sqlite

import (
	"context"

	"github.com/keyfold/keyfold"
)

// Opener implements fromenv.Opener.
type Opener struct{}

// Engine returns "sqlite".
func (Opener) Engine() string { return "sqlite" }

// OpenStore is [Open].
func (Opener) OpenStore(ctx context.Context, path string) (keyfold.Store, error) {
	store, err := Open(ctx, path)
	if err != nil {
		return nil, err // a nil *Store would be a Store that is not nil
	}
	return store, nil
}
