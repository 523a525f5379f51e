package keyfold

import (
	"github.com/keyfold/keyfold/internal/clock"
	"github.com/keyfold/keyfold/internal/password"
	"github.com/keyfold/keyfold/internal/password/passwordtest"
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
	check := newChecker(nil, &opts, clock.New(nil))
	check.keep(&answer{check.clock.Read(), failed})
	return checked{nil, check, &changeHealth{opts: &opts}, false}
}

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
