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
	l := New()
	address := netip.MustParseAddr("10.0.0.0")
	for range 3 * maxAddresses {
		address = address.Next()
		l.Fail(now, address)
		if len(l.windows) > maxAddresses || l.oldest.Len() != len(l.windows) {
			t.Fatalf("%d addresses and %d windows are remembered, want at most %d of each", len(l.windows), l.oldest.Len(), maxAddresses)
		}
	}
	if !l.HasFailed(now, address) {
		t.Error("the last address is not remembered")
	}
	now = now.Add(failureWindow)
	if l.HasFailed(now, address) || len(l.windows) != 0 || l.oldest.Len() != 0 {
		t.Errorf("%d addresses are remembered after a minute, want none", len(l.windows))
	}
	l.Fail(now, address)
	now = now.Add(-time.Hour) // a clock that jumps back
	if l.HasFailed(now, address) || len(l.windows) != 0 {
		t.Error("a window from the future is still there")
	}
	for range Max {
		l.Fail(now, netip.Addr{})
	}
	if _, wait := l.Fail(now, netip.Addr{}); wait != failureWindow {
		t.Errorf("an unknown address waits for %v, want %v", wait, failureWindow)
	}
}
