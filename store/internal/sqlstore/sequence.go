package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
)

// SequenceFeed reads the changes by their number.
//
// Where numbers are handed out before a transaction commits, a change may
// appear below one that was seen already. Its number was missing when the
// other one was seen; such holes are in the cursor and are looked at again
// until every transaction that could fill them has ended.
type SequenceFeed struct {
	Querier Querier
	// Window is how long a transaction may stay open after it was given a
	// number; 0 where numbers are the order of commits.
	Window time.Duration
	// Clock returns milliseconds that never jump.
	Clock func() int64
}

var _ Feed = SequenceFeed{}

const (
	lookBack = 2000 // rows below the newest that are searched for holes at the start
	maxHoles = 256  // more are joined, at the price of changes that are told again
)

// NewClock returns a clock for a SequenceFeed. It begins at the wall clock and
// goes on by the monotonic one.
func NewClock() func() int64 {
	began := time.Now()
	return func() int64 { return began.UnixMilli() + time.Since(began).Milliseconds() }
}

// hole is a range of numbers, both ends included, that had no row at that time.
type hole struct{ at, first, last int64 }

// Now implements Feed.
func (f SequenceFeed) Now(ctx context.Context) (Cursor, error) {
	meta, err := f.Querier.Meta(ctx)
	if err != nil {
		return Cursor{}, err
	}
	depth := int64(1)
	if f.Window > 0 {
		depth = lookBack
	}
	rows, err := f.Querier.ChangesBefore(ctx, math.MaxInt64, depth)
	if err != nil {
		return Cursor{}, err
	}
	cursor := Cursor{Feed: meta.FeedID, Pruned: meta.PrunedSeq}
	if len(rows) == 0 {
		return cursor, nil
	}
	cursor.Mark, cursor.MarkAt = rows[0].Seq, rows[0].At
	if f.Window > 0 {
		slices.Reverse(rows)
		after := meta.PrunedSeq
		if int64(len(rows)) == depth || after >= rows[0].Seq {
			after = rows[0].Seq - 1
		}
		cursor.Rest = formatHoles(holesBetween(rows, after, f.Clock()))
	}
	return cursor, nil
}

// Poll implements Feed. The changes are read before what tells whether some
// have been pruned: in the other order, those pruned between would be missed.
func (f SequenceFeed) Poll(ctx context.Context, since Cursor) ([]keyfold.Change, Cursor, bool, error) {
	holes, ok := parseHoles(since.Rest)
	if !ok {
		return nil, Cursor{}, false, nil
	}
	seen := since.Mark // everything up to here is known, but for the holes above it
	for _, h := range holes {
		seen = min(seen, h.first-1)
	}
	began := f.Clock()
	rows, err := f.Querier.ChangesAfter(ctx, seen, MaxChanges+1)
	if err != nil || len(rows) > MaxChanges {
		return nil, Cursor{}, false, err
	}
	meta, err := f.Querier.Meta(ctx)
	if err != nil {
		return nil, Cursor{}, false, err
	}
	var markAt *int64
	if since.Mark > 0 {
		mark, err := f.Querier.ChangeRow(ctx, since.Mark)
		if err == nil {
			markAt = &mark.At
		} else if !errors.Is(err, sql.ErrNoRows) {
			return nil, Cursor{}, false, err
		}
	}
	if !since.Continues(meta.FeedID, meta.PrunedSeq, markAt) || meta.PrunedSeq > since.Pruned && meta.PrunedSeq > seen {
		return nil, Cursor{}, false, nil
	}

	next := since
	next.Pruned = meta.PrunedSeq
	var changes []keyfold.Change
	var newer []model.Change
	for _, row := range rows {
		if row.Seq > since.Mark {
			newer = append(newer, row)
			next.Mark, next.MarkAt = row.Seq, row.At
		} else if !inHole(holes, row.Seq) {
			continue
		}
		changes = append(changes, ChangeOf(row))
	}
	if f.Window > 0 {
		left := holesLeft(holes, rows, began-f.Window.Milliseconds())
		next.Rest = formatHoles(append(left, holesBetween(newer, since.Mark, f.Clock())...))
	}
	return changes, next, true, nil
}

// holesBetween returns the numbers above after that are missing between rows,
// which are sorted.
func holesBetween(rows []model.Change, after, at int64) []hole {
	var holes []hole
	for _, row := range rows {
		if row.Seq > after+1 {
			holes = append(holes, hole{at, after + 1, row.Seq - 1})
		}
		after = row.Seq
	}
	return holes
}

// holesLeft returns what is missing still, without what was missing already
// at the time given: whatever had those numbers has ended.
func holesLeft(holes []hole, rows []model.Change, old int64) []hole {
	var left []hole
	for _, h := range holes {
		if h.at <= old {
			continue
		}
		first := h.first
		for _, row := range rows {
			if row.Seq < first || row.Seq > h.last {
				continue
			}
			if row.Seq > first {
				left = append(left, hole{h.at, first, row.Seq - 1})
			}
			first = row.Seq + 1
		}
		if first <= h.last {
			left = append(left, hole{h.at, first, h.last})
		}
	}
	return left
}

func inHole(holes []hole, seq int64) bool {
	return slices.ContainsFunc(holes, func(h hole) bool { return h.first <= seq && seq <= h.last })
}

func formatHoles(holes []hole) string {
	if len(holes) > maxHoles {
		all := holes[0]
		for _, h := range holes {
			all = hole{max(all.at, h.at), min(all.first, h.first), max(all.last, h.last)}
		}
		holes = []hole{all}
	}
	var text strings.Builder
	for i, h := range holes {
		if i > 0 {
			text.WriteByte(',')
		}
		text.WriteString(strconv.FormatInt(h.at, 36) + ":" + strconv.FormatInt(h.first, 36) + ":" + strconv.FormatInt(h.last, 36))
	}
	return text.String()
}

func parseHoles(text string) ([]hole, bool) {
	if text == "" {
		return nil, true
	}
	var holes []hole
	for part := range strings.SplitSeq(text, ",") {
		fields := strings.Split(part, ":")
		if len(fields) != 3 {
			return nil, false
		}
		var numbers [3]int64
		for i, field := range fields {
			var err error
			if numbers[i], err = strconv.ParseInt(field, 36, 64); err != nil {
				return nil, false
			}
		}
		holes = append(holes, hole{numbers[0], numbers[1], numbers[2]})
	}
	return holes, true
}
