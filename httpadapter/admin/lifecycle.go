package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/keyfold/keyfold"
)

// BulkChange is the response to a change of several keys.
type BulkChange struct {
	Changed int `json:"changed" doc:"The number of keys that changed. Keys that were in the requested state before are not counted."`
}

type (
	reasonBody struct {
		Reason string `json:"reason" required:"false" maxLength:"256"`
	}

	renewKeyBody struct {
		TTL       ttl       `json:"ttl" required:"false" doc:"The lifetime from now on. It never shortens the remaining lifetime. Without ttl and expires_at, the server's default applies."`
		ExpiresAt time.Time `json:"expires_at" required:"false" doc:"The time at which the key expires, instead of ttl. It may be earlier than the current one. A time in the past makes the key expire now."`
	}

	rotateKeyBody struct {
		Overlap   overlap   `json:"overlap" required:"false" doc:"How long the old key continues to work next to the new one. The default is 24 hours. \"0s\" revokes the old key immediately, with the reason \"rotated\"."`
		TTL       ttl       `json:"ttl" required:"false" doc:"The lifetime of the new key. The default is the expiry time of the old key."`
		ExpiresAt time.Time `json:"expires_at" required:"false" doc:"The time at which the new key expires, instead of ttl. It must be in the future."`
	}

	bulkKeysBody struct {
		IDs     *[]string `json:"ids" required:"false" minItems:"1" maxItems:"1000" doc:"Only the keys with these IDs."`
		OwnerID *string   `json:"owner_id" required:"false" minLength:"1" doc:"Only keys of this owner."`
		UserID  *string   `json:"user_id" required:"false" minLength:"1" doc:"Only keys of this user."`
		Tenant  *string   `json:"tenant" required:"false" minLength:"1" doc:"Only keys of this tenant."`
		Reason  string    `json:"reason" required:"false" maxLength:"256"`
	}

	bulkOutput struct{ Body BulkChange }
)

func (a *api) lifecycleRoutes(r *routes) {
	post := func(path, id, summary string, body bodyRule) route {
		return route{http.MethodPost, path, id, summary, http.StatusOK, body}
	}
	add(r, post("/keys/{id}/revoke", "revoke-key", "Revoke a key", bodyOptional),
		"A revoked key stops working and cannot be enabled or renewed. Revoking a key twice has no effect; the first reason is kept.", a.revokeKey)
	add(r, post("/keys/{id}/disable", "disable-key", "Disable a key", bodyOptional), "A disabled key is refused until it is enabled. Disabling a key twice has no effect; the first reason is kept.", a.disableKey)
	add(r, post("/keys/{id}/enable", "enable-key", "Enable a disabled key", noBody), "", a.enableKey)
	add(r, post("/keys/{id}/renew", "renew-key", "Renew a key", bodyOptional),
		"An expired key works again once it is renewed. A revoked key cannot be renewed.", a.renewKey)
	add(r, route{http.MethodPost, "/keys/{id}/rotate", "rotate-key", "Rotate a key", http.StatusCreated, bodyOptional},
		"Replaces the key with a new one, which has a different ID and token and inherits the other fields. "+tokenShownOnce, a.rotateKey)
	add(r, post("/keys/bulk/revoke", "revoke-keys", "Revoke several keys", bodyRequired),
		"Applies to the keys that match all the given conditions. At least one of ids, owner_id, user_id and tenant is required.", a.revokeKeys)
	add(r, post("/keys/bulk/disable", "disable-keys", "Disable several keys", bodyRequired),
		"Applies to the keys that match all the given conditions. At least one of ids, owner_id, user_id and tenant is required.", a.disableKeys)
}

func (a *api) revokeKey(ctx context.Context, in *keyInput, b *reasonBody) (*keyOutput, error) {
	return a.changed(ctx, in.ID, a.svc.RevokeKey(ctx, in.ID, b.Reason))
}

func (a *api) disableKey(ctx context.Context, in *keyInput, b *reasonBody) (*keyOutput, error) {
	return a.changed(ctx, in.ID, a.svc.DisableKey(ctx, in.ID, b.Reason))
}

func (a *api) enableKey(ctx context.Context, in *keyInput, _ *empty) (*keyOutput, error) {
	return a.changed(ctx, in.ID, a.svc.EnableKey(ctx, in.ID))
}

// changed returns the key after a change by a method that does not return it.
func (a *api) changed(ctx context.Context, id string, err error) (*keyOutput, error) {
	if err != nil {
		return nil, err
	}
	key, err := a.svc.Key(ctx, id)
	return a.answer(key, err)
}

func (a *api) renewKey(ctx context.Context, in *keyInput, b *renewKeyBody) (*keyOutput, error) {
	key, err := a.svc.RenewKey(ctx, in.ID, keyfold.RenewOptions{TTL: time.Duration(b.TTL), ExpiresAt: b.ExpiresAt})
	return a.answer(key, err)
}

func (a *api) rotateKey(ctx context.Context, in *keyInput, b *rotateKeyBody) (*createdKeyOutput, error) {
	key, token, err := a.svc.RotateKey(ctx, in.ID, keyfold.RotateOptions{
		Overlap: time.Duration(b.Overlap), TTL: time.Duration(b.TTL), ExpiresAt: b.ExpiresAt,
	})
	return a.created(key, token, err)
}

func (a *api) revokeKeys(ctx context.Context, _ *empty, b *bulkKeysBody) (*bulkOutput, error) {
	return bulkResult(a.svc.RevokeKeys(ctx, b.filter(), b.Reason))
}

func (a *api) disableKeys(ctx context.Context, _ *empty, b *bulkKeysBody) (*bulkOutput, error) {
	return bulkResult(a.svc.DisableKeys(ctx, b.filter(), b.Reason))
}

func (b *bulkKeysBody) filter() keyfold.KeyFilter {
	filter := keyfold.KeyFilter{OwnerID: filterOfMember(b.OwnerID), UserID: filterOfMember(b.UserID), Tenant: filterOfMember(b.Tenant)}
	if b.IDs != nil { // null and [] become a list that the Service refuses
		filter.IDs = append([]string{}, *b.IDs...)
	}
	return filter
}

// filterOfMember returns the condition on a member. An empty member is a condition
// too, unlike an absent one: the Service refuses it, so that it cannot extend the
// change to all keys.
func filterOfMember(member *string) keyfold.Filter {
	if member == nil {
		return keyfold.Filter{}
	}
	return keyfold.Only(*member)
}

func bulkResult(changed int, err error) (*bulkOutput, error) {
	return &bulkOutput{Body: BulkChange{Changed: changed}}, err
}
