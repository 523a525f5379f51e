package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/sqlitedb"
	"github.com/keyfold/keyfold/store/internal/sqlstore"
)

// bulk writes row by row with prepared statements: there is no round trip to
// save. Events, of which there are many, are written by the hundred, because
// what surrounds a statement takes longer than the row.
type bulk struct {
	db *sqlstore.Prepared
	q  *sqlitedb.Queries
}

func newBulk(tx *sql.Tx) bulk {
	db := sqlstore.NewPrepared(tx)
	return bulk{db, sqlitedb.New(db)}
}

var _ sqlstore.Bulk = bulk{}

func (b bulk) Lock(ctx context.Context, keyIDs []string) ([]string, error) {
	existing := make([]string, 0, len(keyIDs))
	for _, id := range keyIDs {
		_, err := b.q.HasTotal(ctx, id)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		existing = append(existing, id)
	}
	return existing, nil
}

func (b bulk) AddUses(ctx context.Context, rows []model.KeyTotal) error {
	for _, row := range rows {
		if err := b.q.AddUses(ctx, row.Uses, row.LastUsedAt, row.KeyID); err != nil {
			return err
		}
	}
	return nil
}

func (b bulk) AddHours(ctx context.Context, rows []model.UsageHour) error {
	for _, row := range rows {
		if err := b.q.AddHour(ctx, row.KeyID, row.HourAt, row.Code, row.Uses); err != nil {
			return err
		}
	}
	return nil
}

func (b bulk) AddMinutes(ctx context.Context, rows []model.RefusalMinute) error {
	for _, row := range rows {
		if err := b.q.AddMinute(ctx, row.MinuteAt, row.Code, row.Refusals); err != nil {
			return err
		}
	}
	return nil
}

func (b bulk) AddWords(ctx context.Context, rows []model.Word) error {
	for _, row := range rows {
		if err := b.q.AddWord(ctx, row.ID, row.Word, row.UsedAt); err != nil {
			return err
		}
	}
	return nil
}

const (
	eventsAtOnce = 100
	eventHead    = "INSERT INTO keyfold_usage_events (at, seq, route_id, agent_id, code, key_id, ip, request_id) VALUES "
	eventGroup   = "(?,?,?,?,?,?,?,?)"
)

func (b bulk) AddEvents(ctx context.Context, rows []model.UsageEvent) error {
	text := eventHead + eventGroup + strings.Repeat(","+eventGroup, eventsAtOnce-1)
	var args []any
	for ; len(rows) >= eventsAtOnce; rows = rows[eventsAtOnce:] {
		args = args[:0]
		for i := range rows[:eventsAtOnce] {
			row := &rows[i]
			args = append(args, row.At, row.Seq, row.RouteID, row.AgentID, row.Code, row.KeyID, row.IP, row.RequestID)
		}
		if _, err := b.db.ExecContext(ctx, text, args...); err != nil {
			return err
		}
	}
	for i := range rows {
		row := &rows[i]
		err := b.q.AddEvent(ctx, row.At, row.Seq, row.RouteID, row.AgentID, row.Code, row.KeyID, row.IP, row.RequestID)
		if err != nil {
			return err
		}
	}
	return nil
}
