package keyfold

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The parents of every error that this package returns. Test with errors.Is;
// ask [CodeOf] for the finer reason.
var (
	// ErrUnauthenticated means that the request proved no identity: 401.
	ErrUnauthenticated = errors.New("keyfold: unauthenticated")
	// ErrForbidden means that the key is good but not for this request: 403.
	ErrForbidden = errors.New("keyfold: forbidden")
	// ErrLimited means that the caller has to wait: 429. [RetryAfter] says how long.
	ErrLimited = errors.New("keyfold: limited")
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
	// Allowed says what the field may hold. It never repeats the value given.
	Allowed string
}

// Error names the field and what it may hold.
func (e *InvalidError) Error() string {
	return fmt.Sprintf("keyfold: invalid %s: %s", e.Field, e.Allowed)
}

// Is reports whether target is [ErrInvalid].
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

func invalid(field, allowed string) error { return &InvalidError{Field: field, Allowed: allowed} }

// Code is the stable outcome of one [Service.Verify]. Its text is part of the
// compatibility promise; its number is stored with every usage event, so
// numbers are never reused.
type Code uint8

// The outcomes of a verify.
const (
	CodeAllowed      Code = 0  // the key is good for this request
	CodeMissing      Code = 1  // no token was given
	CodeMalformed    Code = 2  // wrong shape or checksum; no store call was made
	CodeUnknown      Code = 3  // no key of that id
	CodeWrongSecret  Code = 4  // the id exists, the secret, prefix or environment is another
	CodeRevoked      Code = 5  // the key was revoked, for good
	CodeDisabled     Code = 6  // the key is switched off for now
	CodeExpired      Code = 7  // the deadline has come
	CodeIdle         Code = 8  // unused for longer than its idle timeout
	CodeUserDisabled Code = 9  // the key's user is disabled or gone
	CodeScope        Code = 10 // a required scope is not held
	CodeIP           Code = 11 // the address is not in the key's networks
	CodeRateLimited  Code = 12 // too many requests
	CodeCredits      Code = 13 // the key's credits are spent
	CodeUnavailable  Code = 14 // the store could not answer in time
)

// codeNames is indexed by Code.
var codeNames = [...]string{
	"allowed", "missing", "malformed", "unknown", "wrong_secret", "revoked", "disabled", "expired", "idle",
	"user_disabled", "scope", "ip", "rate_limited", "credits", "unavailable",
}

// String returns the stable text of the code: "wrong_secret", "expired".
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code_%d", uint8(c))
}

// MarshalText writes the stable text of the code.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the stable text of a code.
func (c *Code) UnmarshalText(text []byte) error {
	parsed, err := ParseCode(string(text))
	if err == nil {
		*c = parsed
	}
	return err
}

// ParseCode returns the code of that text, or an [InvalidError] for the field
// "outcome".
func ParseCode(text string) (Code, error) {
	for i, name := range codeNames {
		if name == text {
			return Code(i), nil
		}
	}
	return 0, invalid("outcome", "one of allowed, missing, malformed, unknown, wrong_secret, revoked, disabled, expired, "+
		"idle, user_disabled, scope, ip, rate_limited, credits, unavailable")
}

// refusal is the error of a verify that was decided. One value a code exists
// for the life of the program, so refusing allocates nothing.
type refusal struct {
	code   Code
	parent error
}

func (r *refusal) Error() string { return r.parent.Error() + " (" + r.code.String() + ")" }
func (r *refusal) Unwrap() error { return r.parent }

var (
	errMissing     = &refusal{CodeMissing, ErrUnauthenticated}
	errMalformed   = &refusal{CodeMalformed, ErrUnauthenticated}
	errUnknown     = &refusal{CodeUnknown, ErrUnauthenticated}
	errWrongSecret = &refusal{CodeWrongSecret, ErrUnauthenticated}
	errRevoked     = &refusal{CodeRevoked, ErrUnauthenticated}
	errDisabled    = &refusal{CodeDisabled, ErrUnauthenticated}
	errExpired     = &refusal{CodeExpired, ErrUnauthenticated}
	errIdle        = &refusal{CodeIdle, ErrUnauthenticated}
	errUserOff     = &refusal{CodeUserDisabled, ErrUnauthenticated}
	errScope       = &refusal{CodeScope, ErrForbidden}
	errIP          = &refusal{CodeIP, ErrForbidden}

	// Of log-ins.
	errUnknownLogin  = &refusal{CodeUnknown, ErrInvalidCredentials}
	errWrongPassword = &refusal{CodeWrongSecret, ErrInvalidCredentials}
	errDisabledLogin = &refusal{CodeUserDisabled, ErrInvalidCredentials}
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
		ErrNotFound, ErrConflict, ErrStale, ErrRetry, ErrInvalid, ErrUnavailable, ErrLimited, errors.ErrUnsupported,
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

// limited is an [ErrLimited] that says how long to wait.
type limited struct{ wait time.Duration }

func (l *limited) Error() string {
	return fmt.Sprintf("%v: try again in %v", ErrLimited, l.wait.Round(time.Second))
}
func (l *limited) Unwrap() error             { return ErrLimited }
func (l *limited) RetryAfter() time.Duration { return l.wait }

// busy is a refusal because this process has enough to do: the caller has to
// wait, and nothing was decided.
type busy string

func (b busy) Error() string   { return string(b) }
func (b busy) Unwrap() []error { return []error{ErrLimited, ErrUnavailable} }

// CodeOf returns the outcome that err stands for: [CodeAllowed] for nil,
// [CodeUnavailable] for every error that is not a decision.
func CodeOf(err error) Code {
	if err == nil {
		return CodeAllowed
	}
	if r, ok := err.(*refusal); ok { // as a verify returns it; a flood of them comes through here
		return r.code
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return r.code
	}
	return CodeUnavailable
}

// isForbidden reports whether a verify was refused with an [ErrForbidden].
func isForbidden(err error) bool {
	r, ok := err.(*refusal)
	return ok && r.parent == ErrForbidden
}

// RetryAfter returns how long a caller should wait before it tries again, and
// zero when waiting does not help. It is one second for [ErrUnavailable], and
// what is left of the wait for [ErrLimited]. An error of the host's own says it
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
