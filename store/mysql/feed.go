package mysql

import (
	"context"
	"strings"
	"time"

	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/mysqldb"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// feedWindow is how long the feed waits for a change whose number was handed
// out and that has not been committed.
const feedWindow = 10 * time.Minute

// sequence reads the changes by their number, which InnoDB hands out when a
// row is inserted, long before it may be committed.
func sequence(db mysqldb.DBTX) sqlstore.SequenceFeed {
	return sqlstore.SequenceFeed{
		Querier: mysqldb.New(db), Window: feedWindow, Clock: sqlstore.NewClock(), Within: within(db),
	}
}

// within reads all ranges in one statement. sqlc cannot write it, because
// their number is in the text.
func within(db mysqldb.DBTX) func(context.Context, []sqlstore.Range, int) ([]model.Change, error) {
	return func(ctx context.Context, ranges []sqlstore.Range, limit int) ([]model.Change, error) {
		var args []any
		for _, r := range ranges {
			args = append(args, r.First, r.Last)
		}
		rows, err := db.QueryContext(ctx, "SELECT seq, tx, at, action, target FROM keyfold_changes WHERE seq BETWEEN ? AND ?"+
			strings.Repeat(" OR seq BETWEEN ? AND ?", len(ranges)-1)+" ORDER BY seq LIMIT ?", append(args, limit)...)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		var changes []model.Change
		for rows.Next() {
			var row model.Change
			if err := rows.Scan(&row.Seq, &row.Tx, &row.At, &row.Action, &row.Target); err != nil {
				return nil, err
			}
			changes = append(changes, row)
		}
		return changes, rows.Err()
	}
}
