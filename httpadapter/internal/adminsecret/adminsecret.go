// Package adminsecret decides whether a request carries the admin secret, for
// every handler that asks for it.
package adminsecret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"github.com/keyfold/keyfold"
)

// Header is the only place a secret is read from, in its canonical form.
const Header = "Secret-Key"

const (
	minSecret      = 32
	minShortSecret = 8
	maxSecret      = 512
)

// Slots knows the secrets by their HMAC under a key that lives as long as the
// process: what is compared has one length, and cannot be steered by whoever
// sends it.
type Slots struct {
	key   [sha256.Size]byte
	slots [2][sha256.Size]byte
}

// New returns the slots for a secret and, unless it is empty, the one before
// it. Both have at least 32 characters, or 8 where short ones are allowed.
// Errors: an [keyfold.InvalidError] for Options.Secret or
// Options.PreviousSecret, which does not repeat the secret.
func New(secret, previous string, allowShort bool) (*Slots, error) {
	shortest := minSecret
	if allowShort {
		shortest = minShortSecret
	}
	if err := check("Options.Secret", secret, shortest); err != nil {
		return nil, err
	}
	if previous == "" {
		previous = secret // so that each comparison does the same work
	} else if err := check("Options.PreviousSecret", previous, shortest); err != nil {
		return nil, err
	}
	s := &Slots{}
	_, _ = rand.Read(s.key[:]) // never fails: crypto/rand ends the program instead
	s.slots = [2][sha256.Size]byte{s.sum(secret), s.sum(previous)}
	return s, nil
}

// check refuses what is too short, and what no HTTP header can carry unchanged.
func check(field, secret string, shortest int) error {
	carried := secret == strings.TrimSpace(secret) && !strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' })
	if len(secret) < shortest || len(secret) > maxSecret || !carried {
		return &keyfold.InvalidError{Field: field, Allowed: fmt.Sprintf(
			"%d to %d printable ASCII characters without blanks around them", shortest, maxSecret)}
	}
	return nil
}

func (s *Slots) sum(secret string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write([]byte(secret))
	mac.Sum(sum[:0])
	return sum
}

// Admit reports whether the request carries one secret and it is in a slot.
func (s *Slots) Admit(r *http.Request) bool {
	values := r.Header[Header]
	if len(values) != 1 {
		return false
	}
	sum := s.sum(values[0])
	match := 0
	for i := range s.slots {
		match |= subtle.ConstantTimeCompare(sum[:], s.slots[i][:])
	}
	return match == 1
}
