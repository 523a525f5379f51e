package keyset_test

import (
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/keyset"
)

func TestTokensAreWellFormedAndTheirNumberIsFoundAgain(t *testing.T) {
	t.Parallel()
	keys := keyset.New(1000)
	for i := range keys.Len() {
		token, err := keyfold.ParseToken(keys.Token(i))
		if err != nil {
			t.Fatalf("token %d: %v", i, err)
		}
		if token.ID() != keys.ID(i) || keyset.Index(keys.ID(i)) != i {
			t.Fatalf("token %d: id %q, number %d", i, token.ID(), keyset.Index(keys.ID(i)))
		}
	}
}

func TestUnknownTokensAreWellFormed(t *testing.T) {
	t.Parallel()
	if _, err := keyfold.ParseToken(string(keyset.Unknown(nil, 7))); err != nil {
		t.Error(err)
	}
}
