// Package column is how stores keep what is not text or a number already, and
// what they have in common on the way there.
package column

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

// Optional returns nil for the zero time, which is stored as NULL.
func Optional(at time.Time) *int64 {
	if at.IsZero() {
		return nil
	}
	millis := at.UnixMilli()
	return &millis
}

// Moment is a time as it is stored.
func Moment(millis int64) time.Time { return time.UnixMilli(millis).UTC() }

// OptionalMoment is Moment, with the zero time for NULL.
func OptionalMoment(millis *int64) time.Time {
	if millis == nil {
		return time.Time{}
	}
	return Moment(*millis)
}

// Used returns 0 for the zero time: how a key that was never used is stored.
func Used(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMilli()
}

// FormatIP is an IP address as it is stored: empty for the zero Addr, and
// without a zone, which means nothing outside of the machine that saw it.
func FormatIP(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.WithZone("").String()
}

// ParseIP is the inverse of FormatIP. Text that another program wrote and that
// is not an IP address is the zero Addr: it must not hide the rest of the row.
func ParseIP(text string) netip.Addr {
	ip, _ := netip.ParseAddr(text)
	return ip.WithZone("")
}

// EncodeMetadata returns a JSON object, or "" for none. It does not escape for HTML: six bytes for each < would not fit
// the column.
func EncodeMetadata(metadata map[string]string) (string, error) {
	if len(metadata) == 0 {
		return "", nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(metadata); err != nil {
		return "", err
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

// Secret is a hash as it is stored.
func Secret(alg, pepper string, sum []byte) (keyfold.SecretHash, error) {
	hash := keyfold.SecretHash{Alg: alg, PepperID: pepper}
	if copy(hash.Sum[:], sum) != len(hash.Sum) || len(sum) != len(hash.Sum) {
		return keyfold.SecretHash{}, fmt.Errorf("the hash has %d bytes, want %d", len(sum), len(hash.Sum))
	}
	return hash, nil
}

// Clean makes text that comes from outside fit for every database: valid
// UTF-8, no NUL, at most limit bytes. It is for what describes an event, where
// a refusal would lose the event.
func Clean(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit]
	}
	text = strings.ToValidUTF8(text, "")
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", "")
	}
	return text
}

// Merge sorts rows and joins those that compare as equal.
func Merge[T any](rows []T, order func(a, b T) int, join func(into *T, row T)) []T {
	slices.SortFunc(rows, order)
	kept := rows[:0]
	for _, row := range rows {
		if last := len(kept) - 1; last >= 0 && order(kept[last], row) == 0 {
			join(&kept[last], row)
			continue
		}
		kept = append(kept, row)
	}
	return kept
}
