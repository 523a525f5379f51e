package keyfold

import (
	"fmt"
	"log/slog"

	"github.com/keyfold/keyfold/internal/redact"
)

var _ = []redact.Redacted{
	Credentials{}, NewUser{}, SecretHash{}, KeyRecord{}, VerifyRecord{}, Rotation{}, UserRecord{}, OneTimeTokenRecord{}, OneTimeTokenUse{},
}

func (h SecretHash) shown() redact.Fields { return redact.Of(h, "Sum") }

// Format writes the algorithm and the id of the pepper, without the hash, for
// every verb and flag.
func (h SecretHash) Format(state fmt.State, verb rune) { h.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (h SecretHash) LogValue() slog.Value { return h.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object. A Store cannot keep a
// SecretHash in this form.
func (h SecretHash) MarshalJSON() ([]byte, error) { return h.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (h SecretHash) MarshalText() ([]byte, error) { return h.shown().MarshalText() }

func (k KeyRecord) shown() redact.Fields { return redact.Of(k) }

// Format writes the fields that are set, without the hash of the secret, for every
// verb and flag.
func (k KeyRecord) Format(state fmt.State, verb rune) { k.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (k KeyRecord) LogValue() slog.Value { return k.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object. A Store cannot keep a
// KeyRecord in this form.
func (k KeyRecord) MarshalJSON() ([]byte, error) { return k.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (k KeyRecord) MarshalText() ([]byte, error) { return k.shown().MarshalText() }

func (v VerifyRecord) shown() redact.Fields { return redact.Of(v) }

// Format writes the fields that are set, without the hash of the secret, for every
// verb and flag.
func (v VerifyRecord) Format(state fmt.State, verb rune) { v.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (v VerifyRecord) LogValue() slog.Value { return v.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object. A Store cannot keep a
// VerifyRecord in this form.
func (v VerifyRecord) MarshalJSON() ([]byte, error) { return v.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (v VerifyRecord) MarshalText() ([]byte, error) { return v.shown().MarshalText() }

func (r Rotation) shown() redact.Fields { return redact.Of(r) }

// Format writes the fields that are set, without the hash of the secret, for every
// verb and flag.
func (r Rotation) Format(state fmt.State, verb rune) { r.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (r Rotation) LogValue() slog.Value { return r.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object.
func (r Rotation) MarshalJSON() ([]byte, error) { return r.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (r Rotation) MarshalText() ([]byte, error) { return r.shown().MarshalText() }

func (u UserRecord) shown() redact.Fields { return redact.Of(u, "PasswordHash") }

// Format writes the fields that are set, without the hash of the password, for
// every verb and flag.
func (u UserRecord) Format(state fmt.State, verb rune) { u.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (u UserRecord) LogValue() slog.Value { return u.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object. A Store cannot keep a
// UserRecord in this form.
func (u UserRecord) MarshalJSON() ([]byte, error) { return u.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (u UserRecord) MarshalText() ([]byte, error) { return u.shown().MarshalText() }

func (r OneTimeTokenRecord) shown() redact.Fields { return redact.Of(r, "Sum") }

// Format writes the fields that are set, without the hash of the token, for
// every verb and flag.
func (r OneTimeTokenRecord) Format(state fmt.State, verb rune) { r.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (r OneTimeTokenRecord) LogValue() slog.Value { return r.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object. A Store cannot keep a
// OneTimeTokenRecord in this form.
func (r OneTimeTokenRecord) MarshalJSON() ([]byte, error) { return r.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (r OneTimeTokenRecord) MarshalText() ([]byte, error) { return r.shown().MarshalText() }

func (u OneTimeTokenUse) shown() redact.Fields { return redact.Of(u, "Sum", "PasswordHash") }

// Format writes the fields that are set, without the hashes, for every verb and
// flag.
func (u OneTimeTokenUse) Format(state fmt.State, verb rune) { u.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (u OneTimeTokenUse) LogValue() slog.Value { return u.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object.
func (u OneTimeTokenUse) MarshalJSON() ([]byte, error) { return u.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (u OneTimeTokenUse) MarshalText() ([]byte, error) { return u.shown().MarshalText() }

func (n NewUser) shown() redact.Fields { return redact.Of(n, "Password", "HashedPassword") }

// Format writes the fields that are set, without the password, for every verb
// and flag.
func (n NewUser) Format(state fmt.State, verb rune) { n.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (n NewUser) LogValue() slog.Value { return n.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object.
func (n NewUser) MarshalJSON() ([]byte, error) { return n.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (n NewUser) MarshalText() ([]byte, error) { return n.shown().MarshalText() }

// GobEncode returns an error: a password must not be stored.
func (n NewUser) GobEncode() ([]byte, error) { return nil, redact.ErrGob }

func (l Credentials) shown() redact.Fields { return redact.Of(l, "Password") }

// Format writes the fields that are set, without the password, for every verb
// and flag.
func (l Credentials) Format(state fmt.State, verb rune) { l.shown().Format(state, verb) }

// LogValue returns the fields that Format writes, as a group.
func (l Credentials) LogValue() slog.Value { return l.shown().LogValue() }

// MarshalJSON returns the fields that Format writes, as an object.
func (l Credentials) MarshalJSON() ([]byte, error) { return l.shown().MarshalJSON() }

// MarshalText returns the text that Format writes.
func (l Credentials) MarshalText() ([]byte, error) { return l.shown().MarshalText() }

// GobEncode returns an error: a password must not be stored.
func (l Credentials) GobEncode() ([]byte, error) { return nil, redact.ErrGob }
