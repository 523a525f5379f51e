package keyfold

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The parents of every error that this package returns. Test with errors.Is;
// ask [OutcomeOf] for the finer reason.
var (
	// ErrUnauthenticated means that the request proved no identity: 401.
	ErrUnauthenticated = errors.New("keyfold: unauthenticated")
	// ErrForbidden means that the key is good but not for this request: 403.
	ErrForbidden = errors.New("keyfold: forbidden")
	// ErrRateLimited means that the caller has to wait: 429. [RetryAfter] says how long.
	ErrRateLimited = errors.New("keyfold: limited")
	// ErrUnavailable means that the store could not answer in time: 503.
	// Nothing was allowed.
	ErrUnavailable = errors.New("keyfold: store unavailable")

	// ErrCheckFailed means that this process must not decide on the database, and
	// says why: the schema is too new or too old for it, one of its peppers has
	// another value than in other processes, or its connections are not safe. It
	// is returned together with [ErrUnavailable].
	ErrCheckFailed = errors.New("keyfold: the check of the database failed")

	// ErrNotFound means that the named thing does not exist.
	ErrNotFound = errors.New("keyfold: not found")
	// ErrConflict means that the state of the named thing forbids the change,
	// or that a thing of that name exists already.
	ErrConflict = errors.New("keyfold: conflict")
	// ErrStale means that somebody else changed the thing since the version
	// given was read: read it again and decide anew.
	ErrStale = errors.New("keyfold: stale version")
	// ErrRetry means that the database gave up the caller's own transaction
	// (a deadlock or a serialisation failure). Roll back and run it again whole.
	ErrRetry = errors.New("keyfold: transaction must be retried")
	// ErrClosed means that the Service was closed.
	ErrClosed = errors.New("keyfold: service is closed")
	// ErrInvalid is the parent of every [InvalidError].
	ErrInvalid = errors.New("keyfold: invalid")
)

// The causes of an [ErrUnauthenticated] that is not about a key. Each is an
// ErrUnauthenticated, too.
var (
	// ErrInvalidCredentials means that the username or the password is incorrect, or
	// that the user is disabled. Do not tell the client which: it would learn who has
	// an account.
	ErrInvalidCredentials = fmt.Errorf("%w: the username or password is incorrect", ErrUnauthenticated)
	// ErrInvalidOneTimeToken means that a one-time token is invalid, has expired, or
	// was already used.
	ErrInvalidOneTimeToken = fmt.Errorf("%w: the one-time token is invalid, has expired, or was already used", ErrUnauthenticated)
)

// ConflictError is an [ErrConflict] that names the field in the way.
type ConflictError struct {
	// Field is the name of the field, as in JSON: "username", "email", or the field
	// whose value forbids the change, "revoked_at".
	Field string
	// Reason says what is in the way: "the username is taken".
	Reason string
}

// Error is the reason.
func (e *ConflictError) Error() string { return ErrConflict.Error() + ": " + e.Reason }

// Is reports whether target is [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

