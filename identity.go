package keyfold

import (
	"encoding/json"
	"iter"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Identity says whose key a request came with. It cannot be changed, so it may
// be kept, copied and shared. The zero Identity is nobody: every method returns
// its zero value, and it holds no scope.
type Identity struct{ who *principal }

// IsZero reports whether this is nobody.
func (id Identity) IsZero() bool { return id.who == nil }

// KeyID returns the id of the key.
func (id Identity) KeyID() string { return id.record().KeyID }

// Name returns the key's name.
func (id Identity) Name() string { return id.record().Name }

// OwnerID returns the host's own id of whoever the key belongs to.
func (id Identity) OwnerID() string { return id.record().OwnerID }

// Tenant returns the key's tenant label.
func (id Identity) Tenant() string { return id.record().Tenant }

// Environment returns the environment in the key's token: "live", or empty.
func (id Identity) Environment() string { return id.record().Environment }

// HasScope reports whether the key holds the scope, itself or by a wildcard.
func (id Identity) HasScope(scope string) bool { return scopeSet(id.record().Scopes).holds(scope) }

// Scopes yields the key's scopes in the order given at its creation.
func (id Identity) Scopes() iter.Seq[string] { return scopeSet(id.record().Scopes).all }

// Metadata returns the value kept under that name, or "".
func (id Identity) Metadata(name string) string {
	if id.who == nil {
		return ""
	}
	return id.who.metadata()[name]
}

// ExpiresAt returns the key's deadline, exclusive; zero when it has none.
func (id Identity) ExpiresAt() time.Time {
	if id.who == nil || id.who.record.ExpiresAt == NoDeadline {
		return time.Time{}
	}
	return time.UnixMilli(id.who.record.ExpiresAt).UTC()
}

// String names the key and its owner, for logs.
func (id Identity) String() string {
	if id.who == nil {
		return "nobody"
	}
	return "key " + id.KeyID()
}

var nobody VerifyRecord

func (id Identity) record() *VerifyRecord {
	if id.who == nil {
		return &nobody
	}
	return &id.who.record
}

// principal is the immutable value behind an [Identity].
type principal struct {
	record   VerifyRecord
	staleAt  int64                    // unix milliseconds from which it is not served from memory
	metadata func() map[string]string // decodes record.Metadata once, when asked
}

func newPrincipal(record VerifyRecord) *principal {
	return &principal{record: record, metadata: sync.OnceValue(func() map[string]string {
		var decoded map[string]string
		_ = json.Unmarshal([]byte(record.Metadata), &decoded) // the service wrote it; nil if somebody else did
		return decoded
	})}
}

// admit decides on a key whose secret was right. The deadline is exclusive.
func (p *principal) admit(r *Request, now int64) error {
	k := &p.record
	switch {
	case k.Revoked:
		return errRevoked
	case k.Disabled:
		return errDisabled
	case now >= k.ExpiresAt:
		return errExpired
	case k.IdleTimeout > 0 && now-max(k.ActiveAt, k.LastUsedAt) >= k.IdleTimeout:
		return errIdle
	case k.Networks != "" && !inNetworks(k.Networks, r.IP):
		return errIP
	case !scopeSet(k.Scopes).holdsAll(r.Scopes):
		return errScope
	}
	return nil
}

// inNetworks reports whether the address is in one of the prefixes. An IPv4
// address is the same address when it comes mapped into IPv6.
func inNetworks(networks string, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for text := range strings.FieldsSeq(networks) {
		if prefix, err := netip.ParsePrefix(text); err == nil && prefix.Contains(addr) {
			return true
		}
	}
	return false
}
