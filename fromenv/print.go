package fromenv

import (
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/keyfold/keyfold/internal/redact"
)

// redacted is implemented by types whose exported fields can hold secrets.
type redacted interface {
	fmt.Formatter
	slog.LogValuer
	json.Marshaler
	encoding.TextMarshaler
}

var _ = []redacted{Source{}, Setting{}}

func (s Source) shown() redact.Fields { return redact.Of(s, "Environ") }

// Format writes the fields that are set, without the values of variables, for
// every verb and flag.
func (s Source) Format(state fmt.State, verb rune) { s.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (s Source) LogValue() slog.Value { return s.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object.
func (s Source) MarshalJSON() ([]byte, error) { return s.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (s Source) MarshalText() ([]byte, error) { return s.shown().MarshalText() }

func (s Setting) shown() redact.Fields { return redact.Of(s, "Value") }

// Format writes the fields that are set, without the value, for every verb and
// flag.
func (s Setting) Format(state fmt.State, verb rune) { s.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (s Setting) LogValue() slog.Value { return s.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object.
func (s Setting) MarshalJSON() ([]byte, error) { return s.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (s Setting) MarshalText() ([]byte, error) { return s.shown().MarshalText() }
