package postgres

import (
	"context"

	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/postgresdb"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
	"github.com/keyfold/keyfold/store/internal/usageblock"
)

// bulk writes all rows of a kind in one statement, as arrays.
type bulk struct{ q *postgresdb.Queries }

var _ sqlstore.Bulk = bulk{}

func (b bulk) Lock(ctx context.Context, keyIDs []string) ([]string, error) {
	return b.q.LockTotals(ctx, keyIDs)
}

func (b bulk) AddUses(ctx context.Context, rows []model.KeyTotal) error {
	return b.q.AddUses(ctx,
		column(rows, func(row *model.KeyTotal) string { return row.KeyID }),
		column(rows, func(row *model.KeyTotal) int64 { return row.Uses }),
		column(rows, func(row *model.KeyTotal) int64 { return row.LastUsedAt }))
}

func (b bulk) AddHours(ctx context.Context, rows []model.UsageHour) error {
	return b.q.AddHours(ctx,
		column(rows, func(row *model.UsageHour) string { return row.KeyID }),
		column(rows, func(row *model.UsageHour) int64 { return row.HourAt }),
		column(rows, func(row *model.UsageHour) int64 { return row.Outcome }),
		column(rows, func(row *model.UsageHour) int64 { return row.Uses }))
}

func (b bulk) AddWords(ctx context.Context, rows []model.Word) error {
	return b.q.AddWords(ctx, rows[0].UsedAt, // of all of them
		column(rows, func(row *model.Word) int64 { return row.ID }),
		column(rows, func(row *model.Word) string { return row.Word }))
}

// MaxBody implements [sqlstore.Bulk].
func (b bulk) MaxBody() int { return usageblock.MaxBody }

func (b bulk) AddBlock(ctx context.Context, row model.UsageBlock) error {
	return b.q.AddUsageBlock(ctx, row.ID, row.Span, row.Events, row.Body)
}

func column[R, T any](rows []R, field func(*R) T) []T {
	values := make([]T, len(rows))
	for i := range rows {
		values[i] = field(&rows[i])
	}
	return values
}
