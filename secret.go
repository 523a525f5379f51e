package keyfold

import (
	"bytes"
	"context"
	"fmt"

	"github.com/keyfold/keyfold/internal/token"
)

// peppers finds a pepper by its id. It is a function because fmt follows pointers
// and maps to what they hold, but sees nothing that a function holds.
type peppers func(id string) ([]byte, bool)

// takePeppers moves copies of the peppers out of the options.
func (o *Options) takePeppers() peppers {
	all := make(map[string][]byte, len(o.Peppers))
	for id, pepper := range o.Peppers {
		all[id] = bytes.Clone(pepper)
	}
	o.Peppers = nil
	return func(id string) ([]byte, bool) {
		pepper, ok := all[id]
		return pepper, ok
	}
}

// checkSecret reports whether the token is the one that the key was made with:
// its secret under the key's own algorithm, and its head. An algorithm or a
// pepper that this process does not know decides nothing: an [ErrUnavailable].
func (s *Service) checkSecret(who principal, parts token.Parts) (bool, error) {
	var sum [32]byte
	switch who.entry.alg {
	case token.Plain:
		sum = parts.Sum()
	case token.Peppered:
		pepper, ok := s.peppers(who.rare().pepperID)
		if !ok {
			return false, &unavailable{cause: fmt.Errorf("keyfold: pepper %q is not in Options.Peppers", who.rare().pepperID)}
		}
		sum = parts.PepperedSum(pepper)
	default:
		return false, &unavailable{cause: fmt.Errorf("keyfold: unknown hash algorithm %q", who.rare().algName)}
	}
	same := token.EqualSums(&sum, &who.entry.sum)
	if s.opts.RequirePepper && who.entry.alg != token.Peppered {
		return false, nil
	}
	return same && parts.Head == who.field(fieldHead), nil
}

// checkNobody costs what checkSecret does, so that the time of an answer does
// not tell an unknown id from a wrong secret.
func checkNobody(parts token.Parts) bool {
	sum, dummy := parts.Sum(), [32]byte{1}
	return token.EqualSums(&sum, &dummy)
}

// hashSecret hashes as new keys are hashed.
func (s *Service) hashSecret(parts token.Parts) SecretHash {
	if s.opts.CurrentPepper == "" {
		return SecretHash{Alg: token.Plain.String(), Sum: parts.Sum()}
	}
	pepper, _ := s.peppers(s.opts.CurrentPepper) // checkPeppers has found it
	return SecretHash{Alg: token.Peppered.String(), PepperID: s.opts.CurrentPepper, Sum: parts.PepperedSum(pepper)}
}

// rehash is the move of one key to the pepper that new keys get.
type rehash struct {
	keyID    string
	old, new SecretHash
}

// outdated returns the move that a key needs whose token was just verified.
func (s *Service) outdated(who principal, parts token.Parts) (rehash, bool) {
	old := SecretHash{Alg: token.Plain.String(), Sum: who.entry.sum}
	if who.entry.alg == token.Peppered {
		old.Alg, old.PepperID = token.Peppered.String(), who.rare().pepperID
	}
	if old.PepperID == s.opts.CurrentPepper {
		return rehash{}, false
	}
	return rehash{keyID: who.keyID(), old: old, new: s.hashSecret(parts)}, true
}

// apply moves the key, unless its hash was changed meanwhile.
func (r rehash) apply(ctx context.Context, store Store) error {
	return store.RehashKey(ctx, r.keyID, r.old, r.new)
}
