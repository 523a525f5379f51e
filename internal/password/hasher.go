// Package password hashes passwords, verifies them, and tells which are too
// common. It is the only package of Keyfold that reaches argon2id.
//
// The hashes are PHC strings, and the library argon2id computes and compares
// them. Its decoder puts no bounds on the parameters, so every stored hash is
// parsed and bounded here first: see parsePHC.
package password

import (
	"context"
	"errors"
	"time"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/bcrypt"
)

var (
	// ErrBusy means that all slots stayed taken for as long as a caller waits.
	// Nothing is known about the password.
	ErrBusy = errors.New("keyfold: too many passwords are being checked")

	// ErrUnknownHash means that a stored hash has a form that is not verified. It
	// never quotes the hash.
	ErrUnknownHash = errors.New("keyfold: the stored password hash has an unknown form")

	// ErrUnusable means that a password is longer than [MaxLength] or is not UTF-8.
	ErrUnusable = errors.New("keyfold: the password is too long or is not UTF-8")
)

// Functions are the functions that do the expensive work.
type Functions struct {
	// Create returns the PHC string of a password under a new salt.
	Create func(password string, params *argon2id.Params) (phc string, err error)

	// Compare reports whether a password has the hash of a PHC string.
	Compare func(password, phc string) (match bool, err error)

	// Bcrypt returns nil if the password has the hash.
	Bcrypt func(hash, password []byte) error
}

// Hasher hashes and verifies a limited number of passwords at a time: each takes
// 19 MiB and tens of milliseconds of a core, and every client that reaches a
// log-in form can ask for one. It is safe for concurrent use.
type Hasher struct {
	// Functions are replaced by tests that count the work, or avoid it, before
	// the first password.
	Functions

	slots chan struct{}
	wait  time.Duration
	dummy string // see Pretend
}

// New returns a hasher that works on at most slots passwords at a time, and on
// one if slots is less than that. A caller waits for a slot for at most wait.
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

// Hash returns the PHC string of the password under a new salt. It returns
// [ErrUnusable] for a password that Verify would not compare, [ErrBusy], or the
// error of the context.
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

// Verify reports whether the password is the stored one and, if it is, whether
// the hash is weaker than a new one. It costs one computation in every case:
// with nothing stored, or with a password that cannot exist, it computes a
// dummy. For a hash of an unknown form it returns [ErrUnknownHash] and computes
// nothing.
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
	if failed != nil { // the library reads less than parsePHC does
		return false, false, ErrUnknownHash
	}
	return match, match && parsed.isWeak(), nil
}

// verifyBcrypt is for passwords that Keyfold's predecessor stored. It compares
// the bytes as they were typed, because the predecessor normalized nothing, and
// only the first 72 of them, as every bcrypt does: refusing longer passwords
// would shut their users out. The hash that replaces it has neither flaw.
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

// Pretend costs as much as Verify, so that the time of an answer does not tell
// which accounts exist or have a password.
func (h *Hasher) Pretend(ctx context.Context) error {
	return h.run(ctx, func() { h.Compare("", h.dummy) })
}

// run does the work once there is a slot. It does not stop work that has begun,
// because the functions cannot be interrupted.
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
