package keyfold

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// Store keeps Keyfold's state. Programs use one of the packages under store/;
// whoever writes another proves it with store/storetest, whose cases are named
// after the sentences below.
//
// Strings are opaque: a Store must compare them byte by byte, so "k1", "k1 "
// and "K1" are three keys, and "é" in two normal forms is two owners. Times
// are kept to the millisecond, in UTC. A Store must be safe for concurrent use.
// It must keep hashes by reading the fields that hold them: records hide them from
// encoding/json and from every other way of printing.
//
// Every method must return promptly with an error once ctx is done. A Store
// reports [ErrNotFound], [ErrConflict] and [ErrStale] where the methods say so
// and [ErrRetry] as [Store.InTx] says; any other error means that the store
// could not do its work, and then nothing of the call may have been kept,
// unless the answer to a commit was lost.
type Store interface {
	KeyStore
	UserStore
	OneTimeTokenStore
	ThrottleStore
	UsageStore
	FeedStore
	AuditStore
	SettingStore

	// InTx must call fn with a Store that is bound to one transaction, commit
	// when fn returns nil and roll back otherwise. When the database gives the
	// transaction up (deadlock, lock timeout, serialisation failure) it must run
	// fn again in a new one, with jitter, a bounded number of times, and then
	// return [ErrRetry]. A Store that is bound already must call fn with itself.
	// One whose database has no transactions must return an error that is
	// errors.ErrUnsupported, and not call fn.
	InTx(ctx context.Context, fn func(Store) error) error

	// Ping must ask the database a question that needs a working connection and
	// a schema.
	Ping(ctx context.Context) error

	// Check must return nil if this process may decide on the database as it is
	// now, and an error that is [ErrCheckFailed], and names the reason, if the
	// database answers that it must not: the schema is older than the process
	// needs, or the schema states that only newer processes may decide on it, or
	// the Store found that its connections are not safe or lead to another
	// database than the one that was opened. Any other error must mean that the
	// question was not answered. Check must never write.
	Check(ctx context.Context) error

	// Close must release what the Store opened itself, and only that. Every
	// later call must return an error, and closing again nil.
	Close() error
}

// Tx is a Store bound to a transaction that its caller began and will end. The
// packages under store/ make one of a driver's transaction, for [Service.With].
type Tx struct {
	// Store runs every statement in the caller's transaction. It never begins,
	// commits, rolls back or retries, and it returns ErrRetry where the database
	// gave the transaction up.
	Store Store
}

// Mutation describes one change for the audit log. Every method that takes one
// must write three things in one step, all or none: the change itself, one
// change row for the feed, and one audit row.
type Mutation struct {
	At        time.Time
	Actor     string     // who, as told by [WithActor]; empty when nobody said
	IP        netip.Addr // the IP address of the actor, without a zone; the zero Addr when unknown
	Action    string     // "key.create", "key.revoke", …
	Target    string     // the id of what changed
	Before    string     // JSON object of the changed fields with their old values, named as in the JSON of Key or User; empty for a creation
	After     string     // JSON object of the changed fields with their new values; empty for a deletion
	RequestID string     // the host's id of the request; empty when unknown
}

// SecretHash is what is stored in place of a secret.
type SecretHash struct {
	Alg      string   // "kf1": SHA-256; "kf1h": HMAC-SHA-256 under a pepper
	PepperID string   // names the pepper; empty without one
	Sum      [32]byte // the hash itself
}

// KeyRecord is a key as it is stored.
type KeyRecord struct {
	Key
	// Secret never leaves the process in any answer.
	Secret SecretHash
	// ActiveAt is the time from which idleness counts when there is no later
	// use: creation, the last renewal or the last enabling.
	ActiveAt time.Time
}

// VerifyRecord is what [Service.Verify] decides on: one narrow read.
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

// KeyIndex names the column that leads a scan over keys.
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
	// After is where the page before ended; the zero Position starts.
	After Position
	// Limit is the greatest number of rows, at least 1.
	Limit int
}

// Position is a place in an ordered scan: the row that was read last.
type Position struct {
	At time.Time
	ID string
}

// StateChange is one of the unconditional changes of a key's state.
type StateChange uint8

// The state changes. Each is guarded by the state alone, never by a version:
// a versioned revoke could lose to a stream of edits.
const (
	RevokeChange  StateChange = iota + 1 // applies where the key is not revoked
	DisableChange                        // applies where it is neither revoked nor disabled
	EnableChange                         // applies where it is disabled and not revoked; sets ActiveAt
)

// Rotation replaces a key by its successor.
type Rotation struct {
	OldID      string
	OldVersion int64 // as read
	// OldEnd is the old key's new ExpiresAt. The zero time means that there is no
	// overlap: the old key ends by its state, which every clock agrees on.
	OldEnd time.Time
	New    KeyRecord
}

// RotatedReason is the RevokedReason of a key that was rotated without an
// overlap.
const RotatedReason = "rotated"

