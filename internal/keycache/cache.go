// Package keycache keeps verified keys in memory, so that a verify needs no store.
// It holds them in large pieces of memory with few pointers; all memory that is
// read without the help of the compiler (package unsafe) is in here.
package keycache

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/keyfold/keyfold/internal/token"
)

// Cache holds the keys that were verified. It keeps what was read, never a
// decision: expiry, networks and scopes are checked on every call. It is safe for
// concurrent use.
//
// Reading takes no lock. Three rules say which keys may be found:
//   - a read that began before an eviction in its shard adds nothing, so a slow
//     read cannot bring a revoked key back;
//   - the caller serves an entry only while it follows the change feed;
//   - no entry is served for longer than the maximum age after its read began,
//     whatever the feed may have missed.
//
// Errors and unknown ids are not kept: an id that is unknown now may be a key as
// soon as its transaction commits. The store is protected from floods because
// callers that want the same id share a read, and few reads run at once.
//
// Keys lie in chunks, in the order in which they were read, and they get stale in
// that order. So keyle chunks are dropped: when their last entry is stale, or the
// oldest one when memory is needed.
type Cache struct {
	shards  []shard // as many as a power of two
	entries int     // per shard
	bytes   int64   // per shard
	inChunk int     // entries in each, at most: two to the power of shift
	shift   uint
	places  uint32        // the bits of a slot that are a place in the ring
	maxAge  time.Duration // of an entry; up to a tenth is taken off at random
	reads   chan struct{} // holds a token for each read in flight
}

const (
	maxShards = 64
	perShard  = 64 // keys that a shard should hold before there are more shards
	minSlots  = 16
	minChunk  = 8       // entries in the first chunk of a shard; later ones double
	maxChunk  = 256     // entries in a chunk of a large cache
	chunkText = 64      // bytes of text for each entry of the first chunk
	maxInOne  = 1 << 25 // entries of a shard, so that a slot has bits left for a hash
)

// shard is a part of the keys, by the hash of their ids.
type shard struct {
	// slots is an index by hash, probed linearly; its length is a power of two.
	// A slot is empty, was emptied, or has an entry's place in the ring in its
	// lower bits and a part of the entry's hash in the others, so that a search
	// seldom looks at entries of other keys.
	slots atomic.Pointer[[]atomic.Uint32]
	// chunks is a ring. A slot that was read a moment ago may refer to a chunk
	// that has been replaced since, so its reader compares the id.
	chunks []atomic.Pointer[chunk]

	state struct { // is locked for changes to slots and chunks, too
		sync.Mutex
		flights    map[string]*flight
		generation uint64 // raised by every eviction
		first      int    // the oldest chunk's place in the ring
		count      int    // chunks in the ring, from first
		live       int    // entries that are found
		used       int    // slots that are not empty
		bytes      int64
	}
	_ [64]byte // shards that are used at the same time share no cache line
}

// The values of a slot: empty, emptied, or the first place in the ring.
const (
	slotEmpty   = uint32(0)
	slotEmptied = uint32(1)
	slotFirst   = uint32(2)
)

// New returns a Cache for at most that many keys and about that many bytes. A key
// is served for at most maxAge, and at most that many reads run at once.
func New(entries int, bytes int64, maxAge time.Duration, reads int) *Cache {
	shards := 1
	for shards < maxShards && entries >= 2*shards*perShard {
		shards *= 2
	}
	c := &Cache{
		shards: make([]shard, shards), maxAge: maxAge, reads: make(chan struct{}, reads),
		entries: max(1, min(entries/shards, maxInOne)), bytes: max(1, bytes/int64(shards)),
	}
	// Small bounds get small chunks, so that dropping one drops few keys.
	for c.inChunk = 1; 2*c.inChunk <= min(maxChunk, c.entries/4, int(c.bytes/(4*(entrySize+chunkText)))); {
		c.inChunk *= 2
		c.shift++
	}
	ring := 2*(c.entries/c.inChunk) + 16
	c.places = 1<<bits.Len32(slotFirst+uint32(ring*c.inChunk)) - 1
	for i := range c.shards {
		c.shards[i].slots.Store(newSlots(minSlots))
		c.shards[i].chunks = make([]atomic.Pointer[chunk], ring)
	}
	return c
}

func newSlots(n int) *[]atomic.Uint32 {
	slots := make([]atomic.Uint32, n)
	return &slots
}

