package column_test

import (
	"net/netip"
	"testing"

	"github.com/keyfold/keyfold/store/internal/column"
)

// Mutations tried: ParseIP that keeps the zone, FormatIP that writes "invalid IP".
func TestIPAddressesAreReadAsTheyWereStored(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                  "",
		"192.0.2.7":         "192.0.2.7",
		"2001:db8::7":       "2001:db8::7",
		"::ffff:192.0.2.7":  "::ffff:192.0.2.7",
		"fe80::1%eth0":      "fe80::1",
		"192.0.2.7:80":      "",
		"office":            "",
		"192.0.2.7 ":        "",
		"192.0.2.0/24":      "",
		"999.0.2.7":         "",
		"192.0.2.7, 10.0.0": "",
	} {
		ip := column.ParseIP(text)
		if got := column.FormatIP(ip); got != want {
			t.Errorf("%q is read as %v and stored again as %q, want %q", text, ip, got, want)
		}
	}
	if got := column.FormatIP(netip.MustParseAddr("fe80::1%eth0")); got != "fe80::1" {
		t.Errorf("an address with a zone is stored as %q, want it without the zone", got)
	}
}
