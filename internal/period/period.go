// Package period reads and writes durations as Keyfold's adapters and
// variables do: "15d", "36h", "1d12h".
package period

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Form says what [Parse] takes, but zero, which some callers refuse.
const Form = `a duration above zero: "15d", "1d12h", "90m"`

var errForm = errors.New("keyfold: want " + Form)

// Parse reads a whole number of days of 24 hours, or what [time.ParseDuration]
// takes, or the first followed by the second. Negative ones are refused. The
// error says what is wanted and does not repeat the text.
func Parse(text string) (time.Duration, error) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "", text
	}
	var total time.Duration
	if found {
		n, err := strconv.ParseUint(days, 10, 31)
		if err != nil || n > uint64(math.MaxInt64/day) {
			return 0, errForm
		}
		total = time.Duration(n) * day
	}
	if rest != "" {
		if rest[0] < '0' || rest[0] > '9' { // no sign, no leading point
			return 0, errForm
		}
		d, err := time.ParseDuration(rest)
		if err != nil || d > math.MaxInt64-total {
			return 0, errForm
		}
		total += d
	}
	if text == "" {
		return 0, errForm
	}
	return total, nil
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
