package keyfold

import (
	"context"
	"encoding/binary"
	"errors"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/keyfold/keyfold/internal/token"
)

// cache remembers the keys that were verified, so that a verify needs no store.
// It keeps what was read, never a verdict: expiry, networks and scopes are
// looked at on every call.
//
// Reading takes no lock. What may be found is settled by three rules:
//   - a fill is dropped when anything in its shard was evicted since its read
//     began, so a slow read cannot bring a revoked key back;
//   - an entry is served only while the change feed is heard, see [watcher];
//   - and never longer than Options.CacheMaxAge after its read began, whatever
//     the feed may have missed.
//
// Errors and unknown ids are not remembered: an id that is unknown now may be
// a key the moment its transaction commits. What protects the store from floods
// is that reads of one id share a flight, and few are in flight at once.
//
// Keys lie in chunks, in the order in which they were read, and as all of them
// go stale in that order it is whole chunks that are let go: when their last
// entry is too old, or the oldest one when room is needed.
type cache struct {
	shards  []cacheShard // as many as a power of two
	entries int          // per shard
	bytes   int64        // per shard
	inChunk int          // entries in each, at most: two to the power of shift
	shift   uint
	places  uint32        // the bits of a slot that are a place in the ring
	maxAge  time.Duration // of an entry, jittered downwards
	misses  chan struct{} // holds a token for each read in flight
}

const (
	maxShards = 64
	perShard  = 64 // keys that a shard should hold before there are more shards
	minSlots  = 16
	minChunk  = 8       // entries in the first chunk of a shard; later ones double
	maxChunk  = 256     // entries in a chunk of a large cache
	chunkText = 64      // bytes of text that an entry has room for in the first chunk
	maxInOne  = 1 << 25 // entries of a shard, so that a slot has bits left for a hash
)

// cacheShard is a part of the keys, by the hash of their ids.
type cacheShard struct {
	// slots is an index by hash, probed linearly; its length is a power of two.
	// A slot is empty, was emptied, or has an entry's place in the ring in its
	// lower bits and a part of the entry's hash in the others, so that the entries
	// of others are seldom looked at.
	slots atomic.Pointer[[]atomic.Uint32]
	// chunks is a ring. A slot that was read a moment ago may refer to a chunk
	// that another has replaced since, so whoever follows it compares the id.
	chunks []atomic.Pointer[chunk]

	mu         sync.Mutex // held to change anything
	flights    map[string]*flight
	generation uint64 // raised by every eviction
	first      int    // the oldest chunk's place in the ring
	count      int    // chunks in the ring, from first
	live       int    // entries that are found
	used       int    // slots that are not empty
	bytes      int64
	_          [64]byte
}

// The values of a slot: empty, emptied, or the first place in the ring.
const (
	slotEmpty   = uint32(0)
	slotEmptied = uint32(1)
	slotFirst   = uint32(2)
)

// flight is one read that all who want the same key wait for.
type flight struct {
	done       chan struct{}
	generation uint64
	who        principal
	err        error
	abandoned  bool // its leader's caller went away: whoever waits reads anew
}

