package ipblock_test

import (
	"net/netip"
	"testing"

	"github.com/keyfold/keyfold/internal/ipblock"
)

func TestAddressesOfOneClientAreOneBlock(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"192.0.2.7":         "192.0.2.7/32",
		"::ffff:192.0.2.7":  "192.0.2.7/32",
		"2001:db8::7":       "2001:db8::/64",
		"2001:db8:0:0:1::7": "2001:db8::/64",
		"2001:db8:0:1::7":   "2001:db8:0:1::/64",
		"fe80::1%eth0":      "fe80::/64",
	} {
		t.Run(text, func(t *testing.T) {
			if got := ipblock.Of(netip.MustParseAddr(text)); got.String() != want {
				t.Errorf("%s: got %v, want %s", text, got, want)
			}
		})
	}
	if got := ipblock.Of(netip.Addr{}); got.IsValid() {
		t.Errorf("an unknown address: got %v, want the zero Prefix", got)
	}
}
