// Package text tells texts that may be stored and shown from those that may not.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// IsPlain reports whether s is valid UTF-8 without control characters.
func IsPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// Plain returns at most the first limit bytes of s, without bytes that are not
// UTF-8, or "" if control characters are in it.
func Plain(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), limit)], "")
	if !IsPlain(s) {
		return ""
	}
	return s
}
