package httpadapter

import (
	"context"

	"github.com/keyfold/keyfold"
)

// identityKey is the key of the Identity in a request's context. It is not exported, so
// that other code cannot store an Identity.
type identityKey struct{}

// identityContext is a context with an Identity. It is its own value under identityKey, so
// that a request needs one allocation and not two.
type identityContext struct {
	context.Context
	id      keyfold.Identity
	counted *inFlight // where the request is counted as in progress
}

func (c *identityContext) Value(key any) any {
	if _, ok := key.(identityKey); ok {
		return c
	}
	return c.Context.Value(key)
}

// IdentityFrom returns the identity of the request's key, which [RequireKey] or
// [OptionalKey] verified. It returns the zero Identity and false if the request had no
// key, or passed through neither of them: treat the request as unauthenticated.
func IdentityFrom(ctx context.Context) (keyfold.Identity, bool) {
	c, ok := ctx.Value(identityKey{}).(*identityContext)
	if !ok {
		return keyfold.Identity{}, false
	}
	return c.id, !c.id.IsZero()
}
