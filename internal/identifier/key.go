// Package identifier defines which usernames and e-mail addresses are valid, and which of
// them are equal.
package identifier

import (
	"slices"
	"strings"
)

// Key returns the comparison key of the identifier in a log-in: of an e-mail address if it
// contains an "@", otherwise of a username. ok is false if the identifier is not valid.
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
