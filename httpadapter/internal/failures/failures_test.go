package failures

import (
	"net/netip"
	"testing"
	"time"
)

// This test is inside the package because what it pins has no other face: how
// much a Limiter remembers.
func TestLimiterMemoryIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l := New(func() time.Time { return now })
	address := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxAddresses {
		address = address.Next()
		l.Attempt(address, false)
		if len(l.windows) > maxAddresses || l.oldest.Len() != len(l.windows) {
			t.Fatalf("%d addresses and %d windows are remembered, want at most %d of each", len(l.windows), l.oldest.Len(), maxAddresses)
		}
	}
	l.Attempt(address, true)
	now = now.Add(failureWindow)
	l.Attempt(address, true)
	if len(l.windows) != 0 || l.oldest.Len() != 0 {
		t.Errorf("%d addresses are remembered after a minute, want none", len(l.windows))
	}
	l.Attempt(address, false)
	now = now.Add(-time.Hour) // a clock that jumps back
	if wait := l.Attempt(address, true); wait != 0 || len(l.windows) != 0 {
		t.Errorf("a window from the future is still there, wait %v", wait)
	}
	for range maxFailures {
		l.Attempt(netip.Addr{}, false)
	}
	if l.Attempt(netip.Addr{}, true) == 0 {
		t.Error("requests from an unknown address are not counted")
	}
}
