package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
)

// Algorithm is the algorithm that a secret was hashed with.
type Algorithm uint8

// The algorithms. Both hash the last 55 bytes of the token: its id without the
// first character, its secret and its checksum, with the underscores between them.
// SHA-256 hashes at most 55 bytes in one block (FIPS 180-4, section 5.1.1).
const (
	Unknown  Algorithm = iota
	Plain              // "kf2": SHA-256
	Peppered           // "kf2h": HMAC-SHA-256 under a pepper
)

// The names of the algorithms are stored, so they are never reused.
const (
	plainName    = "kf2"
	pepperedName = "kf2h"
)

// ParseAlgorithm returns the algorithm of a stored name, or Unknown.
func ParseAlgorithm(name string) Algorithm {
	switch name {
	case plainName:
		return Plain
	case pepperedName:
		return Peppered
	}
	return Unknown
}

// String returns the name under which the algorithm is stored.
func (a Algorithm) String() string {
	switch a {
	case Plain:
		return plainName
	case Peppered:
		return pepperedName
	}
	return "unknown"
}

// hashedLen is how many bytes of a token are hashed. The checksum is one of them
// because a token whose hash is right then needs no other check: the characters and
// the checksum of the key's only token were right when it was made. The first
// character of the id is compared instead, when the key is looked up.
const hashedLen = 55

// hashInput copies the bytes, because a conversion of the text would allocate.
func (p Parts) hashInput() (in [hashedLen]byte) {
	copy(in[:], p.text[len(p.text)-hashedLen:])
	return in
}

// Sum hashes the secret with Plain. The secret has 190 random bits, so a fast hash
// is enough: there is nothing to guess.
func (p Parts) Sum() [32]byte {
	in := p.hashInput()
	return sha256.Sum256(in[:])
}

// PepperedSum hashes the secret with Peppered.
func (p Parts) PepperedSum(pepper []byte) (sum [32]byte) {
	mac := hmac.New(sha256.New, pepper)
	in := p.hashInput()
	mac.Write(in[:])
	mac.Sum(sum[:0])
	return sum
}

// EqualSums compares two hashes in constant time.
func EqualSums(a, b *[32]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
