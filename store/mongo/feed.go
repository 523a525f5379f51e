package mongo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// cursor is how far somebody followed the feed. Changes are written before they
// are applied, and become visible in another order than that of their numbers;
// so each is told again by every poll for some time after it was seen first.
//
// As text it is the id of the feed, base, and the marks: "ID/12/15@1767…/17@1767…".
type cursor struct {
	base  int64 // everything up to here was told often enough
	marks []mark
}

// mark says that numbers up to seq had been given at that time, by the clock of
// the process that follows the feed.
type mark struct{ seq, at int64 }

// targetPlaces is how many targets a change may have: Seq tells them apart.
const targetPlaces = 256

// Changes implements keyfold.FeedStore.
func (s *Store) Changes(ctx context.Context, text string) ([]keyfold.Change, string, error) {
	s.sweepNowAndThen(ctx)
	changes, next, err := s.follow(ctx, text, time.Now().UnixMilli())
	if err != nil {
		return nil, "", wrap("read the feed", err)
	}
	return changes, next.text(s.feedID), nil
}

func (s *Store) follow(ctx context.Context, text string, now int64) ([]keyfold.Change, cursor, error) {
	meta, err := s.feed(ctx)
	if err != nil {
		return nil, cursor{}, err
	}
	place, ok := parseCursor(text, meta.Feed)
	place.settle(now)
	switch {
	case meta.Feed != s.feedID:
		return nil, cursor{}, errNoSchema // another database took the place of this one
	case text == "":
		next, err := s.present(ctx, meta, now)
		return nil, next, err
	case !ok, meta.Seq < place.newest(), place.base < meta.Pruned:
		next, err := s.present(ctx, meta, now)
		return []keyfold.Change{{Seq: meta.Seq * targetPlaces}}, next, err
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
				Seq: row.Seq*targetPlaces + int64(i), At: column.Moment(row.At), Action: row.Action, Target: target,
			})
		}
	}
	place.mark(meta.Seq, now)
	return changes, place, err
}

// present is the cursor that stands for now. What was numbered a moment ago may
// not be applied yet, so it is still to be told.
func (s *Store) present(ctx context.Context, meta *metaDoc, now int64) (cursor, error) {
	old, err := first[changeDoc](ctx, s.changes, bson.D{less("written_at", now-followFor.Milliseconds()), is("state", done)},
		options.FindOne().SetSort(bson.D{is("_id", -1)}).SetProjection(bson.D{is("seq", 1)}))
	next := cursor{base: meta.Pruned}
	if old != nil {
		next.base = max(next.base, old.Seq)
	}
	next.mark(meta.Seq, now)
	return next, err
}

// settle takes away the marks that are old enough.
func (c *cursor) settle(now int64) {
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

// mark notes what was seen now. There is one mark a second at most.
func (c *cursor) mark(seq, now int64) {
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

// parseCursor reports false for what text of that feed did not return.
func parseCursor(text, feedID string) (cursor, bool) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || parts[0] != feedID {
		return cursor{}, false
	}
	base, err := strconv.ParseInt(parts[1], 10, 64)
	place := cursor{base: base}
	for _, part := range parts[2:] {
		seq, at, _ := strings.Cut(part, "@")
		var m mark
		var bad error
		m.seq, bad = strconv.ParseInt(seq, 10, 64)
		err = errors.Join(err, bad)
		m.at, bad = strconv.ParseInt(at, 10, 64)
		err = errors.Join(err, bad)
		place.marks = append(place.marks, m)
	}
	return place, err == nil && base >= 0
}

// PruneChanges implements keyfold.FeedStore. It stops at the first change that
// is young, or open: what is left has no gap that anybody has to know of.
func (s *Store) PruneChanges(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	rows, err := list[changeDoc](ctx, s.changes, bson.D{}, options.Find().SetSort(bson.D{is("_id", 1)}).
		SetLimit(int64(limit)+2).SetProjection(bson.D{is("seq", 1), is("at", 1), is("state", 1)}))
	if err != nil {
		return 0, false, wrap("prune the feed", err)
	}
	var ids []string
	for i := range len(rows) - 1 { // one that another follows is not the newest
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
	// First it is stored that they are gone, so that no process misses them without notice.
	pruned := bson.D{is("$max", bson.D{is("pruned", rows[len(ids)-1].Seq)})}
	if _, err = s.meta.update(ctx, byID(metaID), pruned); err == nil {
		deleted, err = s.removeAll(ctx, s.changes, ids)
	}
	if err != nil {
		return 0, false, wrap("prune the feed", err)
	}
	return deleted, more, nil
}
