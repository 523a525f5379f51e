package password

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/keyfold/keyfold/internal/casefold"
)

// MaxLength is the maximum length of a password, in code points of its NFC form.
const MaxLength = 256

// maxBytes is the maximum size of a password before normalization. A code point in
// NFC is composed of at most four code points, of at most four bytes each.
const maxBytes = MaxLength * 4 * utf8.UTFMax

// Normalize returns the password in NFC. Passwords are counted and compared in this
// form, because the same keystrokes produce different code points on different
// systems (RFC 8265, section 4.2.2).
//
// Normalize returns false if the password is longer than [MaxLength] or is not
// UTF-8. Replacing invalid bytes would make different passwords equal.
func Normalize(password string) (normal string, ok bool) {
	if len(password) > maxBytes || !utf8.ValidString(password) {
		return "", false
	}
	normal = norm.NFC.String(password)
	return normal, utf8.RuneCountInString(normal) <= MaxLength
}

// minWord is the length of the shortest word that is looked for, in code points.
// Shorter words occur in too many passwords.
const minWord = 4

// ContainsAny reports whether a password contains one of the names. It ignores case
// and the separators between words: "John Smith forever" contains "john.smith". For
// an email address, it also looks for the part before the "@". It ignores names that
// are shorter than four code points.
func ContainsAny(password string, names []string) bool {
	folded := casefold.String(password)
	words := onlyWords(folded)
	for _, name := range names {
		name = casefold.String(name)
		local, _, _ := strings.Cut(name, "@")
		for _, part := range []string{name, local} {
			if contains(folded, part) || contains(words, onlyWords(part)) {
				return true
			}
		}
	}
	return false
}

// SameName reports whether two names differ at most in case.
func SameName(a, b string) bool { return casefold.String(a) == casefold.String(b) }

func contains(password, name string) bool {
	return utf8.RuneCountInString(name) >= minWord && strings.Contains(password, name)
}

// onlyWords returns the letters, marks and digits of s.
func onlyWords(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, s)
}
