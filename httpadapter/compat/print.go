package compat

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

// LogValue returns the fields that Format writes, as a group.
func (o Options) LogValue() slog.Value { return o.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object.
func (o Options) MarshalJSON() ([]byte, error) { return o.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (o Options) MarshalText() ([]byte, error) { return o.shown().MarshalText() }
