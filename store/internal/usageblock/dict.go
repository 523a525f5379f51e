package usageblock

import (
	"math/bits"
	"math/rand/v2"
)

// pair is an entry of a dictionary: a key, a word or an address.
type pair struct{ a, b uint64 }

// dictionary numbers pairs in the order in which they come. It is a hash table with
// open addressing; a slot holds a number plus one. A dictionary is reused, because a
// fresh map for each block would take longer than the encoding.
type dictionary struct {
	entries []pair
	slots   []uint32
}

// The seeds keep clients, who choose their addresses, from choosing the slots.
var seedA, seedB = rand.Uint64(), rand.Uint64()

func (p pair) hash() uint64 {
	hi, lo := bits.Mul64(p.a^seedA, p.b^seedB|1)
	hi, lo = bits.Mul64(hi^lo^p.a, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

const minSlots = 64

// number returns the number of the pair, which it adds if it is new.
func (d *dictionary) number(p pair) uint32 {
	if last := len(d.entries) - 1; last >= 0 && d.entries[last] == p {
		return uint32(last)
	}
	if 2*len(d.entries) >= len(d.slots) {
		d.grow()
	}
	mask := uint64(len(d.slots) - 1)
	for at := p.hash() & mask; ; at = (at + 1) & mask {
		switch slot := d.slots[at]; {
		case slot == 0:
			d.entries = append(d.entries, p)
			d.slots[at] = uint32(len(d.entries))
			return uint32(len(d.entries) - 1)
		case d.entries[slot-1] == p:
			return slot - 1
		}
	}
}

func (d *dictionary) grow() {
	d.slots = make([]uint32, max(minSlots, 2*len(d.slots)))
	d.fill()
}

// rehash is for entries that were replaced.
func (d *dictionary) rehash() {
	clear(d.slots)
	d.fill()
}

func (d *dictionary) fill() {
	if len(d.entries) == 0 {
		return
	}
	mask := uint64(len(d.slots) - 1)
	for i, p := range d.entries {
		at := p.hash() & mask
		for d.slots[at] != 0 {
			at = (at + 1) & mask
		}
		d.slots[at] = uint32(i + 1)
	}
}

// reset empties the dictionary. A few entries of a large table are removed one by one.
func (d *dictionary) reset() {
	if 16*len(d.entries) > len(d.slots) {
		clear(d.slots)
	} else {
		mask := uint64(len(d.slots) - 1)
		for i, p := range d.entries {
			at := p.hash() & mask
			for d.slots[at] != uint32(i+1) {
				at = (at + 1) & mask
			}
			d.slots[at] = 0
		}
	}
	d.entries = d.entries[:0]
}
