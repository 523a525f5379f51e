package keyfold

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"
)

// What new passwords are hashed with: the first choice of the OWASP Password
// Storage Cheat Sheet for argon2id.
const (
	argonMemory  = 19456 // KiB
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes; RFC 9106 section 3.1
	argonKey     = 32 // bytes
)

// The bounds of a stored hash. A row may have been written by another program,
// or by an attacker who can write to the database and nothing more: it must
// not cost the memory or the time of the process. The package argon2 panics on
// a zero.
const (
	maxArgonMemory = 128 << 10 // KiB
	maxArgonTime   = 16
	minArgonSalt   = 8 // bytes; RFC 9106 section 3.1
	maxArgonSalt   = 64
	minArgonKey    = 16
	maxArgonKey    = 64
	maxPHC         = 256 // bytes; the longest within the bounds has 208
	maxBcryptCost  = 15  // about as slow as the most that is allowed to argon2id
)

// maxPassword is the longest password in code points of its NFC form.
const maxPassword = 256

// maxPasswordBytes is what maxPassword code points can take before they are
// composed: one comes of at most four, of at most four bytes each.
const maxPasswordBytes = maxPassword * 4 * utf8.UTFMax

// errManyPasswords is of both parents: the caller has to wait, and nothing is known
// about the password.
const errManyPasswords = busy("keyfold: too many passwords are being checked")

// errUnknownHash never quotes the hash.
var errUnknownHash = errors.New("keyfold: the stored password hash is of no known form")

// passwordHasher hashes and verifies passwords, only so many at once: each
// takes 19 MiB and tens of milliseconds of a core, and whoever reaches a log-in
// form can ask for one. Safe for concurrent use.
type passwordHasher struct {
	slots chan struct{}
	wait  time.Duration

	// The two functions that do the work, fields so that tests can count them.
	argon2 func(password, salt []byte, time, memory uint32, threads uint8, keyLen uint32) []byte
	bcrypt func(hash, password []byte) error
}

// newPasswordHasher returns a hasher that works on at most slots passwords at
// once. A caller waits for a slot as long as wait.
func newPasswordHasher(slots int, wait time.Duration) *passwordHasher {
	return &passwordHasher{
		slots:  make(chan struct{}, max(1, slots)),
		wait:   wait,
		argon2: argon2.IDKey,
		bcrypt: bcrypt.CompareHashAndPassword,
	}
}

// hash returns the PHC string of the password under a new salt. A password that
// no verify would look at is an [InvalidError].
func (h *passwordHasher) hash(ctx context.Context, password string) (string, error) {
	normal, ok := normalPassword(password)
	if !ok {
		return "", invalid("password", fmt.Sprintf("at most %d characters of UTF-8", maxPassword))
	}
	made := argonHash{memory: argonMemory, time: argonTime, threads: argonThreads, salt: make([]byte, argonSalt)}
	rand.Read(made.salt) // never fails
	err := h.run(ctx, func() { made.key = h.derive(normal, made, argonKey) })
	if err != nil {
		return "", err
	}
	return made.String(), nil
}

// verify reports whether the password is the one that was stored, and beside a
// match whether the hash is weaker than one made today. It costs one
// computation whatever it is given: with nothing stored, or a password that
// cannot be anybody's, a dummy one. A hash of no known form is an
// [ErrUnavailable] and costs none.
func (h *passwordHasher) verify(ctx context.Context, password, stored string) (match, outdated bool, err error) {
	normal, ok := normalPassword(password)
	if stored == "" || !ok {
		return false, false, h.pretend(ctx)
	}
	if isBcrypt(stored) {
		match, err = h.verifyBcrypt(ctx, password, stored)
		return match, match, err
	}
	want, ok := parseArgonHash(stored)
	if !ok {
		return false, false, &unavailable{cause: errUnknownHash}
	}
	err = h.run(ctx, func() {
		key := h.derive(normal, want, len(want.key))
		match = subtle.ConstantTimeCompare(key, want.key) == 1
	})
	return match, match && want.isWeak(), err
}

// verifyBcrypt is for passwords that Keyfold's predecessor stored. It takes the
// bytes as they were typed, because nothing was normalised there, and only the
// first 72 of them, as every bcrypt does: to refuse longer ones would shut out
// the users who have them. The hash that replaces it has neither fault.
func (h *passwordHasher) verifyBcrypt(ctx context.Context, password, stored string) (match bool, err error) {
	var result error
	err = h.run(ctx, func() { result = h.bcrypt([]byte(stored), []byte(password)) })
	switch {
	case err != nil:
		return false, err
	case result == nil:
		return true, nil
	case errors.Is(result, bcrypt.ErrMismatchedHashAndPassword):
		return false, nil
	}
	return false, &unavailable{cause: errUnknownHash}
}

