package httpadapter

import (
	"context"

	"github.com/keyfold/keyfold"
)

// identityKey is the key of the Identity in a request's context. Only this
// package can make one, so no other code can pretend that a request was let in.
type identityKey struct{}

// identityContext carries an Identity. It is its own value under identityKey:
// a value apart from it would be allocated for every request.
type identityContext struct {
	context.Context
	id keyfold.Identity
}

func (c *identityContext) Value(key any) any {
	if _, ok := key.(identityKey); ok {
		return c
	}
	return c.Context.Value(key)
}

// IdentityFrom returns whose key the request came with, as [RequireKey] or
// [OptionalKey] found it. It reports false, beside the zero Identity, when the
// request passed neither or presented no key: treat it as unauthenticated.
func IdentityFrom(ctx context.Context) (keyfold.Identity, bool) {
	c, ok := ctx.Value(identityKey{}).(*identityContext)
	if !ok {
		return keyfold.Identity{}, false
	}
	return c.id, !c.id.IsZero()
}