func conflict(field, format string, args ...any) error {
	return &ConflictError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// InvalidError reports input that was refused before anything was stored.
// It is an [ErrInvalid].
type InvalidError struct {
	// Field is the name of the field, as in JSON: "name", "scopes[2]".
	Field string
	// Reason says what the field must be: "must be between 1 ms and 100 years". It
	// never repeats the value that was given.
	Reason string
}

// Error returns the field and the reason: "keyfold: ttl must be between 1 ms and
// 100 years".
func (e *InvalidError) Error() string {
	return "keyfold: " + e.Field + " " + e.Reason
}

// Is reports whether target is [ErrInvalid].
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

func invalid(field, reason string) error { return &InvalidError{Field: field, Reason: reason} }

// Code is the stable outcome of one [Service.Verify]. Its text is part of the
// compatibility promise; its number is stored with every usage event, so
// numbers are never reused.
type Outcome uint8

// The outcomes of a verify.
const (
	OutcomeAllowed      Outcome = 0  // the key is good for this request
	OutcomeMissing      Outcome = 1  // no token was given
	OutcomeMalformed    Outcome = 2  // wrong shape or checksum; no store call was made
	OutcomeUnknown      Outcome = 3  // no key of that id
	OutcomeWrongSecret  Outcome = 4  // the id exists, the secret, prefix or environment is another
	OutcomeRevoked      Outcome = 5  // the key was revoked, for good
	OutcomeDisabled     Outcome = 6  // the key is switched off for now
	OutcomeExpired      Outcome = 7  // the deadline has come
	OutcomeIdle         Outcome = 8  // unused for longer than its idle timeout
	OutcomeUserDisabled Outcome = 9  // the key's user is disabled or gone
	OutcomeScope        Outcome = 10 // a required scope is not held
	OutcomeIP           Outcome = 11 // the address is not in the key's networks
	OutcomeRateLimited  Outcome = 12 // too many requests
	OutcomeCredits      Outcome = 13 // the key's credits are spent
	OutcomeUnavailable  Outcome = 14 // the store could not answer in time
)

// outcomeNames is indexed by Code.
var outcomeNames = [...]string{
	"allowed", "missing", "malformed", "unknown", "wrong_secret", "revoked", "disabled", "expired", "idle",
	"user_disabled", "scope", "ip", "rate_limited", "credits", "unavailable",
}

// String returns the stable text of the code: "wrong_secret", "expired".
func (c Outcome) String() string {
	if int(c) < len(outcomeNames) {
		return outcomeNames[c]
	}
	return fmt.Sprintf("code_%d", uint8(c))
}

// MarshalText writes the stable text of the code.
func (c Outcome) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the stable text of a code.
func (c *Outcome) UnmarshalText(text []byte) error {
	parsed, err := ParseOutcome(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}

// ParseOutcome returns the code of that text, or an [InvalidError] for the field
// "outcome".
func ParseOutcome(text string) (Outcome, error) {
	for i, name := range outcomeNames {
		if name == text {
			return Outcome(i), nil
		}
	}
	return 0, invalid("outcome", "must be one of allowed, missing, malformed, unknown, wrong_secret, revoked, disabled, expired, "+
		"idle, user_disabled, scope, ip, rate_limited, credits, unavailable")
}

// refusal is the error of a verify that was decided. One value a code exists
// for the life of the program, so refusing allocates nothing.
type refusal struct {
	code   Outcome
	parent error
}

func (r *refusal) Error() string { return r.parent.Error() + " (" + r.code.String() + ")" }
func (r *refusal) Unwrap() error { return r.parent }

var (
	errMissing     = &refusal{OutcomeMissing, ErrUnauthenticated}
	errMalformed   = &refusal{OutcomeMalformed, ErrUnauthenticated}
	errUnknown     = &refusal{OutcomeUnknown, ErrUnauthenticated}
	errWrongSecret = &refusal{OutcomeWrongSecret, ErrUnauthenticated}
	errRevoked     = &refusal{OutcomeRevoked, ErrUnauthenticated}
	errDisabled    = &refusal{OutcomeDisabled, ErrUnauthenticated}
	errExpired     = &refusal{OutcomeExpired, ErrUnauthenticated}
	errIdle        = &refusal{OutcomeIdle, ErrUnauthenticated}
	errUserOff     = &refusal{OutcomeUserDisabled, ErrUnauthenticated}
	errScope       = &refusal{OutcomeScope, ErrForbidden}
	errIP          = &refusal{OutcomeIP, ErrForbidden}

	// Of log-ins.
	errUnknownLogin  = &refusal{OutcomeUnknown, ErrInvalidCredentials}
	errWrongPassword = &refusal{OutcomeWrongSecret, ErrInvalidCredentials}
	errDisabledLogin = &refusal{OutcomeUserDisabled, ErrInvalidCredentials}
)

// unavailable wraps what went wrong in the store.
type unavailable struct{ cause error }

func (u *unavailable) Error() string   { return ErrUnavailable.Error() + ": " + u.cause.Error() }
func (u *unavailable) Unwrap() []error { return []error{ErrUnavailable, u.cause} }

// storeError turns an error of the store into one of this package: sentinels
// pass, the caller's own cancellation is ctx.Err(), all else is ErrUnavailable.
func storeError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	for _, known := range []error{
		ErrNotFound, ErrConflict, ErrStale, ErrRetry, ErrInvalid, ErrUnavailable, ErrRateLimited, errors.ErrUnsupported,
	} {
		if errors.Is(err, known) {
			return err
		}
	}
	if cause := ctx.Err(); cause != nil {
		return cause
	}
	return &unavailable{cause: err}
}

// limited is an [ErrRateLimited] that says how long to wait.
type limited struct{ wait time.Duration }

func (l *limited) Error() string {
	return fmt.Sprintf("%v: try again in %v", ErrRateLimited, l.wait.Round(time.Second))
}
func (l *limited) Unwrap() error             { return ErrRateLimited }
func (l *limited) RetryAfter() time.Duration { return l.wait }

// busy is a refusal because this process has enough to do: the caller has to
// wait, and nothing was decided.
type busy string

func (b busy) Error() string   { return string(b) }
func (b busy) Unwrap() []error { return []error{ErrRateLimited, ErrUnavailable} }

// OutcomeOf returns the outcome that err stands for: [OutcomeAllowed] for nil,
// [OutcomeUnavailable] for every error that is not a decision.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OutcomeAllowed
	}
	if r, ok := err.(*refusal); ok { // as a verify returns it; a flood of them comes through here
		return r.code
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.code
	}
	return OutcomeUnavailable
}

