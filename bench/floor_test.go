package bench_test

import (
	"crypto/subtle"
	"hash/crc32"
	"testing"
	"unsafe"

	"github.com/keyfold/keyfold/bench/keyset"
)

// floorVerify is the least that any check of a token costs: its shape, its
// checksum, the hash of its secret and the comparison with a stored one. It
// looks nothing up, asks no clock and counts nothing.
func floorVerify(token string, sum *[32]byte) bool {
	const idAt, secretAt, crcAt = 3, 20, 53
	if len(token) != keyset.TokenLen || token[:idAt] != "kf_" || token[secretAt-1] != '_' || token[crcAt-1] != '_' {
		return false
	}
	for i := idAt; i < crcAt-1; i++ {
		if class[token[i]] == 0 && i != secretAt-1 {
			return false
		}
	}
	crc := crc32.ChecksumIEEE(unsafe.Slice(unsafe.StringData(token), crcAt))
	for i := len(token) - 1; i >= crcAt; i-- {
		if token[i] != digits[crc%62] {
			return false
		}
		crc /= 62
	}
	hash := keyset.Hash(token)
	return subtle.ConstantTimeCompare(hash[:], sum[:]) == 1
}

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var class = func() (class [256]byte) {
	for i := range len(digits) {
		class[digits[i]] = 1
	}
	return class
}()

var accepted bool

func BenchmarkFloorVerify(b *testing.B) {
	keys := keyset.New(10_000)
	order := keyset.Zipf(keys.Len())
	sum := keys.Sum(0)
	paired(b, chunk, func(i int) {
		accepted = floorVerify(keys.Token(int(order[i&(len(order)-1)])), &sum)
	}, nil, nil)
}
