// Package timestamp parses times in the form of RFC 3339 section 5.6.
package timestamp

import (
	"errors"
	"strings"
	"time"
)

// Form describes the texts that [Parse] accepts, for errors.
const Form = "an RFC 3339 time: 2026-01-31T18:30:00Z"

var errForm = errors.New("keyfold: the text must be " + Form)

// Parse parses a time. It is stricter than [time.Parse] and encoding/json, which also
// accept a comma before the fraction, an hour of one digit, and an offset
// of 24 hours or more. The zero time is refused, because it stands for "not given".
// The error does not repeat the text.
func Parse(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.IsZero() || !isStrict(text) {
		return time.Time{}, errForm
	}
	return at, nil
}

// isStrict checks the parts of the form that time.Parse does not check.
func isStrict(text string) bool {
	const local = len("2006-01-02T15:04:05")
	if len(text) <= local || text[len("2006-01-02T15")] != ':' || text[local] == ',' {
		return false
	}
	zone := strings.TrimLeft(text[local:], ".0123456789")
	return zone == "Z" || zone[len("+"):len("+15")] <= "23" && zone[len("+15:"):] <= "59"
}
