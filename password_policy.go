package keyfold

import (
	"cmp"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/keyfold/keyfold/internal/password"
	"github.com/keyfold/keyfold/internal/text"
)

// PasswordPolicy says which passwords a user may choose. It is asked when a
// password is set, never at log-in. A zero field means the default stated; the
// zero policy is that of NIST SP 800-63B-4, section 3.1.1.2, for passwords that
// are all there is to a log-in: long, not common, and no rules about which
// characters are in it. Nothing is ever cut off.
//
// All lengths are in code points of the password in NFC, the form in which it
// is hashed. A password is also refused, whatever the policy, if it is not
// UTF-8, has control characters, or is longer than 256.
type PasswordPolicy struct {
	// MinLength is the shortest password. Default 15; not below 8, which NIST
	// allows together with a second factor: set that only if the program asks for one.
	MinLength int

	// MaxLength is the longest password, 64 to 256. Default 256.
	MaxLength int

	// Blocklist reports whether a password is too common. Default
	// [IsCommonPassword]. It must be safe for concurrent use.
	Blocklist func(password string) bool

	// AllowOwnName lets a password hold the user's name or e-mail address.
	// Default off: one that holds either, or the part of the address before
	// the "@", of four characters or more, is refused.
	AllowOwnName bool

	// Check, if set, adds a rule of the program's own and is called last. Its
	// error completes the sentence "The password …", such as "must contain a
	// digit". Users see it, so it must not repeat the password. Check must be safe
	// for concurrent use.
	Check func(password string) error
}

const (
	defaultMinPassword = 15
	leastMinPassword   = 8
	leastMaxPassword   = 64
)

// withDefaults checks the policy and fills in what is not set. The name of the
// policy begins the field of its errors.
func (p PasswordPolicy) withDefaults(name string) (PasswordPolicy, error) {
	p.MinLength = cmp.Or(p.MinLength, defaultMinPassword)
	p.MaxLength = cmp.Or(p.MaxLength, password.MaxLength)
	if p.Blocklist == nil {
		p.Blocklist = IsCommonPassword
	}
	if p.MaxLength < leastMaxPassword || p.MaxLength > password.MaxLength {
		return p, invalid(name+".MaxLength", fmt.Sprintf("must be between %d and %d characters", leastMaxPassword, password.MaxLength))
	}
	if p.MinLength < leastMinPassword || p.MinLength > p.MaxLength {
		return p, invalid(name+".MinLength", fmt.Sprintf("must be between %d and %d characters", leastMinPassword, p.MaxLength))
	}
	return p, nil
}

// check refuses a password that the policy does not allow, with everything
// that is wrong with it. own is what the user is called: the username and the
// e-mail address, where there are any. The policy has its defaults.
func (p PasswordPolicy) check(chosen string, own ...string) error {
	normal, ok := password.Normalize(chosen)
	if !ok || !text.IsPlain(normal) || utf8.RuneCountInString(normal) > p.MaxLength {
		return invalid("password", fmt.Sprintf("must be %d to %d characters of UTF-8 without control characters", p.MinLength, p.MaxLength))
	}
	var wrong []string
	if utf8.RuneCountInString(normal) < p.MinLength {
		wrong = append(wrong, fmt.Sprintf("must have at least %d characters", p.MinLength))
	}
	if p.Blocklist(normal) {
		wrong = append(wrong, "must not be a common password, a repetition or a run of keys, even with digits and symbols around it")
	}
	if !p.AllowOwnName && password.ContainsAny(normal, own) {
		wrong = append(wrong, "must not contain your username or e-mail address")
	}
	if p.Check != nil {
		if err := p.Check(normal); err != nil {
			wrong = append(wrong, reasonOf(err))
		}
	}
	if len(wrong) > 0 {
		return invalid("password", strings.Join(wrong, "; "))
	}
	return nil
}

// reasonOf returns the text of an error from PasswordPolicy.Check, without the
// prefix that an [InvalidError] adds again.
func reasonOf(err error) string {
	if bad, ok := errors.AsType[*InvalidError](err); ok {
		return bad.Reason
	}
	return err.Error()
}

// IsCommonPassword reports whether a password is among those that attackers try
// first. It is the default of [PasswordPolicy.Blocklist] and can be part of
// another. Case and width do not matter, nor do spaces and punctuation between
// words. Passwords that every policy refuses, of more than 256 characters or of
// bytes that are not UTF-8, are not common.
//
// Common are some 280 000 passwords of public lists and well-known phrases; a
// run along the alphabet, the digits or the rows of a keyboard; and what people
// and cracking rules make of them to reach a length: one of these, or any four
// characters, over and over ("passwordpassword"), and one of these with up to
// eight digits and symbols around it, or a run of any length
// ("Password2024!!!!", "letmein123456789").
//
// It answers in about a millisecond at worst, and takes no memory for the list.
func IsCommonPassword(s string) bool { return password.IsCommon(s) }

// errManyPasswords has both parents: the caller has to wait, and nothing is known
// about the password.
const errManyPasswords = busy("keyfold: too many passwords are being checked")

// passwordError turns an error of a [password.Hasher] into one of this package.
func passwordError(err error) error {
	switch {
	case errors.Is(err, password.ErrBusy):
		return errManyPasswords
	case errors.Is(err, password.ErrUnknownHash):
		return &unavailable{cause: err}
	case errors.Is(err, password.ErrUnusable):
		return invalid("password", fmt.Sprintf("must be at most %d characters of UTF-8", password.MaxLength))
	}
	return err
}

// HashedPassword is a password that passed Options.PasswordPolicy and was hashed,
// for a change of a user inside a transaction. [Service.HashPassword] makes one.
// The zero HashedPassword is none. It hides its hash from formatting, logging
// and encoding.
type HashedPassword struct{ made *hashedPassword } // a pointer for the reason that Token has

type hashedPassword struct {
	phc   string
	names []string // that the policy was told of
}

var (
	_ fmt.Formatter          = HashedPassword{}
	_ slog.LogValuer         = HashedPassword{}
	_ json.Marshaler         = HashedPassword{}
	_ encoding.TextMarshaler = HashedPassword{}
)

// IsZero reports whether there is no password.
func (h HashedPassword) IsZero() bool { return h.made == nil }

// phcFor returns the hash for a user with these names, which the policy must have
// been told of. The HashedPassword must not be zero.
func (h HashedPassword) phcFor(policy *PasswordPolicy, u *User) (string, error) {
	for _, name := range []string{u.Username, u.Email} {
		told := func(other string) bool { return password.SameName(other, name) }
		if name != "" && !policy.AllowOwnName && !slices.ContainsFunc(h.made.names, told) {
			return "", invalid("password", "must be checked against the names of the user: pass the username and the e-mail address to Service.HashPassword")
		}
	}
	return h.made.phc, nil
}

const hiddenHash = "[hashed password]"

// String does not show the hash.
func (h HashedPassword) String() string {
	if h.IsZero() {
		return ""
	}
	return hiddenHash
}

// Format does not show the hash, whatever the verb.
func (h HashedPassword) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, h.String()) }

// LogValue does not show the hash.
func (h HashedPassword) LogValue() slog.Value { return slog.StringValue(h.String()) }

// MarshalText does not show the hash.
func (h HashedPassword) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// MarshalJSON does not show the hash.
func (h HashedPassword) MarshalJSON() ([]byte, error) { return json.Marshal(h.String()) }
