// Package period reads and writes durations as Keyfold's adapters and
// variables do: "15d", "36h", "1d12h", "2w", "1y".
package period

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Form describes the durations that callers of [Parse] accept. Parse itself also accepts
// zero, which most callers refuse.
const Form = `a duration above zero, such as "15d" or "1d12h"`

var errForm = errors.New("keyfold: the text must be " + Form)

// units are the units that [time.ParseDuration] does not know, longest first. A
// year has 365 days, and leap years are not taken into account.
var units = []struct {
	letter string
	length time.Duration
}{{"y", 365 * day}, {"w", 7 * day}, {"d", day}}

// Parse reads years of 365 days, weeks, days of 24 hours, and a duration that
// [time.ParseDuration] accepts, in this order; each part is optional. Years,
// weeks and days must be whole numbers. Negative durations are refused. The
// error says which form is expected and does not repeat the text.
func Parse(text string) (time.Duration, error) {
	if text == "" {
		return 0, errForm
	}
	rest := text
	var total time.Duration
	for _, unit := range units {
		number, after, found := strings.Cut(rest, unit.letter)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 31)
		if err != nil || n > uint64((math.MaxInt64-total)/unit.length) {
			return 0, errForm
		}
		total += time.Duration(n) * unit.length
		rest = after
	}
	if rest == "" {
		return total, nil
	}
	if rest[0] < '0' || rest[0] > '9' { // no sign, no leading point
		return 0, errForm
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d > math.MaxInt64-total {
		return 0, errForm
	}
	return total + d, nil
}

// Format writes a duration so that [Parse] reads it back, in days where there
// are whole ones: "15d", "1d12h0m0s", "1h30m0s".
func Format(d time.Duration) string {
	days := d / day
	switch rest := d % day; {
	case days == 0:
		return d.String()
	case rest == 0:
		return strconv.FormatInt(int64(days), 10) + "d"
	default:
		return strconv.FormatInt(int64(days), 10) + "d" + rest.String()
	}
}
