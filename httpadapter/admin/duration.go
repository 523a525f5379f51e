package admin

import (
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/period"
)

const (
	durationForm = period.Form
	never        = "never"

	durationParts = "Years of 365 days, weeks, days of 24 hours, hours, minutes and seconds, in this order"
)

// ParseDuration reads a duration as this API and the keyfold command accept
// it: years of 365 days, weeks, days of 24 hours, and a duration that
// [time.ParseDuration] accepts, in this order: "1y", "2w", "15d", "1d12h", "90m".
// Years, weeks and days must be whole numbers. ParseDuration returns an error for
// an empty text, a negative duration, and one that does not fit a time.Duration.
func ParseDuration(text string) (time.Duration, error) { return period.Parse(text) }

// FormatDuration formats a duration for [ParseDuration], with days if it is a day or
// longer: "15d", "1d12h0m0s", "1h30m0s".
func FormatDuration(d time.Duration) string { return period.Format(d) }

// ParseTTL parses a time to live: a duration above zero in the form that
// [ParseDuration] accepts, or "never" for [keyfold.Never].
func ParseTTL(text string) (time.Duration, error) {
	if text == never {
		return keyfold.Never, nil
	}
	d, err := ParseDuration(text)
	if err != nil || d == 0 {
		return 0, errors.New("keyfold: the text must be " + durationForm + `, or "never"`)
	}
	return d, nil
}

// ParseOverlap parses the overlap of a rotation: a duration in the form that
// [ParseDuration] accepts, or "0s" for [keyfold.NoOverlap].
func ParseOverlap(text string) (time.Duration, error) {
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		return 0, errors.New("keyfold: the text must be " + durationForm + `, or "0s" for none`)
	case d == 0:
		return keyfold.NoOverlap, nil
	}
	return d, nil
}

// duration is a duration above zero in a request, or zero if the member is absent.
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err != nil || parsed == 0 {
		return &keyfold.InvalidError{Reason: "must be " + durationForm}
	}
	*d = duration(parsed)
	return nil
}

func (*duration) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: durationParts + ".", Examples: []any{"15d"}}
}

// ttl is a time to live in a request: a duration, or keyfold.Never for "never".
type ttl time.Duration

func (d *ttl) UnmarshalText(text []byte) error {
	parsed, err := ParseTTL(string(text))
	if err != nil {
		return &keyfold.InvalidError{Reason: "must be " + durationForm + `, or "never"`}
	}
	*d = ttl(parsed)
	return nil
}

func (*ttl) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Examples: []any{"15d", never},
		Description: durationParts + `; or "never".`,
	}
}

// overlap is the overlap of a rotation in a request: a duration, or
// keyfold.NoOverlap for "0s".
type overlap time.Duration

func (d *overlap) UnmarshalText(text []byte) error {
	parsed, err := ParseOverlap(string(text))
	if err != nil {
		return &keyfold.InvalidError{Reason: "must be " + durationForm + `, or "0s" for none`}
	}
	*d = overlap(parsed)
	return nil
}

func (*overlap) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type: huma.TypeString, Examples: []any{"24h", "0s"},
		Description: durationParts + `. "0s" revokes the old key immediately.`,
	}
}
