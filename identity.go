package keyfold

import (
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/keyfold/keyfold/internal/scope"
)

// Identity says whose key a request came with. It cannot be changed, so it may
// be kept, copied and shared. The zero Identity is nobody: every method returns
// its zero value, and it holds no scope.
type Identity struct{ who principal }

// IsZero reports whether this is nobody.
func (id Identity) IsZero() bool { return id.who.isNobody() }

// KeyID returns the id of the key.
func (id Identity) KeyID() string {
	if id.IsZero() {
		return ""
	}
	return id.who.keyID()
}

// Name returns the key's name.
func (id Identity) Name() string { return id.field(fieldName) }

// OwnerID returns the host's own id of whoever the key belongs to.
func (id Identity) OwnerID() string { return id.field(fieldOwnerID) }

// UserID returns the id of the [User] that the key belongs to, or "".
func (id Identity) UserID() string { return id.field(fieldUserID) }

// Tenant returns the key's tenant label.
func (id Identity) Tenant() string { return id.field(fieldTenant) }

// Environment returns the environment in the key's token: "live", or empty.
func (id Identity) Environment() string { return id.field(fieldEnvironment) }

// HasScope reports whether the key holds the scope, itself or by a wildcard. It
// is false for a scope that is malformed or holds a wildcard of its own.
func (id Identity) HasScope(wanted string) bool {
	return scope.IsConcrete(wanted) && scope.Set(id.field(fieldScopes)).Covers(wanted)
}

// Scopes yields the key's scopes in the order given at its creation.
func (id Identity) Scopes() iter.Seq[string] { return scope.Set(id.field(fieldScopes)).All }

// Metadata returns the value kept under that name, or "".
func (id Identity) Metadata(name string) string {
	if id.IsZero() {
		return ""
	}
	return id.who.metadata(name)
}

// ExpiresAt returns the key's deadline, exclusive; zero when it has none.
func (id Identity) ExpiresAt() time.Time {
	if id.IsZero() || id.who.entry.expiresAt == NoDeadline {
		return time.Time{}
	}
	return time.UnixMilli(id.who.entry.expiresAt).UTC()
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

// field is a text of the key, empty for nobody.
func (id Identity) field(f field) string {
	if id.IsZero() {
		return ""
	}
	return id.who.field(f)
}
