package sqlstore

import (
	"context"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/column"
)

// Cursor is a position in the feed.
type Cursor struct {
	// Feed is the ID of the database to which the other fields belong.
	Feed string
	// Mark and MarkAt are the number and the time of the newest change that was read, or
	// 0. They reveal that a backup was restored: there the number has no change, or a
	// change with another time.
	Mark, MarkAt int64
	// Pruned is the highest number that had been pruned.
	Pruned int64
	// Rest contains further data of the engine.
	Rest string
}

const cursorFormat = "2" // must change whenever the format changes

// String returns the text that [ParseCursor] reads.
func (c Cursor) String() string {
	text := strings.Join([]string{
		cursorFormat, c.Feed, strconv.FormatInt(c.Mark, 10), strconv.FormatInt(c.MarkAt, 10),
		strconv.FormatInt(c.Pruned, 10), c.Rest,
	}, "/")
	return text + "/" + checksum(text)
}

// checksum detects a cursor that was truncated or modified. Such a cursor might skip
// changes.
func checksum(text string) string {
	return strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(text))), 36)
}

// ParseCursor is the inverse of [Cursor.String]. It returns false for other text.
func ParseCursor(text string) (Cursor, bool) {
	end := strings.LastIndexByte(text, '/')
	if end < 0 || text[end+1:] != checksum(text[:end]) {
		return Cursor{}, false
	}
	fields := strings.SplitN(text[:end], "/", 6)
	if len(fields) != 6 || fields[0] != cursorFormat {
		return Cursor{}, false
	}
	cursor := Cursor{Feed: fields[1], Rest: fields[5]}
	for i, number := range []*int64{&cursor.Mark, &cursor.MarkAt, &cursor.Pruned} {
		var err error
		if *number, err = strconv.ParseInt(fields[2+i], 10, 64); err != nil {
			return Cursor{}, false
		}
	}
	return cursor, true
}

// Continues reports whether the feed is the one that c belongs to, in the same or a
// later state. markAt is the time of the change with the number c.Mark, or nil if that
// change does not exist.
func (c Cursor) Continues(feedID string, pruned int64, markAt *int64) bool {
	switch {
	case feedID != c.Feed, pruned < c.Pruned:
		return false
	case c.Mark == 0:
		return true
	case markAt == nil:
		return pruned > c.Pruned && pruned >= c.Mark // the change was pruned
	}
	return *markAt == c.MarkAt
}

// Changes implements keyfold.FeedStore.
func (s *Store) Changes(ctx context.Context, cursor string) ([]keyfold.Change, string, error) {
	var changes []keyfold.Change
	var next Cursor
	err := s.readIn(ctx, laneFeed, "read changes", func(session *Session) (err error) {
		if since, ok := ParseCursor(cursor); ok {
			var known bool
			changes, next, known, err = session.Feed.Poll(ctx, since)
			if err != nil || known {
				return err
			}
		}
		changes = nil
		if next, err = session.Feed.Now(ctx); err != nil {
			return err
		}
		if cursor != "" { // changes since the cursor may be missing
			changes = []keyfold.Change{{Seq: next.Mark, At: column.Moment(next.MarkAt), Action: "feed.lost"}}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return changes, next.String(), nil
}

// ChangeOf returns the change in a row.
func ChangeOf(row model.Change) keyfold.Change {
	return keyfold.Change{Seq: row.Seq, At: column.Moment(row.At), Action: row.Action, Target: row.Target}
}

// PruneChanges implements keyfold.FeedStore. The same transaction stores the highest
// pruned number, so that a process with an older cursor detects that rows are missing.
func (s *Store) PruneChanges(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	err = s.writeIn(ctx, laneWork, "prune changes", usageDeadline, func(ctx context.Context, session *Session) error {
		q := session.Querier
		deleted, more = 0, false
		rows, err := q.ChangesOlder(ctx, before.UnixMilli(), int64(limit)+1)
		if err != nil || len(rows) == 0 {
			return err
		}
		newest, err := q.ChangesBefore(ctx, math.MaxInt64, 1)
		if err != nil {
			return err
		}
		meta, err := q.Meta(ctx)
		if err != nil {
			return err
		}
		var last model.Change
		seq, tx := int64(0), meta.PrunedTx
		for _, row := range rows {
			if row.Seq == newest[0].Seq {
				continue
			}
			if deleted == limit {
				more = true
				break
			}
			last, deleted = row, deleted+1
			seq, tx = max(seq, row.Seq), max(tx, row.Tx)
		}
		if deleted == 0 {
			return nil
		}
		n, err := q.DeleteChanges(ctx, last.At, last.At, last.Seq, seq)
		if err != nil {
			return err
		}
		deleted = int(n)
		return q.SetPruned(ctx, max(meta.PrunedSeq, seq), tx)
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}
