package httpadapter

import (
	"context"

	"github.com/keyfold/keyfold"
)

// identityKey is the key of the Identity in a request's context. Only this
// package can make one, so no other code can pretend that a request was let in.
type identityKey struct{}

// IdentityFrom returns whose key the request came with, as [RequireKey] or
// [OptionalKey] found it. It reports false, beside the zero Identity, when the
// request passed neither or presented no key: treat it as unauthenticated.
func IdentityFrom(ctx context.Context) (keyfold.Identity, bool) {
	id, _ := ctx.Value(identityKey{}).(keyfold.Identity)
	return id, !id.IsZero()
}
