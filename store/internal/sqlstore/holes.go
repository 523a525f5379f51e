package sqlstore

import (
	"strconv"
	"strings"

	"github.com/keyfold/keyfold/query/model"
)

// hole is an inclusive range of numbers, some of which had no change at the time at.
// Holes are sorted by time and by number. Every number between two holes has a change.
type hole struct {
	at, first, last int64
	known           int64 // number of changes that have been read in the range
}

const maxHoles = 256 // in a cursor; if there are more, they are joined

// holesBetween returns the ranges of numbers above after that are missing in rows,
// which are sorted.
func holesBetween(rows []model.Change, after, at int64) []hole {
	var holes []hole
	for _, row := range rows {
		if row.Seq > after+1 {
			holes = append(holes, hole{at: at, first: after + 1, last: row.Seq - 1})
		}
		after = row.Seq
	}
	return holes
}

// remainingHoles returns the parts of the holes that are not filled by rows. The rows
// are sorted and complete for each hole in which they lie.
func remainingHoles(holes []hole, rows []model.Change) []hole {
	var remaining []hole
	for _, h := range holes {
		end := 0
		for end < len(rows) && rows[end].Seq <= h.last {
			end++
		}
		inside := rows[:end]
		rows = rows[end:]
		if end == 0 {
			remaining = append(remaining, h)
			continue
		}
		remaining = append(remaining, holesBetween(inside, h.first-1, h.at)...)
		if last := inside[end-1].Seq; last < h.last {
			remaining = append(remaining, hole{at: h.at, first: last + 1, last: h.last})
		}
	}
	return remaining
}

// formatHoles writes each number as the difference to the number before it.
func formatHoles(holes []hole) string {
	var text strings.Builder
	var at, end int64
	for i, h := range holes {
		if i > 0 {
			text.WriteByte(',')
		}
		for j, number := range []int64{h.at - at, h.first - end, h.last - h.first, h.known} {
			if j > 0 {
				text.WriteByte(':')
			}
			text.WriteString(strconv.FormatInt(number, 36))
		}
		at, end = h.at, h.last
	}
	return text.String()
}

func parseHoles(text string) ([]hole, bool) {
	if text == "" {
		return nil, true
	}
	var holes []hole
	var at, end int64
	for part := range strings.SplitSeq(text, ",") {
		fields := strings.Split(part, ":")
		if len(fields) != 4 {
			return nil, false
		}
		var numbers [4]int64
		for i, field := range fields {
			var err error
			if numbers[i], err = strconv.ParseInt(field, 36, 64); err != nil {
				return nil, false
			}
		}
		h := hole{at: at + numbers[0], first: end + numbers[1], known: numbers[3]}
		h.last = h.first + numbers[2]
		if h.first <= end || h.last < h.first || h.known < 0 {
			return nil, false
		}
		holes = append(holes, h)
		at, end = h.at, h.last
	}
	return holes, true
}
