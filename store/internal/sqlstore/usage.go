package sqlstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/column"
	"github.com/keyfold/keyfold/store/internal/usageblock"
)

// errIDTaken means that a block of the batch has the id of another one.
var errIDTaken = errors.New("a block of usage events with this id exists")

// maxBlockTries is how often ids are drawn for the blocks of one batch.
const maxBlockTries = 10

// RecordUsage implements keyfold.UsageStore.
func (s *Store) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (result keyfold.UsageResult, err error) {
	for range maxBlockTries {
		if result, err = s.recordUsage(ctx, batch); !errors.Is(err, errIDTaken) {
			break
		}
	}
	return result, err
}

func (s *Store) recordUsage(ctx context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	var result keyfold.UsageResult
	var rows usageRows
	err := s.writeIn(ctx, laneWork, "record usage", usageDeadline, func(ctx context.Context, session *Session) error {
		result, rows = keyfold.UsageResult{}, usageRows{}
		n, err := session.Querier.ClaimBatch(ctx, batch.RecorderID, batch.Number, batch.At.UnixMilli())
		if err == nil && n == 0 || s.engine.class(err) == Conflict {
			result.Duplicate = true
			return nil
		}
		if err != nil {
			return err
		}
		existing, err := session.Bulk.Lock(ctx, keysOf(&batch))
		if err != nil {
			return err
		}
		rows = rowsOf(&batch, existing, session.Bulk.MaxBody())
		rows.words = s.engine.words.unknown(rows.words)
		result.LostUses = rows.lost
		return s.engine.addUsage(ctx, session, &rows)
	})
	if err != nil {
		return keyfold.UsageResult{}, err
	}
	if s.bound == nil { // another transaction may be rolled back yet
		s.engine.words.wrote(rows.words)
	}
	return result, nil
}

// addUsage writes in the same order always, so that two batches never wait for
// each other. The rows that every batch writes to come last, to be held for the
// shortest time.
func (e *Engine) addUsage(ctx context.Context, session *Session, rows *usageRows) error {
	bulk := session.Bulk
	if err := addIfAny(ctx, bulk.AddUses, rows.totals); err != nil {
		return err
	}
	if err := addIfAny(ctx, bulk.AddHours, rows.hours); err != nil {
		return err
	}
	if err := addIfAny(ctx, bulk.AddWords, rows.words); err != nil {
		return err
	}
	for _, block := range rows.blocks {
		if err := e.addBlock(ctx, bulk, block); err != nil {
			return err
		}
	}
	return addIfAny(ctx, bulk.AddHours, rows.sums)
}

func (e *Engine) addBlock(ctx context.Context, bulk Bulk, block usageblock.Encoded) error {
	err := bulk.AddBlock(ctx, model.UsageBlock{ID: block.ID, Span: block.Span, Events: int64(block.Events), Body: block.Body})
	if e.class(err) == Conflict {
		return errIDTaken
	}
	return err
}

func addIfAny[T any](ctx context.Context, add func(context.Context, []T) error, rows []T) error {
	if len(rows) == 0 {
		return nil
	}
	return add(ctx, rows)
}

