package keyfold

import (
	"context"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// cache remembers the keys that were verified, so that a verify needs no store.
// It keeps what was read, never a verdict: expiry, networks and scopes are
// looked at on every call.
//
// Reading takes no lock. What it may hold is settled by three rules:
//   - a fill is dropped when anything in its shard was evicted since its read
//     began, so a slow read cannot bring a revoked key back;
//   - an entry is served only while the change feed is heard, see [watcher];
//   - and never longer than Options.CacheMaxAge after its read began, whatever
//     the feed may have missed.
//
// Errors and unknown ids are not remembered: an id that is unknown now may be
// a key the moment its transaction commits. What protects the store from floods
// is that reads of one id share a flight, and few are in flight at once.
type cache struct {
	seed    maphash.Seed
	shards  [cacheShards]cacheShard
	entries int           // per shard
	bytes   int64         // per shard
	maxAge  time.Duration // of an entry, jittered downwards
	misses  chan struct{} // holds a token for each read in flight
	gone    *principal    // marks a slot that was emptied
}

const (
	cacheShards   = 64
	minSlots      = 16
	evictionTries = 5
)

// cacheShard is a part of the keys, by the hash of their ids.
type cacheShard struct {
	slots atomic.Pointer[[]atomic.Pointer[principal]] // length a power of two; probed linearly

	mu         sync.Mutex // held to change anything
	flights    map[string]*flight
	generation uint64 // raised by every eviction
	live       int
	used       int // live slots and those that were emptied
	bytes      int64
	_          [64]byte
}

// flight is one read that all who want the same key wait for.
type flight struct {
	done       chan struct{}
	generation uint64
	who        *principal
	err        error
	abandoned  bool // its leader's caller went away: whoever waits reads anew
}

func newCache(entries int, bytes int64, maxAge time.Duration, inFlight int) *cache {
	c := &cache{
		seed: maphash.MakeSeed(), entries: max(1, entries/cacheShards), bytes: max(1, bytes/cacheShards), maxAge: maxAge,
		misses: make(chan struct{}, inFlight), gone: &principal{},
	}
	for i := range c.shards {
		c.shards[i].slots.Store(newSlots(minSlots))
	}
	return c
}

func newSlots(n int) *[]atomic.Pointer[principal] {
	slots := make([]atomic.Pointer[principal], n)
	return &slots
}

// shard returns the shard of an id and where its probing begins.
func (c *cache) shard(id string) (*cacheShard, uint64) {
	hash := maphash.String(c.seed, id)
	return &c.shards[hash%cacheShards], hash / cacheShards
}

// get returns the key if it is remembered and not too old.
func (c *cache) get(id string, now int64) *principal {
	s, at := c.shard(id)
	who, _ := s.find(id, at)
	if who == nil || now >= who.staleAt {
		return nil
	}
	return who
}

// peek returns the key if it is remembered, however old.
func (c *cache) peek(id string) *principal {
	s, at := c.shard(id)
	who, _ := s.find(id, at)
	return who
}

// find returns the entry of an id and its slot.
func (s *cacheShard) find(id string, at uint64) (*principal, *atomic.Pointer[principal]) {
	slots := *s.slots.Load()
	for mask := uint64(len(slots) - 1); ; at++ {
		slot := &slots[at&mask]
		who := slot.Load()
		if who == nil || who.keyID() == id {
			return who, slot
		}
	}
}

// load reads the key, together with everybody else who wants it now, and
// remembers it. The read gets a context that ends within wait.
func (c *cache) load(ctx context.Context, id string, wait time.Duration, read func(context.Context) (*principal, error)) (*principal, error) {
	s, at := c.shard(id)
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
			c.fly(ctx, s, at, id, f, wait, read)
			return f.who, f.err
		}
		if err := f.wait(ctx, wait); err != nil {
			return nil, err
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
func (c *cache) fly(ctx context.Context, s *cacheShard, at uint64, id string, f *flight, wait time.Duration, read func(context.Context) (*principal, error)) {
	f.err = errAbandoned // unless read returns: it may panic
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.flights[id] == f {
			delete(s.flights, id)
		}
		f.abandoned = f.err != nil && (ctx.Err() != nil || errors.Is(f.err, errAbandoned))
		if f.err == nil && f.generation == s.generation {
			c.put(s, at, f.who)
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
		f.who, f.err = nil, storeError(ctx, errBusy)
	}
}

var (
	errAbandoned = errors.New("keyfold: read was abandoned")
	errBusy      = errors.New("keyfold: too many reads in flight")
)

// put remembers a key. The caller holds the shard's lock.
func (c *cache) put(s *cacheShard, at uint64, who *principal) {
	if old, slot := s.find(who.keyID(), at); old != nil {
		s.bytes += who.size() - old.size()
		slot.Store(who)
		return
	}
	for s.live > 0 && (s.live >= c.entries || s.bytes+who.size() > c.bytes) {
		c.makeRoom(s)
	}
	slots := *s.slots.Load()
	if 4*(s.used+1) > 3*len(slots) {
		slots = c.rebuild(s)
	}
	for mask := uint64(len(slots) - 1); ; at++ {
		if slot := &slots[at&mask]; slot.Load() == nil {
			slot.Store(who)
			break
		}
	}
	s.live++
	s.used++
	s.bytes += who.size()
}

// rebuild moves the entries to a table with room for more. Readers go on in
// the old one.
func (c *cache) rebuild(s *cacheShard) []atomic.Pointer[principal] {
	size := minSlots
	for size < 2*(s.live+1) {
		size *= 2
	}
	fresh := newSlots(size)
	for i := range *s.slots.Load() {
		who := (*s.slots.Load())[i].Load()
		if who == nil || who == c.gone {
			continue
		}
		_, at := c.shard(who.keyID())
		for (*fresh)[at&uint64(size-1)].Load() != nil {
			at++
		}
		(*fresh)[at&uint64(size-1)].Store(who)
	}
	s.slots.Store(fresh)
	s.used = s.live
	return *fresh
}

// makeRoom evicts the one that goes stale first of a few entries picked at random.
func (c *cache) makeRoom(s *cacheShard) {
	slots := *s.slots.Load()
	var victim *atomic.Pointer[principal]
	for at, tries := rand.Uint64(), 0; tries < evictionTries || victim == nil; at++ {
		slot := &slots[at&uint64(len(slots)-1)]
		who := slot.Load()
		if who == nil || who == c.gone {
			continue
		}
		tries++
		if victim == nil || who.staleAt < victim.Load().staleAt {
			victim = slot
		}
		if tries >= s.live {
			break
		}
	}
	c.empty(s, victim)
}

func (c *cache) empty(s *cacheShard, slot *atomic.Pointer[principal]) {
	s.bytes -= slot.Load().size()
	s.live--
	slot.Store(c.gone)
}

// evict forgets keys, and makes reads that are in flight forget what they find.
func (c *cache) evict(ids ...string) {
	for _, id := range ids {
		s, at := c.shard(id)
		s.mu.Lock()
		s.generation++
		delete(s.flights, id)
		if who, slot := s.find(id, at); who != nil {
			c.empty(s, slot)
		}
		s.mu.Unlock()
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
		s.live, s.used, s.bytes = 0, 0, 0
		s.mu.Unlock()
	}
}

// staleAt is when an entry whose read began at now must go: the greatest age,
// less up to a tenth, so that entries filled together are not read together.
func (c *cache) staleAt(now int64) int64 {
	age := c.maxAge.Milliseconds()
	return now + age - rand.Int64N(age/10+1)
}
