package keyfold

import (
	"time"

	"github.com/keyfold/keyfold/internal/password"
	"github.com/keyfold/keyfold/internal/password/passwordtest"
)

// What tests of other packages may not call, and this package's do by these names.
var (
	CanonicalUsername = canonicalUsername
	CanonicalEmail    = canonicalEmail
	LoginKey          = loginKey
)

// CheckPassword is what a Service does with its policy.
func CheckPassword(policy PasswordPolicy, password string, own ...string) error {
	policy, err := policy.withDefaults("policy")
	if err != nil {
		return err
	}
	return policy.check(password, own...)
}

// KDFs counts the key derivations of a Service.
type KDFs = passwordtest.KDFs

// CountKDFs counts what a Service derives from passwords from now on.
func CountKDFs(s *Service) *KDFs { return passwordtest.Count(s.passwords) }

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
	s.passwords = password.New(slots, passwordWait)
	return passwordtest.Count(s.passwords)
}

// GateAddresses is how many addresses each table of the gate holds.
const GateAddresses = gateAddresses

// CheapKDFs counts what a Service derives from passwords from now on, and makes
// it cheap: for tests that try thousands of passwords.
func CheapKDFs(s *Service) *KDFs { return passwordtest.Cheapen(s.passwords) }
