package sqlite

import (
	"context"
	"database/sql"
	"strings"

	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/sqlitedb"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
	"github.com/keyfold/keyfold/store/internal/usageblock"
)

// bulk writes 100 rows with each prepared statement, because a statement costs more than
// its rows. It writes the remaining rows one by one, so that only two statements of each
// kind must be prepared.
type bulk struct {
	db *sqlstore.Prepared
	q  *sqlitedb.Queries
}

func newBulk(tx *sql.Tx) bulk {
	db := sqlstore.NewPrepared(tx)
	return bulk{db, sqlitedb.New(db)}
}

var _ sqlstore.Bulk = bulk{}

const atOnce = 100

// groups returns atOnce groups of placeholders.
func groups(group string) string { return group + strings.Repeat(","+group, atOnce-1) }

// insertGroups inserts atOnce rows with each statement and returns the remaining rows.
func insertGroups[T any](ctx context.Context, db *sqlstore.Prepared, text func() string, rows []T, args func(*T, []any) []any) ([]T, error) {
	if len(rows) < atOnce {
		return rows, nil
	}
	statement := text()
	var values []any
	for ; len(rows) >= atOnce; rows = rows[atOnce:] {
		values = values[:0]
		for i := range rows[:atOnce] {
			values = args(&rows[i], values)
		}
		if _, err := db.ExecContext(ctx, statement, values...); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (b bulk) Lock(ctx context.Context, keyIDs []string) ([]string, error) {
	existing := make([]string, 0, len(keyIDs))
	args := make([]any, 0, atOnce)
	for len(keyIDs) > 0 {
		args = args[:0]
		for i := range atOnce {
			args = append(args, keyIDs[min(i, len(keyIDs)-1)]) // the last ID fills the statement
		}
		keyIDs = keyIDs[min(atOnce, len(keyIDs)):]
		rows, err := b.db.QueryContext(ctx, "SELECT key_id FROM keyfold_key_totals WHERE key_id IN ("+groups("?")+")", args...)
		if err != nil {
			return nil, err
		}
		if existing, err = appendIDs(existing, rows); err != nil {
			return nil, err
		}
	}
	return existing, nil
}

func appendIDs(ids []string, rows *sql.Rows) ([]string, error) {
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// AddUses is given keys that Lock has found, so no row is inserted.
func (b bulk) AddUses(ctx context.Context, rows []model.KeyTotal) error {
	rows, err := insertGroups(ctx, b.db, func() string {
		return "INSERT INTO keyfold_key_totals (key_id, uses, last_used_at) VALUES " + groups("(?,?,?)") +
			" ON CONFLICT (key_id) DO UPDATE SET uses = uses + excluded.uses, last_used_at = max(last_used_at, excluded.last_used_at)"
	}, rows, func(row *model.KeyTotal, args []any) []any { return append(args, row.KeyID, row.Uses, row.LastUsedAt) })
	for i := 0; err == nil && i < len(rows); i++ {
		err = b.q.AddUses(ctx, rows[i].Uses, rows[i].LastUsedAt, rows[i].KeyID)
	}
	return err
}

func (b bulk) AddHours(ctx context.Context, rows []model.UsageHour) error {
	rows, err := insertGroups(ctx, b.db, func() string {
		return "INSERT INTO keyfold_usage_hours (key_id, hour_at, outcome, uses) VALUES " + groups("(?,?,?,?)") +
			" ON CONFLICT (key_id, hour_at, outcome) DO UPDATE SET uses = uses + excluded.uses"
	}, rows, func(row *model.UsageHour, args []any) []any {
		return append(args, row.KeyID, row.HourAt, row.Outcome, row.Uses)
	})
	for i := 0; err == nil && i < len(rows); i++ {
		err = b.q.AddHour(ctx, rows[i].KeyID, rows[i].HourAt, rows[i].Outcome, rows[i].Uses)
	}
	return err
}

func (b bulk) AddWords(ctx context.Context, rows []model.Word) error {
	for _, row := range rows {
		if err := b.q.AddWord(ctx, row.ID, row.Word, row.UsedAt); err != nil {
			return err
		}
	}
	return nil
}

// MaxBody implements [sqlstore.Bulk].
func (b bulk) MaxBody() int { return usageblock.MaxBody }

func (b bulk) AddBlock(ctx context.Context, row model.UsageBlock) error {
	return b.q.AddUsageBlock(ctx, row.ID, row.Span, row.Events, row.Body)
}
