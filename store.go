package keyfold

import (
	"context"
	"log/slog"
	"time"
)

// Store keeps the state of Keyfold. Programs use one of the packages under store/.
// Authors of another Store check it with store/storetest, whose cases are named
// after the sentences below.
//
// Strings are opaque. A Store must compare them byte by byte: "k1", "k1 " and "K1"
// are three keys, and "é" in two normal forms is two owners. Times are kept to the
// millisecond, in UTC. A Store must be safe for concurrent use. It must read the
// fields that hold hashes: records hide their hashes from encoding/json and from
// every other form of printing.
//
// Every method must return promptly with an error once ctx is done. A Store
// returns [ErrNotFound], [ErrConflict] and [ErrStale] where the methods say so,
// and [ErrRetry] as [Store.InTx] says. Any other error means that the store could
// not do its work. Nothing of the call may have been kept then, unless the answer
// to a commit was lost.
type Store interface {
	KeyStore
	UserStore
	OneTimeTokenStore
	ThrottleStore
	UsageStore
	FeedStore
	AuditStore
	SettingStore

	// InTx must call fn with a Store that is bound to one transaction. It must commit
	// if fn returns nil, and roll back otherwise. If the database aborts the
	// transaction (deadlock, lock timeout, serialization failure), InTx must run fn
	// again in a new one, with jitter, for a limited number of attempts, and then
	// return [ErrRetry]. A Store that is already bound must call fn with itself. A
	// Store whose database has no transactions must return errors.ErrUnsupported and
	// must not call fn.
	InTx(ctx context.Context, fn func(Store) error) error

	// Ping must ask the database a question that needs a working connection and a
	// schema.
	Ping(ctx context.Context) error

	// Check must return nil if this process may use the database as it is now. It must
	// return an [ErrCheckFailed] with the reason if the schema is older than the
	// process needs, if the schema says that only newer processes may use it, or if
	// the connections are not safe or lead to another database than the one that was
	// opened. Any other error must mean that the question was not answered. Check must
	// never write.
	Check(ctx context.Context) error

	// Close must release only what the Store opened itself. After it, every method
	// must return an error, and Close must return nil.
	Close() error
}

// Tx is a Store that is bound to a transaction of the caller, for [Service.With].
// The packages under store/ create one from a transaction of the driver.
type Tx struct {
	// Store runs every statement in the transaction of the caller. It never begins,
	// commits, rolls back or retries. It returns ErrRetry if the database aborts the
	// transaction.
	Store Store
}

