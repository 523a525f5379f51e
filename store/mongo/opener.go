package mongo

import (
	"context"

	"github.com/keyfold/keyfold"
)

// Opener implements fromenv.Opener.
type Opener struct{}

// Engine returns "mongodb".
func (Opener) Engine() string { return "mongodb" }

// OpenStore is [Open].
func (Opener) OpenStore(ctx context.Context, uri string) (keyfold.Store, error) {
	store, err := Open(ctx, uri)
	if err != nil {
		return nil, err // a nil *Store would be a Store that is not nil
	}
	return store, nil
}
