package keyfold_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// probingSpy is a store that refuses changes of settings, and knows it.
type probingSpy struct {
	*spy
	full   bool
	probes int
}

func (s *probingSpy) SetSetting(ctx context.Context, name, value string, m keyfold.Mutation) error {
	if s.full {
		return fmt.Errorf("store: %w", keyfold.ErrNoSpace)
	}
	return s.spy.SetSetting(ctx, name, value, m)
}

func (s *probingSpy) Probe(context.Context) error {
	s.probes++
	if s.full {
		return keyfold.ErrNoSpace
	}
	return nil
}

func wantNotReady(t *testing.T, svc *keyfold.Service, part keyfold.ReadyPart, cause error) {
	t.Helper()
	err := svc.Ready(t.Context())
	var failed *keyfold.NotReadyError
	if !errors.As(err, &failed) || failed.Part != part || !errors.Is(err, keyfold.ErrUnavailable) || !errors.Is(err, cause) {
		t.Errorf("Ready: %v, want a NotReadyError of %q with %v", err, part, cause)
	}
}

func TestReadyTellsThatChangesFailAndProbesRarely(t *testing.T) {
	t.Parallel()
	store := &probingSpy{spy: newSpy()}
	svc := newService(t, store, nil)
	for range 5 {
		if err := svc.Ready(t.Context()); err != nil {
			t.Fatalf("Ready: %v", err)
		}
	}
	if store.probes != 1 {
		t.Errorf("%d probes of a store that nothing is known about, want one", store.probes)
	}
	store.full = true
	if err := svc.PublishRules(t.Context()); !errors.Is(err, keyfold.ErrUnavailable) {
		t.Fatalf("PublishRules: %v", err)
	}
	for range 5 {
		wantNotReady(t, svc, keyfold.PartChanges, keyfold.ErrNoSpace)
	}
	if store.probes != 1 {
		t.Errorf("%d probes right after a change that failed, want no further one", store.probes)
	}
	store.full = false
	if err := svc.PublishRules(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := svc.Ready(t.Context()); err != nil {
		t.Errorf("Ready after a change that succeeded: %v", err)
	}
}

func TestReadyTellsThatUsageIsNotStored(t *testing.T) {
	t.Parallel()
	store, down := newSpy(), errors.New("down")
	svc := newService(t, store, &keyfold.Options{FlushInterval: time.Minute})
	_, token := create(t, svc, keyfold.NewKey{})
	if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token}); err != nil {
		t.Fatal(err)
	}
	on(&store.record, func(context.Context) error { return down })
	if err := svc.Flush(t.Context()); !errors.Is(err, keyfold.ErrUnavailable) {
		t.Fatalf("Flush: %v", err)
	}
	wantNotReady(t, svc, keyfold.PartUsage, down)
	on(&store.record, nil)
	if err := svc.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := svc.Ready(t.Context()); err != nil {
		t.Errorf("Ready once usage is stored: %v", err)
	}
}

// A program's own error says nothing about the database, and neither does a conflict.
func TestReadyIgnoresErrorsThatAreNotOfTheDatabase(t *testing.T) {
	t.Parallel()
	svc := newService(t, newSpy(), nil)
	_ = svc.InTx(t.Context(), func(*keyfold.Service) error { return errors.New("changed my mind") })
	_ = svc.RevokeKey(t.Context(), "no-such-key", "")
	if err := svc.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
	store := newSpy()
	on(&store.check, func(context.Context) error { return keyfold.ErrCheckFailed })
	wantNotReady(t, newService(t, store, nil), keyfold.PartCheck, keyfold.ErrCheckFailed)
}
