package keyfold

import (
	"context"
	"log/slog"
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

	// UsageHours must return the counts for each hour and outcome, ordered by
	// (HourAt, Outcome), from the hour of scan.From to the last hour that begins
	// before scan.To. The counts must be summed over the keys that the scan
	// selects; KeyID is empty. If the scan has no KeyID, OwnerID or UserID, the
	// sums must include keys that no longer exist and refusals that belong to no
	// key. After and Limit are ignored.
	UsageHours(ctx context.Context, scan UsageScan) ([]UsageHour, error)

	// PruneUsage must delete events that are older than before, oldest first, at
	// most about limit in one call. It must return the number of deleted events
	// and whether there is more to delete. It must also delete claims of batches
	// that are older than both before and one day, claims that are older than 30
	// days whatever before is, and data that only deleted events referred to.
	PruneUsage(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error)

	// PruneHours must delete the counts of hours that had ended at before, oldest
	// first, at most about limit in one call. It must keep all counts from the
	// hour of the oldest event onwards, because a Store may find events by them.
	// It must return the number of deleted counts and whether there is more to
	// delete.
	PruneHours(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error)
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
	PruneChanges(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error)
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

// ProbingStore is an optional interface of a Store that can find out whether changes
// would succeed.
type ProbingStore interface {
	// Probe must write to the database as a change does, a few KiB, and leave
	// nothing behind, not even a change row or an audit row. It must return nil if
	// changes would succeed, also while other probes run. It must return an error if
	// changes would fail for lack of space or permission, which is an ErrNoSpace or
	// ErrReadOnly if that is known, and an error soon after ctx is done.
	Probe(ctx context.Context) error
}

// UserStore keeps users. Where several errors apply, the one that a method
// names first must be returned. Actions of Mutations on users begin with
// "user.", and their feed rows name the user, not its keys: whoever follows the
// feed forgets all keys of that user.
type UserStore interface {
	// CreateUser must insert the user as given, or return ErrConflict when its
	// id, UsernameKey or EmailKey exists. Of racing creates one must win.
	CreateUser(ctx context.Context, user UserRecord, m Mutation) error

	// User must return the user, or ErrNotFound.
	User(ctx context.Context, id string) (UserRecord, error)

	// UserByUsername and UserByEmail must return the user that has the key, or
	// ErrNotFound.
	UserByUsername(ctx context.Context, usernameKey string) (UserRecord, error)
	UserByEmail(ctx context.Context, emailKey string) (UserRecord, error)

	// Users must return at most scan.Limit users, strictly after scan.After.
	// Walking must show every user that existed throughout exactly once.
	Users(ctx context.Context, scan UserScan) ([]UserRecord, error)

	// UpdateUser must write Username, UsernameKey, Email, EmailKey,
	// EmailVerifiedAt and UpdatedAt of user, and nothing else, where its id and
	// Version match, and raise the version by one. It must return ErrNotFound
	// when there is no such user, ErrStale when the version is another, and
	// ErrConflict when another user has one of the keys.
	UpdateUser(ctx context.Context, user UserRecord, m Mutation) error

	// SetPassword must write the hash, set PasswordChangedAt and UpdatedAt to m.At
	// and raise PasswordVersion and the version by one each, where version is
	// [AnyPassword] or the PasswordVersion of the user. It must return ErrNotFound
	// when there is no such user, and ErrStale when PasswordVersion is another. Of
	// racing calls with the same PasswordVersion one must win. An empty hash takes
	// the password away.
	SetPassword(ctx context.Context, id, hash string, version int64, m Mutation) error

	// RehashPassword must replace the hash where it still equals old; it must
	// return nil when it does not. No version, feed or audit row is involved: the
	// password stays the same.
	RehashPassword(ctx context.Context, id, old, new string) error

	// SetUserState must apply the change where its guard holds (DisableChange: the
	// user is enabled; EnableChange: it is disabled): set DisabledAt to m.At, with
	// the reason, or clear both; set UpdatedAt to m.At and raise the version. It
	// must report whether the guard held, and write nothing where it did not, or
	// return ErrNotFound.
	SetUserState(ctx context.Context, id string, change StateChange, reason string, m Mutation) (changed bool, err error)

	// DeleteUser must, in one step, remove the user, its one-time tokens, its keys
	// and their totals, or return ErrNotFound. One feed row names the user; beside
	// the audit row of m there must be one for each key, with the action
	// "key.delete", the key's id as Target and Before and After empty. Usage
	// events and hours stay until they are pruned.
	DeleteUser(ctx context.Context, id string, m Mutation) error
}

// OneTimeTokenStore keeps one-time tokens.
type OneTimeTokenStore interface {
	// CreateOneTimeToken must insert the token, and remove the others that the user
	// has for the same purpose, or return ErrNotFound when there is no such user
	// and ErrConflict when the sum exists.
	CreateOneTimeToken(ctx context.Context, token OneTimeTokenRecord, m Mutation) error

	// OneTimeToken must return the token, or ErrNotFound.
	OneTimeToken(ctx context.Context, sum [32]byte) (OneTimeTokenRecord, error)

	// UseOneTimeToken must, in one step, remove the token and change its user, and
	// return the user as it became. It must return ErrNotFound, and change
	// nothing, unless the token has that sum and purpose, ExpiresAt is after m.At,
	// and its user exists, is not disabled, and still has the PasswordVersion and
	// the EmailKey of the token; and ErrConflict when another user has
	// NewEmailKey. Of racing uses one must win.
	//
	// The change is, by purpose: VerifyEmail sets EmailVerifiedAt to m.At;
	// ResetPassword does that and what SetPassword does; ChangeEmail sets Email,
	// EmailKey and EmailVerifiedAt. All set UpdatedAt to m.At and raise the
	// version by one. m.Target must be replaced by the user's id.
	UseOneTimeToken(ctx context.Context, use OneTimeTokenUse, m Mutation) (UserRecord, error)

	// PruneOneTimeTokens must delete tokens whose ExpiresAt is not after at, at most
	// about limit, and report how many.
	PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error)
}

