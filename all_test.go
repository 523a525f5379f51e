package keyfold_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

func TestAllYieldsTheRowsOfAllPages(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	svc := newService(t, memory.New(), nil)
	var token keyfold.Token
	for i := range 7 {
		_, made, err := svc.CreateKey(ctx, keyfold.NewKey{Name: fmt.Sprint(i), OwnerID: "o"})
		if err != nil {
			t.Fatal(err)
		}
		token = made
		if _, err := svc.CreateUser(ctx, keyfold.NewUser{Username: fmt.Sprint("user", i)}); err != nil {
			t.Fatal(err)
		}
		if _, err := svc.Verify(ctx, keyfold.Request{Token: token.Reveal()}); err != nil {
			t.Fatal(err)
		}
	}
	if err := svc.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{0, 1, 3, 7, 200} {
		counts := map[string]int{}
		for key, err := range svc.AllKeys(ctx, keyfold.KeyQuery{OwnerID: keyfold.Only("o"), Limit: limit}) {
			if err != nil || key.OwnerID != "o" {
				t.Fatalf("a key of %q, %v", key.OwnerID, err)
			}
			counts["keys"]++
		}
		for user, err := range svc.AllUsers(ctx, keyfold.UserQuery{Limit: limit}) {
			if err != nil || user.ID == "" {
				t.Fatalf("user %+v, %v", user, err)
			}
			counts["users"]++
		}
		for event, err := range svc.AllUsage(ctx, keyfold.UsageQuery{Limit: limit, To: time.Now().Add(time.Minute)}) {
			if err != nil || event.KeyID == "" {
				t.Fatalf("event %+v, %v", event, err)
			}
			counts["events"]++
		}
		for entry, err := range svc.AllAudit(ctx, keyfold.AuditQuery{Limit: limit}) {
			if err != nil || entry.Action == "" {
				t.Fatalf("entry %+v, %v", entry, err)
			}
			counts["entries"]++
		}
		if counts["keys"] != 7 || counts["users"] != 7 || counts["events"] != 7 || counts["entries"] != 14 {
			t.Errorf("pages of %d: %v, want 7 keys, 7 users, 7 events and 14 entries", limit, counts)
		}
	}
}

func TestAllEndsWithAnErrorAndWhereTheCallerStops(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	for range 5 {
		if _, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{}); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for range svc.AllKeys(t.Context(), keyfold.KeyQuery{Limit: 2}) {
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 {
		t.Errorf("%d keys were yielded after the caller stopped at 3", seen)
	}
	var failed []error
	for key, err := range svc.AllKeys(t.Context(), keyfold.KeyQuery{OwnerID: keyfold.Only("")}) {
		if key.ID != "" {
			t.Errorf("a key comes with the error: %+v", key)
		}
		failed = append(failed, err)
	}
	if len(failed) != 1 || !errors.Is(failed[0], keyfold.ErrInvalid) {
		t.Errorf("got %v, want one InvalidError", failed)
	}
}

// Mutations tried: the place of the last event not kept; events of the last read
// yielded again.
func TestAllUsageYieldsEachEventOnceWhateverTheirNumber(t *testing.T) {
	t.Parallel()
	clock := newClock() // which stands: many events have the same time
	svc := newService(t, memory.New(), &keyfold.Options{Now: clock.now})
	_, token := create(t, svc, keyfold.NewKey{})
	const events = 4321
	for i := range events {
		if i%1000 == 0 {
			clock.add(time.Millisecond)
		}
		if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
			t.Fatal(got)
		}
	}
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := map[int64]bool{}
	last := clock.now()
	for e, err := range svc.AllUsage(t.Context(), keyfold.UsageQuery{Limit: 3}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen[e.Seq] || e.At.After(last) {
			t.Fatalf("after %d events: %+v comes twice, or too late", len(seen), e)
		}
		seen[e.Seq], last = true, e.At
	}
	if len(seen) != events {
		t.Errorf("%d events, want %d", len(seen), events)
	}
}
