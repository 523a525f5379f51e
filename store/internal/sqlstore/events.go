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
	"github.com/keyfold/keyfold/store/internal/usageblock"
)

// UsageEvents implements keyfold.UsageStore.
func (s *Store) UsageEvents(ctx context.Context, scan keyfold.UsageScan) (events []keyfold.UsageEvent, err error) {
	err = s.read(ctx, "list usage events", func(session *Session) (err error) {
		events, err = s.engine.usageEvents(ctx, session.Querier, &scan)
		return err
	})
	return events, err
}

func (e *Engine) usageEvents(ctx context.Context, q Querier, scan *keyfold.UsageScan) ([]keyfold.UsageEvent, error) {
	found, err := e.findEvents(ctx, q, scan)
	if err != nil {
		return nil, err
	}
	var ids []int64
	for i := range found {
		ids = append(ids, found[i].Route, found[i].Agent)
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(slices.Compact(ids), func(id int64) bool { return id == 0 })
	texts, err := e.texts(ctx, q, ids)
	if err != nil {
		return nil, err
	}
	events := make([]keyfold.UsageEvent, len(found))
	for i := range found {
		event := &found[i]
		events[i] = keyfold.UsageEvent{
			At: column.Moment(event.At), Seq: event.Seq, KeyID: event.Key.String(), Outcome: keyfold.Outcome(event.Outcome),
			Route: texts[event.Route], IP: event.IP, RequestID: event.RequestID, UserAgent: texts[event.Agent],
		}
	}
	return events, nil
}

// maxScans bounds how often a page is read again because blocks were merged
// meanwhile.
const maxScans = 10

func (e *Engine) findEvents(ctx context.Context, q Querier, scan *keyfold.UsageScan) ([]usageblock.Event, error) {
	keyIDs, err := scannedKeys(ctx, q, scan)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		page := usageblock.NewPage(scan.Limit)
		r := &eventReader{Querier: q, page: page, query: eventQuery(scan, keyIDs), unreadable: e.unreadable}
		if scan.KeyID == "" && scan.OwnerID == "" && scan.UserID == "" {
			err = r.read(ctx, r.query.From, r.query.Upto)
		} else {
			err = r.walkHours(ctx, keyIDs, outcomeSet(scan.Outcomes))
		}
		if !errors.Is(err, errMerged) || try == maxScans {
			return page.Events(), err
		}
	}
}

// scannedKeys returns the ids of the keys that a scan names.
func scannedKeys(ctx context.Context, q Querier, scan *keyfold.UsageScan) ([]string, error) {
	switch {
	case scan.KeyID != "":
		return []string{scan.KeyID}, nil
	case scan.OwnerID != "":
		return q.KeyIDsByOwner(ctx, scan.OwnerID)
	case scan.UserID != "":
		return q.KeyIDsByUser(ctx, scan.UserID)
	}
	return nil, nil
}

// eventQuery returns which events of a block a scan asks for.
func eventQuery(scan *keyfold.UsageScan, keyIDs []string) usageblock.Query {
	query := usageblock.Query{
		From: usageblock.Clamp(scan.From.UnixMilli()), Upto: usageblock.Clamp(scan.To.UnixMilli()) - 1, Before: usageblock.End, Limit: scan.Limit,
	}
	if scan.After != (keyfold.EventPosition{}) {
		query.Before = usageblock.Position{At: scan.After.At.UnixMilli(), Seq: scan.After.Seq}
		query.Upto = min(query.Upto, query.Before.At)
	}
	if scan.KeyID != "" || scan.OwnerID != "" || scan.UserID != "" {
		query.Keys = make(map[usageblock.Key]struct{}, len(keyIDs))
		for _, id := range keyIDs {
			query.Keys[usageblock.KeyOf(id)] = struct{}{}
		}
	}
	if len(scan.Outcomes) > 0 {
		query.Outcomes = new([math.MaxUint8 + 1]bool)
		for _, outcome := range scan.Outcomes {
			query.Outcomes[outcome] = true
		}
	}
	return query
}

