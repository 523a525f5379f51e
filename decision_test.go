package keyfold_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

func TestDecideAgreesWithVerify(t *testing.T) {
	t.Parallel()
	spy := newSpy()
	svc := newService(t, spy, &keyfold.Options{DisableCache: true})
	key, token := create(t, svc, keyfold.NewKey{Name: "ci", Scopes: []string{"read"}})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range []struct {
		name     string
		ctx      context.Context
		request  keyfold.Request
		want     keyfold.Outcome
		identity bool
		wait     time.Duration
	}{
		{"allowed", t.Context(), keyfold.Request{Token: token}, keyfold.OutcomeAllowed, true, 0},
		{"without a token", t.Context(), keyfold.Request{}, keyfold.OutcomeMissing, false, 0},
		{"another secret", t.Context(), keyfold.Request{Token: sealed(token[:len(token)-39] + strings.Repeat("x", 32) + "_")}, keyfold.OutcomeWrongSecret, false, 0},
		{"a scope is missing", t.Context(), keyfold.Request{Token: token, Scopes: []string{"write"}}, keyfold.OutcomeScope, true, 0},
		{"a scope with a wildcard", t.Context(), keyfold.Request{Token: token, Scopes: []string{"*"}}, keyfold.OutcomeUnavailable, false, 0},
		{"the caller gave up", gone, keyfold.Request{Token: token}, keyfold.OutcomeUnavailable, false, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := svc.Decide(row.ctx, row.request)
			id, err := svc.Verify(row.ctx, row.request)
			if got.Identity().KeyID() != id.KeyID() || fmt.Sprint(got.Err()) != fmt.Sprint(err) {
				t.Errorf("Decide: %v, %v; Verify: %v, %v", got.Identity(), got.Err(), id, err)
			}
			if got.Outcome() != row.want || got.Identity().IsZero() == row.identity || got.RetryAfter() != row.wait {
				t.Errorf("%v, wait %v; want %v, with an Identity: %v, wait %v", got, got.RetryAfter(), row.want, row.identity, row.wait)
			}
			if row.identity && got.Identity().KeyID() != key.ID {
				t.Errorf("the Identity is that of key %q, want %q", got.Identity().KeyID(), key.ID)
			}
		})
	}
	fail := func(context.Context) error { return errors.New("the database is away") }
	on(&spy.verify, fail)
	if got := svc.Decide(t.Context(), keyfold.Request{Token: token}); got.Outcome() != keyfold.OutcomeUnavailable || got.RetryAfter() != time.Second {
		t.Errorf("without a store: %v, wait %v; want unavailable and one second", got, got.RetryAfter())
	}
}

// For a verb that a value does not have, fmt follows a pointer in an unexported field.
//
// Mutation tried: a Key with a *chunk and an *entry.
func TestUnexportedIdentityShowsNothingOfTheKey(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	_, token := create(t, svc, keyfold.NewKey{Name: "nightly-import"})
	d := svc.Decide(t.Context(), keyfold.Request{Token: token})
	host := struct {
		id keyfold.Identity
		d  keyfold.Decision
	}{d.Identity(), d}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%e", "%z", "%p"} {
		if text := fmt.Sprintf(verb, host); len(text) > 600 || strings.Contains(text, "nightly-import") {
			t.Errorf("%s shows the inside of the cache: %.200q", verb, text)
		}
	}
}

// Mutation tried: Err returns the error as it is.
func TestZeroDecisionAllowsNothing(t *testing.T) {
	t.Parallel()
	var d keyfold.Decision
	if !errors.Is(d.Err(), keyfold.ErrUnauthenticated) || d.Outcome() == keyfold.OutcomeAllowed || !d.Identity().IsZero() {
		t.Errorf("the zero Decision is %v with %v", d, d.Err())
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	svc := newService(t, memory.New(), nil)
	_, token := create(t, svc, keyfold.NewKey{Scopes: []string{"read"}})
	heard(t, svc)
	request := keyfold.Request{Token: token, Scopes: []string{"read"}, Route: "GET /reports"}
	var d keyfold.Decision
	decide := func() { d = svc.Decide(t.Context(), request) }
	for range 20_000 { // the shards of the recorder grow first
		decide()
	}
	if n := testing.AllocsPerRun(1000, decide); n != 0 || d.Err() != nil {
		t.Errorf("Decide allocates %v times, want 0; %v", n, d)
	}
	if size := unsafe.Sizeof(d); size > 128 {
		t.Errorf("a Decision has %d bytes, want at most 128", size)
	}
}

func ExampleService_Decide() {
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		panic(err)
	}
	defer svc.Close(context.Background())
	_, token, err := svc.CreateKey(context.Background(), keyfold.NewKey{Name: "ci", Scopes: []string{"reports:read"}})
	if err != nil {
		panic(err)
	}
	d := svc.Decide(context.Background(), keyfold.Request{Token: token.Reveal(), Scopes: []string{"reports:write"}})
	fmt.Println(d.Outcome(), d.Identity().Name(), d.Err())
	// Output: scope ci keyfold: forbidden (scope)
}
