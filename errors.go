package keyfold

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The errors of this package. Compare with errors.Is; [OutcomeOf] returns the
// exact reason for which a request was refused.
var (
	// ErrUnauthenticated means that the request has no valid credential. HTTP: 401.
	ErrUnauthenticated = errors.New("keyfold: unauthenticated")
	// ErrForbidden means that the key is valid, but not for this request. HTTP: 403.
	ErrForbidden = errors.New("keyfold: forbidden")
	// ErrRateLimited means that the caller must wait; [RetryAfter] says for how long.
	// HTTP: 429.
	ErrRateLimited = errors.New("keyfold: too many requests")
	// ErrUnavailable means that the store did not answer in time. Nothing was
	// allowed. HTTP: 503.
	ErrUnavailable = errors.New("keyfold: store unavailable")

	// ErrCheckFailed means that this process must not use the database: the schema
	// is too new or too old, a pepper has a different value in other processes, or
	// the connections are not safe. The error text says which. It is returned
	// together with [ErrUnavailable].
	ErrCheckFailed = errors.New("keyfold: the check of the database failed")

	// ErrNotFound means that the key, user, token or setting does not exist.
	ErrNotFound = errors.New("keyfold: not found")
	// ErrConflict means that the current state forbids the change, or that the name
	// is taken. Use errors.As with [ConflictError] to learn the field.
	ErrConflict = errors.New("keyfold: conflict")
	// ErrStale means that the record has been changed since the given version was
	// read. Read it again, and decide again.
	ErrStale = errors.New("keyfold: stale version")
	// ErrRetry means that the database aborted the caller's transaction because of a
	// deadlock or a serialization failure. Roll back, and run the whole transaction
	// again.
	ErrRetry = errors.New("keyfold: transaction must be retried")
	// ErrClosed means that the Service has been closed.
	ErrClosed = errors.New("keyfold: service is closed")
	// ErrInvalid is the parent of every [InvalidError].
	ErrInvalid = errors.New("keyfold: invalid")
)

// The errors of failed log-ins and one-time tokens. Both are an
// [ErrUnauthenticated], too.
var (
	// ErrInvalidCredentials means that the username or the password is incorrect, or
	// that the user is disabled. Do not tell the client which, because that would
	// reveal who has an account.
	ErrInvalidCredentials = fmt.Errorf("%w: the username or password is incorrect", ErrUnauthenticated)
	// ErrInvalidOneTimeToken means that a one-time token is invalid, has expired, or
	// was already used.
	ErrInvalidOneTimeToken = fmt.Errorf("%w: the one-time token is invalid, has expired, or was already used", ErrUnauthenticated)
)

// ConflictError is an [ErrConflict] that names the conflicting field.
type ConflictError struct {
	// Field is the JSON name of the field: one that is taken, such as "username", or
	// one whose value forbids the change, such as "revoked_at".
	Field string
	// Reason describes the conflict: "the username is taken".
	Reason string
}

// Error returns the reason after "keyfold: conflict: ".
func (e *ConflictError) Error() string { return ErrConflict.Error() + ": " + e.Reason }

// Is reports whether target is [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

