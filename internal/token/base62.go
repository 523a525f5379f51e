package token

import "hash/crc32"

// Alphabet has the base62 digits in the order of their values.
const Alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62Digits is the digit that each byte stands for, notDigit for all others.
const base62Digits = "" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\xff\xff\xff\xff\xff\xff" +
	"\xff\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18" +
	"\x19\x1a\x1b\x1c\x1d\x1e\x1f\x20\x21\x22\x23\xff\xff\xff\xff\xff" +
	"\xff\x24\x25\x26\x27\x28\x29\x2a\x2b\x2c\x2d\x2e\x2f\x30\x31\x32" +
	"\x33\x34\x35\x36\x37\x38\x39\x3a\x3b\x3c\x3d\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
	"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"

const notDigit = 0x80 // this bit is set for bytes that are not digits

// DigitOf returns the value of a base62 digit, and 0xff for any other byte.
func DigitOf(c byte) byte { return base62Digits[c] }

// IsBase62 reports whether s consists of base62 digits. It looks each byte up
// instead of comparing ranges: the characters are random, so half of such
// branches would be mispredicted.
func IsBase62(s string) bool {
	all := byte(0)
	for i := range len(s) {
		all |= base62Digits[s[i]]
	}
	return all < notDigit
}

// crcTables hold the remainders of a byte that is followed by as many zero bytes
// as the index of the table. Nothing writes to them.
var crcTables = newCRCTables()

func newCRCTables() (tables [8][256]uint32) {
	tables[0] = *crc32.IEEETable
	for i, sum := range tables[0] {
		for n := 1; n < len(tables); n++ {
			sum = tables[0][sum&0xff] ^ sum>>8
			tables[n][i] = sum
		}
	}
	return tables
}

// checksum returns the CRC-32 (IEEE 802.3) of s. It is not a security feature:
// anyone can compute it, and so anyone can reject a mistyped token without
// asking a server.
//
// It takes eight bytes at a time, as hash/crc32 does for texts of this length
// (the "slicing-by-8" of Kounavis and Berry). That package takes a slice of
// bytes, for which each request would allocate a copy of its token.
func checksum(s string) uint32 {
	t, sum := &crcTables, ^uint32(0)
	for ; len(s) >= 8; s = s[8:] {
		sum ^= uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
		sum = t[7][sum&0xff] ^ t[6][sum>>8&0xff] ^ t[5][sum>>16&0xff] ^ t[4][sum>>24] ^
			t[3][s[4]] ^ t[2][s[5]] ^ t[1][s[6]] ^ t[0][s[7]]
	}
	for i := range len(s) {
		sum = t[0][byte(sum)^s[i]] ^ sum>>8
	}
	return ^sum
}

// encodeCRC writes v in base62, most significant digit first, padded with "0".
func encodeCRC(v uint32) (out [crcLen]byte) {
	for i := crcLen - 1; i >= 0; i-- {
		out[i] = Alphabet[v%62]
		v /= 62
	}
	return out
}

// decodeCRC reads the number that encodeCRC writes. Six digits can hold more
// than 32 bits: such a number equals no checksum.
func decodeCRC(text string) (v uint64, ok bool) {
	all := byte(0)
	for i := range crcLen {
		digit := base62Digits[text[i]]
		all |= digit
		v = v*62 + uint64(digit)
	}
	return v, all < notDigit
}
