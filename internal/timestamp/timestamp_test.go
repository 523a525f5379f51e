package timestamp_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/timestamp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"2027-01-01T00:00:00Z":      time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		"2027-01-01T00:00:00.5Z":    time.Date(2027, 1, 1, 0, 0, 0, 5e8, time.UTC),
		"2027-01-01T02:00:00+02:00": time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		"2026-12-31T18:30:00-05:30": time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		"2027-01-01T23:59:00+23:59": time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		"2024-02-29T00:00:00Z":      time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		"2027-01-01T00:00:00,5Z":    {},
		"2027-01-01T00:00:00+24:00": {},
		"2027-01-01T00:00:00+12:60": {},
		"2027-01-01T00:00:00+0200":  {},
		"2027-01-01T00:00:00":       {},
		"2027-01-01 00:00:00Z":      {},
		"2027-01-01":                {},
		"2027-1-01T00:00:00Z":       {},
		"2027-01-01T0:00:00Z":       {},
		"2027-02-29T00:00:00Z":      {},
		"2027-01-01T24:00:00Z":      {},
		" 2027-01-01T00:00:00Z":     {},
		"2027-01-01T00:00:00Z ":     {},
		"+2027-01-01T00:00:00Z":     {},
		"0001-01-01T00:00:00Z":      {},
		"1798761600":                {},
		"":                          {},
	} {
		t.Run(text, func(t *testing.T) {
			got, err := timestamp.Parse(text)
			if !got.Equal(want) || (err == nil) == want.IsZero() {
				t.Errorf("Parse(%q): got %v, %v, want %v", text, got, err, want)
			}
			if err != nil && text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("Parse(%q): the error repeats it: %v", text, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"2027-01-01T00:00:00.5Z", "2027-01-01T00:00:00,5Z", "2027-01-01T0:00:00+24:00"} {
		f.Add(seed)
	}
	form := regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$`)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := timestamp.Parse(text); err == nil && !form.MatchString(text) {
			t.Errorf("%q was read", text)
		}
	})
}
