package ratelimit

import (
	"sync"
	"sync/atomic"
)

// Table counts buckets in one process. It needs 16 bytes a bucket and no pointers,
// and allocates only when it grows. It is safe for concurrent use.
//
// A bucket that is full again is the same as one that was never used, so its place
// may be reused without loss. If all places that a bucket may have are in use, the
// bucket that is nearest to full loses its place.
type Table struct {
	shards  [shards]shard
	most    int // places per shard, a power of two
	dropped atomic.Int64
}

const (
	shards = 64
	probes = 16 // places that a bucket may have: four cache lines
	least  = 64 // places of a shard that is in use
)

type shard struct {
	sync.Mutex
	places []place // a power of two, or none
	_      [32]byte
}

// place is one bucket. An unused place has the tag 0.
type place struct {
	tag    uint64
	fullAt int64 // nanoseconds of a monotonic clock
}

// NewTable returns a Table that remembers at most about so many buckets, rounded up
// to a power of two.
func NewTable(buckets int) *Table {
	t := &Table{most: least}
	for t.most*shards < buckets {
		t.most *= 2
	}
	return t
}

// Take takes units from the bucket with that tag, which must come from a good hash,
// or takes none if the bucket has too few. The time is that of a monotonic clock, in
// nanoseconds.
func (t *Table) Take(tag uint64, r Rate, units, now int64) (State, bool) {
	tag |= 1
	s := &t.shards[tag>>58]
	s.Lock()
	defer s.Unlock()
	p := t.find(s, tag, now)
	next, ok := r.take(p.fullAt, now, units)
	if !ok {
		state := r.state(p.fullAt, now)
		state.Wait = r.wait(p.fullAt, now, units)
		return state, false
	}
	p.fullAt = next
	return r.state(next, now), true
}

// Give gives back units that Take has just taken.
func (t *Table) Give(tag uint64, r Rate, units int64) {
	tag |= 1
	s := &t.shards[tag>>58]
	s.Lock()
	defer s.Unlock()
	if p := s.lookUp(tag); p != nil {
		p.fullAt -= units * r.one
	}
}

// State describes the bucket with that tag.
func (t *Table) State(tag uint64, r Rate, now int64) State {
	tag |= 1
	s := &t.shards[tag>>58]
	s.Lock()
	defer s.Unlock()
	if p := s.lookUp(tag); p != nil {
		return r.state(p.fullAt, now)
	}
	return r.state(0, now)
}

// Reset fills the bucket with that tag.
func (t *Table) Reset(tag uint64) {
	tag |= 1
	s := &t.shards[tag>>58]
	s.Lock()
	defer s.Unlock()
	if p := s.lookUp(tag); p != nil {
		p.fullAt = 0
	}
}

// Dropped returns how many buckets lost their place before they were full again. A
// bucket that did starts full.
func (t *Table) Dropped() int64 { return t.dropped.Load() }

// lookUp returns the place of the bucket, or nil. A bucket takes the first place
// that is free, and a used place never becomes unused, so the search may end at an
// unused one.
func (s *shard) lookUp(tag uint64) *place {
	if len(s.places) == 0 {
		return nil
	}
	mask := uint64(len(s.places) - 1)
	for i := range uint64(probes) {
		p := &s.places[(tag>>1+i)&mask]
		if p.tag == tag {
			return p
		}
		if p.tag == 0 {
			return nil
		}
	}
	return nil
}

// find returns the place of the bucket, and makes room for it if it has none.
func (t *Table) find(s *shard, tag uint64, now int64) *place {
	for {
		if p := s.lookUp(tag); p != nil {
			return p
		}
		if p := s.free(tag, now); p != nil {
			*p = place{tag: tag}
			return p
		}
		if len(s.places) == t.most {
			return t.replace(s, place{tag: tag})
		}
		t.grow(s, now)
	}
}

// replace gives the bucket the place of the one that is nearest to full.
func (t *Table) replace(s *shard, b place) *place {
	p := s.nearestToFull(b.tag)
	*p = b
	t.dropped.Add(1)
	return p
}

// free returns the first place for the bucket that is unused or whose bucket is
// full, or nil.
func (s *shard) free(tag uint64, now int64) *place {
	mask := uint64(len(s.places) - 1)
	for i := range uint64(min(probes, len(s.places))) {
		if p := &s.places[(tag>>1+i)&mask]; p.tag == 0 || p.fullAt <= now {
			return p
		}
	}
	return nil
}

func (s *shard) nearestToFull(tag uint64) *place {
	mask := uint64(len(s.places) - 1)
	nearest := &s.places[(tag>>1)&mask]
	for i := range uint64(probes) {
		if p := &s.places[(tag>>1+i)&mask]; p.fullAt < nearest.fullAt {
			nearest = p
		}
	}
	return nearest
}

// grow doubles the number of places, or more until each bucket has one.
func (t *Table) grow(s *shard, now int64) {
	old := s.places
	for size := max(least, 2*len(old)); ; size *= 2 {
		s.places = make([]place, size)
		if t.moveIn(s, old, now) {
			return
		}
	}
}

func (t *Table) moveIn(s *shard, buckets []place, now int64) bool {
	for _, b := range buckets {
		if b.tag == 0 || b.fullAt <= now {
			continue
		}
		p := s.free(b.tag, now)
		switch {
		case p != nil:
			*p = b
		case len(s.places) == t.most:
			t.replace(s, b)
		default:
			return false
		}
	}
	return true
}