func conflict(field, format string, args ...any) error {
	return &ConflictError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// InvalidError is an [ErrInvalid] that names the field. Nothing was stored.
type InvalidError struct {
	// Field is the JSON name of the field: "name", "scopes[2]".
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

// Outcome is the result of one [Service.Verify]. Its text will not change. Its
// number is stored with every usage event and is never reused.
type Outcome uint8

// The outcomes of [Service.Verify].
const (
	OutcomeAllowed      Outcome = 0  // the key is valid for this request
	OutcomeMissing      Outcome = 1  // the request has no token
	OutcomeMalformed    Outcome = 2  // the form or the checksum is wrong; the store was not asked
	OutcomeUnknown      Outcome = 3  // no key has this id
	OutcomeWrongSecret  Outcome = 4  // the key exists, but its secret, prefix or environment is different
	OutcomeRevoked      Outcome = 5  // the key has been revoked
	OutcomeDisabled     Outcome = 6  // the key is disabled
	OutcomeExpired      Outcome = 7  // the key has expired
	OutcomeIdle         Outcome = 8  // the key has been unused for longer than its idle timeout
	OutcomeUserDisabled Outcome = 9  // the user of the key is disabled or has been deleted
	OutcomeScope        Outcome = 10 // the key lacks a required scope
	OutcomeIP           Outcome = 11 // the address is outside of the networks of the key
	OutcomeRateLimited  Outcome = 12 // there were too many requests
	OutcomeCredits      Outcome = 13 // the key has no credits left
	OutcomeUnavailable  Outcome = 14 // the store did not answer in time
)

// outcomeNames is indexed by Outcome.
var outcomeNames = [...]string{
	"allowed", "missing", "malformed", "unknown", "wrong_secret", "revoked", "disabled", "expired", "idle",
	"user_disabled", "scope", "ip", "rate_limited", "credits", "unavailable",
}

// String returns the text of the outcome: "wrong_secret", "expired".
func (c Outcome) String() string {
	if int(c) < len(outcomeNames) {
		return outcomeNames[c]
	}
	return fmt.Sprintf("code_%d", uint8(c))
}

// MarshalText returns the text of the outcome.
func (c Outcome) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the text of an outcome.
func (c *Outcome) UnmarshalText(text []byte) error {
	parsed, err := ParseOutcome(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}

// ParseOutcome returns the outcome with that text, or an [InvalidError] for the field
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

// refusal is the error of a request that was refused. There is one value per
// outcome, so that refusing allocates nothing.
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

	// The refusals of log-ins.
	errUnknownLogin  = &refusal{OutcomeUnknown, ErrInvalidCredentials}
	errWrongPassword = &refusal{OutcomeWrongSecret, ErrInvalidCredentials}
	errDisabledLogin = &refusal{OutcomeUserDisabled, ErrInvalidCredentials}
)

// unavailable wraps an error of the store.
type unavailable struct{ cause error }

func (u *unavailable) Error() string   { return ErrUnavailable.Error() + ": " + u.cause.Error() }
func (u *unavailable) Unwrap() []error { return []error{ErrUnavailable, u.cause} }

// storeError converts an error of the store into one of this package. It returns the
// errors of the Store contract unchanged, and ctx.Err() after a cancellation. All other
// errors become ErrUnavailable.
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

// busy is the error of a request that this process turned away because it is
// overloaded: the caller must wait, and nothing was decided.
type busy string

func (b busy) Error() string   { return string(b) }
func (b busy) Unwrap() []error { return []error{ErrRateLimited, ErrUnavailable} }

// OutcomeOf returns the outcome of a request that ended with err: [OutcomeAllowed]
// for nil, and [OutcomeUnavailable] for an error that is not a decision.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OutcomeAllowed
	}
	if r, ok := err.(*refusal); ok { // the common case of a flood of refused verifies
		return r.code
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.code
	}
	return OutcomeUnavailable
}

// isForbidden reports whether a request was refused with an [ErrForbidden].
func isForbidden(err error) bool {
	r, ok := err.(*refusal)
	return ok && r.parent == ErrForbidden
}

// RetryAfter returns how long the caller should wait before it tries again, or zero
// if waiting does not help. It is the remaining wait for [ErrRateLimited] and one
// second for [ErrUnavailable]. Other errors can have a method RetryAfter()
// time.Duration.
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

// ReadyPart is a part of a Service that can fail on its own.
type ReadyPart string

// The parts, in the order in which [Service.Ready] checks them.
const (
	PartDatabase ReadyPart = "database" // the database answers
	PartCheck    ReadyPart = "check"    // the process may use the database: see ErrCheckFailed
	PartChanges  ReadyPart = "changes"  // keys, users and settings can be changed
	PartUsage    ReadyPart = "usage"    // the usage of keys is stored
)

// NotReadyError is the [ErrUnavailable] of [Service.Ready]. The error of the store
// can be found with errors.Is and errors.As, as can [ErrNoSpace] and [ErrReadOnly].
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
