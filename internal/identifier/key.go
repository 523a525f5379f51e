// Package identifier defines what users are called: which usernames and e-mail
// addresses there may be, and which of them are the same.
package identifier

import "strings"

// Key returns the key of the user that a log-in text means: the key of an
// e-mail address if it contains an "@", of a username otherwise. It returns false
// for a text that is neither.
func Key(name string) (isEmail bool, key string, ok bool) {
	if isEmail = strings.Contains(name, "@"); isEmail {
		_, key, ok = Email(name)
	} else {
		_, key, ok = Username(name)
	}
	return isEmail, key, ok
}
