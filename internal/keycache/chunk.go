package keycache

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/keyfold/keyfold/internal/token"
)

// chunk holds keys that were read one after the other. There may be a million
// keys in memory: entries hold no pointers and their texts lie end to end, so
// that the garbage collector has a few thousand objects to look at, not ten
// million, and all that a verify reads of a key is in one cache line.
type chunk struct {
	// A verify reads these, and they fill a cache line.
	entries   []entry       // its length is the capacity of the chunk
	text      []byte        // likewise, and at most maxText; neither slice is ever replaced
	base      int64         // unix milliseconds; no entry gets stale before
	unit      uint32        // of the entries' staleAt, in milliseconds
	published atomic.Uint32 // how many of the entries may be read

	rare     atomic.Pointer[[]*rareFields]
	metadata sync.Map // *entry → map[string]string, decoded when asked for

	// The shard that adds to the chunk guards the rest.
	shared  [8]uint16 // where the shared texts begin that were added last, in turns
	sharing int       // how many shared texts were ever added
	used    int       // bytes of the text
	owned   int       // entries of keys that belong to a user
	extra   int64     // bytes of rare fields
	live    int       // entries that the cache still finds
	staleAt int64     // when the last entry gets stale
	_       [8]byte   // up to a multiple of cache lines
}

// entry holds what few bytes can say of a key: as many as a cache line has.
type entry struct {
	id        [token.IDLen]byte
	sum       [32]byte
	expiresAt int64
	staleAt   uint16 // when it is not served from memory any more, in units from the chunk's base
	ownAt     uint16 // where its own texts begin in the chunk's text
	sharedAt  uint16 // where the texts begin that it may share with other entries
	marks     marks
	_         uint8 // free; entries must not outgrow a cache line
}

// marks is a set of facts, one bit each. The first ones refuse the key whatever
// the request.
type marks uint8

const (
	markRevoked marks = 1 << iota
	markDisabled
	markUserDisabled // its user is disabled or does not exist
	markHasUser
	markRare // its own texts begin with its index into the chunk's rare fields

	marksThatRefuse = markRevoked | markDisabled | markUserDisabled
)

// reason returns the first reason to refuse a key.
func (m marks) reason() Reason {
	switch {
	case m&markRevoked != 0:
		return Revoked
	case m&markDisabled != 0:
		return Disabled
	}
	return UserDisabled
}

// field names one of the texts of a key, in the order in which they lie: first
// those that many keys have in common, which a chunk holds once, then its own.
// Each has its length in front of it, as a varint.
type field uint8

const (
	fieldHead field = iota
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

// rareFields hold what few keys have.
type rareFields struct {
	pepperID    string
	algorithm   token.Algorithm
	stored      string // the algorithm as it is stored, for an error that names it
	networks    []netip.Prefix
	restricted  bool // to the networks
	idleTimeout int64
	activeAt    int64 // the last use known when the key was read, or what counts as one
}

const (
	entrySize   = int64(unsafe.Sizeof(entry{}))
	chunkSize   = int64(unsafe.Sizeof(chunk{}))
	rareSize    = int64(unsafe.Sizeof(rareFields{})) + 8
	networkSize = int64(unsafe.Sizeof(netip.Prefix{}))

	maxText   = 1 << 16 // bytes of a chunk's text, so that 16 bits are enough for an offset
	maxRecord = 60_000  // bytes of all texts of a key; far above what Keyfold writes
	rareIndex = 2       // bytes of an index into the rare fields
)

// newChunk returns a chunk for keys that get stale between base and maxAge later.
func newChunk(entries, text int, base, maxAge int64) *chunk {
	buffer := slices.Grow([]byte(nil), text)
	unit := 1 + uint32(2*maxAge/math.MaxUint16)
	return &chunk{entries: make([]entry, entries), text: buffer[:min(cap(buffer), maxText)], base: base, unit: unit}
}

// add copies a key into the chunk and returns its index, or false when it does
// not fit. Only one goroutine at a time may add; others may read meanwhile.
func (c *chunk) add(k Key) (index int, ok bool) {
	n, own, shared := int(c.published.Load()), k.own(), k.shared()
	sharedAt, known := c.find(shared)
	if known {
		shared = nil
	}
	// A key whose read took too long may have been stale before base: it is now.
	stale := max(0, k.staleAt()-c.base) / int64(c.unit)
	if n == len(c.entries) || c.used+len(shared)+len(own) > len(c.text) || stale > math.MaxUint16 {
		return 0, false
	}
	e := &c.entries[n]
	*e = *k.entry()
	if !known {
		sharedAt = uint16(c.used)
		c.shared[c.sharing%len(c.shared)] = sharedAt
		c.sharing++
		c.used += copy(c.text[c.used:], shared)
	}
	e.staleAt, e.sharedAt, e.ownAt = uint16(stale), sharedAt, uint16(c.used)
	c.used += copy(c.text[c.used:], own)
	if e.marks&markRare != 0 {
		c.addRare(e, k.rare())
	}
	if k.hasUser() {
		c.owned++
	}
	c.live++
	c.staleAt = max(c.staleAt, k.staleAt())
	c.published.Store(uint32(n + 1))
	return n, true
}

// find returns where the chunk has these texts among those added last.
func (c *chunk) find(shared []byte) (at uint16, ok bool) {
	for _, at := range c.shared[:min(c.sharing, len(c.shared))] {
		if bytes.HasPrefix(c.text[at:c.used], shared) { // the lengths are part of it
			return at, true
		}
	}
	return 0, false
}

// addRare adds rare fields, and writes their index into the entry's texts.
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

// size returns about how many bytes of memory the chunk takes.
func (c *chunk) size() int64 {
	return chunkSize + entrySize*int64(len(c.entries)) + int64(len(c.text)) + c.extra
}

// at returns an entry that has been published, or the zero Key.
func (c *chunk) at(index int) Key {
	if c == nil || index >= int(c.published.Load()) {
		return Key{}
	}
	return keyOf(c, &c.entries[index])
}
