package cidr_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/keyfold/keyfold/internal/cidr"
)

func TestSplitReturnsTheNetworksThatJoinWrote(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		networks []netip.Prefix
		text     string
	}{
		"none": {nil, ""},
		"one":  {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "192.0.2.0/24"},
		"IPv4 and IPv6": {
			[]netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.7/32")},
			"2001:db8::/32 192.0.2.7/32",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := cidr.Join(row.networks); got != row.text {
				t.Errorf("Join: got %q, want %q", got, row.text)
			}
			got, err := cidr.Split(row.text)
			if err != nil || !slices.Equal(got, row.networks) {
				t.Errorf("Split: got %v and error %v, want %v", got, err, row.networks)
			}
		})
	}
}

func TestSplitKeepsTheNetworksNextToAnInvalidWord(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"192.0.2.0":                        "",
		"192.0.2.0/33":                     "",
		"office 192.0.2.0/24":              "192.0.2.0/24",
		"192.0.2.0/24 x 2001:db8::/32 1/2": "192.0.2.0/24 2001:db8::/32",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			networks, err := cidr.Split(text)
			if got := cidr.Join(networks); got != want || err == nil {
				t.Errorf("got %q and error %v, want %q and an error", got, err, want)
			}
		})
	}
}
