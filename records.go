package keyfold

// The records that the Service and its Store exchange. This file depends on errors.go
// only, so that the Store contract can be read without the Service.

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"github.com/keyfold/keyfold/internal/text"
)

// Key is an API key without its secret.
type Key struct {
	ID          string // 16 base62 characters; public, safe in logs
	Hint        string // beginning of the token, to recognize the key: "kf_live_8fJ2…"
	Prefix      string // first part of the token: "kf"
	Environment string // second part of the token, if any: "live"
	Name        string
	Notes       string
	OwnerID     string         // id of the owner in the program that uses Keyfold; opaque to Keyfold
	UserID      string         // the [User] that the key belongs to; empty for none
	Tenant      string         // a label for listing and revoking keys in bulk
	Scopes      []string       // "reports:read", see Options.Scopes; empty = none
	Networks    []netip.Prefix // addresses that may use the key; empty = all
	Metadata    map[string]string

	CreatedAt      time.Time
	UpdatedAt      time.Time
	ExpiresAt      time.Time     // exclusive; zero = never
	IdleTimeout    time.Duration // zero = none
	DisabledAt     time.Time     // zero = enabled
	DisabledReason string
	RevokedAt      time.Time // zero = not revoked; final otherwise
	RevokedReason  string
	// UserDisabled is true while the user of the key is disabled or does not exist. It
	// is read with the key and cannot be set: see [Service.DisableUser].
	UserDisabled bool

	LineageID   string // id of the first key of a chain of rotations; its own id for that one
	RotatedFrom string // id of the key that this one replaced
	RotatedTo   string // id of the key that replaced this one

	Version    int64     // 1 at creation, one more with every change
	Uses       int64     // verifies that were allowed, as of the last flush
	LastUsedAt time.Time // zero = never used
}

// KeyState is the state of a key at a point in time.
type KeyState string

// The states of a key. If several apply, the first one in this list is the state.
// [Service.Verify] checks them in the same order.
const (
	KeyRevoked      KeyState = "revoked"
	KeyDisabled     KeyState = "disabled"
	KeyUserDisabled KeyState = "user_disabled" // the key's user is disabled or gone
	KeyExpired      KeyState = "expired"
	KeyActive       KeyState = "active"
)

// State returns the state of the key at that time. It does not take the idle timeout
// into account, because recent uses may not be stored yet.
func (k *Key) State(at time.Time) KeyState {
	switch {
	case !k.RevokedAt.IsZero():
		return KeyRevoked
	case !k.DisabledAt.IsZero():
		return KeyDisabled
	case k.UserDisabled:
		return KeyUserDisabled
	case !k.ExpiresAt.IsZero() && !at.Before(k.ExpiresAt):
		return KeyExpired
	}
	return KeyActive
}

// SecretHash is the stored hash of a secret.
type SecretHash struct {
	Alg      string   // "kf2": SHA-256; "kf2h": HMAC-SHA-256 under a pepper
	PepperID string   // names the pepper; empty without one
	Sum      [32]byte // the hash itself
}

// KeyRecord is a stored key.
type KeyRecord struct {
	Key
	// Secret must never appear in a response.
	Secret SecretHash
	// ActiveAt is the start of the idle timeout if the key was not used since: the time
	// of the creation, the last renewal or the last enabling.
	ActiveAt time.Time
}

// VerifyRecord is the part of a key that [Service.Verify] needs. A store reads it
// in one query.
type VerifyRecord struct {
	KeyID       string
	Secret      SecretHash
	Prefix      string
	Environment string
	Name        string
	OwnerID     string
	Tenant      string
	Scopes      string // separated by one space, in the order given
	Networks    string // CIDR prefixes, separated by one space
	Metadata    string // a JSON object of strings; empty when there is none
	ExpiresAt   int64  // unix milliseconds; [NoDeadline] when the key never expires
	IdleTimeout int64  // milliseconds; 0 for none
	ActiveAt    int64  // unix milliseconds
	LastUsedAt  int64  // unix milliseconds, as of the last flush; 0 when never used, or when IdleTimeout is 0
	Disabled    bool
	Revoked     bool
	UserID      string // empty for a key that belongs to no user
	// UserDisabled must be true when there is a UserID and that user is disabled
	// or does not exist.
	UserDisabled bool
}

