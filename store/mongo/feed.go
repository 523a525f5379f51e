package mongo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// cursor is a position in the feed. Changes are written before they are applied, and
// become visible in an order other than that of their numbers. Therefore every poll
// returns a change again for followFor after the change was first returned.
//
// Its text form is the ID of the feed, base, and the marks: "ID/12/15@1767…/17@1767…".
type cursor struct {
	base  int64 // changes up to this number are not returned again
	marks []mark
}

// mark records that numbers up to seq had been assigned at the time at, by the clock of
// the process that polls the feed.
type mark struct{ seq, at int64 }

// maxTargets is the maximum number of targets of a change. The Seq of an entry is
// derived from the number of the change and the index of the target.
const maxTargets = 256

// PollPolicy implements [keyfold.PollingStore]. Change streams need a replica set, which
// not every server has, so that the feed is polled: while keys are verified, in the
// background, once the last poll is 50 ms old.
func (s *Store) PollPolicy() keyfold.PollPolicy {
	return keyfold.PollPolicy{After: 50 * time.Millisecond}
}

// Changes implements keyfold.FeedStore.
func (s *Store) Changes(ctx context.Context, text string) ([]keyfold.Change, string, error) {
	s.sweepIfDue(ctx)
	changes, next, err := s.poll(ctx, text, time.Now().UnixMilli())
	if err != nil {
		return nil, "", wrap("read changes", err)
	}
	return changes, next.text(s.feedID), nil
}

func (s *Store) poll(ctx context.Context, text string, now int64) ([]keyfold.Change, cursor, error) {
	meta, err := s.readMeta(ctx)
	if err != nil {
		return nil, cursor{}, err
	}
	place, ok := parseCursor(text, meta.Feed)
	place.dropOldMarks(now)
	switch {
	case meta.Feed != s.feedID:
		return nil, cursor{}, errReplaced
	case text == "":
		next, err := s.currentCursor(ctx, meta, now)
		return nil, next, err
	case !ok, meta.Seq < place.newest(), place.base < meta.Pruned:
		next, err := s.currentCursor(ctx, meta, now)
		return []keyfold.Change{{Seq: meta.Seq * maxTargets}}, next, err
	case meta.Seq == place.base:
		return nil, place, nil
	}
	rows, err := list[changeDoc](ctx, s.changes, bson.D{
		is("_id", bson.D{is("$gt", changeID(place.base))}), is("state", bson.D{is("$ne", void)}),
	}, options.Find().SetProjection(bson.D{is("seq", 1), is("at", 1), is("action", 1), is("targets", 1)}))
	var changes []keyfold.Change
	for _, row := range rows {
		for i, target := range row.Targets {
			changes = append(changes, keyfold.Change{
				Seq: row.Seq*maxTargets + int64(i), At: column.Moment(row.At), Action: row.Action, Target: target,
			})
		}
	}
	place.addMark(meta.Seq, now)
	return changes, place, err
}

// currentCursor returns a cursor for the current end of the feed. Recent changes may
// not be applied yet, so the next polls still return them.
func (s *Store) currentCursor(ctx context.Context, meta *metaDoc, now int64) (cursor, error) {
	old, err := first[changeDoc](ctx, s.changes, bson.D{less("written_at", now-followFor.Milliseconds()), is("state", done)},
		options.FindOne().SetSort(bson.D{is("_id", -1)}).SetProjection(bson.D{is("seq", 1)}))
	next := cursor{base: meta.Pruned}
	if old != nil {
		next.base = max(next.base, old.Seq)
	}
	next.addMark(meta.Seq, now)
	return next, err
}

// dropOldMarks moves base past the changes that need not be returned again.
func (c *cursor) dropOldMarks(now int64) {
	for len(c.marks) > 0 && now-c.marks[0].at >= followFor.Milliseconds() {
		c.base = c.marks[0].seq
		c.marks = c.marks[1:]
	}
}

func (c *cursor) newest() int64 {
	if len(c.marks) == 0 {
		return c.base
	}
	return c.marks[len(c.marks)-1].seq
}

// addMark adds a mark for the time now. A cursor has at most one mark for each second.
func (c *cursor) addMark(seq, now int64) {
	if seq == c.newest() && len(c.marks) > 0 || seq == c.base {
		return
	}
	last := len(c.marks) - 1
	if last >= 0 && c.marks[last].at/1000 == now/1000 {
		c.marks[last] = mark{seq, now}
		return
	}
	c.marks = append(c.marks, mark{seq, now})
}

func (c *cursor) text(feedID string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s/%d", feedID, c.base)
	for _, m := range c.marks {
		fmt.Fprintf(&text, "/%d@%d", m.seq, m.at)
	}
	return text.String()
}

// parseCursor is the inverse of text. It returns false for other text, and for the
// cursor of another feed.
func parseCursor(text, feedID string) (cursor, bool) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || parts[0] != feedID {
		return cursor{}, false
	}
	base, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || base < 0 {
		return cursor{}, false
	}
	place := cursor{base: base}
	for _, part := range parts[2:] {
		seq, at, _ := strings.Cut(part, "@")
		var m mark
		if m.seq, err = strconv.ParseInt(seq, 10, 64); err != nil {
			return cursor{}, false
		}
		if m.at, err = strconv.ParseInt(at, 10, 64); err != nil {
			return cursor{}, false
		}
		place.marks = append(place.marks, m)
	}
	return place, true
}

// PruneChanges implements keyfold.FeedStore. It stops at the first change that is
// recent or open, so that the remaining changes have no gaps.
func (s *Store) PruneChanges(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	rows, err := list[changeDoc](ctx, s.changes, bson.D{}, options.Find().SetSort(bson.D{is("_id", 1)}).
		SetLimit(int64(limit)+2).SetProjection(bson.D{is("seq", 1), is("at", 1), is("state", 1)}))
	if err != nil {
		return 0, false, wrap("prune changes", err)
	}
	var ids []string
	for i := range len(rows) - 1 { // the newest change is kept
		if rows[i].At >= before.UnixMilli() || rows[i].State == open {
			break
		}
		if len(ids) == limit {
			more = true
			break
		}
		ids = append(ids, rows[i].ID)
	}
	if len(ids) == 0 {
		return 0, false, nil
	}
	// The highest pruned number is stored first, so that a process with an older cursor
	// detects that changes are missing.
	pruned := bson.D{is("$max", bson.D{is("pruned", rows[len(ids)-1].Seq)})}
	if _, err := s.meta.update(ctx, byID(metaID), pruned); err != nil {
		return 0, false, wrap("prune changes", err)
	}
	if deleted, err = s.removeAll(ctx, s.changes, ids); err != nil {
		return 0, false, wrap("prune changes", err)
	}
	return deleted, more, nil
}
