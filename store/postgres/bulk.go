package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/postgresdb"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// bulk writes all rows of a kind in one statement, as arrays. Events, of which
// there are many, are copied where the driver can.
type bulk struct {
	q    *postgresdb.Queries
	copy copier // nil where there is none
}

type copier interface {
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, source pgx.CopyFromSource) (int64, error)
}

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

func (b bulk) AddEvents(ctx context.Context, rows []model.UsageEvent) error {
	if b.copy != nil && len(rows) >= minCopy {
		_, err := b.copy.CopyFrom(ctx, pgx.Identifier{"keyfold_usage_events"},
			[]string{"at", "seq", "route_id", "agent_id", "outcome", "key_id", "ip", "request_id"}, &eventSource{rows: rows})
		return err
	}
	return b.q.AddEvents(ctx,
		column(rows, func(row *model.UsageEvent) int64 { return row.At }),
		column(rows, func(row *model.UsageEvent) int64 { return row.Seq }),
		column(rows, func(row *model.UsageEvent) int64 { return row.RouteID }),
		column(rows, func(row *model.UsageEvent) int64 { return row.AgentID }),
		column(rows, func(row *model.UsageEvent) int64 { return row.Outcome }),
		column(rows, func(row *model.UsageEvent) string { return row.KeyID }),
		column(rows, func(row *model.UsageEvent) string { return row.IP }),
		column(rows, func(row *model.UsageEvent) string { return row.RequestID }))
}

// minCopy is the number of events from which COPY is worth its own round trips.
const minCopy = 100

// eventSource hands events to COPY, one at a time in the same slice.
type eventSource struct {
	rows   []model.UsageEvent
	values []any
}

func (s *eventSource) Next() bool { return len(s.rows) > 0 }

func (s *eventSource) Values() ([]any, error) {
	row := &s.rows[0]
	s.rows = s.rows[1:]
	s.values = append(s.values[:0], row.At, row.Seq, row.RouteID, row.AgentID, row.Outcome, row.KeyID, row.IP, row.RequestID)
	return s.values, nil
}

func (s *eventSource) Err() error { return nil }

func column[R, T any](rows []R, field func(*R) T) []T {
	values := make([]T, len(rows))
	for i := range rows {
		values[i] = field(&rows[i])
	}
	return values
}
