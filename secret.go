package keyfold

import (
	"bytes"
	"context"
	"fmt"
)

// hashAlg is the algorithm that a secret was hashed with.
type hashAlg uint8

const (
	algUnknown hashAlg = iota
	algPlain           // "kf1": SHA-256("kf1" ‖ 0 ‖ id ‖ secret), 52 bytes, one block
	algPepper          // "kf1h": HMAC-SHA-256(pepper, the same 52 bytes)
)

// The names of the algorithms are stored, so they are never reused.
const (
	plainName  = "kf1"
	pepperName = "kf1h"
)

func parseAlg(name string) hashAlg {
	switch name {
	case plainName:
		return algPlain
	case pepperName:
		return algPepper
	}
	return algUnknown
}

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
func (s *Service) checkSecret(who principal, token tokenParts) (bool, error) {
	var sum [32]byte
	switch who.entry.alg {
	case algPlain:
		sum = plainHash(token.id, token.secret)
	case algPepper:
		pepper, ok := s.peppers(who.rare().pepperID)
		if !ok {
			return false, &unavailable{cause: fmt.Errorf("keyfold: pepper %q is not in Options.Peppers", who.rare().pepperID)}
		}
		sum = pepperHash(pepper, token.id, token.secret)
	default:
		return false, &unavailable{cause: fmt.Errorf("keyfold: unknown hash algorithm %q", who.rare().algName)}
	}
	same := sameHash(&sum, &who.entry.sum)
	if s.opts.RequirePepper && who.entry.alg != algPepper {
		return false, nil
	}
	return same && token.head == who.field(fieldHead), nil
}

// checkNobody costs what checkSecret does, so that the time of an answer does
// not tell an unknown id from a wrong secret.
func checkNobody(token tokenParts) bool {
	sum, dummy := plainHash(token.id, token.secret), [32]byte{1}
	return sameHash(&sum, &dummy)
}

// hashSecret hashes as new keys are hashed.
func (s *Service) hashSecret(token tokenParts) SecretHash {
	if s.opts.SignPepper == "" {
		return SecretHash{Alg: plainName, Sum: plainHash(token.id, token.secret)}
	}
	pepper, _ := s.peppers(s.opts.SignPepper) // checkPeppers has found it
	return SecretHash{Alg: pepperName, PepperID: s.opts.SignPepper, Sum: pepperHash(pepper, token.id, token.secret)}
}

// rehash is the move of one key to the pepper that new keys get.
type rehash struct {
	keyID    string
	old, new SecretHash
}

// outdated returns the move that a key needs whose token was just verified.
func (s *Service) outdated(who principal, token tokenParts) (rehash, bool) {
	old := SecretHash{Alg: plainName, Sum: who.entry.sum}
	if who.entry.alg == algPepper {
		old.Alg, old.PepperID = pepperName, who.rare().pepperID
	}
	if old.PepperID == s.opts.SignPepper {
		return rehash{}, false
	}
	return rehash{keyID: who.keyID(), old: old, new: s.hashSecret(token)}, true
}

// apply moves the key, unless its hash was changed meanwhile.
func (r rehash) apply(ctx context.Context, store Store) error {
	return store.RehashKey(ctx, r.keyID, r.old, r.new)
}