// shard returns the shard of an id and where its probing begins. Ids are random,
// and a client cannot choose one that is kept; so a cheap hash is enough.
func (c *Cache) shard(id string) (*shard, uint64) {
	hash := hashID(id)
	return &c.shards[hash&uint64(len(c.shards)-1)], hash / maxShards
}

// hashID spreads the random bits of an id, six of every byte, over all bits.
func hashID(id string) uint64 {
	if len(id) != token.IDLen {
		return 0 // not the id of a key
	}
	b := unsafe.Slice(unsafe.StringData(id), token.IDLen)
	high, low := bits.Mul64(binary.LittleEndian.Uint64(b)^0x9e3779b97f4a7c15, binary.LittleEndian.Uint64(b[8:])^0xd1b54a32d192ed03)
	return high ^ low
}

// tag returns the part of a hash that fits into a slot: other bits than those
// that say where probing begins.
func (c *Cache) tag(at uint64) uint32 { return uint32(at>>26) &^ c.places }

// Get returns the key if the cache has it and it is not stale at that time, in
// unix milliseconds; otherwise the zero Key.
func (c *Cache) Get(id string, now int64) Key {
	key := c.Peek(id)
	if key.IsZero() || now >= key.staleAt() {
		return Key{}
	}
	return key
}

// Peek returns the key if the cache has it, however old, or the zero Key.
func (c *Cache) Peek(id string) Key {
	s, at := c.shard(id)
	key, _ := c.find(s, id, at)
	return key
}

// find returns the entry of an id and its slot, or the zero Key and the empty slot
// at which the search ended.
func (c *Cache) find(s *shard, id string, at uint64) (Key, *atomic.Uint32) {
	slots, tag := *s.slots.Load(), c.tag(at)
	for mask := uint64(len(slots) - 1); ; at++ {
		slot := &slots[at&mask]
		value := slot.Load()
		if value == slotEmpty {
			return Key{}, slot
		}
		if value == slotEmptied || value&^c.places != tag {
			continue
		}
		if key := c.follow(s, value); !key.IsZero() && key.hasID(id) {
			return key, slot
		}
	}
}

// follow returns the entry that a slot refers to.
func (c *Cache) follow(s *shard, value uint32) Key {
	place := value&c.places - slotFirst
	return s.chunks[place>>c.shift].Load().at(int(place & (1<<c.shift - 1)))
}

// put adds a key. The caller holds the shard's lock.
func (c *Cache) put(s *shard, key Key) {
	_, at := c.shard(key.ID())
	old, slot := c.find(s, key.ID(), at)
	if !old.IsZero() {
		c.empty(s, slot)
	}
	for s.state.live >= c.entries {
		c.drop(s)
	}
	value := c.place(s, key) | c.tag(at)
	slots := *s.slots.Load()
	if 4*(s.state.used+1) > 3*len(slots) {
		slots = c.rebuild(s)
	}
	for mask := uint64(len(slots) - 1); ; at++ {
		slot := &slots[at&mask]
		if old := slot.Load(); old <= slotEmptied {
			if old == slotEmpty {
				s.state.used++
			}
			slot.Store(value)
			break
		}
	}
	s.state.live++
}

// place copies a key into the newest chunk, or into a new one, and returns its
// place for a slot.
func (c *Cache) place(s *shard, key Key) uint32 {
	perEntry := chunkText
	if s.state.count > 0 {
		at := (s.state.first + s.state.count - 1) % len(s.chunks)
		newest := s.chunks[at].Load()
		before := newest.size()
		if n, ok := newest.add(key); ok {
			s.state.bytes += newest.size() - before
			for s.state.bytes > c.bytes && s.state.count > 1 {
				c.drop(s)
			}
			return c.slot(at, n)
		}
		perEntry = newest.used/int(newest.published.Load()) + 1 // the next keys are probably alike
	}
	size := min(c.inChunk, max(minChunk, s.state.live), maxText/perEntry)
	fresh := newChunk(max(1, size), max(size*perEntry, len(key.own())+len(key.shared())), key.staleAt()-c.maxAge.Milliseconds(), c.maxAge.Milliseconds())
	for s.state.count > 0 && (s.state.count == len(s.chunks) || s.state.bytes+fresh.size() > c.bytes || c.isOver(s, key)) {
		c.drop(s)
	}
	n, _ := fresh.add(key) // it is large enough
	at := (s.state.first + s.state.count) % len(s.chunks)
	s.chunks[at].Store(fresh)
	s.state.count++
	s.state.bytes += fresh.size()
	return c.slot(at, n)
}

