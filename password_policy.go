package keyfold

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
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
	// allows beside a second factor: set that only if the host asks for one.
	MinLength int

	// MaxLength is the longest password, 64 to 256. Default 256.
	MaxLength int

	// Blocklist reports whether a password is too common. Default
	// [CommonPassword]. It must be safe for concurrent use.
	Blocklist func(password string) bool

	// AllowOwnName lets a password hold the user's name or e-mail address.
	// Default off: one that holds either, or the part of the address before
	// the "@", of four characters or more, is refused.
	AllowOwnName bool

	// Check, if set, is a rule of the host's own, asked last. Its error says
	// what a password must have ("a digit"), and is shown to the user: it must
	// not repeat the password. It must be safe for concurrent use.
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
	orDefault(&p.MinLength, defaultMinPassword)
	orDefault(&p.MaxLength, maxPassword)
	if p.Blocklist == nil {
		p.Blocklist = CommonPassword
	}
	if p.MaxLength < leastMaxPassword || p.MaxLength > maxPassword {
		return p, invalid(name+".MaxLength", fmt.Sprintf("%d to %d characters", leastMaxPassword, maxPassword))
	}
	if p.MinLength < leastMinPassword || p.MinLength > p.MaxLength {
		return p, invalid(name+".MinLength", fmt.Sprintf("%d to %d characters", leastMinPassword, p.MaxLength))
	}
	return p, nil
}

// check refuses a password that the policy does not allow, with everything
// that is wrong with it. own is what the user is called: the username and the
// e-mail address, where there are any. The policy has its defaults.
func (p PasswordPolicy) check(password string, own ...string) error {
	normal, ok := normalPassword(password)
	if !ok || !isText(normal) || utf8.RuneCountInString(normal) > p.MaxLength {
		return invalid("password", fmt.Sprintf("%d to %d characters of UTF-8 without control characters", p.MinLength, p.MaxLength))
	}
	var wrong []string
	if utf8.RuneCountInString(normal) < p.MinLength {
		wrong = append(wrong, fmt.Sprintf("at least %d characters", p.MinLength))
	}
	if p.Blocklist(normal) {
		wrong = append(wrong, "no common password, repetition or run of keys, also not with digits and symbols around it")
	}
	if !p.AllowOwnName && holdsAny(normal, own) {
		wrong = append(wrong, "without your own name or e-mail address")
	}
	if p.Check != nil {
		if err := p.Check(normal); err != nil {
			wrong = append(wrong, allowedBy(err))
		}
	}
	if len(wrong) > 0 {
		return invalid("password", strings.Join(wrong, "; "))
	}
	return nil
}

// allowedBy returns what an error of a host's rule says, without the prefix
// that an [InvalidError] gets again.
func allowedBy(err error) string {
	if bad, ok := errors.AsType[*InvalidError](err); ok {
		return bad.Allowed
	}
	return err.Error()
}

// holdsAny reports whether a password holds what the user is called, whatever
// the case, or the same without what stands between words: "john.smith" is in
// "John Smith forever".
func holdsAny(password string, own []string) bool {
	folded := foldPassword(password)
	words := onlyWords(folded)
	for _, name := range own {
		name = foldPassword(name)
		local, _, _ := strings.Cut(name, "@")
		for _, part := range []string{name, local} {
			if holds(folded, part) || holds(words, onlyWords(part)) {
				return true
			}
		}
	}
	return false
}

func holds(password, name string) bool {
	return utf8.RuneCountInString(name) >= shortWord && strings.Contains(password, name)
}