// pretend costs what verify does, so that the time of an answer does not tell
// who has an account or a password.
func (h *passwordHasher) pretend(ctx context.Context) error {
	dummy := argonHash{memory: argonMemory, time: argonTime, threads: argonThreads, salt: make([]byte, argonSalt)}
	return h.run(ctx, func() { h.derive("", dummy, argonKey) })
}

func (h *passwordHasher) derive(normal string, with argonHash, length int) []byte {
	return h.argon2([]byte(normal), with.salt, with.time, with.memory, with.threads, uint32(length))
}

// run does the work once there is a slot. Work that has begun is finished: it
// cannot be stopped half-way.
func (h *passwordHasher) run(ctx context.Context, work func()) error {
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

func (h *passwordHasher) acquire(ctx context.Context) error {
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
		return errManyPasswords
	case <-ctx.Done():
		return ctx.Err()
	}
}

// normalPassword returns the form in which passwords are counted and compared:
// NFC, because the same key presses give other code points on other systems
// (RFC 8265, section 4.2.2). It is not ok for bytes that are no UTF-8, whose
// replacements would make different passwords the same, and for more than
// maxPassword code points.
func normalPassword(password string) (normal string, ok bool) {
	if len(password) > maxPasswordBytes || !utf8.ValidString(password) {
		return "", false
	}
	normal = norm.NFC.String(password)
	return normal, utf8.RuneCountInString(normal) <= maxPassword
}

// argonHash is an argon2id hash and what it was made with.
type argonHash struct {
	memory, time uint32
	threads      uint8
	salt, key    []byte
}

// String returns the hash in the PHC string format.
func (a argonHash) String() string {
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s",
		argon2.Version, a.memory, a.time, a.threads, encode(a.salt), encode(a.key))
}

// isWeak reports whether the hash is weaker than one made today. Time may stand
// in for memory and memory for time, as in the alternatives that OWASP lists,
// but less memory is always weaker: it is what an attacker's hardware lacks.
func (a argonHash) isWeak() bool {
	return a.memory < argonMemory || a.memory*a.time < argonMemory*argonTime ||
		len(a.salt) < argonSalt || len(a.key) < argonKey
}

// parseArgonHash reads a PHC string. It takes exactly what String writes,
// within the bounds above.
func parseArgonHash(text string) (argonHash, bool) {
	parts := strings.SplitN(text, "$", 7)
	if len(text) > maxPHC || len(parts) != 6 {
		return argonHash{}, false
	}
	var a argonHash
	for i, parameter := range strings.SplitN(parts[3], ",", 4) {
		name, digits, _ := strings.Cut(parameter, "=")
		number, err := strconv.ParseUint(digits, 10, 32)
		switch {
		case err != nil:
			return argonHash{}, false
		case i == 0 && name == "m":
			a.memory = uint32(number)
		case i == 1 && name == "t":
			a.time = uint32(number)
		case i == 2 && name == "p" && number <= 255:
			a.threads = uint8(number)
		default:
			return argonHash{}, false
		}
	}
	var badSalt, badKey error
	a.salt, badSalt = base64.RawStdEncoding.DecodeString(parts[4])
	a.key, badKey = base64.RawStdEncoding.DecodeString(parts[5])
	// The comparison settles what is before the parameters, leading zeros, and
	// the line breaks and spare bits that the decoder overlooks.
	if badSalt != nil || badKey != nil || !a.isBounded() || a.String() != text {
		return argonHash{}, false
	}
	return a, true
}

// isBounded reports whether the hash may be computed. Eight blocks of memory a
// thread are the least that there is (RFC 9106, section 3.1).
func (a argonHash) isBounded() bool {
	return a.threads >= 1 && a.time >= 1 && a.time <= maxArgonTime &&
		a.memory >= 8*uint32(a.threads) && a.memory <= maxArgonMemory &&
		len(a.salt) >= minArgonSalt && len(a.salt) <= maxArgonSalt &&
		len(a.key) >= minArgonKey && len(a.key) <= maxArgonKey
}

// isBcrypt reports whether text is a bcrypt hash that may be computed: of a
// revision whose hashes are the same today ("2x" marks those of a bug), of a
// bounded cost, and of the right length and alphabet.
func isBcrypt(text string) bool {
	if len(text) != 60 || text[0] != '$' || text[3] != '$' || text[6] != '$' {
		return false
	}
	switch text[1:3] {
	case "2a", "2b", "2y":
	default:
		return false
	}
	cost, err := strconv.ParseUint(text[4:6], 10, 8)
	if err != nil || int(cost) < bcrypt.MinCost || cost > maxBcryptCost {
		return false
	}
	for _, c := range []byte(text[7:]) {
		if c != '.' && c != '/' && !isBase62(string(c)) {
			return false
		}
	}
	return true
}
