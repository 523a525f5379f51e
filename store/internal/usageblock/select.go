package usageblock

import (
	"encoding/binary"
	"math"
	"sort"
)

// Query says which events of a block are wanted.
type Query struct {
	Keys     map[Key]struct{}         // nil for all
	Outcomes *[math.MaxUint8 + 1]bool // nil for all
	From     int64                    // unix milliseconds, inclusive
	Upto     int64                    // unix milliseconds, inclusive
	Before   Position                 // events must come before it
	Limit    int
}

// Position is the place of an event in the order of time and number.
type Position struct{ At, Seq int64 }

// End is the position after all events.
var End = Position{At: math.MaxInt64}

// Select appends the events that are wanted, newest first, at most q.Limit of them.
// It returns [ErrCorrupt] and no events if the block is damaged.
func (b *Block) Select(to []Event, q *Query) ([]Event, error) {
	wanted, some, err := b.wantedKeys(q)
	if err != nil || !some {
		return to, err
	}
	times, err := b.readTimes()
	if err != nil {
		return to, err
	}
	upto := min(q.Upto, q.Before.At)
	above := sort.Search(len(times), func(i int) bool { return times[i] > upto })
	var outcomes []byte
	if q.Outcomes != nil {
		if outcomes, err = b.readOutcomes(); err != nil {
			return to, err
		}
	}
	var seqs []int64
	found := b.places(q.Limit)
	for i := above - 1; i >= 0 && len(found) < q.Limit && times[i] >= q.From; i-- {
		if wanted != nil {
			number, err := b.keys.column.at(i)
			if err != nil {
				return to, err
			}
			if !wanted[number] {
				continue
			}
		}
		if outcomes != nil && !q.Outcomes[outcomes[i]] {
			continue
		}
		if times[i] == q.Before.At {
			if seqs == nil {
				if seqs, err = b.readSeqs(); err != nil {
					return to, err
				}
			}
			if seqs[i] >= q.Before.Seq {
				continue
			}
		}
		found = append(found, uint32(i))
	}
	b.entryNums = found
	if len(found) == 0 {
		return to, nil
	}
	return b.events(to, found)
}

// wantedKeys returns which numbers of the dictionary are wanted, nil for all. some is
// false where none is.
func (b *Block) wantedKeys(q *Query) (wanted []bool, some bool, err error) {
	if q.Keys == nil {
		return nil, true, nil
	}
	d := len(b.keys.entries) / keyLen
	var at []int
	if len(q.Keys) == 1 {
		for k := range q.Keys {
			if k.text == "" {
				at = b.find(at, k)
			} else {
				at = b.findText(at, q.Keys)
			}
		}
	} else {
		for i := range d {
			k, err := readKey(b.keys.entries[i*keyLen:])
			if err != nil {
				return nil, false, err
			}
			if _, ok := q.Keys[k]; ok {
				at = append(at, i)
			}
		}
		at = b.findText(at, q.Keys)
	}
	if len(at) == 0 {
		return nil, false, nil
	}
	all := d + len(b.keys.texts)
	if cap(b.wanted) < all {
		b.wanted = make([]bool, all)
	}
	wanted = b.wanted[:all]
	clear(wanted)
	for _, i := range at {
		wanted[i] = true
	}
	return wanted, true, nil
}

// find looks for one key among the entries of 12 bytes.
func (b *Block) find(at []int, k Key) []int {
	entry := appendHalf(appendHalf(nil, k.hi), k.lo)
	head, tail := binary.LittleEndian.Uint64(entry), binary.LittleEndian.Uint32(entry[8:])
	for i, rest := 0, b.keys.entries; len(rest) >= keyLen; i, rest = i+1, rest[keyLen:] {
		if binary.LittleEndian.Uint64(rest) == head && binary.LittleEndian.Uint32(rest[8:]) == tail {
			return append(at, i)
		}
	}
	return at
}

func (b *Block) findText(at []int, keys map[Key]struct{}) []int {
	for i, text := range b.keys.texts {
		if _, ok := keys[KeyOf(text)]; ok {
			at = append(at, len(b.keys.entries)/keyLen+i)
		}
	}
	return at
}

// places returns an empty list of places in the block.
func (b *Block) places(limit int) []uint32 {
	if cap(b.entryNums) == 0 {
		b.entryNums = make([]uint32, 0, min(limit, b.n))
	}
	return b.entryNums[:0]
}

// events appends the events at the given places, which descend.
func (b *Block) events(to []Event, places []uint32) ([]Event, error) {
	began := len(to)
	seqs, err := b.readSeqs()
	if err != nil {
		return to, err
	}
	outcomes, err := b.readOutcomes()
	if err != nil {
		return to, err
	}
	requests := input{bytes: b.requests}
	for _, place := range places {
		i := int(place)
		e := Event{At: b.at[i], Seq: seqs[i], Outcome: outcomes[i]}
		number, err := b.keys.column.at(i)
		if err == nil {
			e.Key, err = b.key(number)
		}
		if err == nil {
			e.Route, err = b.routes.at(i)
		}
		if err == nil {
			e.Agent, err = b.agents.at(i)
		}
		if err == nil {
			e.IP, err = b.addresses.at(i)
		}
		if err != nil {
			return to[:began], err
		}
		to = append(to, e)
	}
	if b.requests == nil {
		return to, nil
	}
	next := len(places) - 1
	for i := range b.n {
		text := requests.take(requests.uvarint(len(requests.bytes)))
		if next >= 0 && int(places[next]) == i {
			to[began+next].RequestID = string(text)
			next--
		}
	}
	if requests.bad || len(requests.bytes) > 0 {
		return to[:began], ErrCorrupt
	}
	return to, nil
}
