package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/column"
)

// UsageEvents implements keyfold.UsageStore.
func (s *Store) UsageEvents(ctx context.Context, scan keyfold.UsageScan) ([]keyfold.UsageEvent, error) {
	var rows []model.EventRow
	err := s.read(ctx, "list usage events", func(session *Session) (err error) {
		rows, err = eventRows(ctx, session.Querier, scan)
		return err
	})
	if err != nil {
		return nil, err
	}
	events := make([]keyfold.UsageEvent, 0, len(rows))
	for _, row := range rows {
		events = append(events, keyfold.UsageEvent{
			At: column.Moment(row.At), Seq: row.Seq, KeyID: row.KeyID, Outcome: keyfold.Outcome(row.Outcome), Route: row.Route,
			IP: column.ParseIP(row.IP), RequestID: row.RequestID, UserAgent: row.Agent,
		})
	}
	return events, nil
}

// eventPage is the range of events that is still to be read, newest first.
type eventPage struct {
	from, upto int64 // both inclusive
	before     int64 // events of this time count only below beforeSeq
	beforeSeq  int64
	outcomes   string // as outcomeSet returns it
	limit      int
}

func eventRows(ctx context.Context, q Querier, scan keyfold.UsageScan) ([]model.EventRow, error) {
	page := eventPage{
		from: scan.From.UnixMilli(), upto: scan.To.UnixMilli() - 1, before: math.MaxInt64, outcomes: outcomeSet(scan.Outcomes),
		limit: scan.Limit,
	}
	if scan.After != (keyfold.EventPosition{}) {
		page.before, page.beforeSeq = scan.After.At.UnixMilli(), scan.After.Seq
		page.upto = min(page.upto, page.before)
	}
	var keyIDs []string
	switch {
	case scan.KeyID != "":
		keyIDs = []string{scan.KeyID}
	case scan.OwnerID != "":
		var err error
		if keyIDs, err = q.KeyIDsByOwner(ctx, scan.OwnerID); err != nil {
			return nil, err
		}
	case scan.UserID != "":
		var err error
		if keyIDs, err = q.KeyIDsByUser(ctx, scan.UserID); err != nil {
			return nil, err
		}
	default:
		return q.EventsAll(ctx, page.from, page.upto, page.before, page.beforeSeq, page.outcomes, int64(page.limit))
	}
	// Hours outlive events. Nothing is older than the oldest event.
	oldest, err := q.NthEvent(ctx, math.MaxInt64, 0)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	page.from = max(page.from, oldest.At)
	return walkHours(ctx, q, scan, keyIDs, page)
}

// walkHours reads the events of the hours in which the keys have counts, newest
// hour first: events have no index by key.
func walkHours(ctx context.Context, q Querier, scan keyfold.UsageScan, keyIDs []string, page eventPage) ([]model.EventRow, error) {
	first := hourOf(page.from)
	latest := make(map[string]int64, len(keyIDs)) // of each key that has hours left
	advance := func(id string, upto int64) error {
		hour, err := q.LatestHour(ctx, id, first, upto, page.outcomes)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			delete(latest, id)
			return nil
		case err == nil:
			latest[id] = hour
		}
		return err
	}
	for _, id := range keyIDs {
		if err := advance(id, page.upto); err != nil {
			return nil, err
		}
	}
	var rows []model.EventRow
	for len(latest) > 0 && len(rows) < page.limit {
		hour := int64(math.MinInt64)
		for _, at := range latest {
			hour = max(hour, at)
		}
		start, upto := max(hour, page.from), min(hour+time.Hour.Milliseconds()-1, page.upto)
		left := int64(page.limit - len(rows))
		var more []model.EventRow
		var err error
		switch {
		case scan.KeyID != "":
			more, err = q.EventsOfKey(ctx, start, upto, page.before, page.beforeSeq, scan.KeyID, page.outcomes, left)
		case scan.OwnerID != "":
			more, err = q.EventsOfOwner(ctx, start, upto, page.before, page.beforeSeq, page.outcomes, scan.OwnerID, left)
		default:
			more, err = q.EventsOfUser(ctx, start, upto, page.before, page.beforeSeq, page.outcomes, scan.UserID, left)
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
		for id, at := range latest {
			if at == hour {
				if err := advance(id, hour-1); err != nil {
					return nil, err
				}
			}
		}
	}
	return rows, nil
}

// outcomeSet returns a text whose byte n is '1' for every outcome n that is wanted;
// no outcomes want all.
func outcomeSet(outcomes []keyfold.Outcome) string {
	if len(outcomes) == 0 {
		return strings.Repeat("1", math.MaxUint8+1)
	}
	set := []byte(strings.Repeat("0", math.MaxUint8+1))
	for _, outcome := range outcomes {
		set[outcome] = '1'
	}
	return string(set)
}

func hourOf(millis int64) int64 { return column.Moment(millis).Truncate(time.Hour).UnixMilli() }

// UsageHours implements keyfold.UsageStore.
func (s *Store) UsageHours(ctx context.Context, scan keyfold.UsageScan) ([]keyfold.UsageHour, error) {
	from, to, outcomes := hourOf(scan.From.UnixMilli()), scan.To.UnixMilli(), outcomeSet(scan.Outcomes)
	var rows []model.UsageHour
	err := s.read(ctx, "list usage hours", func(session *Session) (err error) {
		switch {
		case scan.OwnerID != "" && scan.KeyID == "":
			rows, err = session.Querier.HoursOfOwner(ctx, scan.OwnerID, from, to)
		case scan.UserID != "" && scan.KeyID == "":
			rows, err = session.Querier.HoursOfUser(ctx, scan.UserID, from, to)
		default:
			rows, err = session.Querier.HoursOfKey(ctx, scan.KeyID, from, to)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(row model.UsageHour) bool {
		return row.Uses == 0 || row.Outcome < 0 || row.Outcome > math.MaxUint8 || outcomes[row.Outcome] == '0'
	})
	rows = column.Merge(rows,
		func(a, b model.UsageHour) int {
			return cmp.Or(cmp.Compare(a.HourAt, b.HourAt), cmp.Compare(a.Outcome, b.Outcome))
		},
		func(into *model.UsageHour, row model.UsageHour) { into.Uses += row.Uses })
	hours := make([]keyfold.UsageHour, 0, len(rows))
	for _, row := range rows {
		hours = append(hours, keyfold.UsageHour{HourAt: column.Moment(row.HourAt), Outcome: keyfold.Outcome(row.Outcome), Count: row.Uses})
	}
	return hours, nil
}
