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

// SequenceFeed reads changes by their number.
//
// A database that assigns numbers before transactions commit may commit a change after
// a change with a higher number. The cursor therefore contains the numbers that were
// missing at an earlier poll, the holes. Each poll looks for changes in them, until
// every transaction that could fill a hole has ended. Most holes stay empty, because
// their transactions were rolled back.
type SequenceFeed struct {
	Querier Querier
	// Window is the longest time that a transaction may stay open after it has got a
	// number. It is 0 if numbers have the order of commits; Clock and Within are not
	// used then.
	Window time.Duration
	// Clock returns a time in milliseconds. It must not jump.
	Clock func() int64
	// Within returns at most limit changes whose numbers are in the ranges, sorted by
	// number. There is at least one range.
	Within func(ctx context.Context, ranges []Range, limit int) ([]model.Change, error)
}

var _ Feed = SequenceFeed{}

// Range is an inclusive range of numbers.
type Range struct{ First, Last int64 }

// lookBack is the number of changes in which a new cursor looks for holes.
const lookBack = MaxChanges

// NewClock returns a clock for a SequenceFeed. It starts with the wall clock and
// continues with the monotonic clock.
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

// Poll implements Feed. It reads the changes before keyfold_meta. In the other order it
// would not notice changes that are pruned between the two reads.
func (f SequenceFeed) Poll(ctx context.Context, since Cursor) ([]keyfold.Change, Cursor, bool, error) {
	var holes []hole
	if f.Window > 0 {
		var ok bool
		if holes, ok = parseHoles(since.Rest); !ok {
			return nil, Cursor{}, false, nil
		}
	}
	seen := since.Mark // all changes up to this number have been read
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
	markAt, err := f.timeOf(ctx, since.Mark)
	if err != nil {
		return nil, Cursor{}, false, err
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
		holes = slices.DeleteFunc(holes, func(h hole) bool { return h.at <= old }) // their transactions have ended
		next.Rest = formatHoles(f.join(append(holes, holesBetween(newer, since.Mark, f.Clock())...)))
	}
	return changes, next, true, nil
}

// timeOf returns the time of a change, or nil if the change does not exist.
func (f SequenceFeed) timeOf(ctx context.Context, seq int64) (*int64, error) {
	if seq == 0 {
		return nil, nil
	}
	change, err := f.Querier.ChangeRow(ctx, seq)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &change.At, nil
}

// readHoles returns the changes that have appeared in the holes, and the remaining
// holes. If there are too many changes, it returns one without a target instead.
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
		remaining, err := f.recount(ctx, holes)
		return []keyfold.Change{{Action: "feed.lost"}}, remaining, err
	}
	changes := make([]keyfold.Change, 0, len(rows))
	for _, row := range rows {
		changes = append(changes, ChangeOf(row))
	}
	return changes, remainingHoles(holes, rows), nil
}

// recount sets the number of known changes of every hole, and drops those that are
// full.
func (f SequenceFeed) recount(ctx context.Context, holes []hole) ([]hole, error) {
	var remaining []hole
	for _, h := range holes {
		n, err := f.Querier.CountChanges(ctx, h.first, h.last)
		if err != nil {
			return nil, err
		}
		h.known = n
		if n <= h.last-h.first {
			remaining = append(remaining, h)
		}
	}
	return remaining, nil
}

// join reduces the number of holes, so that a cursor can contain them. It joins the
// oldest holes to one for each tenth of the window. A joined hole contains changes; as
// long as their number stays the same, no late change has appeared.
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
