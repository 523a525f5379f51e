package keyfold

import (
	"encoding/json"
	"net/netip"
	"strings"
	"sync/atomic"
)

// principal is a key as verifies look at it. It never changes, so it is shared
// by all who verify the key and by every [Identity] made of it.
//
// There may be a million of them, so its texts are one string: two pieces of
// memory for the garbage collector instead of ten, and what a verify reads lies
// close together.
type principal struct {
	sum       [32]byte
	expiresAt int64
	staleAt   int64 // unix milliseconds from which it is not served from memory
	text      string
	ends      [fields]uint32
	alg       hashAlg
	revoked   bool
	disabled  bool
	rare      *rareFields // nil for most keys
	metadata  atomic.Pointer[map[string]string]
}

// field names one of the texts of a principal, in the order in which they lie.
type field uint8

const (
	fieldID field = iota
	fieldPrefix
	fieldEnvironment
	fieldScopes
	fieldName
	fieldOwnerID
	fieldTenant
	fieldMetadata
	fields
)

// rareFields is what few keys have.
type rareFields struct {
	pepperID    string
	algName     string // when it is not one of ours
	bound       bool   // to networks
	networks    []netip.Prefix
	idleTimeout int64
	activeAt    int64 // the last use known when the key was read, or what counts as one
}

func newPrincipal(r *VerifyRecord) *principal {
	p := &principal{
		sum: r.Secret.Sum, expiresAt: r.ExpiresAt, alg: parseAlg(r.Secret.Alg), revoked: r.Revoked, disabled: r.Disabled,
	}
	texts := [fields]string{r.KeyID, r.Prefix, r.Environment, r.Scopes, r.Name, r.OwnerID, r.Tenant, r.Metadata}
	p.text = strings.Join(texts[:], "")
	end := 0
	for f, text := range texts {
		end += len(text)
		p.ends[f] = uint32(end)
	}
	if p.alg != algPlain || r.Networks != "" || r.IdleTimeout > 0 {
		p.rare = &rareFields{
			pepperID: r.Secret.PepperID, algName: r.Secret.Alg, bound: r.Networks != "", networks: parseNetworks(r.Networks),
			idleTimeout: r.IdleTimeout, activeAt: max(r.ActiveAt, r.LastUsedAt),
		}
	}
	return p
}

func (p *principal) field(f field) string {
	start := uint32(0)
	if f > 0 {
		start = p.ends[f-1]
	}
	return p.text[start:p.ends[f]]
}

func (p *principal) keyID() string { return p.field(fieldID) }

// size is about what the principal takes in memory, its slot in the cache included.
func (p *principal) size() int64 {
	size := principalSize + int64(len(p.text))
	if p.rare != nil {
		size += rareSize + networkSize*int64(len(p.rare.networks))
	}
	return size
}

const (
	principalSize = 176 // 144 for itself, 32 for slots and rounding
	rareSize      = 112
	networkSize   = 32
)

// metadataOf decodes the metadata when it is first asked for.
func (p *principal) metadataOf(name string) string {
	decoded := p.metadata.Load()
	if decoded == nil {
		decoded = new(map[string]string)
		_ = json.Unmarshal([]byte(p.field(fieldMetadata)), decoded) // the Service wrote it; empty if somebody else did
		p.metadata.Store(decoded)
	}
	return (*decoded)[name]
}

// admit decides on a key whose secret was right. The deadline is exclusive.
func (p *principal) admit(r *Request, now int64) error {
	switch {
	case p.revoked:
		return errRevoked
	case p.disabled:
		return errDisabled
	case now >= p.expiresAt:
		return errExpired
	case p.rare != nil && p.rare.idleTimeout > 0 && now-p.rare.activeAt >= p.rare.idleTimeout:
		return errIdle
	case p.rare != nil && p.rare.bound && !p.rare.admits(r.IP):
		return errIP
	case len(r.Scopes) > 0 && !scopeSet(p.field(fieldScopes)).holdsAll(r.Scopes):
		return errScope
	}
	return nil
}

// admits reports whether the address is in one of the networks. An IPv4
// address is the same address when it comes mapped into IPv6.
func (r *rareFields) admits(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	for i := range r.networks {
		if r.networks[i].Contains(addr) {
			return true
		}
	}
	return false
}

// parseNetworks passes over what is no prefix: it admits nobody.
func parseNetworks(text string) (networks []netip.Prefix) {
	for word := range strings.FieldsSeq(text) {
		if prefix, err := netip.ParsePrefix(word); err == nil {
			networks = append(networks, prefix)
		}
	}
	return networks
}
