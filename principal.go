package keyfold

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/keyfold/keyfold/internal/scope"
	"github.com/keyfold/keyfold/internal/token"
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
// million, and what a verify reads of a key stands in one cache line.
type chunk struct {
	// These are what a verify reads, and fill a cache line.
	entries   []entry       // as many as there is room for
	text      []byte        // likewise, and no more than maxText; neither slice is ever replaced
	base      int64         // unix milliseconds, before any of the entries is too old
	unit      uint32        // of the entries' staleAt, in milliseconds
	published atomic.Uint32 // how many of the entries may be read

	rare     atomic.Pointer[[]*rareFields]
	metadata sync.Map // *entry → map[string]string, decoded when asked for

	// The shard that adds to the chunk guards the rest.
	shared  [8]uint16 // where shared texts begin that were added last, in turns
	sharing int       // how many were added ever
	used    int       // bytes of the text
	owned   int       // entries of keys that belong to a user
	extra   int64     // bytes of what is rare
	live    int       // entries that the cache still finds
	staleAt int64     // when the last entry is too old
	_       [8]byte   // up to a multiple of cache lines
}

// entry is what few bytes can tell of a key: as many as a cache line has.
type entry struct {
	id        [token.IDLen]byte
	sum       [32]byte
	expiresAt int64
	staleAt   uint16 // when it is not served from memory any more, in units from the chunk's base
	ownAt     uint16 // where its own texts begin in the chunk's text
	sharedAt  uint16 // where those begin that it may share with other entries
	alg       token.Algorithm
	marks     marks
}

// marks is a set of facts that an entry has a bit for. The first are what stops
// a key whatever the request.
type marks uint8

const (
	markRevoked marks = 1 << iota
	markDisabled
	markUserOff // its user is disabled or gone
	markOfUser
	markRare // its own texts begin with its index into the chunk's rare

	marksThatStop = markRevoked | markDisabled | markUserOff
)

// field names one of the texts of a key, in the order in which they lie: first
// those that many keys have in common, which a chunk holds once, then its own.
// Each has its length in front of it, as a varint.
type field uint8

const (
	fieldHead field = iota // of the token
	fieldScopes
	fieldEnvironment
	fieldName
	fieldOwnerID
	fieldTenant
	fieldUserID
	fieldMetadata
	fields

	firstOwn = fieldName
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

	maxText   = 1 << 16 // bytes of a chunk's text, so that 16 bits tell where in it
	maxRecord = 60_000  // bytes of all texts of a key; far above what the Service writes
	rareIndex = 2       // bytes of it
)

func (r *VerifyRecord) marks() (m marks) {
	if r.Revoked {
		m |= markRevoked
	}
	if r.Disabled {
		m |= markDisabled
	}
	if r.UserDisabled {
		m |= markUserOff
	}
	if r.UserID != "" {
		m |= markOfUser
	}
	return m
}

// refusal names the first of what stops a key: what is final comes before what
// is not.
func (m marks) refusal() error {
	switch {
	case m&markRevoked != 0:
		return errRevoked
	case m&markDisabled != 0:
		return errDisabled
	}
	return errUserOff
}

// newPrincipal returns the key in a chunk of its own. It refuses records that
// are larger than any that the Service writes.
func newPrincipal(r *VerifyRecord) (principal, error) {
	head := token.Head(r.Prefix, r.Environment)
	texts := [fields]string{head, r.Scopes, r.Environment, r.Name, r.OwnerID, r.Tenant, r.UserID, r.Metadata}
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	if len(r.KeyID) != token.IDLen || size > maxRecord {
		return principal{}, fmt.Errorf("keyfold: the record of key %.16q is damaged", r.KeyID)
	}
	own := &struct { // one piece of memory
		chunk
		entries [1]entry
		text    [128]byte // enough for most
	}{}
	c, e := &own.chunk, &own.entries[0]
	c.entries, c.text = own.entries[:], own.text[:0]
	copy(e.id[:], r.KeyID)
	e.sum, e.expiresAt, e.alg, e.marks = r.Secret.Sum, r.ExpiresAt, token.ParseAlgorithm(r.Secret.Alg), r.marks()
	if e.alg != token.Plain || r.Networks != "" || r.IdleTimeout > 0 {
		e.marks |= markRare
	}
	for f, text := range texts {
		if field(f) == firstOwn {
			e.ownAt = uint16(len(c.text))
			if e.marks&markRare != 0 {
				c.text = append(c.text, make([]byte, rareIndex)...)
			}
		}
		c.text = append(binary.AppendUvarint(c.text, uint64(len(text))), text...)
	}
	if e.marks&markRare != 0 {
		c.addRare(e, &rareFields{
			pepperID: r.Secret.PepperID, algName: r.Secret.Alg, bound: r.Networks != "", networks: parseNetworks(r.Networks),
			idleTimeout: r.IdleTimeout, activeAt: max(r.ActiveAt, r.LastUsedAt),
		})
	}
	c.published.Store(1)
	return principal{c, e}, nil
}

