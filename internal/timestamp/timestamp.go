// Package timestamp reads times as RFC 3339 section 5.6 writes them.
package timestamp

import (
	"errors"
	"strings"
	"time"
)

// Form says what [Parse] takes.
const Form = "an RFC 3339 time: 2026-01-31T18:30:00Z"

var errForm = errors.New("keyfold: the text must be " + Form)

// Parse reads a time. It is stricter than [time.Parse] and the decoder for JSON,
// which also take a comma before the fraction, an hour of one digit, and an offset
// of 24 hours or more. The zero time is refused, because it stands for "not given".
// The error does not repeat the text.
func Parse(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.IsZero() || !isStrict(text) {
		return time.Time{}, errForm
	}
	return at, nil
}

// isStrict looks at what time.Parse overlooks.
func isStrict(text string) bool {
	const local = len("2006-01-02T15:04:05")
	if len(text) <= local || text[len("2006-01-02T15")] != ':' || text[local] == ',' {
		return false
	}
	zone := strings.TrimLeft(text[local:], ".0123456789")
	return zone == "Z" || zone[len("+"):len("+15")] <= "23" && zone[len("+15:"):] <= "59"
}
