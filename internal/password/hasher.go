// Package password hashes and verifies passwords, and reports whether a password
// is too common. No other package of Keyfold computes password hashes.
//
// Hashes are PHC strings, which the library argon2id computes and compares. The
// decoder of the library does not bound the parameters, so this package parses
// every stored hash and checks its bounds first: see parsePHC.
package password

import (
	"context"
	"errors"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/bcrypt"
)

var (
	// ErrBusy means that no slot became free in time. The password was not
	// checked.
	ErrBusy = errors.New("keyfold: too many passwords are being checked")

	// ErrUnknownHash means that the format or the parameters of a stored hash are
	// not supported. The error never contains the hash.
	ErrUnknownHash = errors.New("keyfold: the stored password hash has an unknown form")

	// ErrUnusable means that a password is longer than [MaxLength] or is not UTF-8.
	ErrUnusable = errors.New("keyfold: the password is too long or is not UTF-8")
)

// Functions are the expensive functions that a Hasher calls.
type Functions struct {
	// Create hashes a password with a new salt and returns the PHC string.
	Create func(password string, params *argon2id.Params) (phc string, err error)

	// Compare reports whether a password matches a PHC string.
	Compare func(password, phc string) (match bool, err error)

	// Bcrypt returns nil if the password matches the hash.
	Bcrypt func(hash, password []byte) error
}

// Hasher hashes and verifies passwords. It limits how many it computes at the
// same time, because each computation takes 19 MiB and tens of milliseconds of a
// core, and any client that can reach a login form can cause one. A Hasher is
// safe for concurrent use.
type Hasher struct {
	// Tests replace Functions to count or avoid the work. They must do so before
	// the first call.
	Functions

	slots chan struct{}
	wait  time.Duration
	dummy string // see Pretend
}

// New returns a Hasher that computes at most slots hashes at the same time. If
// slots is less than 1, New uses 1. A caller waits for a slot for at most wait.
func New(slots int, wait time.Duration) *Hasher {
	return &Hasher{
		Functions: Functions{
			Create:  argon2id.CreateHash,
			Compare: argon2id.ComparePasswordAndHash,
			Bcrypt:  bcrypt.CompareHashAndPassword,
		},
		slots: make(chan struct{}, max(1, slots)),
		wait:  wait,
		dummy: phc{
			memory: argonMemory, time: argonTime, threads: argonThreads,
			salt: make([]byte, argonSalt), key: make([]byte, argonKey),
		}.String(),
	}
}

// Hash hashes the password with a new salt and returns the PHC string. The error
// is [ErrUnusable] if Verify would reject the password without comparing it,
// [ErrBusy], or the error of the context.
func (h *Hasher) Hash(ctx context.Context, password string) (stored string, err error) {
	normal, ok := Normalize(password)
	if !ok {
		return "", ErrUnusable
	}
	var failed error
	err = h.run(ctx, func() {
		stored, failed = h.Create(normal, &argon2id.Params{
			Memory: argonMemory, Iterations: argonTime, Parallelism: argonThreads,
			SaltLength: argonSalt, KeyLength: argonKey,
		})
	})
	return stored, errors.Join(err, failed)
}

// Verify reports whether the password matches the stored hash. If it does,
// outdated reports whether the hash is weaker than a new one.
//
// Verify computes one hash even if stored is empty or the password is unusable,
// so that its duration does not reveal either. If it does not support the stored
// hash, it returns [ErrUnknownHash] without computing anything.
func (h *Hasher) Verify(ctx context.Context, password, stored string) (match, outdated bool, err error) {
	normal, ok := Normalize(password)
	if stored == "" || !ok {
		return false, false, h.Pretend(ctx)
	}
	if isBcrypt(stored) {
		match, err = h.verifyBcrypt(ctx, password, stored)
		return match, match, err
	}
	parsed, ok := parsePHC(stored)
	if !ok {
		return false, false, ErrUnknownHash
	}
	var failed error
	if err := h.run(ctx, func() { match, failed = h.Compare(normal, stored) }); err != nil {
		return false, false, err
	}
	if failed != nil { // parsePHC accepted a hash that the library does not support
		return false, false, ErrUnknownHash
	}
	return match, match && parsed.isWeak(), nil
}

// verifyBcrypt verifies the hashes of Keyfold's predecessor. It does not normalize
// the password, because the predecessor did not. Like the predecessor, it compares
// only the first 72 bytes, because refusing longer passwords would lock their users
// out. The argon2id hash that replaces a bcrypt hash has neither limitation.
func (h *Hasher) verifyBcrypt(ctx context.Context, password, stored string) (match bool, err error) {
	var result error
	err = h.run(ctx, func() { result = h.Bcrypt([]byte(stored), []byte(password)) })
	switch {
	case err != nil:
		return false, err
	case result == nil:
		return true, nil
	case errors.Is(result, bcrypt.ErrMismatchedHashAndPassword):
		return false, nil
	}
	return false, ErrUnknownHash
}

// Pretend takes as long as Verify. Callers use it so that the response time does
// not reveal whether an account exists or has a password.
func (h *Hasher) Pretend(ctx context.Context) error {
	return h.run(ctx, func() { h.Compare("", h.dummy) })
}

// run waits for a slot and then does the work. It ignores the context once the
// work has begun, because the hash functions cannot be interrupted.
func (h *Hasher) run(ctx context.Context, work func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-h.slots }()
	work()
	return nil
}

func (h *Hasher) acquire(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(h.wait)
	defer timer.Stop()
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}
