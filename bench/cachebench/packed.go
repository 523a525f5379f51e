package cachebench

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/keyfold/keyfold/bench/keyset"
)

// packed is table with each key in one piece of memory without pointers, texts
// and all: the collector marks it and looks no further.
type packed struct {
	seed   maphash.Seed
	shards [shards]packedShard
}

type packedShard struct {
	slots atomic.Pointer[[]atomic.Pointer[piece]]
	mu    sync.Mutex
	used  int
	_     [64]byte
}

// piece is the front of such a piece; the texts are behind it.
type piece struct {
	id [idLen]byte
	facts
	_ uint64    // flags
	_ [8]uint16 // where each text ends
}

func newPacked(int) cache {
	p := &packed{seed: maphash.MakeSeed()}
	for i := range p.shards {
		slots := make([]atomic.Pointer[piece], 16)
		p.shards[i].slots.Store(&slots)
	}
	return p
}

func (p *packed) get(id string) (facts, bool) {
	hash := maphash.String(p.seed, id)
	slots := *p.shards[hash%shards].slots.Load()
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

func (p *packed) put(keys *keyset.Set, i int) {
	e := newPiece(keys, i)
	hash := maphash.Bytes(p.seed, e.id[:])
	s := &p.shards[hash%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	slots := *s.slots.Load()
	if 4*(s.used+1) > 3*len(slots) {
		fresh := make([]atomic.Pointer[piece], 2*len(slots))
		for i := range slots {
			if old := slots[i].Load(); old != nil {
				at := maphash.Bytes(p.seed, old.id[:]) / shards
				for fresh[at&uint64(len(fresh)-1)].Load() != nil {
					at++
				}
				fresh[at&uint64(len(fresh)-1)].Store(old)
			}
		}
		s.slots.Store(&fresh)
		slots = fresh
	}
	at := hash / shards
	for slots[at&uint64(len(slots)-1)].Load() != nil {
		at++
	}
	slots[at&uint64(len(slots)-1)].Store(e)
	s.used++
}

// newPiece takes its memory as numbers, which are aligned and hold no pointers.
func newPiece(keys *keyset.Set, i int) *piece {
	const front = int(unsafe.Sizeof(piece{}))
	texts := textsOf(i)
	memory := make([]uint64, (front+len(texts)+7)/8)
	e := (*piece)(unsafe.Pointer(&memory[0]))
	copy(e.id[:], keys.ID(i))
	e.facts = factsOf(keys, i)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&memory[0])), 8*len(memory))[front:], texts)
	return e
}
