// Package keyfoldtest helps to test programs that use Keyfold: a Service in
// memory, keys in one line, identities for handlers, and a clock to move.
package keyfoldtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// New returns a Service on a new store in memory that is closed when the test
// ends. Nil options mean the defaults; options that New of keyfold refuses end
// the test.
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
		_ = store.Close() // it is in memory: there is nothing to lose
	})
	return svc
}

// NewKey creates a key and returns it with the text of its token, to be put
// into a request. An error ends the test.
func NewKey(t testing.TB, svc *keyfold.Service, n keyfold.NewKey) (keyfold.Key, string) {
	t.Helper()
	key, token, err := svc.CreateKey(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	return key, token.Reveal()
}

// Identity returns the Identity that a request with such a key gets. Only the
// fields that an Identity tells of matter; a key bound to networks or expired
// in n ends the test, as it gets none.
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

// Clock is a clock that stands still until it is moved. Give its Now to
// keyfold.Options. It is safe for concurrent use.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a clock that stands at that time; at the zero time it stands
// at noon UTC of the first of January 2026.
func NewClock(at time.Time) *Clock {
	if at.IsZero() {
		at = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	}
	return &Clock{at: at}
}

// Now returns the time at which the clock stands.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock on. A Service never goes back in time, whatever its
// clock does, so a negative d makes it stand still.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
