package cachebench

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/keyfold/keyfold/bench/keyset"
)

// slab keeps keys in big pieces of memory without pointers, so the collector
// has nothing to follow. A shard has an index from bits of the hash to a slot,
// the slots, and arenas of bytes for the texts.
//
// Reading takes no lock: a slot is copied word by word, and the copy counts if
// the version of its shard did not change meanwhile.
type slab struct {
	k0, k1 uint64
	shards [shards]slabShard
}

const (
	slotsAtOnce = 128
	arenaSize   = 8 << 10
)

// slot has the id in two words, the sum in four, staleAt, expiresAt, and where
// the texts are: 72 bytes.
type slot [9]atomic.Uint64

type slabShard struct {
	version atomic.Uint64 // odd while the shard is changed
	index   atomic.Pointer[[]atomic.Uint64]
	slots   atomic.Pointer[[]*[slotsAtOnce]slot]

	mu     sync.Mutex
	used   int
	arenas [][]byte
	_      [64]byte
}

func newSlab(int) cache {
	s := &slab{k0: rand.Uint64(), k1: rand.Uint64()}
	for i := range s.shards {
		index, slots := make([]atomic.Uint64, 16), []*[slotsAtOnce]slot(nil)
		s.shards[i].index.Store(&index)
		s.shards[i].slots.Store(&slots)
	}
	return s
}

// words reads an id, which is drawn at random, as two numbers.
func words(id string) (uint64, uint64) {
	b := unsafe.Slice(unsafe.StringData(id), idLen)
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
}

func (s *slab) hash(a, b uint64) uint64 {
	high, low := bits.Mul64(a^s.k0, b^s.k1)
	return high ^ low
}

// An index word has the high half of the hash and the number of the slot plus
// one; 0 is empty.
const numberMask = 1<<32 - 1

func (s *slab) get(id string) (facts, bool) {
	a, b := words(id)
	hash := s.hash(a, b)
	shard := &s.shards[hash%shards]
	for {
		version := shard.version.Load()
		if version&1 == 0 {
			found, ok := shard.find(hash, a, b)
			if shard.version.Load() == version {
				return found, ok
			}
		}
	}
}

func (s *slabShard) find(hash, a, b uint64) (f facts, ok bool) {
	index := *s.index.Load()
	slots := *s.slots.Load()
	for at := hash / shards; ; at++ {
		word := index[at&uint64(len(index)-1)].Load()
		if word == 0 {
			return f, false
		}
		if word&^numberMask != hash&^numberMask {
			continue
		}
		number := word&numberMask - 1
		slot := &slots[number/slotsAtOnce][number%slotsAtOnce]
		if slot[0].Load() != a || slot[1].Load() != b {
			continue
		}
		for i := range 4 {
			binary.LittleEndian.PutUint64(f.sum[8*i:], slot[2+i].Load())
		}
		f.staleAt, f.expiresAt = int64(slot[6].Load()), int64(slot[7].Load())
		return f, true
	}
}

func (s *slab) put(keys *keyset.Set, i int) {
	a, b := words(keys.ID(i))
	hash := s.hash(a, b)
	shard := &s.shards[hash%shards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	shard.version.Add(1)
	defer shard.version.Add(1)
	if index := *shard.index.Load(); 4*(shard.used+1) > 3*len(index) {
		shard.grow(s, 2*len(index))
	}
	number := shard.used
	shard.used++
	slots := *shard.slots.Load()
	if number%slotsAtOnce == 0 {
		slots = append(slots[:len(slots):len(slots)], new([slotsAtOnce]slot))
		shard.slots.Store(&slots)
	}
	slot, f := &slots[number/slotsAtOnce][number%slotsAtOnce], factsOf(keys, i)
	slot[0].Store(a)
	slot[1].Store(b)
	for i := range 4 {
		slot[2+i].Store(binary.LittleEndian.Uint64(f.sum[8*i:]))
	}
	slot[6].Store(uint64(f.staleAt))
	slot[7].Store(uint64(f.expiresAt))
	slot[8].Store(shard.keep(textsOf(i)))
	place(*shard.index.Load(), hash, number)
}

func place(index []atomic.Uint64, hash uint64, number int) {
	at := hash / shards
	for index[at&uint64(len(index)-1)].Load() != 0 {
		at++
	}
	index[at&uint64(len(index)-1)].Store(hash&^numberMask | uint64(number+1))
}

func (s *slabShard) grow(all *slab, size int) {
	index, slots := make([]atomic.Uint64, size), *s.slots.Load()
	for number := range s.used {
		slot := &slots[number/slotsAtOnce][number%slotsAtOnce]
		place(index, all.hash(slot[0].Load(), slot[1].Load()), number)
	}
	s.index.Store(&index)
}

// keep returns where the texts were put: arena, beginning and length.
func (s *slabShard) keep(texts string) uint64 {
	last := len(s.arenas) - 1
	if last < 0 || len(s.arenas[last])+len(texts) > arenaSize {
		s.arenas = append(s.arenas, make([]byte, 0, arenaSize))
		last++
	}
	at := len(s.arenas[last])
	s.arenas[last] = append(s.arenas[last], texts...)
	return uint64(last)<<40 | uint64(at)<<20 | uint64(len(texts))
}
