package keyfold

import (
	"bytes"
	"crypto/subtle"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"github.com/keyfold/keyfold/internal/keycache"
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
	parts, ok := token.Parse(text)
	if !ok {
		return token.Parts{}, notToken(text)
	}
	return parts, nil
}

// notToken is the error for a text that is not a token.
func notToken(text string) error {
	if text == "" {
		return errMissing
	}
	return errMalformed
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

// OneTimeToken is a secret of 256 random bits that works once, for one purpose
// and one user. It hides itself as [Token] does: only [OneTimeToken.Reveal]
// shows it. Only its hash is stored. Compare with [OneTimeToken.Equal]: the
// compiler refuses == and the use as a map key.
type OneTimeToken struct {
	_    [0]func() // not comparable
	text *string   // a pointer for the reason that Token has
}

var (
	_ fmt.Formatter          = OneTimeToken{}
	_ slog.LogValuer         = OneTimeToken{}
	_ json.Marshaler         = OneTimeToken{}
	_ encoding.TextMarshaler = OneTimeToken{}
)

// Reveal returns the token as its user must send it back. Put it into the
// fragment of a link or a form, not into a query: those are logged. A GET must
// not use it up: programs that look at mail follow links.
func (t OneTimeToken) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// Equal reports whether both are the same token, in constant time for tokens of
// the same length. Two zero tokens are equal.
func (t OneTimeToken) Equal(other OneTimeToken) bool { return sameText(t.Reveal(), other.Reveal()) }

const hiddenOneTime = "[one-time token]"

// String does not show the token.
func (t OneTimeToken) String() string { return hiddenOneTime }

// GoString does not show the token.
func (t OneTimeToken) GoString() string { return hiddenOneTime }

// Format does not show the token, whatever the verb.
func (t OneTimeToken) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, hiddenOneTime) }

// LogValue does not show the token.
func (t OneTimeToken) LogValue() slog.Value { return slog.StringValue(hiddenOneTime) }

// MarshalText does not show the token.
func (t OneTimeToken) MarshalText() ([]byte, error) { return []byte(hiddenOneTime), nil }

// MarshalJSON does not show the token.
func (t OneTimeToken) MarshalJSON() ([]byte, error) { return json.Marshal(hiddenOneTime) }

// secrets hashes the secrets of tokens, and compares them with stored hashes.
type secrets struct {
	// pepper finds a pepper by its id. It is a function because fmt follows pointers
	// and maps to their contents, but cannot look into a function.
	pepper  func(id string) ([]byte, bool)
	signID  string // of the pepper for new keys; empty for none
	require bool   // refuse keys without a pepper
}

// newSecrets returns secrets with copies of the peppers.
func newSecrets(peppers map[string][]byte, signID string, require bool) *secrets {
	all := make(map[string][]byte, len(peppers))
	for id, pepper := range peppers {
		all[id] = bytes.Clone(pepper)
	}
	return &secrets{signID: signID, require: require, pepper: func(id string) ([]byte, bool) {
		pepper, ok := all[id]
		return pepper, ok
	}}
}

// match reports whether the token is that of the key: it compares the head, and the
// hash of the secret under the key's own algorithm. If this process does not know
// the algorithm or the pepper, the error is an [ErrUnavailable].
func (s *secrets) match(key keycache.Key, parts token.Parts) (bool, error) {
	if parts.Head != key.Head() {
		return false, nil // without a hash: heads are public
	}
	var sum [32]byte
	switch key.Algorithm() {
	case token.Plain:
		sum = parts.Sum()
	case token.Peppered:
		pepper, ok := s.pepper(key.PepperID())
		if !ok {
			return false, &unavailable{cause: fmt.Errorf("keyfold: pepper %q is not in Options.Peppers", key.PepperID())}
		}
		sum = parts.PepperedSum(pepper)
	default:
		return false, &unavailable{cause: fmt.Errorf("keyfold: unknown hash algorithm %q", key.AlgorithmName())}
	}
	same := token.EqualSums(&sum, key.Sum())
	if s.require && key.Algorithm() != token.Peppered {
		return false, nil
	}
	return same, nil
}

// compareInVain costs what match does, so that the time of an answer does not
// reveal whether the id is unknown or the secret wrong.
func compareInVain(parts token.Parts) bool {
	sum, dummy := parts.Sum(), [32]byte{1}
	return token.EqualSums(&sum, &dummy)
}

// hash hashes a secret as those of new keys are hashed.
func (s *secrets) hash(parts token.Parts) SecretHash {
	if s.signID == "" {
		return SecretHash{Alg: token.Plain.String(), Sum: parts.Sum()}
	}
	pepper, _ := s.pepper(s.signID) // checkPeppers has found it
	return SecretHash{Alg: token.Peppered.String(), PepperID: s.signID, Sum: parts.PepperedSum(pepper)}
}

// outdated returns the move that a key needs whose token was just verified.
func (s *secrets) outdated(key keycache.Key, parts token.Parts) (rehash, bool) {
	old := SecretHash{Alg: token.Plain.String(), Sum: *key.Sum()}
	if key.Algorithm() == token.Peppered {
		old.Alg, old.PepperID = token.Peppered.String(), key.PepperID()
	}
	if old.PepperID == s.signID {
		return rehash{}, false
	}
	return rehash{keyID: key.ID(), old: old, new: s.hash(parts)}, true
}
