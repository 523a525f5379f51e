package postgres

import (
	"context"
	"math"
	"strconv"
	"strings"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/postgresdb"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// feed reads the changes that the snapshot in the cursor could not see. Changes are
// numbered before they are committed, but a snapshot knows exactly which transactions
// were committed. Each poll therefore returns the changes of the transactions that were
// invisible to the previous snapshot, each once and independent of their order.
type feed struct{ q *postgresdb.Queries }

var _ sqlstore.Feed = feed{}

// Now implements sqlstore.Feed.
func (f feed) Now(ctx context.Context) (sqlstore.Cursor, error) {
	rows, err := f.q.PollChanges(ctx, 0, math.MaxInt64, "1:1:", 1)
	if err != nil {
		return sqlstore.Cursor{}, err
	}
	if len(rows) == 0 {
		return sqlstore.Cursor{}, sqlstore.ErrNoMeta
	}
	return cursor(&rows[0]), nil
}

// Poll implements sqlstore.Feed.
func (f feed) Poll(ctx context.Context, since sqlstore.Cursor) ([]keyfold.Change, sqlstore.Cursor, bool, error) {
	xmin, ok := parseSnapshot(since.Rest)
	if !ok {
		return nil, sqlstore.Cursor{}, false, nil
	}
	rows, err := f.q.PollChanges(ctx, since.Mark, xmin, since.Rest, sqlstore.MaxChanges+1)
	if err != nil {
		return nil, sqlstore.Cursor{}, false, err
	}
	if len(rows) == 0 {
		return nil, sqlstore.Cursor{}, false, sqlstore.ErrNoMeta
	}
	head := &rows[0]
	next := cursor(head)
	now, ok := parseSnapshot(next.Rest)
	switch {
	case len(rows) > sqlstore.MaxChanges,
		!ok || now < xmin, // transaction IDs went back, so this is another server
		!since.Continues(head.FeedID, head.PrunedSeq, head.MarkAt),
		// A change was pruned that the snapshot may not have seen.
		head.PrunedSeq > since.Pruned && head.PrunedTx >= xmin:
		return nil, sqlstore.Cursor{}, false, nil
	}
	var changes []keyfold.Change
	for _, row := range rows {
		if row.Seq != nil {
			changes = append(changes, sqlstore.ChangeOf(model.Change{
				Seq: *row.Seq, At: *row.At, Action: *row.Action, Target: *row.Target,
			}))
		}
	}
	return changes, next, true, nil
}

func cursor(row *postgresdb.PollChangesRow) sqlstore.Cursor {
	return sqlstore.Cursor{
		Feed: row.FeedID, Mark: row.NewestSeq, MarkAt: row.NewestAt, Pruned: row.PrunedSeq, Rest: row.Snapshot,
	}
}

// parseSnapshot returns the xmin of a pg_snapshot in the text form xmin:xmax:xip,….
// ok reports whether the server accepts the text; an error of the server would abort the
// transaction of a bound Store.
func parseSnapshot(text string) (xmin int64, ok bool) {
	fields := strings.Split(text, ":")
	if len(fields) != 3 {
		return 0, false
	}
	xmin, errMin := strconv.ParseInt(fields[0], 10, 64)
	xmax, errMax := strconv.ParseInt(fields[1], 10, 64)
	if errMin != nil || errMax != nil || xmin < 1 || xmax < xmin {
		return 0, false
	}
	if fields[2] == "" {
		return xmin, true
	}
	last := xmin - 1
	for field := range strings.SplitSeq(fields[2], ",") {
		xip, err := strconv.ParseInt(field, 10, 64)
		if err != nil || xip <= last || xip >= xmax {
			return 0, false
		}
		last = xip
	}
	return xmin, true
}
