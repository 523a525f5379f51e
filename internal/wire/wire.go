// Package wire has the JSON shapes of the public records. The root package
// writes and reads its records by them, and the admin API derives its OpenAPI
// schemas from them, which is why they carry descriptions.
//
// Times are RFC 3339 in UTC. Absent values are null.
package wire

import (
	"encoding/json"
	"time"
)

// Key is a key without its secret.
type Key struct {
	ID             string            `json:"id" doc:"16 letters and digits; public"`
	Hint           string            `json:"hint" doc:"How the token begins, to tell keys apart"`
	Prefix         string            `json:"prefix"`
	Environment    string            `json:"environment"`
	Name           string            `json:"name"`
	Notes          string            `json:"notes"`
	OwnerID        string            `json:"owner_id"`
	UserID         *string           `json:"user_id" doc:"The user that the key belongs to"`
	UserDisabled   bool              `json:"user_disabled" doc:"Whether that user is disabled, so that the key is refused"`
	Tenant         string            `json:"tenant"`
	Scopes         []string          `json:"scopes" nullable:"false"`
	Networks       []string          `json:"networks" nullable:"false" doc:"CIDR prefixes the key may be used from; empty for anywhere"`
	Metadata       map[string]string `json:"metadata"`
	State          string            `json:"state" enum:"active,expired,user_disabled,disabled,revoked" example:"active" doc:"Where several apply, the first of: revoked, disabled, user_disabled, expired"`
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

// KeyPage is a page of keys. An empty one has the keys [], never null.
type KeyPage struct {
	Keys []Key   `json:"keys" nullable:"false"`
	Next *string `json:"next" doc:"Cursor of the next page, which may exist even when this one is short; null at the end"`
}

// CreatedKey is a new key with its token.
type CreatedKey struct {
	Token string `json:"token" doc:"Shown this once, and never again"`
	Key   Key    `json:"key"`
}

// Identity is the key that a request came with.
type Identity struct {
	KeyID       string     `json:"key_id"`
	Name        string     `json:"name"`
	OwnerID     string     `json:"owner_id"`
	UserID      *string    `json:"user_id"`
	Tenant      string     `json:"tenant"`
	Environment string     `json:"environment"`
	Scopes      []string   `json:"scopes"`
	ExpiresAt   *time.Time `json:"expires_at"`
}

// User is a user without the password.
type User struct {
	ID                string     `json:"id" doc:"16 letters and digits; public"`
	Username          *string    `json:"username"`
	Email             *string    `json:"email"`
	EmailVerifiedAt   *time.Time `json:"email_verified_at"`
	HasPassword       bool       `json:"has_password"`
	PasswordChangedAt *time.Time `json:"password_changed_at"`
	State             string     `json:"state" enum:"active,disabled"`
	CreatedAt         time.Time  `json:"created_at"`
	UpdatedAt         time.Time  `json:"updated_at"`
	DisabledAt        *time.Time `json:"disabled_at"`
	DisabledReason    *string    `json:"disabled_reason"`
	Version           int64      `json:"version" doc:"What PATCH needs; also the ETag"`
}

// UserPage is a page of users. An empty one has the users [], never null.
type UserPage struct {
	Users []User  `json:"users" nullable:"false"`
	Next  *string `json:"next" doc:"Cursor of the next page, which may exist even when this one is short; null at the end"`
}

// IssuedOneTimeToken is a one-time token without the token.
type OneTime struct {
	Purpose   string    `json:"purpose" enum:"verify_email,reset_password,change_email"`
	UserID    string    `json:"user_id"`
	To        string    `json:"to" doc:"The address to send it to"`
	ExpiresAt time.Time `json:"expires_at"`
}

// UsageEvent is one verify.
type UsageEvent struct {
	At        time.Time `json:"at"`
	KeyID     *string   `json:"key_id" doc:"null for a sampled refusal that no key can be held to"`
	Outcome   string    `json:"outcome" doc:"allowed, or why not"`
	Route     *string   `json:"route" doc:"The pattern that the request matched"`
	IP        *string   `json:"ip"`
	RequestID *string   `json:"request_id" doc:"null unless it is kept"`
	UserAgent *string   `json:"user_agent" doc:"null unless it is kept"`
}

// UsagePage is a page of usage events. An empty one has the events [], never
// null.
type UsagePage struct {
	Events []UsageEvent `json:"events" nullable:"false"`
	Next   *string      `json:"next" doc:"Cursor of the next page; null at the end"`
}

// UsageTotals counts verifies by outcome.
type UsageTotals struct {
	From   time.Time        `json:"from" doc:"The hour that the count begins with"`
	To     time.Time        `json:"to"`
	Counts map[string]int64 `json:"counts" doc:"By outcome; what did not happen is left out"`
}

// UsageReport counts verifies by interval and outcome.
type UsageReport struct {
	By        string          `json:"by"`
	Intervals []UsageInterval `json:"intervals" nullable:"false" doc:"Oldest first, without gaps"`
}

// UsageInterval is one hour or day of a report.
type UsageInterval struct {
	StartAt time.Time        `json:"start_at"`
	Counts  map[string]int64 `json:"counts" doc:"By outcome; what did not happen is left out"`
}

// AuditEntry is a change.
type AuditEntry struct {
	Seq       int64           `json:"seq" doc:"Orders entries; it has gaps"`
	At        time.Time       `json:"at"`
	Actor     *string         `json:"actor" doc:"Who; null when nobody said"`
	Address   *string         `json:"address" doc:"From which network address; null when unknown"`
	RequestID *string         `json:"request_id"`
	Action    string          `json:"action" doc:"key.create, key.revoke, …"`
	Target    string          `json:"target" doc:"The id of what changed"`
	Before    json.RawMessage `json:"before" doc:"The fields that changed, as they were; null for a creation"`
	After     json.RawMessage `json:"after" doc:"The fields that changed, as they became; null for a deletion"`
}

// AuditPage is a page of the audit log. An empty one has the entries [], never
// null.
type AuditPage struct {
	Entries []AuditEntry `json:"entries" nullable:"false"`
	Next    *string      `json:"next" doc:"Cursor of the next page; null at the end"`
}

// Time is null for the zero time, and in UTC otherwise.
func Time(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return new(at.UTC())
}

// Text is null for the empty text.
func Text(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// ValueOf is the opposite of [Time] and [Text]: null is the zero value.
func ValueOf[T any](pointer *T) (value T) {
	if pointer != nil {
		value = *pointer
	}
	return value
}
