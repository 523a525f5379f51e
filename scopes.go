package keyfold

import (
	"slices"
	"strings"
)

const (
	maxScopes    = 64
	maxScopeLen  = 128
	scopeAllowed = `"resource:action", each of letters, digits, ".", "_", "-", "/", or "*" alone; at most 128 bytes`
)

// isScope reports whether s is two segments joined by a colon, each a word or
// "*".
func isScope(s string) bool {
	resource, action, found := strings.Cut(s, ":")
	return found && len(s) <= maxScopeLen && isScopeSegment(resource) && isScopeSegment(action)
}

func isScopeSegment(s string) bool {
	if s == "*" {
		return true
	}
	for i := range len(s) {
		if c := s[i]; c != '.' && c != '_' && c != '-' && c != '/' && !isBase62(s[i:i+1]) {
			return false
		}
	}
	return s != ""
}

// scopeSet is a list of scopes separated by single spaces, as it is stored: a
// request is decided on it as it stands.
type scopeSet string

func joinScopes(scopes []string) scopeSet { return scopeSet(strings.Join(scopes, " ")) }

// all yields each scope, in the order given at creation.
func (set scopeSet) all(yield func(string) bool) {
	for rest := string(set); rest != ""; {
		var scope string
		scope, rest, _ = strings.Cut(rest, " ")
		if !yield(scope) {
			return
		}
	}
}

// holds reports whether one scope of the set grants what is wanted. What is
// not of the form resource:action is never granted, not even by "*:*".
func (set scopeSet) holds(want string) bool {
	resource, action, ok := strings.Cut(want, ":")
	if !ok || resource == "" || action == "" || strings.IndexByte(action, ':') >= 0 {
		return false
	}
	for have := range set.all {
		haveResource, haveAction, _ := strings.Cut(have, ":")
		if (haveResource == "*" || haveResource == resource) && (haveAction == "*" || haveAction == action) {
			return true
		}
	}
	return false
}

// holdsAll reports whether every scope wanted is granted; none wanted, none needed.
func (set scopeSet) holdsAll(want []string) bool {
	for _, scope := range want {
		if !set.holds(scope) {
			return false
		}
	}
	return true
}

// registered reports whether a scope may be given to a key: with a registry,
// it has to be listed there, or be a wildcard that covers something listed.
func registered(registry []string, scope string) bool {
	if registry == nil || slices.Contains(registry, scope) {
		return true
	}
	return strings.Contains(scope, "*") && slices.ContainsFunc(registry, scopeSet(scope).holds)
}