func newCache(entries int, bytes int64, maxAge time.Duration, inFlight int) *cache {
	shards := 1
	for shards < maxShards && entries >= 2*shards*perShard {
		shards *= 2
	}
	c := &cache{
		shards: make([]cacheShard, shards), maxAge: maxAge, misses: make(chan struct{}, inFlight),
		entries: max(1, min(entries/shards, maxInOne)), bytes: max(1, bytes/int64(shards)),
	}
	// Small bounds get small chunks, so that letting one go lets little go.
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
// and none is remembered that a stranger chose; so it takes little to hash them.
func (c *cache) shard(id string) (*cacheShard, uint64) {
	hash := hashID(id)
	return &c.shards[hash&uint64(len(c.shards)-1)], hash / maxShards
}

// hashID spreads what is random in an id, six bits of every byte, over all bits.
func hashID(id string) uint64 {
	if len(id) != token.IDLen {
		return 0 // of no key
	}
	b := unsafe.Slice(unsafe.StringData(id), token.IDLen)
	high, low := bits.Mul64(binary.LittleEndian.Uint64(b)^0x9e3779b97f4a7c15, binary.LittleEndian.Uint64(b[8:])^0xd1b54a32d192ed03)
	return high ^ low
}

// tag is the part of a hash that a slot has room for: other bits than those
// that say where probing begins.
func (c *cache) tag(at uint64) uint32 { return uint32(at>>26) &^ c.places }

// get returns the key if it is remembered and not too old.
func (c *cache) get(id string, now int64) principal {
	who := c.peek(id)
	if who.isNobody() || now >= who.staleAt() {
		return principal{}
	}
	return who
}

// peek returns the key if it is remembered, however old.
func (c *cache) peek(id string) principal {
	s, at := c.shard(id)
	who, _ := c.find(s, id, at)
	return who
}

// find returns the entry of an id and its slot, or nobody and the empty slot at
// which the search ended.
func (c *cache) find(s *cacheShard, id string, at uint64) (principal, *atomic.Uint32) {
	slots, tag := *s.slots.Load(), c.tag(at)
	for mask := uint64(len(slots) - 1); ; at++ {
		slot := &slots[at&mask]
		value := slot.Load()
		if value == slotEmpty {
			return principal{}, slot
		}
		if value == slotEmptied || value&^c.places != tag {
			continue
		}
		if who := c.follow(s, value); !who.isNobody() && who.has(id) {
			return who, slot
		}
	}
}

// follow returns the entry that a slot refers to.
func (c *cache) follow(s *cacheShard, value uint32) principal {
	place := value&c.places - slotFirst
	return s.chunks[place>>c.shift].Load().at(int(place & (1<<c.shift - 1)))
}

// load reads the key, together with everybody else who wants it now, and
// remembers it. The read gets a context that ends within wait.
func (c *cache) load(ctx context.Context, id string, wait time.Duration, read func(context.Context) (principal, error)) (principal, error) {
	s, _ := c.shard(id)
	for {
		s.mu.Lock()
		f, joined := s.flights[id]
		if !joined {
			f = &flight{done: make(chan struct{}), generation: s.generation}
			if s.flights == nil {
				s.flights = map[string]*flight{}
			}
			s.flights[id] = f
		}
		s.mu.Unlock()
		if !joined {
			c.fly(ctx, s, id, f, wait, read)
			return f.who, f.err
		}
		if err := f.wait(ctx, wait); err != nil {
			return principal{}, err
		}
		if !f.abandoned {
			return f.who, f.err
		}
	}
}

// wait waits for the flight to end, no longer than its leader may.
func (f *flight) wait(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &unavailable{cause: context.DeadlineExceeded}
	}
}

// fly reads for all who wait.
func (c *cache) fly(ctx context.Context, s *cacheShard, id string, f *flight, wait time.Duration, read func(context.Context) (principal, error)) {
	f.err = errAbandoned // unless read returns: it may panic
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.flights[id] == f {
			delete(s.flights, id)
		}
		f.abandoned = f.err != nil && (ctx.Err() != nil || errors.Is(f.err, errAbandoned))
		if f.err == nil && f.generation == s.generation {
			c.put(s, f.who)
		}
		close(f.done)
	}()
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case c.misses <- struct{}{}:
		defer func() { <-c.misses }()
		f.who, f.err = read(bounded)
	case <-bounded.Done():
		f.err = storeError(ctx, errBusy)
	}
}

var (
	errAbandoned = errors.New("keyfold: read was abandoned")
	errBusy      = errors.New("keyfold: too many reads in flight")
)

// put remembers a key. The caller holds the shard's lock.
func (c *cache) put(s *cacheShard, who principal) {
	_, at := c.shard(who.keyID())
	old, slot := c.find(s, who.keyID(), at)
	if !old.isNobody() {
		c.empty(s, slot)
	}
	for s.live >= c.entries {
		c.drop(s)
	}
	value := c.place(s, who) | c.tag(at)
	slots := *s.slots.Load()
	if 4*(s.used+1) > 3*len(slots) {
		slots = c.rebuild(s)
	}
	for mask := uint64(len(slots) - 1); ; at++ {
		slot := &slots[at&mask]
		if old := slot.Load(); old <= slotEmptied {
			if old == slotEmpty {
				s.used++
			}
			slot.Store(value)
			break
		}
	}
	s.live++
}

// place copies a key into the newest chunk, or into a new one, and returns
// what a slot says of where it is.
func (c *cache) place(s *cacheShard, who principal) uint32 {
	perEntry := chunkText
	if s.count > 0 {
		at := (s.first + s.count - 1) % len(s.chunks)
		newest := s.chunks[at].Load()
		before := newest.size()
		if n, ok := newest.add(who); ok {
			s.bytes += newest.size() - before
			for s.bytes > c.bytes && s.count > 1 {
				c.drop(s)
			}
			return c.slot(at, n)
		}
		perEntry = newest.used/int(newest.published.Load()) + 1 // the next keys are probably alike
	}
	size := min(c.inChunk, max(minChunk, s.live), maxText/perEntry)
	fresh := newChunk(max(1, size), max(size*perEntry, len(who.own())+len(who.shared())), who.staleAt()-c.maxAge.Milliseconds(), c.maxAge.Milliseconds())
	for s.count > 0 && (s.count == len(s.chunks) || s.bytes+fresh.size() > c.bytes || c.isOver(s, who)) {
		c.drop(s)
	}
	n, _ := fresh.add(who) // it is large enough
	at := (s.first + s.count) % len(s.chunks)
	s.chunks[at].Store(fresh)
	s.count++
	s.bytes += fresh.size()
	return c.slot(at, n)
}