// KeyStore keeps keys. If several errors apply, a method must return the one that
// its comment names first: a revoked key is an ErrConflict whatever its version.
type KeyStore interface {
	// CreateKey must insert the key as given, except that Uses is 0, LastUsedAt is
	// zero, and UserDisabled is not stored. It must return ErrNotFound if UserID is
	// set and the user does not exist, and ErrConflict if the id exists.
	CreateKey(ctx context.Context, key KeyRecord, m Mutation) error

	// Key must return the key with its totals, or ErrNotFound. UserDisabled must be
	// true if UserID is set and the user is disabled or does not exist at the moment
	// of the read.
	Key(ctx context.Context, id string) (KeyRecord, error)

	// VerifyKey must return the record that a verify needs, or ErrNotFound, in one
	// query on the newest committed state. If ctx is canceled during the query, it may
	// return as late as the deadline of ctx, because noticing a cancellation can cost more
	// than the query.
	VerifyKey(ctx context.Context, id string) (VerifyRecord, error)

	// Keys must return at most scan.Limit keys, each as Key does, in the order of the
	// index, strictly after scan.After. Following a scan must show every key that
	// exists the whole time exactly once, whatever is inserted or deleted during that
	// time.
	Keys(ctx context.Context, scan KeyScan) ([]KeyRecord, error)

	// UpdateKey must write Name, Notes, OwnerID, Tenant, Scopes, Networks, Metadata,
	// IdleTimeout and UpdatedAt of key, and nothing else, if its id and Version match
	// and it is not revoked. It must raise the version by one. It must return
	// ErrNotFound if the key does not exist, ErrConflict if it is revoked, and
	// ErrStale if the version is different.
	UpdateKey(ctx context.Context, key KeyRecord, m Mutation) error

	// RenewKey must set ExpiresAt to expiresAt (zero = never), and ActiveAt and
	// UpdatedAt to m.At, if the version matches, the key is not revoked, and it has no
	// successor. It must raise the version by one. It must return ErrNotFound,
	// ErrConflict (revoked or rotated) or ErrStale.
	RenewKey(ctx context.Context, id string, version int64, expiresAt time.Time, m Mutation) error

	// RotateKey must, in one step, set the end and the successor of the old key, set
	// its UpdatedAt to m.At, raise its version by one, and insert the new key as
	// CreateKey does. If r.OldEnd is zero, it must set RevokedAt to m.At with
	// [RotatedReason] and keep ExpiresAt; otherwise it must set ExpiresAt to r.OldEnd.
	// It must do so only if the old key has the given version, is neither revoked nor
	// disabled, has no successor, and has not expired at m.At. It must return
	// ErrNotFound, ErrConflict (the state forbids it, the new id exists, or the user
	// of the new key does not exist) or ErrStale. It must write one feed row for each
	// of the two keys, and one audit row.
	RotateKey(ctx context.Context, r Rotation, m Mutation) error

	// SetKeyState must, in one step, apply the change to each of the given keys for
	// which its guard holds: set RevokedAt or DisabledAt to m.At, with the reason, or
	// clear both for EnableChange. For each changed key it must set UpdatedAt to m.At,
	// raise the version by one, and write a feed row and an audit row with m.Target
	// replaced by the id. If more than [MaxFeedTargets] keys change, it must write one
	// feed row with an empty target instead of one for each. It must skip ids that do
	// not exist or for which the guard does not hold. It must return the changed ids
	// in the order of ids, each once.
	SetKeyState(ctx context.Context, ids []string, change StateChange, reason string, m Mutation) ([]string, error)

	// DeleteKey must delete the key and its totals, or return ErrNotFound. Usage
	// events and hours stay until they are pruned.
	DeleteKey(ctx context.Context, id string, m Mutation) error

	// RehashKey must replace the stored hash if it still equals old, and must return
	// nil if it does not. It must write no feed row, no audit row and no version,
	// because the secret is still the same.
	RehashKey(ctx context.Context, id string, old, new SecretHash) error
}

// UsageStore keeps the usage of keys.
type UsageStore interface {
	// RecordUsage must apply the whole batch in one step, and only once: the step must
	// first claim (RecorderID, Number), and must change nothing if the pair was
	// claimed before. Totals must rise by exactly the given numbers, and LastUsedAt
	// must only move forward. The Store must skip totals, hours and events of keys
	// that do not exist, and keep the rest. Events with an empty KeyID are samples of
	// refusals; the Store must keep them. It numbers the events itself and ignores
	// their Seq.
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
	// most about limit rows in one call. It may keep events that are older by less than
	// one hour if they are stored in one row with an event that is not. It must return
	// the number of deleted events and whether there is more to delete. It must also
	// delete claims of batches that are older than both before and one day, claims that
	// are older than 30 days whatever before is, and data that only deleted events
	// referred to.
	PruneUsage(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error)

	// PruneHours must delete the counts of hours that had ended at before, oldest
	// first, at most about limit in one call. It must keep all counts from the
	// hour of the oldest event onwards, because a Store may find events by them.
	// It must return the number of deleted counts and whether there is more to
	// delete.
	PruneHours(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error)
}

// FeedStore keeps the change feed.
type FeedStore interface {
	// Changes must return every change that was committed since the call that returned
	// cursor, in any order, and the cursor for the next call. It may repeat changes.
	// It must never miss one, whatever the order in which transactions commit. For an
	// empty cursor it must return no change and a cursor for the current state. If it
	// cannot know which changes were missed (rows pruned, a backup restored, another
	// database), it must return one Change with an empty Target.
	Changes(ctx context.Context, cursor string) (changes []Change, next string, err error)

	// PruneChanges must delete changes that are older than before, at most about limit
	// in one call, but never the newest row. It must return the number of deleted rows
	// and whether there is more to delete.
	PruneChanges(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error)
}

// FeedListener is an optional interface of a Store that learns about changes
// sooner than by polling.
type FeedListener interface {
	// Listen must call wake soon after a change is committed, until ctx is done, and
	// must repair its connection itself. A missed call does no harm, because the feed
	// is polled as well.
	Listen(ctx context.Context, wake func())
}

