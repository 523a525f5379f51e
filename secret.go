package keyfold

import (
	"context"
	"fmt"
)

// dummySecret is what an unknown id is compared with.
var dummySecret = VerifyRecord{Secret: SecretHash{Alg: algPlain, Sum: [32]byte{1}}}

// checkSecret reports whether the token is the one the record was made for:
// its secret under the record's own algorithm, and its head. An algorithm or
// pepper that this process does not know decides nothing: an [ErrUnavailable].
func (s *Service) checkSecret(record *VerifyRecord, token tokenParts) (bool, error) {
	var sum [32]byte
	switch record.Secret.Alg {
	case algPlain:
		sum = plainHash(token.id, token.secret)
	case algPepper:
		pepper, ok := s.opts.Peppers[record.Secret.PepperID]
		if !ok {
			return false, &unavailable{cause: fmt.Errorf("keyfold: pepper %q is not in Options.Peppers", record.Secret.PepperID)}
		}
		sum = pepperHash(pepper, token.id, token.secret)
	default:
		return false, &unavailable{cause: fmt.Errorf("keyfold: unknown hash algorithm %q", record.Secret.Alg)}
	}
	same := sameHash(&sum, &record.Secret.Sum)
	if s.opts.RequirePepper && record.Secret.Alg != algPepper {
		return false, nil
	}
	return same && isHeadOf(token.head, record.Prefix, record.Environment), nil
}

// isHeadOf reports whether head is prefix, or prefix_environment.
func isHeadOf(head, prefix, environment string) bool {
	if environment == "" {
		return head == prefix
	}
	return len(head) == len(prefix)+1+len(environment) && head[:len(prefix)] == prefix &&
		head[len(prefix)] == '_' && head[len(prefix)+1:] == environment
}

// hashSecret hashes as new keys are hashed.
func (s *Service) hashSecret(token tokenParts) SecretHash {
	if s.opts.SignPepper == "" {
		return SecretHash{Alg: algPlain, Sum: plainHash(token.id, token.secret)}
	}
	pepper := s.opts.Peppers[s.opts.SignPepper]
	return SecretHash{Alg: algPepper, PepperID: s.opts.SignPepper, Sum: pepperHash(pepper, token.id, token.secret)}
}

// rehash is the move of one key to the pepper that new keys get.
type rehash struct {
	keyID    string
	old, new SecretHash
}

// outdated returns the move that a key needs whose token was just verified.
func (s *Service) outdated(record *VerifyRecord, token tokenParts) (rehash, bool) {
	if s.opts.SignPepper == "" || record.Secret.PepperID == s.opts.SignPepper {
		return rehash{}, false
	}
	return rehash{keyID: record.KeyID, old: record.Secret, new: s.hashSecret(token)}, true
}

// apply moves the key, unless its hash was changed meanwhile.
func (r rehash) apply(ctx context.Context, store Store) error {
	return store.RehashKey(ctx, r.keyID, r.old, r.new)
}
