// Package scope defines the scopes of keys: their grammar, and which scope
// covers which.
//
// A scope is one to eight segments separated by colons, each of letters,
// digits, ".", "_", "-" and "/": "read", "reports:read", "repo:user:read". Two
// segments are wildcards: "*" stands for exactly one segment, anywhere, and
// "**" for one or more, as the last segment only. So "**" alone is every scope.
package scope

import (
	"slices"
	"strings"
)

const (
	// MaxLen is the length of the longest scope, in bytes.
	MaxLen = 128
	// MaxSegments is the number of segments of the longest scope.
	MaxSegments = 8

	one  = "*"
	many = "**"
)

// The rules for scopes, for errors: the first for the scopes of a key, the second for the
// scopes that a request requires.
const (
	Rule = `must be 1 to 8 segments separated by ":", each of letters, digits, ".", "_", "-" and "/", or "*", or "**" as the last one; ` +
		`at most 128 bytes`
	ConcreteRule = `must be 1 to 8 segments separated by ":", each of letters, digits, ".", "_", "-" and "/", without a wildcard; ` +
		`at most 128 bytes`
)

// IsValid reports whether s is a valid scope of a key.
func IsValid(s string) bool {
	if len(s) > MaxLen {
		return false
	}
	for n := 1; n <= MaxSegments; n++ {
		segment, rest, more := strings.Cut(s, ":")
		isLast := !more
		if segment != one && (segment != many || !isLast) && !isWord(segment) {
			return false
		}
		if isLast {
			return true
		}
		s = rest
	}
	return false
}

// IsConcrete reports whether s is a scope without a wildcard. Requests may only require
// such scopes.
func IsConcrete(s string) bool { return strings.IndexByte(s, '*') < 0 && IsValid(s) }

func isWord(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '-', c == '/':
		default:
			return false
		}
	}
	return s != ""
}

// Covers reports whether the scope have permits everything that the scope want permits. It
// compares segment by segment:
//
//	have      covers
//	a word    the same word
//	"*"       a word or "*"
//	"**"      one or more segments of any form
//
// Both must be valid.
func Covers(have, want string) bool {
	for {
		h, haveRest, haveMore := strings.Cut(have, ":")
		if h == many {
			return true
		}
		w, wantRest, wantMore := strings.Cut(want, ":")
		if h != w && (h != one || w == many) || haveMore != wantMore {
			return false
		}
		if !haveMore {
			return true
		}
		have, want = haveRest, wantRest
	}
}

// Set is a list of scopes separated by single spaces, in the form that stores keep.
type Set string

// Join returns the Set of those scopes.
func Join(scopes []string) Set { return Set(strings.Join(scopes, " ")) }

// All yields each scope, in order.
func (set Set) All(yield func(string) bool) {
	for rest := string(set); rest != ""; {
		var scope string
		scope, rest, _ = strings.Cut(rest, " ")
		if !yield(scope) {
			return
		}
	}
}

// Covers reports whether a single scope of the set covers want.
func (set Set) Covers(want string) bool {
	for have := range set.All {
		if Covers(have, want) {
			return true
		}
	}
	return false
}

// CoversAll reports whether the set covers every scope in want. It is true if want is
// empty.
func (set Set) CoversAll(want []string) bool {
	return !slices.ContainsFunc(want, func(scope string) bool { return !set.Covers(scope) })
}