// NoDeadline is the ExpiresAt of a [VerifyRecord] whose key never expires.
const NoDeadline = int64(1<<63 - 1)

// KeyIndex selects the index of a scan over keys.
type KeyIndex uint8

// The scans over keys. All but the last are newest first, by (CreatedAt, ID).
const (
	KeysAll      KeyIndex = iota // every key
	KeysByOwner                  // KeyScan.Value is an owner id
	KeysByTenant                 // KeyScan.Value is a tenant
	KeysByUser                   // KeyScan.Value is the id of a user
	KeysExpiring                 // From <= ExpiresAt < To, soonest first, by (ExpiresAt, ID)
)

// KeyScan asks for one page of keys.
type KeyScan struct {
	Index KeyIndex
	Value string
	// From and To bound ExpiresAt for KeysExpiring and are ignored otherwise.
	From, To time.Time
	// After is the position of the last row of the previous page. The zero Position
	// starts at the beginning.
	After Position
	// Limit is the maximum number of rows, at least 1.
	Limit int
}

// Position is the position of a row in an ordered scan.
type Position struct {
	At time.Time
	ID string
}

// StateChange is one of the unconditional changes of a key's state.
type StateChange uint8

// The state changes. A change depends on the state of the key only, never on a version.
// Otherwise, frequent edits could keep a key from being revoked.
const (
	RevokeChange  StateChange = iota + 1 // applies where the key is not revoked
	DisableChange                        // applies where it is neither revoked nor disabled
	EnableChange                         // applies where it is disabled and not revoked; sets ActiveAt
)

// Rotation replaces a key by its successor.
type Rotation struct {
	OldID      string
	OldVersion int64 // as read
	// OldEnd is the new ExpiresAt of the old key. The zero time means that there is no
	// overlap: the old key is revoked, which does not depend on clocks.
	OldEnd time.Time
	New    KeyRecord
}

// RotatedReason is the RevokedReason of a key that was rotated without an overlap.
const RotatedReason = "rotated"

// MaxFeedTargets is the maximum number of keys that one state change names in the feed.
// A larger change writes one feed row without a target, after which processes evict all
// keys.
const MaxFeedTargets = 100

// rehash replaces the hash of one key by a hash with the current pepper.
type rehash struct {
	keyID    string
	old, new SecretHash
}

// User is a person or a program that can log in and own keys. Programs that manage
// their users themselves do not need it: they set [Key.OwnerID] instead.
type User struct {
	ID                string // 16 base62 characters; public, safe in logs
	Username          string // display form; empty = none
	Email             string // display form; empty = none
	EmailVerifiedAt   time.Time
	HasPassword       bool
	PasswordChangedAt time.Time
	CreatedAt         time.Time
	UpdatedAt         time.Time
	DisabledAt        time.Time // zero = enabled
	DisabledReason    string
	Version           int64 // 1 at creation, one more with every change
}

// UserState is the state of a user.
type UserState string

// The states of a user.
const (
	UserActive   UserState = "active"
	UserDisabled UserState = "disabled"
)

// State returns the state of the user at that time. It has the form of [Key.State],
// although no state of a user depends on the time.
func (u *User) State(time.Time) UserState {
	if !u.DisabledAt.IsZero() {
		return UserDisabled
	}
	return UserActive
}

// UserRecord is a stored user. A store must set HasPassword according to PasswordHash,
// and ignore the given value.
type UserRecord struct {
	User
	// UsernameKey and EmailKey are the comparison keys: the canonical form of the name,
	// or "-" followed by the user id if there is no name. Each is unique among users.
	UsernameKey string
	EmailKey    string
	// PasswordHash is a PHC string, or empty without a password. It must never appear in
	// a response.
	PasswordHash string
	// PasswordVersion increases by one with every change of the password.
	PasswordVersion int64
}

// AnyPassword is the version to pass to [UserStore] for replacing any current password.
const AnyPassword = int64(-1)