// PollingStore is an optional interface of a Store whose change feed should be polled
// more often than once per Options.PollInterval while keys are verified, usually
// because the Store is not a [FeedListener].
type PollingStore interface {
	// PollPolicy returns how to poll. It must always return the same.
	PollPolicy() PollPolicy
}

// PollPolicy says how verifies poll the change feed of a Store.
type PollPolicy struct {
	// After is the default of Options.PollAfter. Zero means that verifies do not poll.
	After time.Duration
	// Inline makes a verify poll by itself instead of waking the background task. In
	// a Store that sets it, Check and Changes must take microseconds if nothing has
	// changed, must wait neither for a lock nor for a connection that other calls
	// use, and must not use a network.
	Inline bool
}

// LoggingStore is an optional interface of a Store that has log messages of its
// own, such as those of its database driver.
type LoggingStore interface {
	// SetLogger must send these messages to logger from now on. [New] calls it with
	// Options.Logger. It must be safe for concurrent use, because several Services may
	// share a Store; the last logger counts. A message must not contain a connection
	// string or a secret, and repeated messages must be limited.
	SetLogger(logger *slog.Logger)
}

// UsageMerger is an optional interface of a Store that keeps usage events in blocks.
type UsageMerger interface {
	// MergeUsage must combine small blocks of usage events into larger ones, in one of
	// the hours that ended at before or earlier. It must not change the events or their
	// order. It must return whether there are more hours to look at. Several processes
	// may call it at the same time.
	MergeUsage(ctx context.Context, before time.Time) (more bool, err error)
}

// AuditStore keeps the audit log.
type AuditStore interface {
	// Audit must return at most scan.Limit entries, newest first, strictly below
	// scan.AfterSeq.
	Audit(ctx context.Context, scan AuditScan) ([]AuditEntry, error)
}

// SettingStore keeps small texts by name, for all processes. A name has at most
// 128 bytes and a value at most 1 MiB. Both are UTF-8 without NUL, which
// PostgreSQL does not store in text.
type SettingStore interface {
	// Setting must return the value with that name, or ErrNotFound.
	Setting(ctx context.Context, name string) (string, error)

	// AddSetting must store the value if the name has none, and must return the value
	// that is stored afterwards. Of concurrent calls with one name, one must win, and
	// all must return its value. It must write no feed row and no audit row.
	AddSetting(ctx context.Context, name, value string) (stored string, err error)

	// SetSetting must store the value, whether or not the name has one. m.Target is
	// the name.
	SetSetting(ctx context.Context, name, value string, m Mutation) error
}

// ProbingStore is an optional interface of a Store that can find out whether
// changes would succeed.
type ProbingStore interface {
	// Probe must write a few KiB to the database as a change does, and must leave
	// nothing behind, not even a change row or an audit row. It must return nil if
	// changes would succeed, also while other probes run. It must return an error if
	// changes would fail for lack of space or permission, as an ErrNoSpace or
	// ErrReadOnly if that is known. It must return an error soon after ctx is done.
	Probe(ctx context.Context) error
}

