package keyfold

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync/atomic"
	"time"
)

// What tests of other packages may not call, and this package's do by these names.
var (
	CanonicalUsername = canonicalUsername
	CanonicalEmail    = canonicalEmail
	LoginKey          = loginKey
	IsListed          = isListed
)

// Blocklist is the file that isListed searches.
func Blocklist() string { return blocklist }

// CheckPassword is what a Service does with its policy.
func CheckPassword(policy PasswordPolicy, password string, own ...string) error {
	policy, err := policy.withDefaults("policy")
	if err != nil {
		return err
	}
	return policy.check(password, own...)
}

// PasswordHasher is a hasher whose work is counted.
type PasswordHasher struct {
	*KDFs
	hasher *passwordHasher
}

func NewPasswordHasher(slots int, wait time.Duration) PasswordHasher {
	hasher := newPasswordHasher(slots, wait)
	return PasswordHasher{KDFs: countKDFs(hasher), hasher: hasher}
}

func (h PasswordHasher) Hash(ctx context.Context, password string) (string, error) {
	return h.hasher.hash(ctx, password)
}

func (h PasswordHasher) Verify(ctx context.Context, password, stored string) (match, outdated bool, err error) {
	return h.hasher.verify(ctx, password, stored)
}

func (h PasswordHasher) Pretend(ctx context.Context) error { return h.hasher.pretend(ctx) }

// KDFs counts the key derivations that a hasher computes.
type KDFs struct {
	Computed atomic.Int64               // since the hasher was made
	Peak     atomic.Int64               // at the same time
	Last     atomic.Pointer[Argon]      // nil if the last was bcrypt
	Instead  atomic.Pointer[func() any] // if set, is called and nothing is derived; see below
	running  atomic.Int64
}

// Argon is what one argon2id was computed with.
type Argon struct {
	Time, Memory, Key uint32
	Threads           uint8
	Salt              int
}

// Replace has f called in place of the derivation: argon2id then gives zeros,
// and bcrypt what f returns if that is an error.
func (k *KDFs) Replace(f func() any) { k.Instead.Store(&f) }

// countKDFs puts itself between the hasher and the two functions.
func countKDFs(h *passwordHasher) *KDFs {
	k := new(KDFs)
	argon2, bcrypt := h.argon2, h.bcrypt
	h.argon2 = func(password, salt []byte, time, memory uint32, threads uint8, length uint32) []byte {
		defer k.enter(&Argon{Time: time, Memory: memory, Threads: threads, Key: length, Salt: len(salt)})()
		if instead := k.Instead.Load(); instead != nil {
			(*instead)()
			return make([]byte, length)
		}
		return argon2(password, salt, time, memory, threads, length)
	}
	h.bcrypt = func(hash, password []byte) error {
		defer k.enter(nil)()
		if instead := k.Instead.Load(); instead != nil {
			err, _ := (*instead)().(error)
			return err
		}
		return bcrypt(hash, password)
	}
	return k
}

func (k *KDFs) enter(with *Argon) (leave func()) {
	k.Computed.Add(1)
	k.Last.Store(with)
	running := k.running.Add(1)
	for {
		peak := k.Peak.Load()
		if running <= peak || k.Peak.CompareAndSwap(peak, running) {
			return func() { k.running.Add(-1) }
		}
	}
}

// CountKDFs counts what a Service derives from passwords from now on.
func CountKDFs(s *Service) *KDFs { return countKDFs(s.passwords) }

// UncheckedStore is the store that a Service writes to, with nothing behind it
// and a check that always fails.
func UncheckedStore(opts Options, failed error) Store {
	opts, err := opts.withDefaults()
	if err != nil {
		panic(err)
	}
	check := newChecker(nil, &opts, newClock(nil))
	check.keep(&answer{check.clock.read(), failed})
	return checked{nil, check, false}
}

// SystemClock returns what reads a system's clocks: in unix milliseconds, and the
// monotonic one.
func SystemClock(both func() (time.Time, time.Duration), mono func() time.Duration) (read func() (int64, time.Duration)) {
	c := newSystemClock(both, mono)
	return func() (int64, time.Duration) {
		at := c.read()
		return at.wall, at.mono
	}
}

// Resync is how late a clock notices that the system's was set.
const Resync = resync

// NarrowGate leaves so many places to anonymous requests and hashes so many
// passwords at a time, whatever the machine has. It returns the KDFs.
func NarrowGate(s *Service, places, slots int) *KDFs {
	s.gate = newGate(places, s.now)
	s.passwords = newPasswordHasher(slots, passwordWait)
	return countKDFs(s.passwords)
}

// GateAddresses is how many addresses each table of the gate holds.
const GateAddresses = gateAddresses

// CheapKDFs counts what a Service derives from passwords from now on, and makes
// it cheap: for tests that try thousands of passwords.
func CheapKDFs(s *Service) *KDFs {
	s.passwords.argon2 = func(password, salt []byte, _, _ uint32, _ uint8, length uint32) []byte {
		sum := sha256.Sum256(slices.Concat(salt, password))
		return sum[:length]
	}
	return countKDFs(s.passwords)
}
