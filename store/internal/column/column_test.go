package column_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/keyfold/keyfold"
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
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			ip := column.ParseIP(text)
			if got := column.FormatIP(ip); got != want {
				t.Errorf("%q is read as %v and stored again as %q, want %q", text, ip, got, want)
			}
		})
	}
	if got := column.FormatIP(netip.MustParseAddr("fe80::1%eth0")); got != "fe80::1" {
		t.Errorf("an address with a zone is stored as %q, want it without the zone", got)
	}
}

func TestDamagedKeyIsRefused(t *testing.T) {
	t.Parallel()
	sum := make([]byte, 32)
	for name, row := range map[string]struct {
		encoded column.EncodedKey
		want    string // part of the error; empty for none
	}{
		"a whole key":              {column.EncodedKey{Sum: sum, Networks: "192.0.2.0/24", Metadata: `{"a":"b"}`}, ""},
		"a key without the rest":   {column.EncodedKey{Sum: sum}, ""},
		"a hash that is too short": {column.EncodedKey{Sum: sum[1:]}, "the hash must have 32 bytes"},
		"a hash that is too long":  {column.EncodedKey{Sum: append(sum, 0)}, "the hash must have 32 bytes"},
		"a network without a mask": {column.EncodedKey{Sum: sum, Networks: "192.0.2.0"}, "must be a CIDR prefix"},
		"metadata with a number":   {column.EncodedKey{Sum: sum, Metadata: `{"a":1}`}, "must be a JSON object of strings"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			record := keyfold.KeyRecord{Key: keyfold.Key{ID: "k1"}}
			err := column.DecodeKey(&record, row.encoded)
			switch {
			case row.want == "" && err != nil:
				t.Errorf("got error %v, want none", err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), `"k1"`)):
				t.Errorf("got error %v, want one that contains %q and the ID", err, row.want)
			}
		})
	}
}