// UserScan asks for one page of users, newest first by (CreatedAt, ID).
type UserScan struct {
	After Position // position of the last user of the previous page; zero = start
	Limit int      // maximum number of rows, at least 1
}

// OneTimePurpose is the purpose of a one-time token. Its number is stored.
type OneTimePurpose uint8

// The purposes of one-time tokens.
const (
	PurposeVerifyEmail   OneTimePurpose = 1 // verifies the address of the user; valid for 24 hours
	PurposeResetPassword OneTimePurpose = 2 // sets a password without the old one; valid for 15 minutes
	PurposeChangeEmail   OneTimePurpose = 3 // verifies a new address and sets it; valid for 24 hours
)

// String returns the text of the purpose, such as "verify_email". It will not change.
func (p OneTimePurpose) String() string {
	switch p {
	case PurposeVerifyEmail:
		return "verify_email"
	case PurposeResetPassword:
		return "reset_password"
	case PurposeChangeEmail:
		return "change_email"
	}
	return fmt.Sprintf("purpose_%d", uint8(p))
}

// ParseOneTimePurpose returns the purpose with that text, or an [InvalidError] for the
// field "purpose".
func ParseOneTimePurpose(text string) (OneTimePurpose, error) {
	for _, p := range []OneTimePurpose{PurposeVerifyEmail, PurposeResetPassword, PurposeChangeEmail} {
		if p.String() == text {
			return p, nil
		}
	}
	return 0, invalid("purpose", "must be one of verify_email, reset_password, change_email")
}

// OneTimeTokenRecord is a stored one-time token.
type OneTimeTokenRecord struct {
	Sum     [32]byte // hash of the token and its purpose; the token itself is not stored
	Purpose OneTimePurpose
	UserID  string
	// PasswordVersion and EmailKey are those of the user when the token was created. The
	// token is invalid once the user has others.
	PasswordVersion int64
	EmailKey        string
	// NewEmail and NewEmailKey are the new address for PurposeChangeEmail. They are empty
	// for other purposes.
	NewEmail    string
	NewEmailKey string
	CreatedAt   time.Time
	ExpiresAt   time.Time // exclusive
}

// OneTimeTokenUse describes one use of a one-time token.
type OneTimeTokenUse struct {
	Sum          [32]byte
	Purpose      OneTimePurpose
	PasswordHash string // of the new password, for PurposeResetPassword
}

// UsageEvent is one verify. Every verify whose secret was right leaves one. Of
// the other requests a process keeps a sample: at most 10 000 in 24 hours, and
// at most 100 at once. Counts are exact for all.
type UsageEvent struct {
	At        time.Time
	Seq       int64      // orders events of one millisecond; no other meaning
	KeyID     string     // empty for a sampled refusal that no key can be held to
	Outcome   Outcome    // what was decided
	Route     string     // as given in Request.Route: "GET /reports"
	IP        netip.Addr // as given in Request.IP, without a zone; the zero Addr when unknown
	RequestID string     // empty unless Options.RecordRequestID, and in samples
	UserAgent string     // empty unless Options.RecordUserAgent, and in samples
}

// UsageBatch is the usage that a process recorded since its last flush. Totals,
// hours and events of one verify are always in the same batch.
type UsageBatch struct {
	RecorderID string
	Number     int64 // 1, 2, 3, … per recorder
	At         time.Time
	Keys       []KeyUses
	Hours      []UsageHour
	Events     []UsageEvent
}

// KeyUses adds to the totals of a key.
type KeyUses struct {
	KeyID      string
	Uses       int64
	LastUsedAt time.Time
}

// UsageHour is the number of requests of one key that had the same outcome in
// one hour.
type UsageHour struct {
	// KeyID is empty for refusals that belong to no key: those of tokens that are
	// missing, malformed, unknown or have a wrong secret, and those of requests
	// that could not be checked because the store failed.
	KeyID   string
	HourAt  time.Time // start of the hour, UTC
	Outcome Outcome
	Count   int64
}

// UsageResult is the result of [UsageStore].RecordUsage.
type UsageResult struct {
	// Duplicate is true when the batch had been applied before; nothing changed.
	Duplicate bool
	// LostUses counts uses of keys that no longer exist.
	LostUses int64
}

