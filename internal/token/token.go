// Package token defines the text of a key's token: how it is made, taken apart
// and hashed. Nothing here does I/O, and parsing allocates nothing.
package token

import (
	"crypto/rand"
)

// A token is
//
//	kf_live_8fJ2kQpWm3xTzR4a_5yB…32 characters…Qe_0Zk3Ab
//	└─head─┘ └─────id──────┘ └─────secret──────┘ └─crc─┘
//
// The head is the prefix and, if there is one, the environment. It may hold
// underscores, so a token is read from its right end by fixed lengths.
const (
	IDLen     = 16 // 95 bits: public, and the key to look a key up by
	SecretLen = 32 // 190 bits
	MaxLen    = 256

	crcLen   = 6 // base62 of 32 bits
	tailLen  = 1 + IDLen + 1 + SecretLen + 1 + crcLen
	secretAt = 1 + IDLen + 1 // in the tail
	crcAt    = secretAt + SecretLen + 1
)

// Parts are the parts of a token, as slices of its text.
type Parts struct{ Head, ID, text string }

// Split takes a text apart that has the lengths and the underscores of a token. It
// looks at no other character: see [Parts.IsToken].
func Split(text string) (Parts, bool) {
	headLen := len(text) - tailLen
	if headLen < 1 || len(text) > MaxLen {
		return Parts{}, false
	}
	tail := text[headLen:]
	if tail[0] != '_' || tail[secretAt-1] != '_' || tail[crcAt-1] != '_' {
		return Parts{}, false
	}
	return Parts{Head: text[:headLen], ID: tail[1 : 1+IDLen], text: text}, true
}

// IsToken reports whether the parts have the characters of a token and the right
// checksum, which says nothing about whether the key exists.
func (p Parts) IsToken() bool {
	if !IsHead(p.Head) {
		return false
	}
	tail := p.text[len(p.Head):]
	if !IsBase62(p.ID) || !IsBase62(tail[secretAt:crcAt-1]) {
		return false
	}
	sum, ok := decodeCRC(tail[crcAt:])
	return ok && sum == uint64(checksum(p.text[:len(p.Head)+crcAt]))
}

// Parse takes a token apart. It reports whether the text is one.
func Parse(text string) (Parts, bool) {
	parts, ok := Split(text)
	if !ok || !parts.IsToken() {
		return Parts{}, false
	}
	return parts, true
}

// New draws an id and a secret, and returns the token.
func New(head string) (Parts, string) {
	body := head + "_" + Random(IDLen) + "_" + Random(SecretLen) + "_"
	sum := encodeCRC(checksum(body))
	text := body + string(sum[:])
	parts, _ := Split(text)
	return parts, text
}

// Head returns the head of the tokens of a prefix and an environment, which may
// be empty.
func Head(prefix, environment string) string {
	if environment == "" {
		return prefix
	}
	return prefix + "_" + environment
}

// IsHead reports whether s is lower-case words of letters and digits, joined
// by single underscores, that begin with a letter.
func IsHead(s string) bool {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '_' && s[i-1] != '_' && i != len(s)-1:
		default:
			return false
		}
	}
	return true
}

// IsID reports whether s can be the id of a key or a user.
func IsID(s string) bool { return len(s) == IDLen && IsBase62(s) }

// Random draws n base62 characters, each equally likely: bytes of 248 and above
// are discarded, because 256 is not a multiple of 62.
func Random(n int) string {
	out := make([]byte, 0, n)
	var block [64]byte
	for len(out) < n {
		_, _ = rand.Read(block[:]) // never fails: crypto/rand ends the program instead
		for _, b := range block {
			if b < 248 && len(out) < n {
				out = append(out, Alphabet[b%62])
			}
		}
	}
	return string(out)
}
