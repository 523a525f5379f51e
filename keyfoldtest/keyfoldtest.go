// Package keyfoldtest helps you test programs that use Keyfold. It provides a
// Service that keeps its data in memory, keys and identities for tests, and a clock
// that the test controls.
package keyfoldtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// New returns a Service with a new in-memory store. It closes both when the test
// ends. If options is nil, the Service uses the defaults. If [keyfold.New] returns
// an error, the test fails.
func New(t testing.TB, options *keyfold.Options) *keyfold.Service {
	t.Helper()
	store := memory.New()
	svc, err := keyfold.New(store, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := svc.Close(context.Background()); err != nil {
			t.Error(err)
		}
		_ = store.Close()
	})
	return svc
}

// NewKey creates a key and returns it with the text of its token, which the test can
// send in a request. If the key cannot be created, the test fails.
func NewKey(t testing.TB, svc *keyfold.Service, n keyfold.NewKey) (keyfold.Key, string) {
	t.Helper()
	key, token, err := svc.CreateKey(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	return key, token.Reveal()
}

// Identity returns the Identity of a request with a key that is created from n.
// Fields of n that an Identity does not contain have no effect. If the key cannot be
// verified, for example because n binds it to networks, the test fails.
func Identity(t testing.TB, n keyfold.NewKey) keyfold.Identity {
	t.Helper()
	svc := New(t, nil)
	_, token := NewKey(t, svc, n)
	id, err := svc.Verify(context.Background(), keyfold.Request{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Clock is a clock that only moves when the test calls Advance. To use it, set the
// field Now of [keyfold.Options] to its method Now. It is safe for concurrent use.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a Clock that is set to the given time. If at is zero, the Clock
// is set to 2026-01-01 12:00 UTC.
func NewClock(at time.Time) *Clock {
	if at.IsZero() {
		at = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	}
	return &Clock{at: at}
}

// Now returns the current time of the clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock forward by d. If d is negative, the clock moves back, but
// a Service does not: its time stands still until the clock has caught up.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
