package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/keyfold/keyfold"
)

// BulkChange is the answer to a change of many keys at once.
type BulkChange struct {
	Changed int `json:"changed" doc:"How many keys this changed; those that were so already are not counted"`
}

type (
	reasonBody struct {
		Reason string `json:"reason" required:"false" maxLength:"256"`
	}

	renewBody struct {
		TTL       ttl       `json:"ttl" required:"false" doc:"From now; never shortens what the key has. The server's default if neither this nor expires_at is given"`
		ExpiresAt time.Time `json:"expires_at" required:"false" doc:"Instead of ttl; may also be sooner, and a time that is past ends the key now"`
	}

	rotateBody struct {
		Overlap   overlap   `json:"overlap" required:"false" doc:"How long the old key continues to work next to the new one. The default is 24 hours; 0s revokes the old key at once, with the reason rotated."`
		TTL       ttl       `json:"ttl" required:"false" doc:"The life of the new key, if not that of the old one"`
		ExpiresAt time.Time `json:"expires_at" required:"false" doc:"Instead of ttl; a time to come"`
	}

	bulkBody struct {
		IDs     []string `json:"ids" required:"false" maxItems:"1000"`
		OwnerID *string  `json:"owner_id" required:"false" minLength:"1" doc:"Only keys of this owner"`
		UserID  *string  `json:"user_id" required:"false" minLength:"1" doc:"Only keys of this user"`
		Tenant  *string  `json:"tenant" required:"false" minLength:"1" doc:"Only keys with this tenant label"`
		Reason  string   `json:"reason" required:"false" maxLength:"256"`
	}

	bulkAnswer struct{ Body BulkChange }
)

func (a *api) lifecycleRoutes(r *routes) {
	post := func(path, id, summary string, body bodyRule) route {
		return route{http.MethodPost, path, id, summary, http.StatusOK, body}
	}
	add(r, post("/keys/{id}/revoke", "revoke-key", "End a key for good", bodyOptional),
		"Again changes nothing; the first reason stays.", a.revokeKey)
	add(r, post("/keys/{id}/disable", "disable-key", "Switch a key off for now", bodyOptional), "", a.disableKey)
	add(r, post("/keys/{id}/enable", "enable-key", "Switch a disabled key on again", noBody), "", a.enableKey)
	add(r, post("/keys/{id}/renew", "renew-key", "Give a key more time", bodyOptional),
		"An expired key comes back to life; a revoked one never does.", a.renewKey)
	add(r, route{http.MethodPost, "/keys/{id}/rotate", "rotate-key", "Replace a key by a new one", http.StatusCreated, bodyOptional},
		"The new key has another id and token and inherits all else. The answer holds the token, which cannot be had again.", a.rotateKey)
	add(r, post("/keys/bulk/revoke", "revoke-keys", "End many keys for good", bodyRequired),
		"Keys must match every field that is given, and at least one must be.", a.revokeKeys)
	add(r, post("/keys/bulk/disable", "disable-keys", "Switch many keys off for now", bodyRequired),
		"Keys must match every field that is given, and at least one must be.", a.disableKeys)
}

func (a *api) revokeKey(ctx context.Context, in *onKey, b *reasonBody) (*keyAnswer, error) {
	return a.changed(ctx, in.ID, a.svc.RevokeKey(ctx, in.ID, b.Reason))
}

func (a *api) disableKey(ctx context.Context, in *onKey, b *reasonBody) (*keyAnswer, error) {
	return a.changed(ctx, in.ID, a.svc.DisableKey(ctx, in.ID, b.Reason))
}

func (a *api) enableKey(ctx context.Context, in *onKey, _ *none) (*keyAnswer, error) {
	return a.changed(ctx, in.ID, a.svc.EnableKey(ctx, in.ID))
}

// changed reads the key back after a change that does not return it.
func (a *api) changed(ctx context.Context, id string, err error) (*keyAnswer, error) {
	if err != nil {
		return nil, err
	}
	key, err := a.svc.Key(ctx, id)
	return a.answer(key, err)
}

func (a *api) renewKey(ctx context.Context, in *onKey, b *renewBody) (*keyAnswer, error) {
	key, err := a.svc.RenewKey(ctx, in.ID, keyfold.RenewOptions{TTL: time.Duration(b.TTL), ExpiresAt: b.ExpiresAt})
	return a.answer(key, err)
}

func (a *api) rotateKey(ctx context.Context, in *onKey, b *rotateBody) (*createdAnswer, error) {
	key, token, err := a.svc.RotateKey(ctx, in.ID, keyfold.RotateOptions{
		Overlap: time.Duration(b.Overlap), TTL: time.Duration(b.TTL), ExpiresAt: b.ExpiresAt,
	})
	return a.created(key, token, err)
}

func (a *api) revokeKeys(ctx context.Context, _ *none, b *bulkBody) (*bulkAnswer, error) {
	return bulk(a.svc.RevokeKeys(ctx, b.filter(), b.Reason))
}

func (a *api) disableKeys(ctx context.Context, _ *none, b *bulkBody) (*bulkAnswer, error) {
	return bulk(a.svc.DisableKeys(ctx, b.filter(), b.Reason))
}

func (b *bulkBody) filter() keyfold.KeyFilter {
	return keyfold.KeyFilter{IDs: b.IDs, OwnerID: onlyGiven(b.OwnerID), UserID: onlyGiven(b.UserID), Tenant: onlyGiven(b.Tenant)}
}

// onlyGiven keeps a member that is given and empty apart from one that is absent.
// The Service refuses the first: it must not widen the change to all keys.
func onlyGiven(member *string) keyfold.Filter {
	if member == nil {
		return keyfold.Filter{}
	}
	return keyfold.Only(*member)
}

func bulk(changed int, err error) (*bulkAnswer, error) {
	return &bulkAnswer{Body: BulkChange{Changed: changed}}, err
}
