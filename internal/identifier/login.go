// Package identifier defines what users are called: which usernames and e-mail
// addresses there may be, and which of them are the same.
package identifier

import "strings"

// LoginKey returns the key of the user that a log-in text means: the key of an
// e-mail address if it contains an "@", of a username otherwise. It returns false
// for a text that is neither.
func LoginKey(login string) (isEmail bool, key string, ok bool) {
	if isEmail = strings.Contains(login, "@"); isEmail {
		_, key, ok = Email(login)
	} else {
		_, key, ok = Username(login)
	}
	return isEmail, key, ok
}
