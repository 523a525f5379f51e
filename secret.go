package keyfold

import (
	"bytes"
	"context"
	"fmt"

	"github.com/keyfold/keyfold/internal/keycache"
	"github.com/keyfold/keyfold/internal/token"
)

// secrets hashes the secrets of tokens, and compares them with stored hashes.
type secrets struct {
	// pepper finds a pepper by its id. It is a function because fmt follows pointers
	// and maps to their contents, but cannot look into a function.
	pepper  func(id string) ([]byte, bool)
	signID  string // of the pepper for new keys; empty for none
	require bool   // refuse keys without a pepper
}

// takeSecrets moves copies of the peppers out of the options.
func (o *Options) takeSecrets() *secrets {
	all := make(map[string][]byte, len(o.Peppers))
	for id, pepper := range o.Peppers {
		all[id] = bytes.Clone(pepper)
	}
	o.Peppers = nil
	return &secrets{
		signID: o.CurrentPepper, require: o.RequirePepper,
		pepper: func(id string) ([]byte, bool) {
			pepper, ok := all[id]
			return pepper, ok
		},
	}
}

// match reports whether the token is the one that the key was made with: its
// secret under the key's own algorithm, and its head. If this process does not
// know the algorithm or the pepper, it decides nothing: an [ErrUnavailable].
func (s *secrets) match(key keycache.Key, parts token.Parts) (bool, error) {
	var sum [32]byte
	switch key.Algorithm() {
	case token.Plain:
		sum = parts.Sum()
	case token.Peppered:
		pepper, ok := s.pepper(key.PepperID())
		if !ok {
			return false, &unavailable{cause: fmt.Errorf("keyfold: pepper %q is not in Options.Peppers", key.PepperID())}
		}
		sum = parts.PepperedSum(pepper)
	default:
		return false, &unavailable{cause: fmt.Errorf("keyfold: unknown hash algorithm %q", key.AlgorithmName())}
	}
	same := token.EqualSums(&sum, key.Sum())
	if s.require && key.Algorithm() != token.Peppered {
		return false, nil
	}
	return same && parts.Head == key.Head(), nil
}

// compareInVain costs what match does, so that the time of an answer does not
// reveal whether the id is unknown or the secret wrong.
func compareInVain(parts token.Parts) bool {
	sum, dummy := parts.Sum(), [32]byte{1}
	return token.EqualSums(&sum, &dummy)
}

// hash hashes a secret as those of new keys are hashed.
func (s *secrets) hash(parts token.Parts) SecretHash {
	if s.signID == "" {
		return SecretHash{Alg: token.Plain.String(), Sum: parts.Sum()}
	}
	pepper, _ := s.pepper(s.signID) // checkPeppers has found it
	return SecretHash{Alg: token.Peppered.String(), PepperID: s.signID, Sum: parts.PepperedSum(pepper)}
}

// rehash is the move of one key to the pepper of new keys.
type rehash struct {
	keyID    string
	old, new SecretHash
}

// outdated returns the move that a key needs whose token was just verified.
func (s *secrets) outdated(key keycache.Key, parts token.Parts) (rehash, bool) {
	old := SecretHash{Alg: token.Plain.String(), Sum: *key.Sum()}
	if key.Algorithm() == token.Peppered {
		old.Alg, old.PepperID = token.Peppered.String(), key.PepperID()
	}
	if old.PepperID == s.signID {
		return rehash{}, false
	}
	return rehash{keyID: key.ID(), old: old, new: s.hash(parts)}, true
}

// apply moves the key, unless its hash has changed since.
func (r rehash) apply(ctx context.Context, store Store) error {
	return store.RehashKey(ctx, r.keyID, r.old, r.new)
}
