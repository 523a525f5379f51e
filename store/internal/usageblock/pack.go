package usageblock

import (
	"encoding/binary"
	"math/bits"
)

// width returns the number of bits of each packed number below d.
func width(d int) int {
	if d <= 1 {
		return 0
	}
	return bits.Len(uint(d - 1))
}

// packedLen returns the number of bytes of n packed numbers below d.
func packedLen(n, d int) int { return (n*width(d) + 7) / 8 }

// appendPacked packs numbers below d.
func appendPacked(b []byte, numbers []uint32, d int) []byte {
	w := width(d)
	if w == 0 {
		return b
	}
	var pending uint64
	have := 0
	for _, number := range numbers {
		pending |= uint64(number) << have
		have += w
		if have >= 32 {
			b = binary.LittleEndian.AppendUint32(b, uint32(pending))
			pending >>= 32
			have -= 32
		}
	}
	for ; have > 0; have -= 8 {
		b = append(b, byte(pending))
		pending >>= 8
	}
	return b
}

// packed is a column of packed numbers below d.
type packed struct {
	bytes []byte // at least four bytes longer than the numbers
	width int
	mask  uint32
	d     uint32
}

// at returns the number at place i. A width of at most 17 bits lies in three bytes.
func (p *packed) at(i int) (uint32, error) {
	if p.width == 0 {
		return 0, nil
	}
	bit := i * p.width
	number := binary.LittleEndian.Uint32(p.bytes[bit>>3:]) >> (bit & 7) & p.mask
	if number >= p.d {
		return 0, ErrCorrupt
	}
	return number, nil
}
