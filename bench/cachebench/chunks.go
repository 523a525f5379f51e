package cachebench

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/keyfold/keyfold/bench/keyset"
)

// chunks is what Keyfold has: keys are written once, one behind the other, into
// chunks without pointers, and found by an index of their places. A key that
// was read stays as it is for as long as somebody refers to its chunk.
type chunks struct {
	seed   maphash.Seed
	shards [shards]chunkShard
}

const (
	entriesAtOnce = 256
	textAtOnce    = 64 * entriesAtOnce
)

type chunkShard struct {
	// An index word is 0 or, in its upper half, bits of the hash, and in its
	// lower half the place of the entry plus one.
	index  atomic.Pointer[[]atomic.Uint64]
	chunks atomic.Pointer[[]*chunk]

	mu   sync.Mutex
	used int
	_    [64]byte
}

type chunk struct {
	entries [entriesAtOnce]piece
	text    []byte
}

func newChunks(int) cache {
	c := &chunks{seed: maphash.MakeSeed()}
	for i := range c.shards {
		index, list := make([]atomic.Uint64, 16), []*chunk(nil)
		c.shards[i].index.Store(&index)
		c.shards[i].chunks.Store(&list)
	}
	return c
}

func (c *chunks) get(id string) (facts, bool) {
	hash := maphash.String(c.seed, id)
	shard := &c.shards[hash%shards]
	index := *shard.index.Load()
	for at := hash / shards; ; at++ {
		word := index[at&uint64(len(index)-1)].Load()
		if word == 0 {
			return facts{}, false
		}
		if word&^numberMask != hash&^numberMask {
			continue
		}
		number := word&numberMask - 1
		e := &(*shard.chunks.Load())[number/entriesAtOnce].entries[number%entriesAtOnce]
		if string(e.id[:]) == id {
			return e.facts, true
		}
	}
}

func (c *chunks) put(keys *keyset.Set, i int) {
	id := keys.ID(i)
	hash := maphash.String(c.seed, id)
	s := &c.shards[hash%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	list := *s.chunks.Load()
	if s.used%entriesAtOnce == 0 {
		list = append(list[:len(list):len(list)], &chunk{text: make([]byte, 0, textAtOnce)})
		s.chunks.Store(&list)
	}
	number := s.used
	s.used++
	last := list[number/entriesAtOnce]
	e := &last.entries[number%entriesAtOnce]
	copy(e.id[:], id)
	e.facts = factsOf(keys, i)
	last.text = append(last.text, textsOf(i)...)
	if index := *s.index.Load(); 4*s.used > 3*len(index) {
		fresh := make([]atomic.Uint64, 2*len(index))
		for number := range s.used - 1 {
			old := &list[number/entriesAtOnce].entries[number%entriesAtOnce]
			place(fresh, maphash.Bytes(c.seed, old.id[:]), number)
		}
		s.index.Store(&fresh)
	}
	place(*s.index.Load(), hash, number)
}
