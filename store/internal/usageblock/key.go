package usageblock

import (
	"encoding/binary"

	"github.com/keyfold/keyfold/internal/token"
)

// Key is the id of a key in the form that a block has it. Ids of 16 base62 digits,
// which all generated ids are, take 12 bytes.
type Key struct {
	hi, lo uint64
	text   string // of other ids
}

// noHalf is greater than every number of eight base62 digits.
const noHalf = 1<<48 - 1

var noKey = Key{hi: noHalf, lo: noHalf}

// KeyOf returns the key with that id, which is empty for events without a key.
func KeyOf(id string) Key {
	switch len(id) {
	case 0:
		return noKey
	case 16:
		hi, okHi := parseHalf(id[:8])
		lo, okLo := parseHalf(id[8:])
		if okHi && okLo {
			return Key{hi: hi, lo: lo}
		}
	}
	return Key{text: id}
}

func parseHalf(half string) (n uint64, ok bool) {
	for i := range len(half) {
		n = n*62 + uint64(token.DigitOf(half[i]))
	}
	return n, token.IsBase62(half)
}

// String returns the id of the key.
func (k Key) String() string {
	switch {
	case k == noKey:
		return ""
	case k.text != "":
		return k.text
	}
	var id [16]byte
	formatHalf(id[:8], k.hi)
	formatHalf(id[8:], k.lo)
	return string(id[:])
}

func formatHalf(half []byte, n uint64) {
	for i := len(half) - 1; i >= 0; i-- {
		half[i] = token.Alphabet[n%62]
		n /= 62
	}
}

// readHalf reads 48 bits, big endian.
func readHalf(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

func appendHalf(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(n>>32)), uint32(n))
}

// maxHalf is the greatest number of eight base62 digits.
const maxHalf = 62*62*62*62*62*62*62*62 - 1

// readKey reads the key of an entry of a dictionary.
func readKey(b []byte) (Key, error) {
	k := Key{hi: readHalf(b), lo: readHalf(b[halfLen:])}
	if k != noKey && (k.hi > maxHalf || k.lo > maxHalf) {
		return Key{}, ErrCorrupt
	}
	return k, nil
}
