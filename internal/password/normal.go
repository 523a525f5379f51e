package password

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/keyfold/keyfold/internal/casefold"
)

// MaxLength is the length of the longest password, in code points of its NFC
// form.
const MaxLength = 256

// maxBytes is the most that MaxLength code points can take before they are
// composed: each comes from at most four, of at most four bytes each.
const maxBytes = MaxLength * 4 * utf8.UTFMax

// Normalize returns the form in which passwords are counted and compared: NFC,
// because the same key presses give different code points on different systems
// (RFC 8265, section 4.2.2). It returns false for bytes that are not UTF-8,
// whose replacements would make different passwords the same, and for more than
// [MaxLength] code points.
func Normalize(password string) (normal string, ok bool) {
	if len(password) > maxBytes || !utf8.ValidString(password) {
		return "", false
	}
	normal = norm.NFC.String(password)
	return normal, utf8.RuneCountInString(normal) <= MaxLength
}

// minWord is the length in code points of the shortest word that says anything:
// shorter ones are part of every password.
const minWord = 4

// ContainsAny reports whether a password contains one of the user's own names, in
// any case, also without the separators between words: "John Smith forever"
// contains "john.smith". Of an address, the part before the "@" is enough. Names
// shorter than four code points are not looked for.
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

// SameName reports whether [ContainsAny] takes two names for one.
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
