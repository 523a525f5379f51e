// Package text checks and cleans text that is stored or shown.
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

// Plain returns at most the first limit bytes of s, without bytes that are not valid
// UTF-8. If s contains control characters, it returns "".
func Plain(s string, limit int) string {
	s = strings.ToValidUTF8(s[:min(len(s), limit)], "")
	if !IsPlain(s) {
		return ""
	}
	return s
}
