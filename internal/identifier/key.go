// Package identifier defines what users are called: which usernames and e-mail
// addresses there may be, and which of them are the same.
package identifier

import (
	"slices"
	"strings"
)

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

// WithStoredForms returns names followed by the forms in which they are stored, such
// as an address with its domain in ASCII. Names that are not valid have no such form.
func WithStoredForms(names []string) []string {
	all := slices.Clone(names)
	for _, name := range names {
		if stored, _, ok := Username(name); ok {
			all = append(all, stored)
		}
		if stored, _, ok := Email(name); ok {
			all = append(all, stored)
		}
	}
	return all
}