// KeyStore keeps keys. Where several errors apply, the one that a method names
// first must be returned: a revoked key is ErrConflict whatever the version.
type KeyStore interface {
	// CreateKey must insert the key as given, but with Uses 0, never used and without
	// its UserDisabled, which no method writes, and
	// return ErrNotFound when its UserID is not empty and no such user exists, and
	// ErrConflict when its id exists.
	CreateKey(ctx context.Context, key KeyRecord, m Mutation) error

	// Key must return the key with its totals, or ErrNotFound. Its UserDisabled must
	// be true when there is a UserID and that user is disabled or does not exist, as
	// of the moment of the read.
	Key(ctx context.Context, id string) (KeyRecord, error)

	// VerifyKey must return what a verify decides on, or ErrNotFound, in one
	// query on the newest committed state.
	VerifyKey(ctx context.Context, id string) (VerifyRecord, error)

	// Keys must return at most scan.Limit keys, each as Key does, in the order of the
	// index, strictly after scan.After. Walking a scan must show every key that existed
	// throughout exactly once, whatever is inserted or deleted meanwhile.
	Keys(ctx context.Context, scan KeyScan) ([]KeyRecord, error)

	// UpdateKey must write Name, Notes, OwnerID, Tenant, Scopes, Networks,
	// Metadata, IdleTimeout and UpdatedAt of key, and nothing else, where its id
	// and Version match and it is not revoked, and raise the version by one. It
	// must return ErrNotFound when there is no such key, ErrConflict when it is
	// revoked and ErrStale when the version is another.
	UpdateKey(ctx context.Context, key KeyRecord, m Mutation) error

	// RenewKey must set ExpiresAt to what is given (zero = never), and ActiveAt
	// and UpdatedAt to m.At, where the version matches, the key is not revoked
	// and it has no successor, and raise the version. It must return ErrNotFound,
	// ErrConflict (revoked or rotated) or ErrStale.
	RenewKey(ctx context.Context, id string, version int64, expiresAt time.Time, m Mutation) error

	// RotateKey must, in one step, give the old key its end and successor, set its
	// UpdatedAt to m.At, raise its version and insert the new key as CreateKey
	// does. Where r.OldEnd is zero, the end is RevokedAt at m.At with
	// [RotatedReason], and ExpiresAt stays. It must do so where the old one has the version given, is neither revoked nor
	// disabled, has no successor and has not expired at m.At. It must return
	// ErrNotFound, ErrConflict (state, the new id exists, or the new key's user
	// does not) or ErrStale. Two feed rows are written, one for each key, and one
	// audit row.
	RotateKey(ctx context.Context, r Rotation, m Mutation) error

	// SetKeyState must apply the change to each of the keys named where its guard
	// holds, all in one step: set RevokedAt or DisabledAt to m.At, with the reason,
	// or clear both for EnableChange. Where it changed a key it must set UpdatedAt
	// to m.At, raise the version, and write a feed row and an audit row, with
	// m.Target replaced by the id. When more than [MaxFeedTargets] keys changed,
	// one feed row with an empty target must stand for all. Ids that are unknown,
	// or where the guard does not hold, are passed over. It must return the ids
	// that changed, in the order of ids, each once.
	SetKeyState(ctx context.Context, ids []string, change StateChange, reason string, m Mutation) ([]string, error)

	// DeleteKey must remove the key and its totals, or return ErrNotFound.
	// Usage events and hours stay until they are pruned.
	DeleteKey(ctx context.Context, id string, m Mutation) error

	// RehashKey must replace the stored hash where it still equals old; it must
	// return nil when it does not. No version, feed or audit row is involved:
	// the secret stays the same.
	RehashKey(ctx context.Context, id string, old, new SecretHash) error
}

// MaxFeedTargets is the number of keys in one state change above which the
// feed says "anything may have changed" instead of naming each.
const MaxFeedTargets = 100

// UsageBatch is what a recorder gathered since its last flush. Totals, hours
// and events of one verify are always in the same batch.
type UsageBatch struct {
	RecorderID string
	Number     int64 // 1, 2, 3, … per recorder
	At         time.Time
	Keys       []KeyUses
	Hours      []UsageHour
	Minutes    []RefusalMinute
	Events     []UsageEvent
}

// KeyUses adds to what a key was used.
type KeyUses struct {
	KeyID      string
	Uses       int64
	LastUsedAt time.Time
}

// UsageHour counts one outcome of one key in one hour.
type UsageHour struct {
	KeyID   string
	HourAt  time.Time // start of the hour, UTC
	Outcome Outcome
	Count   int64
}

// RefusalMinute counts refusals that no key can be held to: tokens that are
// missing, malformed, unknown or wrong, and calls that the store failed.
type RefusalMinute struct {
	MinuteAt time.Time // start of the minute, UTC
	Outcome  Outcome
	Count    int64
}

// UsageResult says what became of a batch.
type UsageResult struct {
	// Duplicate is true when the batch had been applied before; nothing changed.
	Duplicate bool
	// LostUses counts uses of keys that no longer exist.
	LostUses int64
}

