package keyfold

import (
	"crypto/subtle"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/keyfold/keyfold/internal/token"
)

// TokenPattern is a regular expression (RE2) that every token matches, whatever
// its prefix. Parsing accepts exactly the texts of at most 256 bytes that match
// it as a whole and whose checksum is right.
const TokenPattern = `[a-z][a-z0-9]*(?:_[a-z0-9]+)*_[0-9A-Za-z]{16}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}`

// SecretScanPattern is the regular expression (RE2) to give to secret scanners
// for tokens of the default prefix.
const SecretScanPattern = `\bkf_(?:[a-z0-9]{1,16}_)?[0-9A-Za-z]{16}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}\b`

// Token is a key's token with its secret. It hides itself from formatting,
// logging and encoding: only [Token.Reveal] shows it. The zero Token is empty.
//
// Compare tokens with [Token.Equal]. The compiler refuses == and the use of a
// Token as a map key, which would compare addresses.
type Token struct {
	_ [0]func() // not comparable

	// fmt calls no methods on the unexported fields of a program's own structs.
	// It prints the address of a pointer that it finds there.
	text *string
}

var (
	_ fmt.Formatter          = Token{}
	_ slog.LogValuer         = Token{}
	_ json.Marshaler         = Token{}
	_ encoding.TextMarshaler = Token{}
)

// ParseToken checks the shape and the checksum of a token, without asking a
// store: it says nothing about whether the key exists. Its error is an
// [ErrUnauthenticated] with [OutcomeMissing] or [OutcomeMalformed].
func ParseToken(text string) (Token, error) {
	if _, err := parseToken(text); err != nil {
		return Token{}, err
	}
	return Token{text: &text}, nil // inlined, so a caller that drops the Token allocates nothing
}

// parseToken takes a token apart. Its error is for the client that presented the
// text.
func parseToken(text string) (token.Parts, error) {
	if text == "" {
		return token.Parts{}, errMissing
	}
	parts, ok := token.Parse(text)
	if !ok {
		return token.Parts{}, errMalformed
	}
	return parts, nil
}

// Reveal returns the token as its holder must send it. Show it once, to that
// holder, and keep it nowhere.
func (t Token) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// Equal reports whether both are the same token, in constant time for tokens of
// the same length. Two empty tokens are equal.
func (t Token) Equal(other Token) bool { return sameText(t.Reveal(), other.Reveal()) }

// sameText compares two secrets in constant time.
func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// ID returns the public part of the token, the id of its key.
func (t Token) ID() string {
	parts, _ := token.Parse(t.Reveal())
	return parts.ID
}

// String returns the token without its secret: "kf_8fJ2kQpWm3xTzR4a_[secret]".
func (t Token) String() string {
	parts, ok := token.Parse(t.Reveal())
	if !ok {
		return "[no token]"
	}
	return parts.Head + "_" + parts.ID + "_[secret]"
}

// GoString is String: %#v shows no secret either.
func (t Token) GoString() string { return t.String() }

// Format writes String for every verb and flag.
func (t Token) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, t.String()) }

// LogValue is String, for log/slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText is String: encoding a Token never reveals it.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON is String as a JSON string.
func (t Token) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }
