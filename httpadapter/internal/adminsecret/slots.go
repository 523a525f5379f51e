package adminsecret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"

	"github.com/keyfold/keyfold"
)

const (
	minSecret      = 32
	minShortSecret = 8
	maxSecret      = 512
)

// slots holds the secrets as HMACs under a key that is random for each process. The
// texts that are compared therefore have the same length, and a client cannot choose
// them.
type slots struct {
	key   [sha256.Size]byte
	sums  [2][sha256.Size]byte // the secret and the previous one, or the secret twice
	short bool                 // a secret has fewer than minSecret characters
}

// newSlots checks the secrets. The error is a [keyfold.InvalidError] for Options.Secret or
// Options.PreviousSecret that does not repeat the secret.
func newSlots(secret, previous string, allowShort bool) (*slots, error) {
	shortest := minSecret
	if allowShort {
		shortest = minShortSecret
	}
	if err := check("Options.Secret", secret, shortest); err != nil {
		return nil, err
	}
	s := &slots{short: len(secret) < minSecret}
	switch {
	case previous == "":
		previous = secret // so that each comparison does the same work
	case previous == secret:
		return nil, &keyfold.InvalidError{Field: "Options.PreviousSecret", Reason: "must differ from Options.Secret"}
	default:
		if err := check("Options.PreviousSecret", previous, shortest); err != nil {
			return nil, err
		}
		s.short = s.short || len(previous) < minSecret
	}
	_, _ = rand.Read(s.key[:]) // never fails: crypto/rand ends the program instead
	s.sums = [2][sha256.Size]byte{s.sum(secret), s.sum(previous)}
	return s, nil
}

// check refuses a secret that is too short or that an HTTP header cannot carry
// unchanged.
func check(field, secret string, shortest int) error {
	carried := secret == strings.TrimSpace(secret) && !strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' })
	if len(secret) < shortest || len(secret) > maxSecret || !carried {
		return &keyfold.InvalidError{Field: field, Reason: fmt.Sprintf(
			"must be %d to %d printable ASCII characters without blanks around them", shortest, maxSecret)}
	}
	return nil
}

func (s *slots) sum(secret string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write([]byte(secret))
	mac.Sum(sum[:0])
	return sum
}

// compare reports whether the secret is right, and whether it is the previous one. The
// time it takes depends on neither.
func (s *slots) compare(secret string) (right, previous bool) {
	sum := s.sum(secret)
	first := subtle.ConstantTimeCompare(sum[:], s.sums[0][:])
	second := subtle.ConstantTimeCompare(sum[:], s.sums[1][:])
	return first|second == 1, first == 0 && second == 1
}
