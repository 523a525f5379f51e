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

// PasswordPolicy returns the predecessor's rule for passwords: longer than 8
// characters, among them a digit, an upper-case letter and a special character,
// and nothing else. For [keyfold.Options.PasswordPolicy], where clients give users
// passwords that Keyfold's own policy refuses. It is weaker than that: "Password1!"
// passes.
func PasswordPolicy() keyfold.PasswordPolicy {
	return keyfold.PasswordPolicy{
		MinLength:    minPassword,
		Blocklist:    func(string) bool { return false },
		AllowOwnName: true,
		Check:        checkCharacters,
	}
}

// checkCharacters names the kinds of characters that a password lacks.
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

// shortestWeak is the length of the shortest password that the Service takes of
// those that the predecessor took and Keyfold's own policy does not, whatever
// their length; 0 if it takes none. A program may have made its policy of the
// predecessor's with a longer minimum.
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

// tellPolicy says at start which policy the passwords of users have to pass.
func (h *handler) tellPolicy() {
	if shortest := h.shortestWeak(); shortest > 0 {
		h.gate.Logger().Warn("keyfold: the predecessor's rule for passwords is in force, which is weaker than Keyfold's own",
			slog.Int("min_length", shortest), slog.Bool("common_passwords", true))
		return
	}
	h.gate.Logger().Info("keyfold: passwords that the predecessor took can be refused: the Service was made with a stricter policy than compat.PasswordPolicy")
}
