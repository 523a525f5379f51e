package compat

import (
	"strings"
	"time"
)

// dateFormat is ISO 8601 as the predecessor writes it: in UTC, to the second.
const dateFormat = "2006-01-02T15:04:05"

// endOfTime is the expiry time of a key that never expires, because the contract requires a
// date. It is the last date that Python can represent.
func endOfTime() time.Time { return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }

func formatDate(at time.Time) string {
	if at.IsZero() {
		at = endOfTime()
	}
	return at.UTC().Format(dateFormat)
}

// parseDate reads a date in the extended format of ISO 8601, with or without a time of day
// and a zone: 2026-12-08, 2026-12-08T06:45, 2026-12-08 06:45:15.25+01:00, 2026-12-08T06Z.
// The default zone is UTC. Fractions of a second are removed. A date before 1970 becomes
// the beginning of 1970, which is in the past as well.
func parseDate(text string) (time.Time, bool) {
	const day = "2006-01-02"
	if len(text) > len(day) {
		clock := text[len(day)+1:]
		if !strings.ContainsRune("Tt ", rune(text[len(day)])) || len(clock) < 2 || !isDigit(clock[1]) {
			return time.Time{}, false // time.Parse would accept an hour with one digit
		}
		text = text[:len(day)] + "T" + strings.ReplaceAll(clock, "z", "Z")
	}
	if at, err := time.Parse(day, text); err == nil {
		return inRange(at)
	}
	for _, clock := range [...]string{"T15:04:05", "T15:04", "T15"} {
		for _, zone := range [...]string{"", "Z07:00", "Z0700", "Z07"} {
			if at, err := time.Parse(day+clock+zone, text); err == nil {
				return inRange(at)
			}
		}
	}
	return time.Time{}, false
}

// inRange refuses years that Python cannot represent, also if only the zone leads to such a
// year.
func inRange(at time.Time) (time.Time, bool) {
	year := at.Year()
	at = at.UTC().Truncate(time.Second)
	if epoch := time.Unix(0, 0).UTC(); at.Before(epoch) {
		at = epoch
	}
	return at, year >= 1 && !at.After(endOfTime())
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
