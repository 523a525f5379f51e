// Package wire defines the JSON form of the public records. The root package
// encodes and decodes its records with it, and the admin API derives its OpenAPI
// schemas from it, so the fields carry the descriptions that API users read.
//
// Times are RFC 3339 in UTC. Absent values are null.
package wire

import (
	"encoding/json"
	"time"
)

// Key is a key without its secret.
type Key struct {
	ID             string            `json:"id" doc:"The ID of the key: 16 letters and digits. It is not secret."`
	Hint           string            `json:"hint" doc:"The first characters of the token, to recognize a key by."`
	Prefix         string            `json:"prefix" doc:"The first part of the token."`
	Environment    string            `json:"environment" doc:"The second part of the token, such as \"live\" or \"test\". Empty if the token has none."`
	Name           string            `json:"name"`
	Notes          string            `json:"notes"`
	OwnerID        string            `json:"owner_id" doc:"Your own ID of the key's owner."`
	UserID         *string           `json:"user_id" doc:"The user that the key belongs to."`
	UserDisabled   bool              `json:"user_disabled" doc:"Whether that user is disabled. The keys of a disabled user are refused."`
	Tenant         string            `json:"tenant"`
	Scopes         []string          `json:"scopes" nullable:"false"`
	Networks       []string          `json:"networks" nullable:"false" doc:"The CIDR prefixes that the key may be used from. If empty, the key may be used from any address."`
	Metadata       map[string]string `json:"metadata"`
	State          string            `json:"state" enum:"active,expired,user_disabled,disabled,revoked" example:"active" doc:"If several states apply, this is the first of: revoked, disabled, user_disabled, expired."`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
	ExpiresAt      *time.Time        `json:"expires_at" doc:"Null if the key does not expire."`
	IdleTimeout    *string           `json:"idle_timeout" doc:"A duration such as \"30d\". The key expires if it is not used for this long. Null if it has no idle timeout."`
	DisabledAt     *time.Time        `json:"disabled_at"`
	DisabledReason *string           `json:"disabled_reason"`
	RevokedAt      *time.Time        `json:"revoked_at"`
	RevokedReason  *string           `json:"revoked_reason"`
	LineageID      string            `json:"lineage_id" doc:"The ID of the first key in a chain of rotations."`
	RotatedFrom    *string           `json:"rotated_from" doc:"The ID of the key that this one replaced."`
	RotatedTo      *string           `json:"rotated_to" doc:"The ID of the key that replaced this one."`
	Version        int64             `json:"version" doc:"Increases with every change. PATCH requires it, here or as the ETag."`
	Uses           int64             `json:"uses" doc:"The number of requests that were allowed, as of the last flush of usage."`
	LastUsedAt     *time.Time        `json:"last_used_at"`
}

// KeyPage is a page of keys. An empty page has the keys [], never null.
type KeyPage struct {
	Keys []Key   `json:"keys" nullable:"false"`
	Next *string `json:"next" doc:"The cursor of the next page; null on the last page. A page that is not full may have a next page."`
}

// CreatedKey is a new key with its token.
type CreatedKey struct {
	Token string `json:"token" doc:"The secret token. It is shown only once: store it now."`
	Key   Key    `json:"key"`
}

// Identity is the key that a request was made with.
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
	ID                string     `json:"id" doc:"The ID of the user: 16 letters and digits. It is not secret."`
	Username          *string    `json:"username"`
	Email             *string    `json:"email"`
	EmailVerifiedAt   *time.Time `json:"email_verified_at"`
	HasPassword       bool       `json:"has_password" doc:"Whether the user has a password. A user without one cannot log in."`
	PasswordChangedAt *time.Time `json:"password_changed_at"`
	State             string     `json:"state" enum:"active,disabled"`
	CreatedAt         time.Time  `json:"created_at"`
	UpdatedAt         time.Time  `json:"updated_at"`
	DisabledAt        *time.Time `json:"disabled_at"`
	DisabledReason    *string    `json:"disabled_reason"`
	Version           int64      `json:"version" doc:"Increases with every change. PATCH requires it, here or as the ETag."`
}

// UserPage is a page of users. An empty page has the users [], never null.
type UserPage struct {
	Users []User  `json:"users" nullable:"false"`
	Next  *string `json:"next" doc:"The cursor of the next page; null on the last page. A page that is not full may have a next page."`
}

// OneTime describes a one-time token, without the token itself.
type OneTime struct {
	Purpose   string    `json:"purpose" enum:"verify_email,reset_password,change_email"`
	UserID    string    `json:"user_id"`
	To        string    `json:"to" doc:"The e-mail address to send the token to."`
	ExpiresAt time.Time `json:"expires_at"`
}

// UsageEvent is one request that presented a key.
type UsageEvent struct {
	At        time.Time `json:"at"`
	KeyID     *string   `json:"key_id" doc:"Null for a sampled refusal that cannot be attributed to a key."`
	Outcome   string    `json:"outcome" enum:"allowed,missing,malformed,unknown,wrong_secret,revoked,disabled,expired,idle,user_disabled,scope,ip,rate_limited,credits,unavailable" doc:"Either \"allowed\" or the reason for the refusal."`
	Route     *string   `json:"route" doc:"The route pattern that the request matched."`
	IP        *string   `json:"ip"`
	RequestID *string   `json:"request_id" doc:"Null unless the server is configured to record it."`
	UserAgent *string   `json:"user_agent" doc:"Null unless the server is configured to record it."`
}

