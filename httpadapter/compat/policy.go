package compat

import (
	"errors"
	"log/slog"
	"strings"
	"unicode"

	"github.com/keyfold/keyfold"
)

// minPassword is "longer than 8".
const minPassword = 9

// PasswordPolicy returns the predecessor's policy for passwords, for
// keyfold.Options.PasswordPolicy: at least 9 characters, with a digit, an upper-case letter
// and a special character. It is weaker than the default policy of Keyfold: "Password1!"
// passes. Use it only if clients set passwords that the default policy refuses.
func PasswordPolicy() keyfold.PasswordPolicy {
	return keyfold.PasswordPolicy{
		MinLength:    minPassword,
		Blocklist:    func(string) bool { return false },
		AllowOwnName: true,
		Check:        checkCharacters,
	}
}

// checkCharacters names the kinds of characters that are missing from a password.
func checkCharacters(password string) error {
	var lacks []string
	for _, kind := range [...]struct {
		name string
		is   func(rune) bool
	}{
		{"a digit", unicode.IsDigit},
		{"an upper-case letter", unicode.IsUpper},
		{"a special character", func(r rune) bool { return unicode.IsPunct(r) || unicode.IsSymbol(r) }},
	} {
		if !strings.ContainsFunc(password, kind.is) {
			lacks = append(lacks, "must contain "+kind.name)
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return errors.New(strings.Join(lacks, "; "))
}

// shortestWeak returns the length of the shortest password that the predecessor's policy
// and the Service accept, but Keyfold's default policy refuses at any length. It returns 0
// if the Service accepts none. The policy of a program may be the predecessor's with a
// larger minimum length.
func (h *handler) shortestWeak() int {
	const longest = 256
	weak := strings.Repeat("Aa1!", longest/4) // a repetition
	for n := minPassword; n <= longest; n++ {
		if h.svc.CheckPassword(weak[:n]) == nil {
			return n
		}
	}
	return 0
}

// logPolicy logs which policy the passwords of users must satisfy.
func (h *handler) logPolicy() {
	if shortest := h.shortestWeak(); shortest > 0 {
		h.gate.Logger().Warn("keyfold: the predecessor's rule for passwords is in force, which is weaker than Keyfold's own",
			slog.Int("min_length", shortest), slog.Bool("common_passwords", true))
		return
	}
	h.gate.Logger().Info("keyfold: passwords that the predecessor took can be refused: the Service was made with a stricter policy than compat.PasswordPolicy")
}