// UsageScan asks for usage events or counts.
type UsageScan struct {
	KeyID    string // empty for all
	OwnerID  string // keys of this owner that exist now; empty for all; not beside KeyID
	UserID   string // keys of this user that exist now; empty for all; not beside the two above
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

// UsageStore keeps what keys were used for.
type UsageStore interface {
	// RecordUsage must apply the whole batch in one step, once: the step first
	// claims (RecorderID, Number), and a batch claimed before changes nothing.
	// Totals must rise by exactly what is given and LastUsedAt must only move
	// forward. Totals, hours and events of a key that does not exist must be
	// passed over, and the rest kept. Events with an empty KeyID are samples of
	// refusals and are kept. The Store numbers the events; their Seq is ignored.
	RecordUsage(ctx context.Context, batch UsageBatch) (UsageResult, error)

	// UsageEvents must return at most scan.Limit events, newest first by
	// (At, Seq), strictly after scan.After.
	UsageEvents(ctx context.Context, scan UsageScan) ([]UsageEvent, error)

	// UsageHours must return the counts for each hour and outcome from the hour
	// of scan.From to the last hour that begins before scan.To, summed over the
	// keys that the scan names, by (HourAt, Code); KeyID is empty. Where it names
	// neither key nor owner nor user, all keys count, also those that no longer exist, and
	// so must the refusals of every RefusalMinute, in the hour of the minute.
	// After and Limit are ignored.
	UsageHours(ctx context.Context, scan UsageScan) ([]UsageHour, error)

	// RefusalMinutes must return the counts from the minute of from to the last
	// that begins before to, by (MinuteAt, Code).
	RefusalMinutes(ctx context.Context, from, to time.Time) ([]RefusalMinute, error)

	// PruneUsage must delete events that are older than before, oldest first, at
	// most about limit at a time, and report how many went and whether there is
	// more to prune. It must also delete claims of batches older than a day and
	// than before, and those older than thirty days whatever before is; and what
	// it keeps for events and nothing refers to any more.
	PruneUsage(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error)

	// PruneHours must delete the counts of hours that were over at before, and
	// the minutes of such hours, oldest first, at most about limit at a time. It
	// must keep hours of keys from the hour of the oldest event on: they may be
	// what its events are found by. It must report how many counts of hours went
	// and whether there is more to prune.
	PruneHours(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error)
}

// Change is one row of the feed that tells every process what is no longer as
// it may have been remembered.
type Change struct {
	Seq    int64
	At     time.Time
	Action string
	// Target is the id of the key, or of the user where Action begins with
	// "user."; empty: anything may have changed.
	Target string
}

// FeedStore tells what has changed.
type FeedStore interface {
	// Changes must return every change that was committed since the call that
	// returned cursor, in no promised order, and the cursor for the next call.
	// It may repeat changes; it must never pass over one, whatever the order in
	// which transactions commit. With an empty cursor it must return no change
	// and a cursor that stands for now. When it cannot know what was missed
	// (rows pruned, a backup restored, another database) it must return one
	// Change with an empty Target.
	Changes(ctx context.Context, cursor string) (changes []Change, next string, err error)

	// PruneChanges must delete changes older than before, at most about limit
	// rows, and never the newest row.
	PruneChanges(ctx context.Context, before time.Time, limit int) (deleted int, err error)
}

// FeedListener is what a Store may offer besides: hearing of changes sooner
// than by asking.
type FeedListener interface {
	// Listen must call wake soon after a change was committed, until ctx is done,
	// and mend its connection by itself. Missing a call is no fault: the feed is
	// polled all the same.
	Listen(ctx context.Context, wake func())
}

// LoggingStore is an optional interface of a Store that has messages of its
// own, such as those of its database driver.
type LoggingStore interface {
	// SetLogger must send these messages to logger from then on. [New] calls it with
	// Options.Logger. It must be safe for concurrent use, because several
	// Services may share a Store; the last logger counts. No message may hold a
	// connection string or a secret, and a message that repeats must be limited.
	SetLogger(logger *slog.Logger)
}

// AuditScan asks for one page of the audit log, newest first by Seq.
type AuditScan struct {
	Target   string // the id of what changed; empty for all
	AfterSeq int64  // the last Seq of the page before; 0 starts
	Limit    int
}

// AuditStore keeps who changed what.
type AuditStore interface {
	// Audit must return at most scan.Limit entries, newest first, strictly
	// below scan.AfterSeq.
	Audit(ctx context.Context, scan AuditScan) ([]AuditEntry, error)
}

// SettingStore keeps small texts by name. All processes share them. A name has
// at most 128 bytes and a value at most 1 MiB; both are UTF-8 without NUL, which
// PostgreSQL does not store in text.
type SettingStore interface {
	// Setting must return the value of that name, or ErrNotFound.
	Setting(ctx context.Context, name string) (string, error)

	// AddSetting must store the value where the name has none, and return the value
	// that is stored then. Of racing calls with one name, one must win, and all
	// must return its value. No feed or audit row is involved.
	AddSetting(ctx context.Context, name, value string) (stored string, err error)

	// SetSetting must store the value, whether the name has one or not. m.Target is
	// the name.
	SetSetting(ctx context.Context, name, value string, m Mutation) error
}