// UsagePage is a page of usage events. An empty page has the events [], never
// null.
type UsagePage struct {
	Events []UsageEvent `json:"events" nullable:"false"`
	Next   *string      `json:"next" doc:"The cursor of the next page; null on the last page."`
}

// UsageTotals counts requests by outcome.
type UsageTotals struct {
	From   time.Time        `json:"from" doc:"The start of the first hour that is counted."`
	To     time.Time        `json:"to"`
	Counts map[string]int64 `json:"counts" doc:"The number of requests for each outcome. Outcomes that did not occur are left out."`
}

// UsageReport counts requests by interval and outcome.
type UsageReport struct {
	By        string          `json:"by" enum:"hour,day"`
	Intervals []UsageInterval `json:"intervals" nullable:"false" doc:"Oldest first, without gaps."`
}

// UsageInterval is one hour or day of a report.
type UsageInterval struct {
	StartAt time.Time        `json:"start_at"`
	Counts  map[string]int64 `json:"counts" doc:"The number of requests for each outcome. Outcomes that did not occur are left out."`
}

// AuditEntry is one change.
type AuditEntry struct {
	Seq       int64           `json:"seq" doc:"Orders the entries. Numbers may be skipped."`
	At        time.Time       `json:"at"`
	Actor     *string         `json:"actor" doc:"The person or program that made the change; null if unknown."`
	IP        *string         `json:"ip" doc:"The IP address of the actor; null if unknown."`
	RequestID *string         `json:"request_id" doc:"The X-Request-Id header of the request; null if it had none."`
	Action    string          `json:"action" doc:"The kind of change: the type of the target and a verb, such as \"key.create\", \"key.revoke\" or \"user.update\"." example:"key.update"`
	Target    string          `json:"target" doc:"The ID of the key or user that changed, or the name of a setting."`
	Before    json.RawMessage `json:"before"`
	After     json.RawMessage `json:"after"`
}

// AuditFields describes the members "before" and "after" of an [AuditEntry]. It
// unites the fields of keys, users and settings, because the schema of a union
// would need a discriminator, which these objects do not have.
type AuditFields struct {
	Name           string            `json:"name,omitempty" doc:"Keys."`
	Notes          string            `json:"notes,omitempty" doc:"Keys."`
	OwnerID        string            `json:"owner_id,omitempty" doc:"Keys."`
	UserID         string            `json:"user_id,omitempty" nullable:"true" doc:"Keys."`
	Tenant         string            `json:"tenant,omitempty" doc:"Keys."`
	Scopes         []string          `json:"scopes,omitempty" nullable:"true" doc:"Keys and the setting key_rules. In the latter, null allows any scope."`
	Networks       []string          `json:"networks,omitempty" nullable:"false" doc:"Keys."`
	Metadata       map[string]string `json:"metadata,omitempty" doc:"Keys."`
	Environment    string            `json:"environment,omitempty" doc:"Keys and the setting key_rules."`
	State          string            `json:"state,omitempty" enum:"active,expired,user_disabled,disabled,revoked" doc:"Keys and users. Users are active or disabled."`
	ExpiresAt      time.Time         `json:"expires_at,omitempty" nullable:"true" doc:"Keys and one-time tokens."`
	IdleTimeout    string            `json:"idle_timeout,omitempty" nullable:"true" doc:"Keys."`
	DisabledAt     time.Time         `json:"disabled_at,omitempty" nullable:"true" doc:"Keys and users."`
	DisabledReason string            `json:"disabled_reason,omitempty" nullable:"true" doc:"Keys and users."`
	RevokedAt      time.Time         `json:"revoked_at,omitempty" nullable:"true" doc:"Keys."`
	RevokedReason  string            `json:"revoked_reason,omitempty" nullable:"true" doc:"Keys."`
	RotatedFrom    string            `json:"rotated_from,omitempty" nullable:"true" doc:"Keys."`
	RotatedTo      string            `json:"rotated_to,omitempty" nullable:"true" doc:"Keys."`

	Username        string    `json:"username,omitempty" nullable:"true" doc:"Users."`
	Email           string    `json:"email,omitempty" nullable:"true" doc:"Users."`
	EmailVerifiedAt time.Time `json:"email_verified_at,omitempty" nullable:"true" doc:"Users."`
	HasPassword     bool      `json:"has_password,omitempty" doc:"Users."`
	Purpose         string    `json:"purpose,omitempty" enum:"verify_email,reset_password,change_email" doc:"The purpose of a one-time token that was created for the user."`
	KnownAddress    string    `json:"known_address,omitempty" doc:"The network (a CIDR prefix) that became a known address of the user."`

	Prefix      string `json:"prefix,omitempty" doc:"The setting key_rules."`
	KeyTTL      int64  `json:"key_ttl_ms,omitempty" doc:"The setting key_rules, in milliseconds. -1 means that keys do not expire."`
	MaxOverlap  int64  `json:"max_overlap_ms,omitempty" doc:"The setting key_rules, in milliseconds."`
	MinPassword int    `json:"min_password,omitempty" doc:"The setting key_rules, in characters."`
	MaxPassword int    `json:"max_password,omitempty" doc:"The setting key_rules, in characters."`
}

// AuditPage is a page of the audit log. An empty page has the entries [], never
// null.
type AuditPage struct {
	Entries []AuditEntry `json:"entries" nullable:"false"`
	Next    *string      `json:"next" doc:"The cursor of the next page; null on the last page."`
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

// ValueOf is the inverse of [Time] and [Text]: it returns the zero value for null.
func ValueOf[T any](pointer *T) (value T) {
	if pointer != nil {
		value = *pointer
	}
	return value
}
