package fromenv

import (
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Secret is a text that only Reveal returns: fmt, log/slog and encoders show that there
// is a secret, but not the text. The zero value means that there is none.
type Secret struct {
	// A pointer, because fmt prints the unexported fields of a struct that holds a
	// Secret without calling methods, but does not follow pointers there.
	text *string
}

var (
	_ fmt.Formatter          = Secret{}
	_ slog.LogValuer         = Secret{}
	_ json.Marshaler         = Secret{}
	_ encoding.TextMarshaler = Secret{}
)

// NewSecret returns a Secret with this text. For "" it returns the zero Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the text, or "" if there is no secret.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether there is a secret.
func (s Secret) IsSet() bool { return s.text != nil }

// String returns "[secret]", or "[no secret]".
func (s Secret) String() string {
	if s.IsSet() {
		return "[secret]"
	}
	return "[no secret]"
}

// GoString is String: %#v shows no secret either.
func (s Secret) GoString() string { return s.String() }

// Format writes String for every verb and flag.
func (s Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, s.String()) }

// LogValue is String, for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String: encoding a Secret never reveals it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is String as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

const (
	minSecret      = 32
	minShortSecret = 8 // in the predecessor's variables
	maxSecret      = 512
	minDistinct    = 8 // different characters; a random secret of 32 characters has twenty or more

	createSecret = "; create one with: openssl rand -hex 32"
)

// examples returns parts of values that appear in documentation, and so are not secret.
func examples() []string {
	return []string{
		"changeme", "change-me", "change_me", "change this", "replaceme", "replace-me", "replace_me", "your-secret", "your_secret", "yoursecret",
		"your secret", "set your", "example", "placeholder", "read-this-from", "an-admin-secret", "0123456789abcdef", "password",
		"test_secret", "test-secret", "secret_test", "mysecret", "my-secret", "my_secret", "supersecret", "topsecret",
		"12345678", "abcdefgh", "qwertyui",
	}
}

// weakness says why a text is not a good secret, or "". It does not repeat the text.
func weakness(text string, shortest int) string {
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return "is set but blank"
	case trimmed[0] == '#':
		return "is a comment, not a value"
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }):
		return "contains characters other than printable ASCII"
	case text != trimmed:
		return "has white space around it"
	case isQuoted(text):
		return quotedReason
	}
	lower := strings.ToLower(text)
	for _, example := range examples() {
		if strings.Contains(lower, example) {
			return "is an example from documentation, not a secret"
		}
	}
	distinct := map[byte]bool{}
	for i := range len(text) {
		distinct[text[i]] = true
	}
	switch {
	case len(text) < shortest:
		return fmt.Sprintf("is shorter than %d characters", shortest)
	case len(text) > maxSecret:
		return fmt.Sprintf("is longer than %d characters", maxSecret)
	case len(distinct) < min(minDistinct, len(text)/2):
		return "is not random"
	}
	return ""
}
