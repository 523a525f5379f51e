package mysql

import (
	"context"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/mysqldb"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// feedWindow is the time for which the feed looks for a change that has a number and is
// not committed yet.
const feedWindow = 10 * time.Minute

// sequence reads the changes by their number. InnoDB assigns it when a row is inserted,
// which may be long before the commit.
func sequence(db mysqldb.DBTX, clock func() int64) sqlstore.SequenceFeed {
	return sqlstore.SequenceFeed{
		Querier: mysqldb.New(db), Window: feedWindow, Clock: clock, Within: within(db),
	}
}

// freshFeed reads the changes in a transaction of its own, whose isolation level lets
// each statement read the latest committed state. The settings of the session cannot
// make the feed read from an old snapshot. The transaction is not read-only, because a
// proxy may send read-only transactions to a replica, which may be behind.
type freshFeed struct {
	begin func(ctx context.Context) (sqlstore.Session, error)
}

// Now implements sqlstore.Feed.
func (f freshFeed) Now(ctx context.Context) (cursor sqlstore.Cursor, err error) {
	err = f.in(ctx, func(feed sqlstore.Feed) error {
		cursor, err = feed.Now(ctx)
		return err
	})
	return cursor, err
}

// Poll implements sqlstore.Feed.
func (f freshFeed) Poll(ctx context.Context, since sqlstore.Cursor) (changes []keyfold.Change, next sqlstore.Cursor, known bool, err error) {
	err = f.in(ctx, func(feed sqlstore.Feed) error {
		changes, next, known, err = feed.Poll(ctx, since)
		return err
	})
	return changes, next, known, err
}

func (f freshFeed) in(ctx context.Context, fn func(sqlstore.Feed) error) error {
	session, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer session.Rollback(context.WithoutCancel(ctx))
	return fn(session.Feed)
}

// within reads all ranges in one statement. sqlc cannot generate it, because its text
// depends on the number of ranges.
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
