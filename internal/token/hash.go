package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
)

// Algorithm is the algorithm that a secret was hashed with.
type Algorithm uint8

// The algorithms. Both hash the same 52 bytes, "kf1" ‖ 0 ‖ id ‖ secret, which
// fit one block of SHA-256.
const (
	Unknown  Algorithm = iota
	Plain              // "kf1": SHA-256
	Peppered           // "kf1h": HMAC-SHA-256 under a pepper
)

// The names of the algorithms are stored, so they are never reused.
const (
	plainName    = "kf1"
	pepperedName = "kf1h"
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

// hashInput returns the text that is hashed: domain, id and secret. The secret
// has 190 random bits, so a fast hash is enough: there is nothing to guess.
func (p Parts) hashInput() (in [4 + IDLen + SecretLen]byte) {
	copy(in[:], "kf1\x00")
	copy(in[4:], p.ID)
	copy(in[4+IDLen:], p.Secret)
	return in
}

// Sum hashes the secret with Plain.
func (p Parts) Sum() [32]byte {
	in := p.hashInput()
	return sha256.Sum256(in[:])
}

// PepperedSum hashes the secret with Peppered.
func (p Parts) PepperedSum(pepper []byte) (sum [32]byte) {
	in := p.hashInput()
	mac := hmac.New(sha256.New, pepper)
	mac.Write(in[:])
	mac.Sum(sum[:0])
	return sum
}

// EqualSums compares two hashes in constant time.
func EqualSums(a, b *[32]byte) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