// isForbidden reports whether a verify was refused with an [ErrForbidden].
func isForbidden(err error) bool {
	r, ok := err.(*refusal)
	return ok && r.parent == ErrForbidden
}

// RetryAfter returns how long a caller should wait before it tries again, and
// zero when waiting does not help. It is one second for [ErrUnavailable], and
// what is left of the wait for [ErrRateLimited]. An error of the host's own says it
// by a method RetryAfter() time.Duration.
func RetryAfter(err error) time.Duration {
	var waits interface{ RetryAfter() time.Duration }
	if errors.As(err, &waits) {
		return waits.RetryAfter()
	}
	if errors.Is(err, ErrUnavailable) {
		return time.Second
	}
	return 0
}

// The causes of an [ErrUnavailable] that a store knows. A store returns one of them
// together with the error of the database.
var (
	// ErrNoSpace means that the database refuses changes because its disk, or the
	// space that it may use, is full.
	ErrNoSpace = errors.New("keyfold: the database has no space left")
	// ErrReadOnly means that the database refuses changes because it is read-only.
	ErrReadOnly = errors.New("keyfold: the database is read-only")
)

// ReadyPart is a part of the work of a Service that can fail while others go on.
type ReadyPart string

// The parts, in the order in which [Service.Ready] looks at them.
const (
	PartDatabase ReadyPart = "database" // the database answers
	PartCheck    ReadyPart = "check"    // the process may decide on the database: see ErrCheckFailed
	PartChanges  ReadyPart = "changes"  // keys, users and settings can be changed
	PartUsage    ReadyPart = "usage"    // the usage of keys is stored
)

// NotReadyError is the [ErrUnavailable] of [Service.Ready]. The error of the store
// can be found in it by errors.Is and errors.As, [ErrNoSpace] and [ErrReadOnly] too.
type NotReadyError struct {
	// Part is the first part that does not work.
	Part  ReadyPart
	cause error
}

// Error names the part and the error of the store. Do not show it to clients.
func (e *NotReadyError) Error() string {
	return "keyfold: not ready: " + string(e.Part) + ": " + e.cause.Error()
}

// Unwrap returns ErrUnavailable and the error of the store.
func (e *NotReadyError) Unwrap() []error { return []error{ErrUnavailable, e.cause} }
