package sqlstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/column"
)

// errSeqTaken means that an event of the batch has the place of another one.
var errSeqTaken = errors.New("an event of this time and number exists")

// RecordUsage implements keyfold.UsageStore. The number of an event has no
// meaning beyond its order, so when two recorders chose the same one, the
// events of this batch get others.
func (s *Store) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	result, err := s.recordUsage(ctx, batch, func(event *keyfold.UsageEvent, fresh int64) int64 {
		if event.Seq == 0 {
			return fresh
		}
		return event.Seq
	})
	if errors.Is(err, errSeqTaken) {
		return s.recordUsage(ctx, batch, func(_ *keyfold.UsageEvent, fresh int64) int64 { return fresh })
	}
	return result, err
}

func (s *Store) recordUsage(ctx context.Context, batch keyfold.UsageBatch, seq func(*keyfold.UsageEvent, int64) int64) (keyfold.UsageResult, error) {
	var result keyfold.UsageResult
	err := s.writeIn(ctx, laneWork, "record usage", usageDeadline, func(ctx context.Context, session *Session) error {
		result = keyfold.UsageResult{}
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
		rows := rowsOf(&batch, existing, seq)
		result.LostUses = rows.lost
		return s.engine.addUsage(ctx, session.Bulk, rows)
	})
	if err != nil {
		return keyfold.UsageResult{}, err
	}
	return result, nil
}

// addUsage writes in the same order always, so that two batches never wait for
// each other. The rows that every batch writes to come last, to be held for the
// shortest time.
func (e *Engine) addUsage(ctx context.Context, bulk Bulk, rows usageRows) error {
	if err := addIfAny(ctx, bulk.AddUses, rows.totals); err != nil {
		return err
	}
	if err := addIfAny(ctx, bulk.AddHours, rows.hours); err != nil {
		return err
	}
	if err := addIfAny(ctx, bulk.AddWords, rows.words); err != nil {
		return err
	}
	if err := addIfAny(ctx, bulk.AddEvents, rows.events); err != nil {
		if e.class(err) == Conflict {
			return errSeqTaken
		}
		return err
	}
	return addIfAny(ctx, bulk.AddHours, rows.sums)
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
	events []model.UsageEvent
	lost   int64
}

func rowsOf(batch *keyfold.UsageBatch, existing []string, seq func(*keyfold.UsageEvent, int64) int64) usageRows {
	exists := make(map[string]bool, len(existing))
	for _, id := range existing {
		exists[id] = true
	}
	var rows usageRows
	rows.addTotals(batch.Keys, exists)
	rows.addHours(batch, exists)
	rows.addEvents(batch.Events, exists, seq)
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

func (r *usageRows) addEvents(events []keyfold.UsageEvent, exists map[string]bool, seq func(*keyfold.UsageEvent, int64) int64) {
	r.events = make([]model.UsageEvent, 0, len(events))
	words := make(map[string]int64)
	fresh := rand.Int64N(1 << 62)
	for i := range events {
		event := &events[i]
		if event.KeyID != "" && !exists[event.KeyID] {
			continue
		}
		r.events = append(r.events, model.UsageEvent{
			At: event.At.UnixMilli(), Seq: seq(event, fresh+int64(i)), RouteID: wordID(words, event.Route),
			AgentID: wordID(words, event.UserAgent), Outcome: int64(event.Outcome), KeyID: event.KeyID,
			IP: column.FormatIP(event.IP), RequestID: column.Clean(event.RequestID, 256),
		})
	}
	// Rows that arrive in the order of the primary key are appended to its end.
	slices.SortFunc(r.events, func(a, b model.UsageEvent) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Seq, b.Seq))
	})
	usedAt := int64(0)
	if last := len(r.events) - 1; last >= 0 {
		// The next midnight: so a word is written to once a day, not with each batch.
		usedAt = column.Moment(r.events[last].At).Truncate(day).Add(day).UnixMilli()
	}
	for word, id := range words {
		r.words = append(r.words, model.Word{ID: id, Word: column.Clean(word, maxWord), UsedAt: usedAt})
	}
	r.words = column.Merge(r.words, func(a, b model.Word) int { return cmp.Compare(a.ID, b.ID) }, func(*model.Word, model.Word) {})
}

const (
	day     = 24 * time.Hour
	maxWord = 1024 // bytes that the column holds
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
