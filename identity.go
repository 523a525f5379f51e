package keyfold

import (
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/keyfold/keyfold/internal/keycache"
	"github.com/keyfold/keyfold/internal/scope"
)

// Identity describes the key that a request came with. It cannot be changed, so
// it may be kept, copied and shared. The zero Identity stands for no key: every
// method returns its zero value, and it has no scope.
type Identity struct{ key keycache.Key }

// IsZero reports whether this is the zero Identity.
func (id Identity) IsZero() bool { return id.key.IsZero() }

// KeyID returns the id of the key.
func (id Identity) KeyID() string {
	if id.IsZero() {
		return ""
	}
	return id.key.ID()
}

// Name returns the key's name.
func (id Identity) Name() string { return id.text(keycache.Key.Name) }

// OwnerID returns the host's own id of the owner of the key.
func (id Identity) OwnerID() string { return id.text(keycache.Key.OwnerID) }

// UserID returns the id of the [User] that the key belongs to, or "".
func (id Identity) UserID() string { return id.text(keycache.Key.UserID) }

// Tenant returns the key's tenant label.
func (id Identity) Tenant() string { return id.text(keycache.Key.Tenant) }

// Environment returns the environment in the key's token: "live", or empty.
func (id Identity) Environment() string { return id.text(keycache.Key.Environment) }

// HasScope reports whether the key holds the scope, itself or by a wildcard. It
// is false for a scope that is malformed or holds a wildcard of its own.
func (id Identity) HasScope(wanted string) bool {
	return scope.IsConcrete(wanted) && id.scopes().Covers(wanted)
}

// Scopes yields the key's scopes in the order given at its creation.
func (id Identity) Scopes() iter.Seq[string] { return id.scopes().All }

// Metadata returns the value kept under that name, or "".
func (id Identity) Metadata(name string) string {
	if id.IsZero() {
		return ""
	}
	return id.key.Metadata(name)
}

// ExpiresAt returns the key's deadline, exclusive; zero when it has none.
func (id Identity) ExpiresAt() time.Time {
	if id.IsZero() || id.key.ExpiresAt() == NoDeadline {
		return time.Time{}
	}
	return time.UnixMilli(id.key.ExpiresAt()).UTC()
}

// String names the key and its owner, for logs.
func (id Identity) String() string {
	if id.IsZero() {
		return "nobody"
	}
	return "key " + id.KeyID()
}

// Format writes String for every verb and flag.
func (id Identity) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, id.String()) }

// LogValue is String, for log/slog.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.String()) }

// text returns a text of the key, empty for the zero Identity.
func (id Identity) text(of func(keycache.Key) string) string {
	if id.IsZero() {
		return ""
	}
	return of(id.key)
}

func (id Identity) scopes() scope.Set {
	if id.IsZero() {
		return ""
	}
	return id.key.Scopes()
}