// ThrottleStore keeps throttles, shared by all processes. Except for UnlockUser,
// its methods must write neither change rows nor audit rows.
type ThrottleStore interface {
	// DatabaseID must return a random text of at least 16 characters that this
	// database alone has, the same in all processes and for as long as it exists.
	// Strangers must not learn it: the names of throttles are hashed under it.
	DatabaseID(ctx context.Context) (string, error)

	// Throttle must return the throttle of that name, also one that expired, or
	// ErrNotFound.
	Throttle(ctx context.Context, name string) (Throttle, error)

	// ReserveAttempt must, in one step, look at the throttles of those names, each
	// given once. Where one blocks (BlockedUntil and ExpiresAt are both after at)
	// it must change nothing and return the one of those with the latest
	// BlockedUntil; otherwise it must replace each by the Next of its rule and
	// return the zero Throttle. Of racing reservations each must count.
	ReserveAttempt(ctx context.Context, names []ThrottleReservation, at time.Time) (blocking Throttle, err error)

	// RecordAttemptResult must apply the settlement in one step. Throttles that are
	// absent are passed over, but those of Good are written in any case. No name
	// is given twice.
	RecordAttemptResult(ctx context.Context, s AttemptResult) error

	// UnlockUser must, in one step, apply the settlement as RecordAttemptResult does and
	// write the change row and the audit row of m, or return ErrNotFound when there
	// is no such user. It must not change the user.
	UnlockUser(ctx context.Context, id string, s AttemptResult, m Mutation) error

	// PruneThrottles must delete throttles whose ExpiresAt is not after at, at most
	// about limit, and report how many.
	PruneThrottles(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error)
}
