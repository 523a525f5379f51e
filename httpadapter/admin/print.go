package admin

import (
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/keyfold/keyfold/internal/redact"
)

var (
	_ fmt.Formatter          = Options{}
	_ slog.LogValuer         = Options{}
	_ json.Marshaler         = Options{}
	_ encoding.TextMarshaler = Options{}
)

func (o Options) shown() redact.Fields { return redact.Of(o, "Secret", "PreviousSecret") }

// Format writes the fields that are set, without the secrets, for every verb and
// flag.
func (o Options) Format(state fmt.State, verb rune) { o.shown().Format(state, verb) }

// LogValue is a group of what Format writes.
func (o Options) LogValue() slog.Value { return o.shown().LogValue() }

// MarshalJSON is an object of what Format writes.
func (o Options) MarshalJSON() ([]byte, error) { return o.shown().MarshalJSON() }

// MarshalText is what Format writes.
func (o Options) MarshalText() ([]byte, error) { return o.shown().MarshalText() }

// IssuedOneTimeToken is an answer: its JSON holds the token, and nothing else shows it.
var (
	_ fmt.Formatter  = OneTime{}
	_ slog.LogValuer = OneTime{}
)

func (o OneTime) shown() redact.Fields { return redact.Of(o, "Token") }

// Format writes the fields without the token, for every verb and flag.
func (o OneTime) Format(state fmt.State, verb rune) { o.shown().Format(state, verb) }

// LogValue is a group of what Format writes.
func (o OneTime) LogValue() slog.Value { return o.shown().LogValue() }
