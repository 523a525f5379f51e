package admin

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

// secretHeader is the only place a secret is read from.
const secretHeader = "Secret-Key"

const (
	minSecret = 32
	maxSecret = 512
)

// guard knows the secrets by their HMAC under a key that lives as long as the
// process: what is compared has one length, and cannot be steered by whoever
// sends it.
type guard struct {
	key   [sha256.Size]byte
	slots [2][sha256.Size]byte
}

func newGuard(secret, previous string) (*guard, error) {
	if err := checkSecret("Options.Secret", secret); err != nil {
		return nil, err
	}
	if previous == "" {
		previous = secret // so that each comparison does the same work
	} else if err := checkSecret("Options.PreviousSecret", previous); err != nil {
		return nil, err
	}
	g := &guard{}
	_, _ = rand.Read(g.key[:]) // never fails: crypto/rand ends the program instead
	g.slots = [2][sha256.Size]byte{g.sum(secret), g.sum(previous)}
	return g, nil
}

// checkSecret refuses what is too short, and what no HTTP header can carry
// unchanged. The error does not repeat the secret.
func checkSecret(field, secret string) error {
	carried := secret == strings.TrimSpace(secret) && !strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' })
	if len(secret) < minSecret || len(secret) > maxSecret || !carried {
		return &keyfold.InvalidError{Field: field, Allowed: fmt.Sprintf(
			"%d to %d printable ASCII characters without blanks around them", minSecret, maxSecret)}
	}
	return nil
}

func (g *guard) sum(secret string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, g.key[:])
	mac.Write([]byte(secret))
	mac.Sum(sum[:0])
	return sum
}

// admits reports whether the request carries one secret and it is in a slot.
func (g *guard) admits(r *http.Request) bool {
	values := r.Header[secretHeader]
	if len(values) != 1 {
		return false
	}
	sum := g.sum(values[0])
	match := 0
	for i := range g.slots {
		match |= subtle.ConstantTimeCompare(sum[:], g.slots[i][:])
	}
	return match == 1
}
