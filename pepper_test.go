package keyfold_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

func pepperOf(letter string) []byte { return []byte(strings.Repeat(letter, 32)) }

// mustDisagree checks that err names the pepper that differs and no value.
func mustDisagree(t *testing.T, what string, err error, id string) {
	t.Helper()
	if !errors.Is(err, keyfold.ErrCheckFailed) || !errors.Is(err, keyfold.ErrUnavailable) || !strings.Contains(err.Error(), `"`+id+`"`) {
		t.Errorf("%s: got %v, want an ErrCheckFailed that names the pepper %s", what, err, id)
	}
	if err != nil && (strings.Contains(err.Error(), "aaaa") || strings.Contains(err.Error(), "bbbb")) {
		t.Errorf("%s: the error shows a pepper", what)
	}
}

// Mutations tried: no check value; a check value that each process overwrites.
func TestProcessWhosePepperDiffersRehashesAndCreatesNothing(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		plain := newService(t, store, nil)
		key, token := create(t, plain, keyfold.NewKey{Name: "n"})
		right := newService(t, store, &keyfold.Options{Peppers: map[string][]byte{"p": pepperOf("a")}, CurrentPepper: "p"})
		_, peppered := create(t, right, keyfold.NewKey{Name: "peppered"})
		before, err := store.Key(t.Context(), key.ID)
		if err != nil {
			t.Fatal(err)
		}

		typo := newService(t, store, &keyfold.Options{Peppers: map[string][]byte{"p": pepperOf("b")}, CurrentPepper: "p"})
		for name, token := range map[string]string{"a key without a pepper": token, "a key with the pepper": peppered} {
			_, err := typo.Verify(t.Context(), keyfold.Request{Token: token})
			mustDisagree(t, "Verify of "+name, err, "p")
		}
		_, _, err = typo.CreateKey(t.Context(), keyfold.NewKey{Name: "n"})
		mustDisagree(t, "CreateKey", err, "p")
		_, _, err = typo.RotateKey(t.Context(), key.ID, keyfold.RotateOptions{})
		mustDisagree(t, "RotateKey", err, "p")
		mustDisagree(t, "Ping", typo.Ping(t.Context()), "p")
		closing, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond) // it cannot store its usage
		defer cancel()
		_ = typo.Close(closing)

		if after, err := store.Key(t.Context(), key.ID); err != nil || after.Secret != before.Secret {
			t.Errorf("the stored hash has changed (%v)", err)
		}
		for name, token := range map[string]string{"a key without a pepper": token, "a key with the pepper": peppered} {
			if got := outcome(right, token); got != keyfold.OutcomeAllowed {
				t.Errorf("%s in the process that was right: %v", name, got)
			}
		}
	})
}

// A pepper is rolled out in two steps: first all processes know it, then they hash
// with it. Mutation tried: an agreement about peppers that have no check value yet.
func TestPepperThatDiffersIsNoticedOnceAnotherProcessHashesWithIt(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]keyfold.Options{"with a cache": {}, "without a cache": {DisableCache: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newSpy()
			opts.PollInterval = 10 * time.Millisecond
			opts.Peppers = map[string][]byte{"p": pepperOf("b")}
			typo := newService(t, store, &opts)
			_, token := create(t, typo, keyfold.NewKey{Name: "n"})
			if got := outcome(typo, token); got != keyfold.OutcomeAllowed {
				t.Fatalf("before: %v", got)
			}
			right := newService(t, store, &keyfold.Options{Peppers: map[string][]byte{"p": pepperOf("a")}, CurrentPepper: "p"})
			create(t, right, keyfold.NewKey{Name: "n"})
			for deadline := time.Now().Add(10 * time.Second); outcome(typo, token) == keyfold.OutcomeAllowed; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("still allowed after 10 s")
				}
			}
			_, err := typo.Verify(t.Context(), keyfold.Request{Token: token})
			mustDisagree(t, "Verify", err, "p")
		})
	}
}

func TestOfRacingProcessesWithDifferentPeppersOneWins(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		var passed atomic.Int32
		done := make(chan error, 8)
		for i := range cap(done) {
			svc := newService(t, store, &keyfold.Options{Peppers: map[string][]byte{"p": bytes.Repeat([]byte{byte(i + 1)}, 32)}, CurrentPepper: "p"})
			go func() {
				err := svc.Ping(context.Background())
				if err == nil {
					passed.Add(1)
				}
				done <- err
			}()
		}
		for range cap(done) {
			if err := <-done; err != nil && !errors.Is(err, keyfold.ErrCheckFailed) {
				t.Errorf("Ping: %v, want nil or ErrCheckFailed", err)
			}
		}
		if passed.Load() != 1 {
			t.Errorf("%d processes agree with themselves, want 1", passed.Load())
		}
	})
}