// UserStore keeps users. If several errors apply, a method must return the one
// that its comment names first. The Action of a Mutation on a user begins with
// "user.", and its feed row names the user, not the keys: a reader of the feed
// evicts all keys of that user.
type UserStore interface {
	// CreateUser must insert the user as given, or return ErrConflict if the id, the
	// UsernameKey or the EmailKey exists. Of concurrent calls with the same key one
	// must win.
	CreateUser(ctx context.Context, user UserRecord, m Mutation) error

	// User must return the user, or ErrNotFound.
	User(ctx context.Context, id string) (UserRecord, error)

	// UserByUsername and UserByEmail must return the user with that key, or
	// ErrNotFound.
	UserByUsername(ctx context.Context, usernameKey string) (UserRecord, error)
	UserByEmail(ctx context.Context, emailKey string) (UserRecord, error)

	// Users must return at most scan.Limit users, strictly after scan.After. Following
	// the list must show every user who exists the whole time exactly once.
	Users(ctx context.Context, scan UserScan) ([]UserRecord, error)

	// UpdateUser must write Username, UsernameKey, Email, EmailKey, EmailVerifiedAt
	// and UpdatedAt of user, and nothing else, if its id and Version match. It must
	// raise the version by one. It must return ErrNotFound if the user does not exist,
	// ErrStale if the version is different, and ErrConflict if another user has one of
	// the keys.
	UpdateUser(ctx context.Context, user UserRecord, m Mutation) error

	// SetPassword must write the hash, set PasswordChangedAt and UpdatedAt to m.At,
	// and raise PasswordVersion and the version by one each, if version is
	// [AnyPassword] or the PasswordVersion of the user. It must return ErrNotFound if
	// the user does not exist, and ErrStale if the PasswordVersion is different. Of
	// concurrent calls with the same PasswordVersion one must win. An empty hash
	// removes the password.
	SetPassword(ctx context.Context, id, hash string, version int64, m Mutation) error

	// RehashPassword must replace the hash if it still equals old, and must return nil
	// if it does not. It must write no feed row, no audit row and no version, because
	// the password is still the same.
	RehashPassword(ctx context.Context, id, old, new string) error

	// SetUserState must apply the change if its guard holds (DisableChange: the user
	// is enabled; EnableChange: the user is disabled): set DisabledAt to m.At, with
	// the reason, or clear both; set UpdatedAt to m.At; and raise the version by one.
	// It must report whether the guard held, and must write nothing if it did not. It
	// must return ErrNotFound if the user does not exist.
	SetUserState(ctx context.Context, id string, change StateChange, reason string, m Mutation) (changed bool, err error)

	// DeleteUser must, in one step, delete the user, its one-time tokens, its keys and
	// their totals, or return ErrNotFound. It must write one feed row, for the user.
	// In addition to the audit row of m, it must write one audit row for each key,
	// with the action "key.delete", the id of the key as Target, and empty Before and
	// After. Usage events and hours stay until they are pruned.
	DeleteUser(ctx context.Context, id string, m Mutation) error
}

// OneTimeTokenStore keeps one-time tokens.
type OneTimeTokenStore interface {
	// CreateOneTimeToken must insert the token and delete the other tokens that the
	// user has for the same purpose. It must return ErrNotFound if the user does not
	// exist, and ErrConflict if the sum exists.
	CreateOneTimeToken(ctx context.Context, token OneTimeTokenRecord, m Mutation) error

	// OneTimeToken must return the token, or ErrNotFound.
	OneTimeToken(ctx context.Context, sum [32]byte) (OneTimeTokenRecord, error)

	// UseOneTimeToken must, in one step, delete the token, change its user, and return
	// the changed user. It must change nothing and return ErrNotFound unless the token
	// has that sum and purpose, ExpiresAt is after m.At, and the user exists, is not
	// disabled, and still has the PasswordVersion and the EmailKey of the token. It
	// must return ErrConflict if another user has NewEmailKey. Of concurrent uses one
	// must win.
	//
	// The change depends on the purpose. [PurposeVerifyEmail] sets EmailVerifiedAt to
	// m.At. [PurposeResetPassword] does that and what SetPassword does.
	// [PurposeChangeEmail] sets Email, EmailKey and EmailVerifiedAt. Each sets
	// UpdatedAt to m.At and raises the version by one. m.Target must be replaced by
	// the id of the user.
	UseOneTimeToken(ctx context.Context, use OneTimeTokenUse, m Mutation) (UserRecord, error)

	// PruneOneTimeTokens must delete tokens whose ExpiresAt is not after at, at most
	// about limit in one call. It must return the number of deleted tokens and whether
	// there is more to delete.
	PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error)
}

// ThrottleStore keeps throttles for all processes. Except for UnlockUser, its
// methods must write neither change rows nor audit rows.
type ThrottleStore interface {
	// DatabaseID must return a random text of at least 16 characters that only this
	// database has. It must be the same in all processes, for as long as the database
	// exists. It is a secret: the names of throttles are hashed with it.
	DatabaseID(ctx context.Context) (string, error)

	// Throttle must return the throttle with that name, even if it has expired, or
	// ErrNotFound.
	Throttle(ctx context.Context, name string) (Throttle, error)

	// ReserveAttempt must, in one step, look at the throttles with those names, each
	// of which is given once. If one blocks (BlockedUntil and ExpiresAt are both after
	// at), it must change nothing and return the blocking one with the latest
	// BlockedUntil. Otherwise it must replace each by the Next of its rule and return
	// the zero Throttle. Concurrent reservations must all count.
	ReserveAttempt(ctx context.Context, names []ThrottleReservation, at time.Time) (blocking Throttle, err error)

	// RecordAttemptResult must apply the result in one step. It must skip throttles
	// that do not exist, except those of Trusted, which it must write in any case.
	// Each name is given once.
	RecordAttemptResult(ctx context.Context, s AttemptResult) error

	// UnlockUser must, in one step, apply the result as RecordAttemptResult does and
	// write the change row and the audit row of m, or return ErrNotFound if the user
	// does not exist. It must not change the user.
	UnlockUser(ctx context.Context, id string, s AttemptResult, m Mutation) error

	// PruneThrottles must delete throttles whose ExpiresAt is not after at, at most
	// about limit in one call. It must return the number of deleted throttles and
	// whether there is more to delete.
	PruneThrottles(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error)
}

