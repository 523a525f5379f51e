package keyfold

import (
	"net/netip"
	"time"
)

// Key is what is known of an API key: everything but its secret.
type Key struct {
	ID          string // 16 base62 characters; public, safe in logs
	Hint        string // how the token begins, to tell keys apart: "kf_live_8fJ2…"
	Prefix      string // first part of the token: "kf"
	Environment string // second part of the token, if any: "live"
	Name        string
	Notes       string
	OwnerID     string         // the host's own id of whoever the key belongs to; opaque
	Tenant      string         // a label to list and stop keys by
	Scopes      []string       // "resource:action"; empty = none
	Networks    []netip.Prefix // where the key may be used from; empty = anywhere
	Metadata    map[string]string

	CreatedAt      time.Time
	UpdatedAt      time.Time
	ExpiresAt      time.Time     // exclusive; zero = never
	IdleTimeout    time.Duration // zero = none
	DisabledAt     time.Time     // zero = enabled
	DisabledReason string
	RevokedAt      time.Time // zero = not revoked; final otherwise
	RevokedReason  string

	LineageID   string // id of the first key of a chain of rotations; its own id for that one
	RotatedFrom string // id of the key that this one replaced
	RotatedTo   string // id of the key that replaced this one

	Version    int64     // 1 at creation, one more with every change
	Uses       int64     // verifies that were allowed, as of the last flush
	LastUsedAt time.Time // zero = never used
}
