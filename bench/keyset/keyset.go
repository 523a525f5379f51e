// Package keyset makes the same keys, tokens and access patterns in every run.
//
// Nothing here is secret: the tokens are computed from their number, so that a
// million of them need one text and no look-up table.
package keyset

import (
	"crypto/sha256"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

const (
	alphabet  = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	idLen     = 16
	secretLen = 32
	idAt      = len("kf_")
	secretAt  = idAt + idLen + 1
	crcAt     = secretAt + secretLen + 1

	// TokenLen is the length of every token of a Set.
	TokenLen = crcAt + 6

	// Seed is that of every random choice.
	Seed = 1
)

// Created is when every key was created.
var Created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Set is a number of keys.
type Set struct {
	n    int
	text string // all tokens, one behind the other: nothing for the collector to follow
}

// New makes n keys.
func New(n int) *Set {
	text := make([]byte, 0, n*TokenLen)
	for i := range n {
		text = appendToken(text, uint64(i))
	}
	return &Set{n: n, text: string(text)}
}

// Len returns the number of keys.
func (s *Set) Len() int { return s.n }

// Token returns the token of a key.
func (s *Set) Token(i int) string { return s.text[i*TokenLen : (i+1)*TokenLen] }

// ID returns the id of a key.
func (s *Set) ID(i int) string { return s.Token(i)[idAt : idAt+idLen] }

// Sum returns the stored hash of a key's secret.
func (s *Set) Sum(i int) [32]byte { return Hash(s.Token(i)) }

// Unknown returns a well-formed token of no key, another one for each i. It
// allocates; buf may be given to have it reuse memory.
func Unknown(buf []byte, i uint64) []byte { return appendToken(buf, 1<<40+i) }

// Hash hashes what is secret in a token as Keyfold does.
func Hash(token string) [32]byte {
	var in [55]byte
	copy(in[:], token[len(token)-len(in):])
	return sha256.Sum256(in[:])
}

// Index returns the number of the key with that id.
func Index(id string) int {
	var mixed uint64
	for i := range 11 {
		mixed = mixed*62 + uint64(strings.IndexByte(alphabet, id[i]))
	}
	return int(unmix(mixed))
}

// VerifyRecord returns a key as a store reads it: every text in memory of its own.
func (s *Set) VerifyRecord(i int) keyfold.VerifyRecord {
	return keyfold.VerifyRecord{
		KeyID:    strings.Clone(s.ID(i)),
		Secret:   keyfold.SecretHash{Alg: strings.Clone("kf2"), Sum: s.Sum(i)},
		Prefix:   strings.Clone("kf"),
		Name:     Name(i),
		OwnerID:  Owner(i),
		Scopes:   strings.Clone(Scopes),
		ActiveAt: Created.UnixMilli(), ExpiresAt: keyfold.NoDeadline,
	}
}

// Scopes are those of every key, as they are stored.
const Scopes = "reports:read reports:write"

// Name returns the name of a key.
func Name(i int) string { return "service " + strconv.Itoa(i) }

// Owner returns the owner of a key: ten keys have the same.
func Owner(i int) string { return "customer-" + strconv.Itoa(i/10) }

func appendToken(to []byte, i uint64) []byte {
	at := len(to)
	to = append(to, "kf_"...)
	to = appendBase62(to, mix(i), 11) // 62^11 > 2^64
	random := rand.NewPCG(Seed, i)
	to = appendBase62(to, random.Uint64(), idLen-11)
	to = append(to, '_')
	for range secretLen / 8 {
		to = appendBase62(to, random.Uint64(), 8)
	}
	to = append(to, '_')
	return appendBase62(to, uint64(crc32.ChecksumIEEE(to[at:])), 6)
}

func appendBase62(to []byte, v uint64, digits int) []byte {
	at := len(to) + digits
	for range digits {
		to = append(to, '0')
	}
	for range digits {
		at--
		to[at] = alphabet[v%62]
		v /= 62
	}
	return to
}

// The finaliser of SplitMix64, which can be undone.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func unmix(x uint64) uint64 {
	x = (x ^ x>>31 ^ x>>62) * 0x319642b2d24d8ec3
	x = (x ^ x>>27 ^ x>>54) * 0x96de1b173f119089
	x = x ^ x>>30 ^ x>>60
	return x - 0x9e3779b97f4a7c15
}

// Order is a sequence of key numbers to walk round and round.
type Order []int32

const orderLen = 1 << 20

// Hot names one key only.
func Hot() Order { return Order{0} }

// Uniform names every key equally often.
func Uniform(n int) Order {
	random := rand.New(rand.NewPCG(Seed, 2))
	order := make(Order, orderLen)
	for i := range order {
		order[i] = int32(random.IntN(n))
	}
	return order
}

// Zipf names keys by Zipf's law with the exponent 1.1. Which keys are the
// popular ones is drawn as well, so they are spread over all.
func Zipf(n int) Order {
	random := rand.New(rand.NewPCG(Seed, 3))
	zipf := rand.NewZipf(random, 1.1, 1, uint64(n-1))
	key := random.Perm(n)
	order := make(Order, orderLen)
	for i := range order {
		order[i] = int32(key[zipf.Uint64()])
	}
	return order
}

// Spread names n keys that lie evenly over all, for orders of calls that cannot
// all be made.
func Spread(keys, n int) Order {
	order := make(Order, n)
	step := math.Phi - 1
	for i := range order {
		order[i] = int32(math.Mod(float64(i)*step, 1) * float64(keys))
	}
	return order
}
