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
)

// ParseDuration reads a duration as this API and the keyfold command accept
// it: years of 365 days, weeks, days of 24 hours, and a duration that
// [time.ParseDuration] accepts, in this order: "1y", "2w", "15d", "1d12h", "90m".
// Years, weeks and days must be whole numbers. ParseDuration returns an error for
// an empty text, a negative duration, and one that does not fit a time.Duration.
func ParseDuration(text string) (time.Duration, error) { return period.Parse(text) }

// FormatDuration writes a duration so that [ParseDuration] reads it back, in
// days where there are whole ones: "15d", "1d12h0m0s", "1h30m0s".
func FormatDuration(d time.Duration) string { return period.Format(d) }

// ParseTTL reads a time to live: a duration above zero as [ParseDuration]
// takes it, or "never" for [keyfold.Never].
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

// ParseOverlap reads the overlap of a rotation: a duration as [ParseDuration]
// takes it, and "0s" for [keyfold.NoOverlap].
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

// duration is a length of time above zero in a request; zero when not given.
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
	return &huma.Schema{Type: huma.TypeString, Description: "Years of 365 days, weeks, days of 24 hours, hours, minutes, seconds, in this order.", Examples: []any{"15d"}}
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
		Description: `Years of 365 days, weeks, days of 24 hours, hours, minutes, seconds, in this order; or "never".`,
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
		Description: `Years of 365 days, weeks, days of 24 hours, hours, minutes, seconds, in this order; "0s" ends the old key at once.`,
	}
}