// Throttle counts the attempts made under one name.
type Throttle struct {
	Name         string
	Attempts     int64
	BlockedUntil time.Time // zero = the throttle has not blocked an attempt
	ExpiresAt    time.Time // exclusive; an expired throttle counts as absent
}

// blocks reports whether the throttle refuses attempts at that time.
func (t *Throttle) blocks(at time.Time) bool {
	return t.BlockedUntil.After(at) && t.ExpiresAt.After(at)
}

// ThrottleRule limits attempts: it sets how many may be made at once and how long later
// ones must wait. There are two kinds of rules. If RefillInterval is zero, the
// wait after Burst attempts is InitialDelay, and doubles with each further attempt
// up to MaxDelay; the count starts again when ResetAfter has passed since the first
// attempt. If RefillInterval is set, the throttle is a bucket of Burst attempts that
// regains one attempt per RefillInterval; the other fields are not used.
type ThrottleRule struct {
	Burst          int64
	InitialDelay   time.Duration
	MaxDelay       time.Duration
	ResetAfter     time.Duration
	RefillInterval time.Duration
}

// Next returns the throttle with one more attempt at that time.
func (r ThrottleRule) Next(t Throttle, at time.Time) Throttle {
	expired := !t.ExpiresAt.After(at)
	if expired || t.Attempts <= 0 {
		t.Attempts, t.BlockedUntil = 0, time.Time{}
	}
	t.Attempts++
	if r.RefillInterval > 0 {
		if expired {
			t.ExpiresAt = at
		}
		t.ExpiresAt = t.ExpiresAt.Add(r.RefillInterval)
		t.BlockedUntil = r.emptyUntil(t)
		return t
	}
	if t.Attempts == 1 {
		t.ExpiresAt = at.Add(r.ResetAfter)
	}
	if over := t.Attempts - r.Burst; over >= 0 {
		wait := r.MaxDelay
		if over < 32 && r.InitialDelay<<over>>over == r.InitialDelay {
			wait = min(wait, r.InitialDelay<<over)
		}
		t.BlockedUntil = at.Add(wait)
	}
	return t
}

// emptyUntil returns when a bucket that is full at ExpiresAt has one attempt.
func (r ThrottleRule) emptyUntil(t Throttle) time.Time {
	return t.ExpiresAt.Add(-time.Duration(max(r.Burst, 1)-1) * r.RefillInterval)
}

// Refund returns the throttle with one attempt less. The result does not block, because
// a throttle that blocked would have refused the attempt.
func (r ThrottleRule) Refund(t Throttle) Throttle {
	t.Attempts, t.BlockedUntil = max(0, t.Attempts-1), time.Time{}
	if r.RefillInterval > 0 {
		t.ExpiresAt = t.ExpiresAt.Add(-r.RefillInterval)
	}
	return t
}

// longest returns the longest wait of the rule.
func (r ThrottleRule) longest() time.Duration { return max(r.MaxDelay, r.RefillInterval) }

// life returns the longest time from the latest attempt until the throttle expires.
func (r ThrottleRule) life() time.Duration {
	return max(r.ResetAfter, time.Duration(r.Burst)*r.RefillInterval)
}

// ThrottleReservation names a throttle that counts an attempt, and its rule.
type ThrottleReservation struct {
	Name string
	Rule ThrottleRule
}

// AttemptResult changes throttles once the outcome of an attempt is known.
type AttemptResult struct {
	Clear  []string              // throttles to remove
	Refund []ThrottleReservation // throttles that get one attempt back
	// Trusted are throttles to overwrite with one without attempts that expires at
	// TrustedUntil.
	Trusted      []string
	TrustedUntil time.Time
}
