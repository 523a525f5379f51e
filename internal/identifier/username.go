package identifier

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"github.com/keyfold/keyfold/internal/casefold"
)

const maxUsername = 64 // code points

// The rules for usernames, for errors.
const (
	UsernameRule  = `must be 1 to 64 letters and digits, with ".", "_" and "-" only between them`
	OneScriptRule = "must have letters of one script only, such as all Latin or all Cyrillic; Japanese, Korean and Chinese names may use the scripts of their language together"
)

// Username returns the display form and the comparison key of a username. The display form
// is that of the profile UsernameCasePreserved (RFC 8265): it keeps the case, maps the
// width, and is in NFC. The key is the case-folded display form, and must be unique among
// users. Similar characters of different scripts stay different.
//
// PRECIS permits names such as "../x" and "user@host". Username therefore only permits
// letters, marks and digits of any script, with ".", "_" and "-" between them. A username
// never contains an "@", which distinguishes it from an address, and never begins with the
// "-" that the store writes before the id of a user without a name.
func Username(s string) (display, key string, ok bool) {
	// PRECIS replaces invalid UTF-8 by U+FFFD. The length limits the work: at most four
	// code points become one.
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > 4*maxUsername {
		return "", "", false
	}
	display, err := precis.UsernameCasePreserved.String(s)
	if err != nil || !isUsername(display) {
		return "", "", false
	}
	// A key must be a username with itself as the display form.
	key = casefold.String(display)
	if again, err := precis.UsernameCasePreserved.String(key); err != nil || again != key || !isUsername(key) {
		return "", "", false
	}
	return display, key, true
}

// isUsername reports whether s has a valid length and valid characters. A mark belongs to
// the preceding character. It may be the last character, as vowels are in Hindi, but must
// not follow punctuation.
func isUsername(s string) bool {
	if s == "" || utf8.RuneCountInString(s) > maxUsername {
		return false
	}
	inWord := false // the code point before is a letter, a digit or a mark of one
	begun := false
	for _, r := range s {
		switch {
		case unicode.IsLetter(r) || unicode.IsDigit(r):
			inWord = true
		case unicode.IsMark(r) && inWord:
		case (r == '.' || r == '_' || r == '-') && begun:
			inWord = false
		default:
			return false
		}
		begun = true
	}
	return inWord
}
