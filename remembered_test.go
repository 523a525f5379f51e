package keyfold_test

import (
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// rememberedAndNot returns a Service that has cached the key of the token, and one
// on the same store that caches nothing.
func rememberedAndNot(t testing.TB, opts keyfold.Options) (cached, uncached *keyfold.Service, token string) {
	t.Helper()
	store := memory.New()
	cached = newService(t, store, &opts)
	opts.DisableCache = true
	uncached = newService(t, store, &opts)
	_, token = create(t, cached, keyfold.NewKey{})
	for range 2 { // with a poll between, because the creation evicts the key
		if got := outcome(cached, token); got != keyfold.OutcomeAllowed {
			t.Fatalf("the token is %v, want allowed", got)
		}
		heard(t, cached)
	}
	return cached, uncached, token
}

// Mutations tried: a remembered key whose head is not compared; one whose hash is not
// compared; a hash without the checksum.
func TestEveryEditOfARememberedTokenIsRefusedAsIfItWereNotRemembered(t *testing.T) {
	t.Parallel()
	pepper := map[string][]byte{"p1": []byte(strings.Repeat("pepper", 6))}
	for name, opts := range map[string]keyfold.Options{
		"plain":    {Environment: "live"},
		"peppered": {Environment: "live", Peppers: pepper, CurrentPepper: "p1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cached, uncached, token := rememberedAndNot(t, opts)
			for at := range token {
				for _, c := range alphabet + "_-\x00\xff" {
					edited := token[:at] + string(c) + token[at+1:]
					if edited == token {
						continue
					}
					for _, text := range []string{edited, sealed(edited[:len(edited)-6])} {
						got, want := outcome(cached, text), outcome(uncached, text)
						if got != want || got == keyfold.OutcomeAllowed && text != token {
							t.Fatalf("%q at %d: %v for a remembered key, %v for one that is not", c, at, got, want)
						}
					}
				}
			}
		})
	}
}

func FuzzRememberedKeysAreDecidedLikeOthers(f *testing.F) {
	cached, uncached, token := rememberedAndNot(f, keyfold.Options{})
	for _, text := range []string{
		token, "", token[1:], token + "0", "x" + token, "kf_live" + token[2:], strings.ToUpper(token),
		sealed(token[:len(token)-39] + strings.Repeat("x", 32) + "_"),
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, want := outcome(cached, text), outcome(uncached, text)
		if got != want || got == keyfold.OutcomeAllowed && text != token {
			t.Fatalf("%q: %v for a remembered key, %v for one that is not", text, got, want)
		}
	})
}

// Mutation tried: a head that is not compared.
func TestWrongHeadsDoNotEvictARememberedKey(t *testing.T) {
	t.Parallel()
	spy := newSpy()
	svc := newService(t, spy, nil)
	_, token := create(t, svc, keyfold.NewKey{})
	heard(t, svc)
	if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
		t.Fatalf("the token is %v, want allowed", got)
	}
	reads := spy.reads.Load()
	for range 3 {
		if got := outcome(svc, sealed("other"+token[2:len(token)-6])); got != keyfold.OutcomeWrongSecret {
			t.Errorf("another head: %v, want wrong_secret", got)
		}
		if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
			t.Errorf("the right head: %v, want allowed", got)
		}
	}
	if got := spy.reads.Load() - reads; got != 0 {
		t.Errorf("the store was read %d times, want 0", got)
	}
}
