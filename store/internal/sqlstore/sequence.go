package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
)

// SequenceFeed reads the changes by their number.
//
// Where numbers are handed out before a transaction commits, a change may
// appear below one that was seen already. Its number was missing when the
// other one was seen; such holes are in the cursor and are looked at again
// until every transaction that could fill them has ended. Most never are:
// their transactions were rolled back.
type SequenceFeed struct {
	Querier Querier
	// Window is how long a transaction may stay open after it was given a
	// number; 0 where numbers are the order of commits. The next two are not
	// used then.
	Window time.Duration
	// Clock returns milliseconds that never jump.
	Clock func() int64
	// Within returns the changes that are numbered within the ranges, of which
	// there is at least one, by number, at most limit.
	Within func(ctx context.Context, ranges []Range, limit int) ([]model.Change, error)
}

var _ Feed = SequenceFeed{}

// Range is a range of numbers, both ends included.
type Range struct{ First, Last int64 }

// lookBack is how many changes are searched for holes at the start.
const lookBack = MaxChanges

// NewClock returns a clock for a SequenceFeed. It begins at the wall clock and
// goes on by the monotonic one.
func NewClock() func() int64 {
	began := time.Now()
	return func() int64 { return began.UnixMilli() + time.Since(began).Milliseconds() }
}

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
		cursor.Rest = formatHoles(f.join(holesBetween(rows, after, f.Clock())))
	}
	return cursor, nil
}

// Poll implements Feed. The changes are read before what tells whether some
// have been pruned: in the other order, those pruned between would be missed.
func (f SequenceFeed) Poll(ctx context.Context, since Cursor) ([]keyfold.Change, Cursor, bool, error) {
	var holes []hole
	if f.Window > 0 {
		var ok bool
		if holes, ok = parseHoles(since.Rest); !ok {
			return nil, Cursor{}, false, nil
		}
	}
	seen := since.Mark // everything up to here is known, but for the holes above it
	if len(holes) > 0 {
		seen = min(seen, holes[0].first-1)
	}
	var began int64
	if f.Window > 0 {
		began = f.Clock()
	}
	newer, err := f.Querier.ChangesAfter(ctx, since.Mark, MaxChanges+1)
	if err != nil || len(newer) > MaxChanges {
		return nil, Cursor{}, false, err
	}
	changes, holes, err := f.readHoles(ctx, holes)
	if err != nil {
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
	next.Pruned, next.Rest = meta.PrunedSeq, ""
	for _, row := range newer {
		next.Mark, next.MarkAt = row.Seq, row.At
		changes = append(changes, ChangeOf(row))
	}
	if f.Window > 0 {
		old := began - f.Window.Milliseconds()
		holes = slices.DeleteFunc(holes, func(h hole) bool { return h.at <= old }) // whatever had those numbers has ended
		next.Rest = formatHoles(f.join(append(holes, holesBetween(newer, since.Mark, f.Clock())...)))
	}
	return changes, next, true, nil
}

// readHoles returns the changes that appeared in holes, and what is missing still.
// When there are too many, one without a target stands for them.
func (f SequenceFeed) readHoles(ctx context.Context, holes []hole) ([]keyfold.Change, []hole, error) {
	var unsure []Range
	for _, h := range holes {
		if h.known > 0 {
			n, err := f.Querier.CountChanges(ctx, h.first, h.last)
			if err != nil {
				return nil, nil, err
			}
			if n == h.known {
				continue
			}
		}
		unsure = append(unsure, Range{h.first, h.last})
	}
	if len(unsure) == 0 {
		return nil, holes, nil
	}
	rows, err := f.Within(ctx, unsure, MaxChanges+1)
	if err != nil {
		return nil, nil, err
	}
	if len(rows) > MaxChanges {
		left, err := f.recount(ctx, holes)
		return []keyfold.Change{{Action: "feed.lost"}}, left, err
	}
	changes := make([]keyfold.Change, 0, len(rows))
	for _, row := range rows {
		changes = append(changes, ChangeOf(row))
	}
	return changes, holesLeft(holes, rows), nil
}

// recount makes every hole one of which the number of changes in it is known.
func (f SequenceFeed) recount(ctx context.Context, holes []hole) ([]hole, error) {
	var left []hole
	for _, h := range holes {
		n, err := f.Querier.CountChanges(ctx, h.first, h.last)
		if err != nil {
			return nil, err
		}
		h.known = n
		if n <= h.last-h.first {
			left = append(left, h)
		}
	}
	return left, nil
}

// join makes so few holes of many that a cursor holds them. The oldest ones
// become one for each tenth of the window. That one has changes in it, and as
// long as their number is the same none has come late.
func (f SequenceFeed) join(holes []hole) []hole {
	if len(holes) <= maxHoles {
		return holes
	}
	slot := max(1, f.Window.Milliseconds()/10)
	old := len(holes) - maxHoles/2
	joined := holes[:1:1]
	for _, h := range holes[1:old] {
		last := &joined[len(joined)-1]
		if last.at/slot != h.at/slot {
			joined = append(joined, h)
			continue
		}
		last.known += h.first - last.last - 1 + h.known
		last.last, last.at = h.last, h.at
	}
	return append(joined, holes[old:]...)
}