// keysOf returns the ids of the keys that a batch names, sorted.
func keysOf(batch *keyfold.UsageBatch) []string {
	seen := make(map[string]struct{}, len(batch.Keys))
	for i := range batch.Keys {
		seen[batch.Keys[i].KeyID] = struct{}{}
	}
	for i := range batch.Hours {
		if id := batch.Hours[i].KeyID; id != "" {
			seen[id] = struct{}{}
		}
	}
	for i := range batch.Events {
		if id := batch.Events[i].KeyID; id != "" {
			seen[id] = struct{}{}
		}
	}
	ids := make([]string, 0, len(seen))
	for id := range seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// usageRows is a batch as it is stored.
type usageRows struct {
	totals []model.KeyTotal
	hours  []model.UsageHour
	sums   []model.UsageHour // over all keys and refusals, under the key ''
	words  []model.Word
	blocks []usageblock.Encoded
	lost   int64
}

func rowsOf(batch *keyfold.UsageBatch, existing []string, maxBody int) usageRows {
	exists := make(map[string]bool, len(existing))
	for _, id := range existing {
		exists[id] = true
	}
	var rows usageRows
	rows.addTotals(batch.Keys, exists)
	rows.addHours(batch, exists)
	rows.addEvents(batch.Events, exists, maxBody)
	return rows
}

func (r *usageRows) addTotals(totals []keyfold.KeyUses, exists map[string]bool) {
	r.totals = make([]model.KeyTotal, 0, len(totals))
	for _, total := range totals {
		if !exists[total.KeyID] {
			r.lost += total.Uses
			continue
		}
		r.totals = append(r.totals, model.KeyTotal{KeyID: total.KeyID, Uses: total.Uses, LastUsedAt: column.Used(total.LastUsedAt)})
	}
	r.totals = column.Merge(r.totals,
		func(a, b model.KeyTotal) int { return cmp.Compare(a.KeyID, b.KeyID) },
		func(into *model.KeyTotal, row model.KeyTotal) {
			into.Uses += row.Uses
			into.LastUsedAt = max(into.LastUsedAt, row.LastUsedAt)
		})
}

func (r *usageRows) addHours(batch *keyfold.UsageBatch, exists map[string]bool) {
	r.hours = make([]model.UsageHour, 0, len(batch.Hours))
	counted := make(map[model.UsageHour]bool, len(batch.Hours))
	for _, hour := range batch.Hours {
		if hour.KeyID == "" {
			r.sums = append(r.sums, model.UsageHour{HourAt: hourOf(hour.HourAt.UnixMilli()), Outcome: int64(hour.Outcome), Uses: hour.Count})
			continue
		}
		if exists[hour.KeyID] {
			row := model.UsageHour{KeyID: hour.KeyID, HourAt: hour.HourAt.UnixMilli(), Outcome: int64(hour.Outcome)}
			counted[row] = true
			row.Uses = hour.Count
			r.hours = append(r.hours, row)
		}
	}
	// The events of a key are found by its hours, so an event that comes without
	// a count leaves a row that counts nothing.
	for i := range batch.Events {
		event := &batch.Events[i]
		if exists[event.KeyID] {
			row := model.UsageHour{KeyID: event.KeyID, HourAt: hourOf(event.At.UnixMilli()), Outcome: int64(event.Outcome)}
			if !counted[row] {
				counted[row] = true
				r.hours = append(r.hours, row)
			}
		}
	}
	r.hours = mergeHours(r.hours)
	for _, row := range r.hours {
		row.KeyID = ""
		r.sums = append(r.sums, row)
	}
	r.sums = mergeHours(r.sums)
}

func mergeHours(rows []model.UsageHour) []model.UsageHour {
	return column.Merge(rows,
		func(a, b model.UsageHour) int {
			return cmp.Or(cmp.Compare(a.KeyID, b.KeyID), cmp.Compare(a.HourAt, b.HourAt), cmp.Compare(a.Outcome, b.Outcome))
		},
		func(into *model.UsageHour, row model.UsageHour) { into.Uses += row.Uses })
}

func (r *usageRows) addEvents(all []keyfold.UsageEvent, exists map[string]bool, maxBody int) {
	events := make([]*keyfold.UsageEvent, 0, len(all))
	for i := range all {
		if id := all[i].KeyID; id == "" || exists[id] {
			events = append(events, &all[i])
		}
	}
	if len(events) == 0 {
		return
	}
	earlier := func(a, b *keyfold.UsageEvent) int { return a.At.Compare(b.At) }
	if !slices.IsSortedFunc(events, earlier) {
		slices.SortStableFunc(events, earlier)
	}
	encoder := eventEncoder{words: map[string]int64{}, builder: usageblock.NewBuilder(), maxBody: maxBody}
	defer encoder.builder.Free()
	base := usageblock.NewBase(len(events))
	_ = usageblock.Split(len(events), maxBody,
		func(i int) int64 { return millis(events[i]) },
		func(i int) int { return len(events[i].RequestID) },
		func(begin, end int) error {
			encoder.encode(events[begin:end], base+int64(begin))
			return nil
		})
	r.blocks = encoder.blocks
	// The next midnight: so a word is written to once a day, not with each batch.
	usedAt := column.Moment(millis(events[len(events)-1])).Truncate(day).Add(day).UnixMilli()
	for word, id := range encoder.words {
		r.words = append(r.words, model.Word{ID: id, Word: column.Clean(word, maxWord), UsedAt: usedAt})
	}
	r.words = column.Merge(r.words, func(a, b model.Word) int { return cmp.Compare(a.ID, b.ID) }, func(*model.Word, model.Word) {})
}

// millis is the time of an event as it is stored.
func millis(event *keyfold.UsageEvent) int64 { return usageblock.Clamp(event.At.UnixMilli()) }

// eventEncoder makes blocks of events.
type eventEncoder struct {
	words   map[string]int64
	route   string // of the last event, with its id
	routeID int64
	builder *usageblock.Builder
	maxBody int
	blocks  []usageblock.Encoded
}

// encode makes one block of the events, or more where it would be too large for the
// database server.
func (c *eventEncoder) encode(events []*keyfold.UsageEvent, seq int64) {
	for i, event := range events {
		if event.Route != c.route {
			c.route, c.routeID = event.Route, wordID(c.words, event.Route)
		}
		c.builder.Add(&usageblock.Event{
			At: millis(event), Seq: seq + int64(i), Key: usageblock.KeyOf(event.KeyID), Outcome: uint8(event.Outcome), Route: c.routeID,
			Agent: wordID(c.words, event.UserAgent), IP: event.IP.WithZone(""), RequestID: column.Clean(event.RequestID, maxRequestID),
		})
	}
	block := c.builder.Encode(false)
	if half := len(events) / 2; len(block.Body) > c.maxBody && half > 0 {
		c.encode(events[:half], seq)
		c.encode(events[half:], seq+int64(half))
		return
	}
	c.blocks = append(c.blocks, block)
}

const (
	day     = 24 * time.Hour
	maxWord = 1024 // bytes that the column holds

	maxRequestID = 256
)

// wordID returns the number of a route or user agent: the first eight bytes of
// its SHA-256, without the sign; 0 for none. Words are remembered in seen.
func wordID(seen map[string]int64, word string) int64 {
	if word == "" {
		return 0
	}
	id, ok := seen[word]
	if !ok {
		sum := sha256.Sum256([]byte(column.Clean(word, maxWord)))
		id = int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
		seen[word] = id
	}
	return id
}
