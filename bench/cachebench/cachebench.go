// Package cachebench holds the structures that were weighed against each other
// for the cache of verified keys: docs/adr/0006-cache-structure.md has the
// outcome. They are prototypes: they hold what is put into them and evict nothing.
package cachebench

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"

	"github.com/keyfold/keyfold/bench/keyset"
)

const (
	shards = 64
	idLen  = 16
)

// facts are what a verify needs of a key that is remembered.
type facts struct {
	sum       [32]byte
	staleAt   int64
	expiresAt int64
}

// entry is a key as the candidates keep it that hold pointers: the facts and,
// in one more piece of memory, the texts.
type entry struct {
	id [idLen]byte
	facts
	_     uint64    // flags
	_     [8]uint16 // where each text ends
	texts string
}

func newEntry(keys *keyset.Set, i int) *entry {
	e := &entry{facts: factsOf(keys, i), texts: textsOf(i)}
	copy(e.id[:], keys.ID(i))
	return e
}

func factsOf(keys *keyset.Set, i int) facts {
	return facts{sum: keys.Sum(i), staleAt: 1 << 62, expiresAt: 1 << 62}
}

func textsOf(i int) string { return keyset.Name(i) + keyset.Owner(i) + keyset.Scopes }

// cache is a candidate. A get is a hit or returns false.
type cache interface {
	put(keys *keyset.Set, i int)
	get(id string) (facts, bool)
}

// candidates are made for a number of keys that all fit.
var candidates = []struct {
	name string
	make func(n int) cache
}{
	{"chunks", newChunks},
	{"table", newTable},
	{"packed", newPacked},
	{"map+RWMutex", newLocked},
	{"sync.Map", newSyncMap},
	{"otter", newOtter},
	{"slab", newSlab},
}

// table is a sharded open-addressing table of pointers, read without a lock.
type table struct {
	seed   maphash.Seed
	shards [shards]tableShard
}

type tableShard struct {
	slots atomic.Pointer[[]atomic.Pointer[entry]]
	mu    sync.Mutex
	used  int
	_     [64]byte
}

func newTable(int) cache {
	t := &table{seed: maphash.MakeSeed()}
	for i := range t.shards {
		slots := make([]atomic.Pointer[entry], 16)
		t.shards[i].slots.Store(&slots)
	}
	return t
}

func (t *table) get(id string) (facts, bool) {
	hash := maphash.String(t.seed, id)
	slots := *t.shards[hash%shards].slots.Load()
	for at := hash / shards; ; at++ {
		e := slots[at&uint64(len(slots)-1)].Load()
		if e == nil {
			return facts{}, false
		}
		if string(e.id[:]) == id {
			return e.facts, true
		}
	}
}

func (t *table) put(keys *keyset.Set, i int) {
	e := newEntry(keys, i)
	hash := maphash.Bytes(t.seed, e.id[:])
	s := &t.shards[hash%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := *s.slots.Load()
	if 4*(s.used+1) > 3*len(slots) {
		fresh := make([]atomic.Pointer[entry], 2*len(slots))
		for i := range slots {
			if old := slots[i].Load(); old != nil {
				insert(fresh, maphash.Bytes(t.seed, old.id[:])/shards, old)
			}
		}
		s.slots.Store(&fresh)
		slots = fresh
	}
	insert(slots, hash/shards, e)
	s.used++
}

func insert(slots []atomic.Pointer[entry], at uint64, e *entry) {
	for slots[at&uint64(len(slots)-1)].Load() != nil {
		at++
	}
	slots[at&uint64(len(slots)-1)].Store(e)
}

// locked is a map and a lock a shard.
type locked struct {
	seed   maphash.Seed
	shards [shards]lockedShard
}

type lockedShard struct {
	mu      sync.RWMutex
	entries map[[idLen]byte]*entry
	_       [64]byte
}

func newLocked(int) cache {
	l := &locked{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].entries = map[[idLen]byte]*entry{}
	}
	return l
}

func (l *locked) get(id string) (facts, bool) {
	s := &l.shards[maphash.String(l.seed, id)%shards]
	s.mu.RLock()
	e := s.entries[[idLen]byte([]byte(id))]
	s.mu.RUnlock()
	if e == nil {
		return facts{}, false
	}
	return e.facts, true
}

func (l *locked) put(keys *keyset.Set, i int) {
	e := newEntry(keys, i)
	s := &l.shards[maphash.Bytes(l.seed, e.id[:])%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[e.id] = e
}

type syncMap struct{ entries sync.Map }

func newSyncMap(int) cache { return &syncMap{} }

func (m *syncMap) get(id string) (facts, bool) {
	e, ok := m.entries.Load(id)
	if !ok {
		return facts{}, false
	}
	return e.(*entry).facts, true
}

func (m *syncMap) put(keys *keyset.Set, i int) {
	e := newEntry(keys, i)
	m.entries.Store(string(e.id[:]), e)
}

type otterCache struct {
	entries *otter.Cache[[idLen]byte, *entry]
}

func newOtter(n int) cache {
	return &otterCache{otter.Must(&otter.Options[[idLen]byte, *entry]{MaximumSize: n + n/4 + 1000})}
}

func (o *otterCache) get(id string) (facts, bool) {
	e, ok := o.entries.GetIfPresent([idLen]byte([]byte(id)))
	if !ok {
		return facts{}, false
	}
	return e.facts, true
}

func (o *otterCache) put(keys *keyset.Set, i int) {
	e := newEntry(keys, i)
	o.entries.Set(e.id, e)
}
