package keyfold

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/secure/precis"
)

const maxUsername = 64 // code points

// canonicalUsername returns a username in two forms: display keeps its case,
// key is what must be unique. Both are the user's in the sense of RFC 8265:
// width is mapped and the rest is NFC, so that one name has one key however it
// was typed. Look-alikes of different scripts stay different names.
//
// PRECIS alone takes "../x", "user@host" and more, so there is a charset of
// our own: letters, marks and digits of any script, and ".", "_", "-" inside.
// There is never an "@", so a name is never an e-mail address, and never a "-"
// in front, which the store puts before the id of a user without a name.
func canonicalUsername(s string) (display, key string, err error) {
	bad := invalid("username", fmt.Sprintf(`1 to %d letters and digits, with ".", "_" and "-" only between them`, maxUsername))
	// PRECIS would make U+FFFD of bytes that are no UTF-8. The second bound is
	// for the work: four code points at most become one.
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > 4*maxUsername {
		return "", "", bad
	}
	if display, err = precis.UsernameCasePreserved.String(s); err != nil || !isUsername(display) {
		return "", "", bad
	}
	if key, err = precis.UsernameCaseMapped.String(s); err != nil || !isUsername(key) {
		return "", "", bad
	}
	return display, key, nil
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