// newChunk returns a chunk for keys of which none is too old before base, nor
// any younger than maxAge.
func newChunk(entries, text int, base, maxAge int64) *chunk {
	room := slices.Grow([]byte(nil), text)
	unit := 1 + uint32(2*maxAge/math.MaxUint16)
	return &chunk{entries: make([]entry, entries), text: room[:min(cap(room), maxText)], base: base, unit: unit}
}

// add copies a key into the chunk and returns its index, or false when there is
// no room. Only one goroutine at a time may add; those that read go on.
func (c *chunk) add(p principal) (index int, ok bool) {
	n, own, shared := int(c.published.Load()), p.own(), p.shared()
	sharedAt, known := c.find(shared)
	if known {
		shared = nil
	}
	// A key that took too long to read may have been too old before base: it is now.
	stale := max(0, p.staleAt()-c.base) / int64(c.unit)
	if n == len(c.entries) || c.used+len(shared)+len(own) > len(c.text) || stale > math.MaxUint16 {
		return 0, false
	}
	e := &c.entries[n]
	*e = *p.entry
	if !known {
		sharedAt = uint16(c.used)
		c.shared[c.sharing%len(c.shared)] = sharedAt
		c.sharing++
		c.used += copy(c.text[c.used:], shared)
	}
	e.staleAt, e.sharedAt, e.ownAt = uint16(stale), sharedAt, uint16(c.used)
	c.used += copy(c.text[c.used:], own)
	if e.marks&markRare != 0 {
		c.addRare(e, p.rare())
	}
	if p.ofUser() {
		c.owned++
	}
	c.live++
	c.staleAt = max(c.staleAt, p.staleAt())
	c.published.Store(uint32(n + 1))
	return n, true
}

// find returns where the chunk has these texts among those added last.
func (c *chunk) find(shared []byte) (at uint16, ok bool) {
	for _, at := range c.shared[:min(c.sharing, len(c.shared))] {
		if bytes.HasPrefix(c.text[at:c.used], shared) { // equal lengths are part of it
			return at, true
		}
	}
	return 0, false
}

// addRare adds what few keys have, and puts its index into the entry's texts.
func (c *chunk) addRare(e *entry, rare *rareFields) {
	var list []*rareFields
	if old := c.rare.Load(); old != nil {
		list = slices.Clone(*old)
	}
	list = append(list, rare)
	c.extra += rareSize + networkSize*int64(len(rare.networks))
	c.rare.Store(&list)
	binary.LittleEndian.PutUint16(c.text[e.ownAt:], uint16(len(list)-1))
}

// size is about what the chunk takes in memory.
func (c *chunk) size() int64 {
	return chunkSize + entrySize*int64(len(c.entries)) + int64(len(c.text)) + c.extra
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

func (p principal) keyID() string { return unsafe.String(&p.entry.id[0], token.IDLen) } // it never changes

// staleAt is when the key is not served from memory any more.
func (p principal) staleAt() int64 {
	return p.chunk.base + int64(p.entry.staleAt)*int64(p.chunk.unit)
}

func (p principal) field(f field) string {
	at := int(p.entry.sharedAt)
	if f >= firstOwn {
		at, f = p.ownAt(), f-firstOwn
	}
	rest := p.chunk.text[at:]
	for ; f > 0; f-- {
		_, rest = cut(rest)
	}
	text, _ := cut(rest)
	return unsafe.String(unsafe.SliceData(text), len(text)) // it never changes, and a chunk's memory never moves
}

// cut takes the first text from those that follow one another.
func cut(texts []byte) (text, rest []byte) {
	size, width := uint64(texts[0]), 1
	if size >= 1<<7 {
		size, width = binary.Uvarint(texts)
	}
	texts = texts[width:]
	return texts[:size], texts[size:]
}

// ownAt is where the first of the key's own texts begins.
func (p principal) ownAt() int {
	if p.entry.marks&markRare != 0 {
		return int(p.entry.ownAt) + rareIndex
	}
	return int(p.entry.ownAt)
}

// shared returns the texts that other keys may have too, with their lengths.
func (p principal) shared() []byte {
	return p.span(int(p.entry.sharedAt), int(p.entry.sharedAt), firstOwn)
}

// own returns the rest likewise, and what comes before it.
func (p principal) own() []byte { return p.span(int(p.entry.ownAt), p.ownAt(), fields-firstOwn) }

// span returns n texts that begin at first, and what lies between from and them.
func (p principal) span(from, first int, n field) []byte {
	rest := p.chunk.text[first:]
	for ; n > 0; n-- {
		_, rest = cut(rest)
	}
	return p.chunk.text[from : len(p.chunk.text)-len(rest)]
}

// ofUser reports whether the key belongs to a user.
func (p principal) ofUser() bool { return p.entry.marks&markOfUser != 0 }

func (p principal) rare() *rareFields {
	if p.entry.marks&markRare == 0 {
		return nil
	}
	return (*p.chunk.rare.Load())[binary.LittleEndian.Uint16(p.chunk.text[p.entry.ownAt:])]
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
	case e.marks&marksThatStop != 0:
		return e.marks.refusal()
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
	if len(r.Scopes) > 0 && !scope.Set(p.field(fieldScopes)).CoversAll(r.Scopes) {
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