// eventReader reads one page of events.
type eventReader struct {
	Querier
	page       *usageblock.Page
	query      usageblock.Query
	block      usageblock.Block
	unreadable *unreadable
}

// Blocks are read some at a time: a driver reads all rows of a query, even of one
// that is closed early.
const (
	firstBlocks    = 4  // of all keys
	firstKeyBlocks = 16 // of one key, of which most blocks have nothing
	maxBlocks      = 512
	maxBlockBytes  = 4 << 20
)

// errMerged means that blocks were merged while a page was read: events may have
// moved from blocks that were still to be read into one that was not there before.
var errMerged = errors.New("blocks were merged")

// read adds the events from a time to another, both inclusive, to the page.
func (r *eventReader) read(ctx context.Context, from, upto int64) error {
	if from > upto {
		return nil
	}
	rows := int64(firstBlocks)
	if r.query.Keys != nil {
		rows = firstKeyBlocks
	}
	lowest, highest := usageblock.FirstID(from), usageblock.LastID(usageblock.HourOf(upto)+time.Hour.Milliseconds()-1)
	var last *model.UsageBlock
	for {
		blocks, err := r.UsageBlocks(ctx, lowest, highest, usageblock.LastID(upto), rows)
		if err != nil {
			return err
		}
		if err := r.unmoved(ctx, last); err != nil {
			return err
		}
		size := 0
		for i := range blocks {
			if r.page.Complete(usageblock.Time(blocks[i].ID)) {
				return nil
			}
			size += len(blocks[i].Body)
			r.add(&blocks[i])
		}
		if int64(len(blocks)) < rows {
			return nil
		}
		last = &blocks[len(blocks)-1]
		highest = last.ID - 1
		rows = min(4*rows, maxBlocks, max(1, int64(maxBlockBytes/(1+size/len(blocks)))))
	}
}

// unmoved returns errMerged if a block that was read last is not there any more. A
// merge replaces blocks that follow each other, so one that moved events across this
// place has deleted the block.
func (r *eventReader) unmoved(ctx context.Context, last *model.UsageBlock) error {
	if last == nil {
		return nil
	}
	_, err := r.NthUsageBlock(ctx, last.ID, last.ID+1, 0)
	if errors.Is(err, sql.ErrNoRows) {
		return errMerged
	}
	return err
}

// add adds the events of a block. A block that cannot be read must not hide the
// others.
func (r *eventReader) add(row *model.UsageBlock) {
	err := r.block.Open(row.ID, row.Span, row.Events, row.Body)
	if err == nil {
		err = r.page.Add(&r.block, &r.query)
	}
	if err != nil {
		r.unreadable.found(row.ID, err)
	}
}

// walkHours reads the hours in which the keys have counts, newest hour first: blocks
// have no index by key.
func (r *eventReader) walkHours(ctx context.Context, keyIDs []string, outcomes string) error {
	oldest, err := r.NthUsageBlock(ctx, math.MinInt64, math.MaxInt64, 0)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	// Hours outlive events. No event is from an earlier hour than the oldest block.
	first := max(hourOf(r.query.From), hourOf(usageblock.Time(oldest.ID)))
	latest := make(map[string]int64, len(keyIDs)) // of each key that has hours left
	advance := func(id string, upto int64) error {
		hour, err := r.LatestHour(ctx, id, first, upto, outcomes)
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
		if err := advance(id, r.query.Upto); err != nil {
			return err
		}
	}
	for len(latest) > 0 && !r.page.Full() {
		hour := int64(math.MinInt64)
		for _, at := range latest {
			hour = max(hour, at)
		}
		if err := r.read(ctx, max(hour, r.query.From), min(hour+time.Hour.Milliseconds()-1, r.query.Upto)); err != nil {
			return err
		}
		for id, at := range latest {
			if at == hour {
				if err := advance(id, hour-1); err != nil {
					return err
				}
			}
		}
	}
	return nil
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
