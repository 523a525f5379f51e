// Package column converts the values of records to and from the columns in which
// stores keep them.
package column

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/cidr"
)

// Optional returns the column of an optional time. It is NULL for the zero time.
func Optional(at time.Time) *int64 {
	if at.IsZero() {
		return nil
	}
	millis := at.UnixMilli()
	return &millis
}

// Moment returns the time of a column that contains Unix milliseconds.
func Moment(millis int64) time.Time { return time.UnixMilli(millis).UTC() }

// OptionalMoment is the inverse of [Optional].
func OptionalMoment(millis *int64) time.Time {
	if millis == nil {
		return time.Time{}
	}
	return Moment(*millis)
}

// Used returns the column of a time of use. It is 0 for the zero time, which means
// "never".
func Used(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixMilli()
}

// FormatIP returns the column of an IP address. It is empty for the zero Addr. The
// zone is left out, because it has a meaning only on one machine.
func FormatIP(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.WithZone("").String()
}

// ParseIP is the inverse of [FormatIP]. It returns the zero Addr for text that is not
// an IP address, so that the rest of the row can still be read.
func ParseIP(text string) netip.Addr {
	ip, _ := netip.ParseAddr(text)
	return ip.WithZone("")
}

// EncodeMetadata returns metadata as a JSON object, or "" if there is none. It does not
// escape "<" for HTML, because the longer text might not fit the column.
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

// EncodedKey contains the columns of a key that [DecodeKey] reads.
type EncodedKey struct {
	Alg, Pepper string
	Sum         []byte
	Scopes      string // separated by spaces
	Networks    string // separated by spaces
	Metadata    string // a JSON object, or empty
	LastUsedAt  int64  // 0 if the key was never used
}

// DecodeKey sets the fields of the record that have an encoding of their own. The ID
// of the record must be set, because errors contain it.
func DecodeKey(record *keyfold.KeyRecord, encoded EncodedKey) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("decode key %q: %w", record.ID, err)
		}
	}()
	if encoded.LastUsedAt != 0 {
		record.LastUsedAt = Moment(encoded.LastUsedAt)
	}
	if encoded.Scopes != "" {
		record.Scopes = strings.Split(encoded.Scopes, " ")
	}
	if record.Secret, err = Secret(encoded.Alg, encoded.Pepper, encoded.Sum); err != nil {
		return err
	}
	if record.Networks, err = cidr.Split(encoded.Networks); err != nil {
		return err
	}
	if encoded.Metadata == "" {
		return nil
	}
	if json.Unmarshal([]byte(encoded.Metadata), &record.Metadata) != nil {
		return errors.New("the metadata must be a JSON object of strings")
	}
	return nil
}

// Secret returns the hash of a secret from its columns.
func Secret(alg, pepper string, sum []byte) (keyfold.SecretHash, error) {
	hash := keyfold.SecretHash{Alg: alg, PepperID: pepper}
	if copy(hash.Sum[:], sum) != len(hash.Sum) || len(sum) != len(hash.Sum) {
		return keyfold.SecretHash{}, fmt.Errorf("the hash must have %d bytes, but has %d", len(hash.Sum), len(sum))
	}
	return hash, nil
}

// Clean makes text from a client acceptable to every database: valid UTF-8 of at most
// limit bytes without NUL. It is meant for descriptions of events, because to refuse
// the text would lose the event.
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

// Merge sorts rows and joins those that compare equal.
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
