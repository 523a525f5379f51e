package admin

import (
	"time"

	"github.com/keyfold/keyfold"
)

// Key is a key as this API and the command's --json show it. Times are RFC
// 3339 in UTC; what there is none of is null. There is nothing secret in it.
type Key struct {
	ID             string            `json:"id" doc:"16 letters and digits; public"`
	Hint           string            `json:"hint" doc:"How the token begins, to tell keys apart"`
	Prefix         string            `json:"prefix"`
	Environment    string            `json:"environment"`
	Name           string            `json:"name"`
	Notes          string            `json:"notes"`
	OwnerID        string            `json:"owner_id"`
	UserID         *string           `json:"user_id" doc:"The user that the key belongs to"`
	Tenant         string            `json:"tenant"`
	Scopes         []string          `json:"scopes" nullable:"false"`
	Networks       []string          `json:"networks" nullable:"false" doc:"CIDR prefixes the key may be used from; empty for anywhere"`
	Metadata       map[string]string `json:"metadata"`
	State          keyfold.KeyState  `json:"state" enum:"active,expired,disabled,revoked" doc:"The key's own; a key whose user is disabled is refused all the same"`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
	ExpiresAt      *time.Time        `json:"expires_at" doc:"null for never"`
	IdleTimeout    *string           `json:"idle_timeout" doc:"As in requests: \"30d\"; null for none"`
	DisabledAt     *time.Time        `json:"disabled_at"`
	DisabledReason *string           `json:"disabled_reason"`
	RevokedAt      *time.Time        `json:"revoked_at"`
	RevokedReason  *string           `json:"revoked_reason"`
	LineageID      string            `json:"lineage_id" doc:"The first key of a chain of rotations"`
	RotatedFrom    *string           `json:"rotated_from"`
	RotatedTo      *string           `json:"rotated_to"`
	Version        int64             `json:"version" doc:"What PATCH needs; also the ETag"`
	Uses           int64             `json:"uses" doc:"Verifies that were allowed, as of the last flush of usage"`
	LastUsedAt     *time.Time        `json:"last_used_at"`
}

// NewKey shows a key. Its state is the one at that time.
func NewKey(k keyfold.Key, at time.Time) Key {
	shown := Key{
		ID: k.ID, Hint: k.Hint, Prefix: k.Prefix, Environment: k.Environment,
		Name: k.Name, Notes: k.Notes, OwnerID: k.OwnerID, UserID: textOrNil(k.UserID), Tenant: k.Tenant,
		Scopes: append([]string{}, k.Scopes...), Networks: make([]string, 0, len(k.Networks)), Metadata: k.Metadata,
		State: k.State(at), CreatedAt: k.CreatedAt.UTC(), UpdatedAt: k.UpdatedAt.UTC(), ExpiresAt: timeOrNil(k.ExpiresAt),
		DisabledAt: timeOrNil(k.DisabledAt), RevokedAt: timeOrNil(k.RevokedAt),
		LineageID: k.LineageID, RotatedFrom: textOrNil(k.RotatedFrom), RotatedTo: textOrNil(k.RotatedTo),
		Version: k.Version, Uses: k.Uses, LastUsedAt: timeOrNil(k.LastUsedAt),
	}
	for _, network := range k.Networks {
		shown.Networks = append(shown.Networks, network.String())
	}
	if k.Metadata == nil {
		shown.Metadata = map[string]string{}
	}
	if k.IdleTimeout > 0 {
		shown.IdleTimeout = new(FormatDuration(k.IdleTimeout))
	}
	if shown.DisabledAt != nil {
		shown.DisabledReason = textOrNil(k.DisabledReason)
	}
	if shown.RevokedAt != nil {
		shown.RevokedReason = textOrNil(k.RevokedReason)
	}
	return shown
}

// KeyPage is a page of keys. An empty one has the keys [], never null.
type KeyPage struct {
	Keys []Key   `json:"keys" nullable:"false"`
	Next *string `json:"next" doc:"Cursor of the next page, which may exist even when this one is short; null at the end"`
}

// NewKeyPage shows a page of keys. Their states are those at that time.
func NewKeyPage(p keyfold.KeyPage, at time.Time) KeyPage {
	shown := KeyPage{Keys: make([]Key, 0, len(p.Keys)), Next: textOrNil(p.Next)}
	for _, key := range p.Keys {
		shown.Keys = append(shown.Keys, NewKey(key, at))
	}
	return shown
}

// BulkChange is the answer to a change of many keys at once.
type BulkChange struct {
	Changed int `json:"changed" doc:"How many keys this changed; those that were so already are not counted"`
}

// CreatedKey is the answer to creating and rotating a key: the only ones that
// hold a token.
type CreatedKey struct {
	Token string `json:"token" doc:"Shown this once, and never again"`
	Key   Key    `json:"key"`
}

// NewCreatedKey reveals the token of a key that was just created. Write it to
// whoever asked for the key, and nowhere else.
func NewCreatedKey(k keyfold.Key, token keyfold.Token, at time.Time) CreatedKey {
	return CreatedKey{Token: token.Reveal(), Key: NewKey(k, at)}
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC())
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
