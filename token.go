package keyfold

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"unsafe"
)

// A token is
//
//	kf_live_8fJ2kQpWm3xTzR4a_5yB…32 characters…Qe_0Zk3Ab
//	└─head─┘ └─────id──────┘ └─────secret──────┘ └─crc─┘
//
// The head is the prefix and, if there is one, the environment. It may hold
// underscores, so a token is read from its right end by fixed lengths.
const (
	idLen     = 16 // 95 bits: public, and the key to look a key up by
	secretLen = 32 // 190 bits
	crcLen    = 6  // base62 of 32 bits
	tailLen   = 1 + idLen + 1 + secretLen + 1 + crcLen

	maxTokenLen = 256
)

// TokenPattern is a regular expression (RE2) that every token matches, whatever
// its prefix. Parsing accepts exactly the texts of at most 256 bytes that match
// it as a whole and whose checksum is right.
const TokenPattern = `[a-z][a-z0-9]*(?:_[a-z0-9]+)*_[0-9A-Za-z]{16}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}`

// SecretScanPattern is the regular expression (RE2) to give to secret scanners
// for tokens of the default prefix.
const SecretScanPattern = `\bkf_(?:[a-z0-9]{1,16}_)?[0-9A-Za-z]{16}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}\b`

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62Digits is the digit that each byte stands for, noDigit for all others.
const base62Digits = "" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\xff\xff\xff\xff\xff\xff" +
	"\xff\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18" +
	"\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\x21\x22\x23\xff\xff\xff\xff\xff" +
	"\xff\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e\x2f\x30\x31\x32" +
	"\x33\x34\x35\x36\x37\x38\x39\x3a\x3b\x3c\x3d\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

const noDigit = 0x80 // this bit is set in what is no digit

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
// [ErrUnauthenticated] with [CodeMissing] or [CodeMalformed].
func ParseToken(text string) (Token, error) {
	if _, err := parseToken(text); err != nil {
		return Token{}, err
	}
	return Token{text: &text}, nil // inlined, so a caller that drops the Token allocates nothing
}

// parseToken is splitToken with the error for whoever presented the text.
func parseToken(text string) (tokenParts, error) {
	if text == "" {
		return tokenParts{}, errMissing
	}
	parts, ok := splitToken(text)
	if !ok {
		return tokenParts{}, errMalformed
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

func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// ID returns the public part of the token, the id of its key.
func (t Token) ID() string {
	parts, _ := splitToken(t.Reveal())
	return parts.id
}

// String returns the token without its secret: "kf_8fJ2kQpWm3xTzR4a_[secret]".
func (t Token) String() string {
	parts, ok := splitToken(t.Reveal())
	if !ok {
		return "[no token]"
	}
	return parts.head + "_" + parts.id + "_[secret]"
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

// tokenParts are slices of the token's own text.
type tokenParts struct{ head, id, secret string }

// splitToken takes a token apart and checks its checksum. It allocates nothing.
func splitToken(text string) (tokenParts, bool) {
	headLen := len(text) - tailLen
	if headLen < 1 || len(text) > maxTokenLen {
		return tokenParts{}, false
	}
	tail := text[headLen:]
	const secretAt = 1 + idLen + 1
	const crcAt = secretAt + secretLen + 1
	if tail[0] != '_' || tail[secretAt-1] != '_' || tail[crcAt-1] != '_' {
		return tokenParts{}, false
	}
	parts := tokenParts{head: text[:headLen], id: tail[1 : 1+idLen], secret: tail[secretAt : secretAt+secretLen]}
	if !isHead(parts.head) || !isBase62(parts.id) || !isBase62(parts.secret) {
		return tokenParts{}, false
	}
	if sum, ok := decodeCRC(tail[crcAt:]); !ok || sum != uint64(checksum(text[:headLen+crcAt])) {
		return tokenParts{}, false
	}
	return parts, true
}

// isHead reports whether s is lower-case words of letters and digits, joined
// by single underscores, that begin with a letter.
func isHead(s string) bool {
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

// isBase62 looks every byte up instead of comparing ranges: the characters are
// random, so half of such branches would be mispredicted.
func isBase62(s string) bool {
	all := byte(0)
	for i := range len(s) {
		all |= base62Digits[s[i]]
	}
	return all < noDigit
}

// checksum is CRC-32 (IEEE 802.3) of s. It is no security feature: anyone can
// compute it, and so anyone can reject a mistyped token without asking.
func checksum(s string) uint32 {
	// crc32 takes bytes and only reads them; a copy of the string would be
	// allocated for every request.
	return crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(s), len(s)))
}

// encodeCRC writes v in base62, most significant digit first, padded with "0".
func encodeCRC(v uint32) (out [crcLen]byte) {
	for i := crcLen - 1; i >= 0; i-- {
		out[i] = base62[v%62]
		v /= 62
	}
	return out
}

// decodeCRC is the number that encodeCRC writes so. Six digits can hold more
// than 32 bits: such a number equals no checksum.
func decodeCRC(text string) (v uint64, ok bool) {
	all := byte(0)
	for i := range crcLen {
		digit := base62Digits[text[i]]
		all |= digit
		v = v*62 + uint64(digit)
	}
	return v, all < noDigit
}

// newToken draws an id and a secret.
func newToken(head string) (tokenParts, Token) {
	parts := tokenParts{head: head, id: randomBase62(idLen), secret: randomBase62(secretLen)}
	body := parts.head + "_" + parts.id + "_" + parts.secret + "_"
	sum := encodeCRC(checksum(body))
	text := body + string(sum[:])
	return parts, Token{text: &text}
}

// randomBase62 draws n characters, each equally likely: bytes of 248 and above
// are thrown away, because 256 is no multiple of 62.
func randomBase62(n int) string {
	out := make([]byte, 0, n)
	var block [64]byte
	for len(out) < n {
		_, _ = rand.Read(block[:]) // never fails: crypto/rand ends the program instead
		for _, b := range block {
			if b < 248 && len(out) < n {
				out = append(out, base62[b%62])
			}
		}
	}
	return string(out)
}

// hashInput is the text that is hashed: domain, id and secret. The secret has
// 190 random bits, so a fast hash is enough: there is nothing to guess.
func hashInput(id, secret string) (in [4 + idLen + secretLen]byte) {
	copy(in[:], "kf1\x00")
	copy(in[4:], id)
	copy(in[4+idLen:], secret)
	return in
}

func plainHash(id, secret string) [32]byte {
	in := hashInput(id, secret)
	return sha256.Sum256(in[:])
}

func pepperHash(pepper []byte, id, secret string) (sum [32]byte) {
	in := hashInput(id, secret)
	mac := hmac.New(sha256.New, pepper)
	mac.Write(in[:])
	mac.Sum(sum[:0])
	return sum
}

func sameHash(a, b *[32]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
