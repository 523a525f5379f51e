package keyfold

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// principal is a key as verifies look at it: an entry of a chunk. Neither ever
// changes once it can be seen, so a principal is shared by all who verify the
// key and by every [Identity] made of it. The zero principal is nobody.
type principal struct {
	chunk *chunk
	entry *entry
}

// chunk holds keys that were read one after the other. There may be a million
// keys in memory: entries hold no pointers and their texts lie end to end, so
// that the garbage collector has a few thousand things to look at, not ten
// million, and what a verify reads stands in two or three cache lines.
type chunk struct {
	entries   []entry       // as many as there is room for
	text      []byte        // likewise; neither slice is ever replaced
	published atomic.Uint32 // how many of the entries may be read
	rare      atomic.Pointer[[]*rareFields]
	metadata  sync.Map // *entry → map[string]string, decoded when asked for

	// The shard that adds to the chunk guards the rest.
	used    int   // bytes of the text
	live    int   // entries that the cache still finds
	staleAt int64 // when the last entry is too old
}

// entry is what few bytes can tell of a key.
type entry struct {
	id        [idLen]byte
	sum       [32]byte
	expiresAt int64
	staleAt   int64          // unix milliseconds from which it is not served from memory
	textAt    uint32         // where its texts begin in the chunk's
	ends      [fields]uint16 // where each text ends, from there
	rare      uint16         // 1 + index into the chunk's rare; 0 for most keys
	alg       hashAlg
	revoked   bool
	disabled  bool
}

// field names one of the texts of a key, in the order in which they lie.
type field uint8

const (
	fieldPrefix field = iota
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
	algName     string // as stored, for an error that names it
	networks    []netip.Prefix
	bound       bool // to networks
	idleTimeout int64
	activeAt    int64 // the last use known when the key was read, or what counts as one
}

const (
	entrySize   = int64(unsafe.Sizeof(entry{}))
	chunkSize   = int64(unsafe.Sizeof(chunk{}))
	rareSize    = int64(unsafe.Sizeof(rareFields{})) + 8
	networkSize = int64(unsafe.Sizeof(netip.Prefix{}))
)

// newPrincipal returns the key in a chunk of its own. It refuses records that
// are larger than any that the Service writes.
func newPrincipal(r *VerifyRecord) (principal, error) {
	texts := [fields]string{r.Prefix, r.Environment, r.Scopes, r.Name, r.OwnerID, r.Tenant, r.Metadata}
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	if len(r.KeyID) != idLen || size > math.MaxUint16 {
		return principal{}, fmt.Errorf("keyfold: the record of key %.16q is damaged", r.KeyID)
	}
	own := &struct { // one piece of memory
		chunk
		entries [1]entry
	}{}
	c, e := &own.chunk, &own.entries[0]
	c.entries, c.text = own.entries[:], make([]byte, size)
	copy(e.id[:], r.KeyID)
	e.sum, e.expiresAt, e.alg, e.revoked, e.disabled = r.Secret.Sum, r.ExpiresAt, parseAlg(r.Secret.Alg), r.Revoked, r.Disabled
	for f, text := range texts {
		c.used += copy(c.text[c.used:], text)
		e.ends[f] = uint16(c.used)
	}
	if e.alg != algPlain || r.Networks != "" || r.IdleTimeout > 0 {
		e.rare = c.addRare(&rareFields{
			pepperID: r.Secret.PepperID, algName: r.Secret.Alg, bound: r.Networks != "", networks: parseNetworks(r.Networks),
			idleTimeout: r.IdleTimeout, activeAt: max(r.ActiveAt, r.LastUsedAt),
		})
	}
	c.published.Store(1)
	return principal{c, e}, nil
}

func newChunk(entries, text int) *chunk {
	return &chunk{entries: make([]entry, entries), text: make([]byte, text)}
}

// add copies a key into the chunk and returns its index, or false when there is
// no room. Only one goroutine at a time may add; those that read go on.
func (c *chunk) add(p principal) (index int, ok bool) {
	n, text := int(c.published.Load()), p.text()
	if n == len(c.entries) || c.used+len(text) > len(c.text) {
		return 0, false
	}
	e := &c.entries[n]
	*e = *p.entry
	e.textAt = uint32(c.used)
	c.used += copy(c.text[c.used:], text)
	if rare := p.rare(); rare != nil {
		e.rare = c.addRare(rare)
	}
	c.live++
	c.staleAt = max(c.staleAt, e.staleAt)
	c.published.Store(uint32(n + 1))
	return n, true
}

// addRare returns 1 + the index of what it added.
func (c *chunk) addRare(rare *rareFields) uint16 {
	var list []*rareFields
	if old := c.rare.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = append(list, rare)
	c.rare.Store(&list)
	return uint16(len(list))
}

// size is about what the chunk takes in memory.
func (c *chunk) size() int64 {
	size := chunkSize + entrySize*int64(len(c.entries)) + int64(len(c.text))
	if rare := c.rare.Load(); rare != nil {
		for _, r := range *rare {
			size += rareSize + networkSize*int64(len(r.networks))
		}
	}
	return size
}

// at returns an entry that has been published, or nobody.
func (c *chunk) at(index int) principal {
	if c == nil || index >= int(c.published.Load()) {
		return principal{}
	}
	return principal{c, &c.entries[index]}
}

func (p principal) isNobody() bool { return p.entry == nil }

// has reports whether the key has that id.
func (p principal) has(id string) bool { return string(p.entry.id[:]) == id }

func (p principal) keyID() string { return unsafe.String(&p.entry.id[0], idLen) } // it never changes

// text returns all texts. They never change, and a chunk's memory never moves.
func (p principal) text() string { return p.slice(0, p.entry.ends[fields-1]) }

func (p principal) field(f field) string {
	if f == 0 {
		return p.slice(0, p.entry.ends[0])
	}
	return p.slice(p.entry.ends[f-1], p.entry.ends[f])
}

func (p principal) slice(from, to uint16) string {
	if from == to {
		return ""
	}
	return unsafe.String(&p.chunk.text[p.entry.textAt+uint32(from)], to-from)
}

func (p principal) rare() *rareFields {
	if p.entry.rare == 0 {
		return nil
	}
	return (*p.chunk.rare.Load())[p.entry.rare-1]
}

// metadata decodes the metadata when it is first asked for.
func (p principal) metadata(name string) string {
	if decoded, ok := p.chunk.metadata.Load(p.entry); ok {
		return decoded.(map[string]string)[name]
	}
	var decoded map[string]string
	_ = json.Unmarshal([]byte(p.field(fieldMetadata)), &decoded) // the Service wrote it; empty if somebody else did
	p.chunk.metadata.Store(p.entry, decoded)
	return decoded[name]
}

// admit decides on a key whose secret was right. The deadline is exclusive.
func (p principal) admit(r *Request, now int64) error {
	switch e := p.entry; {
	case e.revoked:
		return errRevoked
	case e.disabled:
		return errDisabled
	case now >= e.expiresAt:
		return errExpired
	}
	if rare := p.rare(); rare != nil {
		switch {
		case rare.idleTimeout > 0 && now-rare.activeAt >= rare.idleTimeout:
			return errIdle
		case rare.bound && !rare.admits(r.IP):
			return errIP
		}
	}
	if len(r.Scopes) > 0 && !scopeSet(p.field(fieldScopes)).holdsAll(r.Scopes) {
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
