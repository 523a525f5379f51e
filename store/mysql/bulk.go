package mysql

import (
	"context"
	"slices"
	"strings"

	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/mysqldb"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
	"github.com/keyfold/keyfold/store/internal/usageblock"
)

// bulk writes many rows in one statement. sqlc cannot generate such statements, because
// their text depends on the number of rows.
type bulk struct {
	tx     mysqldb.DBTX
	shared *connections
}

var _ sqlstore.Bulk = bulk{}

// rowsAtOnce keeps statements below the limit of 65,535 placeholders.
const rowsAtOnce = 500

// each runs statements of head, a group of placeholders for every row, and tail. The
// server takes longer to prepare a long statement than to run it, so each prepares one
// statement for all chunks of the same length.
func each[T any](ctx context.Context, b bulk, head, group, tail string, rows []T, args func(*T, []any) []any) error {
	var values []any
	atOnce := rowsOf(&b.shared.packets, rows, args)
	for len(rows) > 0 {
		size := min(len(rows), atOnce)
		statement, err := b.tx.PrepareContext(ctx, head+group+strings.Repeat(","+group, size-1)+tail)
		if err != nil {
			return err
		}
		for ; err == nil && len(rows) >= size; rows = rows[size:] {
			values = values[:0]
			for i := range rows[:size] {
				values = args(&rows[i], values)
			}
			_, err = statement.ExecContext(ctx, values...)
		}
		if closed := statement.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return b.shared.refused(err)
		}
	}
	return nil
}

func (b bulk) Lock(ctx context.Context, keyIDs []string) ([]string, error) {
	existing := make([]string, 0, len(keyIDs))
	atOnce := rowsOf(&b.shared.packets, keyIDs, func(id *string, args []any) []any { return append(args, *id) })
	for chunk := range slices.Chunk(keyIDs, atOnce) {
		args := make([]any, len(chunk))
		for i, id := range chunk {
			args[i] = id
		}
		rows, err := b.tx.QueryContext(ctx, "SELECT key_id FROM keyfold_key_totals WHERE key_id IN (?"+
			strings.Repeat(",?", len(chunk)-1)+") ORDER BY key_id FOR UPDATE", args...)
		if err != nil {
			return nil, b.shared.refused(err)
		}
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				_ = rows.Close()
				return nil, err
			}
			existing = append(existing, id)
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
	}
	return existing, nil
}

// AddUses is given keys that Lock has found, so no row is inserted.
func (b bulk) AddUses(ctx context.Context, rows []model.KeyTotal) error {
	return each(ctx, b, "INSERT INTO keyfold_key_totals (key_id, uses, last_used_at) VALUES ", "(?,?,?)",
		" ON DUPLICATE KEY UPDATE uses = uses + VALUES(uses), last_used_at = GREATEST(last_used_at, VALUES(last_used_at))",
		rows, func(row *model.KeyTotal, args []any) []any {
			return append(args, row.KeyID, row.Uses, row.LastUsedAt)
		})
}

func (b bulk) AddHours(ctx context.Context, rows []model.UsageHour) error {
	return each(ctx, b, "INSERT INTO keyfold_usage_hours (key_id, hour_at, outcome, uses) VALUES ", "(?,?,?,?)",
		" ON DUPLICATE KEY UPDATE uses = uses + VALUES(uses)",
		rows, func(row *model.UsageHour, args []any) []any {
			return append(args, row.KeyID, row.HourAt, row.Outcome, row.Uses)
		})
}

func (b bulk) AddWords(ctx context.Context, rows []model.Word) error {
	return each(ctx, b, "INSERT INTO keyfold_words (id, word, used_at) VALUES ", "(?,?,?)",
		" ON DUPLICATE KEY UPDATE used_at = GREATEST(used_at, VALUES(used_at))",
		rows, func(row *model.Word, args []any) []any { return append(args, row.ID, row.Word, row.UsedAt) })
}

// MaxBody implements [sqlstore.Bulk].
func (b bulk) MaxBody() int { return min(usageblock.MaxBody, int(b.shared.packets.batch())) }

func (b bulk) AddBlock(ctx context.Context, row model.UsageBlock) error {
	err := mysqldb.New(b.tx).AddUsageBlock(ctx, row.ID, row.Span, row.Events, row.Body)
	return b.shared.refused(err)
}