func (c *cache) slot(chunk, entry int) uint32 { return slotFirst + uint32(chunk*c.inChunk+entry) }

// isOver reports whether the oldest chunk holds nothing that may be served, by
// the clock of a key that was read now.
func (c *cache) isOver(s *cacheShard, who principal) bool {
	oldest := s.chunks[s.first].Load()
	return oldest.live == 0 || oldest.staleAt <= who.staleAt()-c.maxAge.Milliseconds()
}

// drop lets the oldest chunk go.
func (c *cache) drop(s *cacheShard) {
	oldest := s.chunks[s.first].Load()
	for n := range int(oldest.published.Load()) {
		id := oldest.at(n).keyID()
		_, at := c.shard(id)
		if who, slot := c.find(s, id, at); !who.isNobody() && who.chunk == oldest {
			c.empty(s, slot)
		}
	}
	s.chunks[s.first].Store(nil)
	s.bytes -= oldest.size()
	s.first = (s.first + 1) % len(s.chunks)
	s.count--
}

// empty takes an entry out of the index.
func (c *cache) empty(s *cacheShard, slot *atomic.Uint32) {
	c.follow(s, slot.Load()).chunk.live--
	slot.Store(slotEmptied)
	s.live--
}

// rebuild moves the index to a table with room for more. Readers go on in the
// old one.
func (c *cache) rebuild(s *cacheShard) []atomic.Uint32 {
	size := minSlots
	for size < 2*(s.live+1) {
		size *= 2
	}
	fresh := *newSlots(size)
	for i := range *s.slots.Load() {
		value := (*s.slots.Load())[i].Load()
		if value <= slotEmptied {
			continue
		}
		_, at := c.shard(c.follow(s, value).keyID())
		for fresh[at&uint64(size-1)].Load() != slotEmpty {
			at++
		}
		fresh[at&uint64(size-1)].Store(value)
	}
	s.slots.Store(&fresh)
	s.used = s.live
	return fresh
}

// evict forgets keys, and makes reads that are in flight forget what they find.
func (c *cache) evict(ids ...string) {
	for _, id := range ids {
		s, at := c.shard(id)
		s.mu.Lock()
		s.generation++
		delete(s.flights, id)
		if who, slot := c.find(s, id, at); !who.isNobody() {
			c.empty(s, slot)
		}
		s.mu.Unlock()
	}
}

// evictUsers forgets all keys of users, and makes every read that is in flight
// forget what it finds: whose key it will be is not known yet.
func (c *cache) evictUsers(users map[string]bool) {
	if len(users) == 0 {
		return
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.generation++
		clear(s.flights)
		for n := range s.count {
			c.emptyUsers(s, s.chunks[(s.first+n)%len(s.chunks)].Load(), users)
		}
		s.mu.Unlock()
	}
}

// emptyUsers takes the users' keys in one chunk out of the index.
func (c *cache) emptyUsers(s *cacheShard, in *chunk, users map[string]bool) {
	if in.owned == 0 {
		return
	}
	for n := range int(in.published.Load()) {
		who := in.at(n)
		if !who.ofUser() || !users[who.field(fieldUserID)] {
			continue
		}
		_, at := c.shard(who.keyID())
		if found, slot := c.find(s, who.keyID(), at); found == who {
			c.empty(s, slot)
		}
	}
}

// flush forgets everything.
func (c *cache) flush() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.generation++
		clear(s.flights)
		s.slots.Store(newSlots(minSlots))
		for n := range s.chunks {
			s.chunks[n].Store(nil)
		}
		s.first, s.count, s.live, s.used, s.bytes = 0, 0, 0, 0, 0
		s.mu.Unlock()
	}
}

// staleAt is when an entry whose read began at now must go: the greatest age,
// less up to a tenth, so that entries filled together are not read together.
func (c *cache) staleAt(now int64) int64 {
	age := c.maxAge.Milliseconds()
	return now + age - rand.Int64N(age/10+1)
}
