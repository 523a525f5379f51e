package identifier

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"

	"github.com/keyfold/keyfold/internal/casefold"
)

const maxUsername = 64 // code points

// What a username may be, for errors.
const (
	UsernameRule  = `must be 1 to 64 letters and digits, with ".", "_" and "-" only between them`
	OneScriptRule = "must have letters of one script only, such as all Latin or all Cyrillic; Japanese, Korean and Chinese names may use the scripts of their language together"
)

// Username returns a username in two forms: display keeps its case, key must be
// unique. display is that of RFC 8265, UsernameCasePreserved: width is mapped and
// the rest is NFC. The key is the folded display form, so one name has one key
// however it was typed. Look-alikes of different scripts stay different names.
//
// PRECIS alone takes "../x", "user@host" and more, so there is a charset of our
// own: letters, marks and digits of any script, and ".", "_", "-" inside. There
// is never an "@", so a name is never an e-mail address, and never a leading "-",
// which the store puts before the id of a user without a name.
func Username(s string) (display, key string, ok bool) {
	// PRECIS would make U+FFFD of bytes that are not UTF-8. The second bound
	// limits the work: at most four code points become one.
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > 4*maxUsername {
		return "", "", false
	}
	display, err := precis.UsernameCasePreserved.String(s)
	if err != nil || !isUsername(display) {
		return "", "", false
	}
	// A key is a username too, and its own display form.
	key = casefold.String(display)
	if again, err := precis.UsernameCasePreserved.String(key); err != nil || again != key || !isUsername(key) {
		return "", "", false
	}
	return display, key, true
}

// isUsername reports whether s has the length and the charset. A mark belongs
// to what stands before it, so it may end a name, as vowels do in Hindi, but
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
