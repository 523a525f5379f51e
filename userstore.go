package keyfold

import (
	"context"
	"time"
)

// UserRecord is a user as it is stored. HasPassword must be whether there is a
// PasswordHash, whatever is given.
type UserRecord struct {
	User
	// UsernameKey and EmailKey are what is compared: the canonical form, or "-"
	// and the id where there is none. Each is unique among all users.
	UsernameKey string
	EmailKey    string
	// PasswordHash is a PHC string, empty without a password. It never leaves
	// the process in any answer.
	PasswordHash string
	// PasswordVersion is raised by every change of the password.
	PasswordVersion int64
}

// AnyPassword, as the version that [UserStore] is given for a new password, replaces
// whatever password there is.
const AnyPassword = int64(-1)

// UserScan asks for one page of users, newest first by (CreatedAt, ID).
type UserScan struct {
	After Position // where the page before ended; the zero Position starts
	Limit int      // the greatest number of rows, at least 1
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

// OneTimeTokenRecord is a one-time token as it is stored.
type OneTimeTokenRecord struct {
	Sum     [32]byte // of the token and its purpose; the token itself is not kept
	Purpose OneTimePurpose
	UserID  string
	// PasswordVersion and EmailKey are the user's when the token was made. A
	// user who has another since cannot use it.
	PasswordVersion int64
	EmailKey        string
	// NewEmail and NewEmailKey are what ChangeEmail changes to, empty otherwise.
	NewEmail    string
	NewEmailKey string
	CreatedAt   time.Time
	ExpiresAt   time.Time // exclusive
}

// OneTimeTokenUse is what a one-time token is used for.
type OneTimeTokenUse struct {
	Sum          [32]byte
	Purpose      OneTimePurpose
	PasswordHash string // of the new password, for ResetPassword
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
	PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (deleted int, err error)
}

// Throttle counts the attempts made under one name.
type Throttle struct {
	Name         string
	Attempts     int64
	BlockedUntil time.Time // zero: the throttle never blocked an attempt
	ExpiresAt    time.Time // exclusive; an expired throttle counts as absent
}

// blocks reports whether no attempt may be made at that time.
func (t *Throttle) blocks(at time.Time) bool {
	return t.BlockedUntil.After(at) && t.ExpiresAt.After(at)
}

// ThrottleRule says how many attempts are free and how long the next ones have
// to wait. There are two kinds of rules. Where Every is zero, the wait after the
// last free attempt is First and doubles with each further one up to Longest, and
// the count starts again when Forget has passed since the first attempt. Where
// Every is set, the throttle is a bucket that holds Free attempts and regains one
// each Every; the other fields are not used.
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

// Refund returns the throttle as if one attempt had not been made. It does not
// block: the attempt could not have been made if it had.
func (r ThrottleRule) Refund(t Throttle) Throttle {
	t.Attempts, t.BlockedUntil = max(0, t.Attempts-1), time.Time{}
	if r.RefillInterval > 0 {
		t.ExpiresAt = t.ExpiresAt.Add(-r.RefillInterval)
	}
	return t
}

// longest returns the longest wait that the rule imposes.
func (r ThrottleRule) longest() time.Duration { return max(r.MaxDelay, r.RefillInterval) }

// life returns how long a throttle lasts at most from its latest attempt on.
func (r ThrottleRule) life() time.Duration {
	return max(r.ResetAfter, time.Duration(r.Burst)*r.RefillInterval)
}

// Reservation is a throttle that an attempt counts on, with its rule.
type ThrottleReservation struct {
	Name string
	Rule ThrottleRule
}

// AttemptResult is what becomes of throttles when the outcome of an attempt is known.
type AttemptResult struct {
	Clear  []string              // throttles to remove
	Refund []ThrottleReservation // throttles that get one attempt back
	// Good are throttles to overwrite: without attempts, to be kept until TrustedUntil.
	Trusted      []string
	TrustedUntil time.Time
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
	PruneThrottles(ctx context.Context, at time.Time, limit int) (deleted int, err error)
}