func (c *Cache) slot(chunk, entry int) uint32 { return slotFirst + uint32(chunk*c.inChunk+entry) }

// isOver reports whether the oldest chunk holds no entry that may be served. It
// takes the time from a key that was read a moment ago.
func (c *Cache) isOver(s *shard, key Key) bool {
	oldest := s.chunks[s.state.first].Load()
	return oldest.live == 0 || oldest.staleAt <= key.staleAt()-c.maxAge.Milliseconds()
}

// drop removes the oldest chunk.
func (c *Cache) drop(s *shard) {
	oldest := s.chunks[s.state.first].Load()
	for n := range int(oldest.published.Load()) {
		id := oldest.at(n).ID()
		_, at := c.shard(id)
		if key, slot := c.find(s, id, at); !key.IsZero() && key.chunk() == oldest {
			c.empty(s, slot)
		}
	}
	s.chunks[s.state.first].Store(nil)
	s.state.bytes -= oldest.size()
	s.state.first = (s.state.first + 1) % len(s.chunks)
	s.state.count--
}

// empty takes an entry out of the index.
func (c *Cache) empty(s *shard, slot *atomic.Uint32) {
	c.follow(s, slot.Load()).chunk().live--
	slot.Store(slotEmptied)
	s.state.live--
}

// rebuild moves the index to a larger table. Readers continue in the old one.
func (c *Cache) rebuild(s *shard) []atomic.Uint32 {
	size := minSlots
	for size < 2*(s.state.live+1) {
		size *= 2
	}
	fresh := *newSlots(size)
	for i := range *s.slots.Load() {
		value := (*s.slots.Load())[i].Load()
		if value <= slotEmptied {
			continue
		}
		_, at := c.shard(c.follow(s, value).ID())
		for fresh[at&uint64(size-1)].Load() != slotEmpty {
			at++
		}
		fresh[at&uint64(size-1)].Store(value)
	}
	s.slots.Store(&fresh)
	s.state.used = s.state.live
	return fresh
}

// Evict removes keys. Reads of them that have begun add nothing.
func (c *Cache) Evict(ids ...string) {
	for _, id := range ids {
		s, at := c.shard(id)
		s.state.Lock()
		s.state.generation++
		delete(s.state.flights, id)
		if key, slot := c.find(s, id, at); !key.IsZero() {
			c.empty(s, slot)
		}
		s.state.Unlock()
	}
}

// EvictUsers removes all keys of users. No read that has begun adds anything: the
// user of its key is not known yet.
func (c *Cache) EvictUsers(users map[string]bool) {
	if len(users) == 0 {
		return
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.state.Lock()
		s.state.generation++
		clear(s.state.flights)
		for n := range s.state.count {
			c.emptyUsers(s, s.chunks[(s.state.first+n)%len(s.chunks)].Load(), users)
		}
		s.state.Unlock()
	}
}

// emptyUsers takes the users' keys in one chunk out of the index.
func (c *Cache) emptyUsers(s *shard, in *chunk, users map[string]bool) {
	if in.owned == 0 {
		return
	}
	for n := range int(in.published.Load()) {
		key := in.at(n)
		if !key.hasUser() || !users[key.UserID()] {
			continue
		}
		_, at := c.shard(key.ID())
		if found, slot := c.find(s, key.ID(), at); found == key {
			c.empty(s, slot)
		}
	}
}

// Flush removes all keys. Reads that have begun add nothing.
func (c *Cache) Flush() {
	for i := range c.shards {
		s := &c.shards[i]
		s.state.Lock()
		s.state.generation++
		clear(s.state.flights)
		s.slots.Store(newSlots(minSlots))
		for n := range s.chunks {
			s.chunks[n].Store(nil)
		}
		s.state.first, s.state.count, s.state.live, s.state.used, s.state.bytes = 0, 0, 0, 0, 0
		s.state.Unlock()
	}
}

// StaleAt returns until when a key may be served whose read began at that time,
// both in unix milliseconds: for the maximum age, less up to a tenth, so that keys
// that were read together are not read again together.
func (c *Cache) StaleAt(began int64) int64 {
	age := c.maxAge.Milliseconds()
	return began + age - rand.Int64N(age/10+1)
}
