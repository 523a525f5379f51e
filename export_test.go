package keyfold

import (
	"github.com/keyfold/keyfold/internal/clock"
	"github.com/keyfold/keyfold/internal/password"
	"github.com/keyfold/keyfold/internal/password/passwordtest"
)

// CheckPassword checks a password as a Service does.
func CheckPassword(policy PasswordPolicy, password string, own ...string) error {
	policy, err := policy.withDefaults("policy")
	if err != nil {
		return err
	}
	return policy.check(password, own...)
}

// KDFs counts the key derivations of a Service.
type KDFs = passwordtest.KDFs

// CountKDFs counts the password hashes that a Service computes from now on.
func CountKDFs(s *Service) *KDFs { return passwordtest.Count(s.passwords) }

// UncheckedStore returns the store that a Service writes to, without an underlying store.
// Its check has returned the error failed.
func UncheckedStore(opts Options, failed error) Store {
	opts, err := opts.withDefaults()
	if err != nil {
		panic(err)
	}
	check := newChecker(nil, &opts, clock.New(nil))
	check.keep(&answer{check.clock.Read(), failed})
	return checked{nil, check, &changeHealth{opts: &opts}, false}
}

// NarrowGate limits the anonymous requests and the concurrent password hashes,
// independently of the machine. It returns the KDFs.
func NarrowGate(s *Service, places, slots int) *KDFs {
	s.gate = newGate(places, s.now)
	s.passwords = password.New(slots, passwordWait)
	return passwordtest.Count(s.passwords)
}

// GateAddresses is the maximum number of addresses in each table of the gate.
const GateAddresses = gateAddresses

// CheapKDFs is like CountKDFs, and makes hashing cheap for tests that try thousands of
// passwords.
func CheapKDFs(s *Service) *KDFs { return passwordtest.Cheapen(s.passwords) }