// UsageScan asks for usage events or counts.
type UsageScan struct {
	KeyID    string // empty for all
	OwnerID  string // keys of this owner that exist now; empty for all; not together with KeyID
	UserID   string // keys of this user that exist now; empty for all; not together with the two above
	From     time.Time
	To       time.Time // exclusive
	Outcomes []Outcome // empty for all
	After    EventPosition
	Limit    int
}

// EventPosition is a place in a scan over events, newest first.
type EventPosition struct {
	At  time.Time
	Seq int64
}

// Mutation describes one change for the audit log. Every method that takes one
// must write three things in one step, all or none: the change itself, one
// change row for the feed, and one audit row.
type Mutation struct {
	At        time.Time
	Actor     string     // the name from [WithActor]; empty = unknown
	IP        netip.Addr // the IP address of the actor, without a zone; the zero Addr when unknown
	Action    string     // "key.create", "key.revoke", …
	Target    string     // the id of what changed
	Before    string     // JSON object of the changed fields with their old values, named as in the JSON of Key or User; empty for a creation
	After     string     // JSON object of the changed fields with their new values; empty for a deletion
	RequestID string     // the host's id of the request; empty when unknown
}

// The changes of users that affect their keys. Other changes, such as a new password, do
// not.
const (
	actionUserDisable = "user.disable"
	actionUserEnable  = "user.enable"
	actionUserDelete  = "user.delete"
)

// Change is one entry of the change feed. Processes read the feed to find out
// which cached keys may be out of date.
type Change struct {
	Seq    int64
	At     time.Time
	Action string
	// Target is the id of the key, or of the user if Action begins with "user.". If it is
	// empty, anything may have changed.
	Target string
}

// AuditEntry is one row of the audit log.
type AuditEntry struct {
	// Seq orders entries. It has gaps, and entries of transactions that run at
	// the same time may become visible out of order.
	Seq int64
	Mutation
}

// AuditScan asks for one page of the audit log, newest first by Seq.
type AuditScan struct {
	Target   string // the id of what changed; empty for all
	AfterSeq int64  // the last Seq of the previous page; 0 = start
	Limit    int
}

// Actor identifies the person or program that makes a change, for the audit log.
type Actor struct {
	Name      string     // such as "admin" or "user 42"; chosen by the program
	IP        netip.Addr // the IP address it came from; the zero Addr when unknown
	RequestID string     // the host's id of the request
}

type actorKey struct{}

// maxActorField is the maximum length of each field of an Actor, in bytes.
const maxActorField = 256

// WithActor returns a context whose changes are recorded in the audit log with that
// actor. Each text is cut at 256 bytes, and characters that are not plain UTF-8 text are
// removed, so that a bad name never makes a change fail.
func WithActor(ctx context.Context, actor Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, Actor{
		Name: text.Plain(actor.Name, maxActorField), IP: actor.IP.Unmap().WithZone(""), RequestID: text.Plain(actor.RequestID, maxActorField),
	})
}

// fieldsOf holds the fields of a record that the audit log records, by their
// names in the JSON of that record.
type fieldsOf = map[string]any

// newMutation describes one change by the [Actor] of ctx. If fields are given for both
// before and after the change, it keeps only the fields that differ.
func newMutation(ctx context.Context, at time.Time, action, target string, before, after fieldsOf) Mutation {
	actor, _ := ctx.Value(actorKey{}).(Actor)
	m := Mutation{At: at, Actor: actor.Name, IP: actor.IP, RequestID: actor.RequestID, Action: action, Target: target}
	if before != nil && after != nil {
		for name, old := range before {
			if now, ok := after[name]; ok && reflect.DeepEqual(old, now) {
				delete(before, name)
				delete(after, name)
			}
		}
	}
	m.Before, m.After = encodeFields(before), encodeFields(after)
	return m
}

func encodeFields(fields fieldsOf) string {
	if fields == nil {
		return ""
	}
	encoded, err := json.Marshal(fields)
	if err != nil { // unreachable: the fields are strings, numbers, times and lists of them
		return "{}"
	}
	return string(encoded)
}
