package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

// claim names a batch. It is put in the same step as what the batch adds, so a
// recorder that lost the answer can send the batch again.
type claim struct {
	recorderID string
	number     int64
}

type hour struct {
	keyID   string
	at      int64 // unix milliseconds
	outcome keyfold.Outcome
}

// RecordUsage applies the batch unless it was applied before.
func (s *Store) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (result keyfold.UsageResult, err error) {
	err = s.write(ctx, func(st *state) error {
		id := claim{batch.RecorderID, batch.Number}
		if _, claimed := st.claims.get(id); claimed {
			result.Duplicate = true
			return nil
		}
		st.claims.put(id, milli(batch.At))
		for _, add := range batch.Keys {
			if !st.hasKey(add.KeyID) {
				result.LostUses += add.Uses
				continue
			}
			sum, _ := st.totals.get(add.KeyID)
			sum.uses += add.Uses
			if at := milli(add.LastUsedAt); at.After(sum.lastUsedAt) {
				sum.lastUsedAt = at
			}
			st.totals.put(add.KeyID, sum)
		}
		for _, add := range batch.Hours {
			if add.KeyID == "" || st.hasKey(add.KeyID) {
				id := hour{add.KeyID, add.HourAt.UnixMilli(), add.Outcome}
				count, _ := st.hours.get(id)
				st.hours.put(id, count+add.Count)
			}
		}
		for _, event := range batch.Events {
			if event.KeyID == "" || st.hasKey(event.KeyID) {
				st.eventSeq++
				event.At, event.Seq = milli(event.At), st.eventSeq
				st.events = append(st.events, event)
			}
		}
		return nil
	})
	if err != nil {
		return keyfold.UsageResult{}, err
	}
	return result, nil
}

func (s *state) hasKey(id string) bool {
	_, ok := s.keys.get(id)
	return ok
}

// UsageEvents returns one page of events.
func (s *Store) UsageEvents(ctx context.Context, scan keyfold.UsageScan) (page []keyfold.UsageEvent, err error) {
	after := keyfold.UsageEvent{At: milli(scan.After.At), Seq: scan.After.Seq}
	from, to := milli(scan.From), milli(scan.To)
	err = s.read(ctx, func(st *state) error {
		for _, event := range st.events {
			if st.names(scan, event.KeyID, event.Outcome) && !event.At.Before(from) && event.At.Before(to) &&
				(scan.After == keyfold.EventPosition{} || compareEvents(event, after) < 0) {
				page = append(page, event)
			}
		}
		slices.SortFunc(page, func(a, b keyfold.UsageEvent) int { return compareEvents(b, a) })
		page = page[:min(len(page), scan.Limit)]
		return nil
	})
	return page, err
}

// UsageHours returns the counts of whole hours, summed over keys.
func (s *Store) UsageHours(ctx context.Context, scan keyfold.UsageScan) (sums []keyfold.UsageHour, err error) {
	from, to := scan.From.Truncate(time.Hour).UnixMilli(), scan.To.UnixMilli()
	err = s.read(ctx, func(st *state) error {
		counts := map[hour]int64{}
		for id, count := range st.hours.all() {
			if from <= id.at && id.at < to && st.names(scan, id.keyID, id.outcome) {
				counts[hour{"", id.at, id.outcome}] += count
			}
		}
		for id, count := range counts {
			sums = append(sums, keyfold.UsageHour{HourAt: time.UnixMilli(id.at).UTC(), Outcome: id.outcome, Count: count})
		}
		slices.SortFunc(sums, func(a, b keyfold.UsageHour) int {
			return cmp.Or(a.HourAt.Compare(b.HourAt), cmp.Compare(a.Outcome, b.Outcome))
		})
		return nil
	})
	return sums, err
}

// names reports whether the scan asks for this key and outcome. Whose a key is
// is known only while it exists.
func (s *state) names(scan keyfold.UsageScan, keyID string, outcome keyfold.Outcome) bool {
	if len(scan.Outcomes) > 0 && !slices.Contains(scan.Outcomes, outcome) {
		return false
	}
	if scan.KeyID != "" {
		return keyID == scan.KeyID
	}
	if scan.OwnerID != "" {
		row, ok := s.keys.get(keyID)
		return ok && row.record.OwnerID == scan.OwnerID
	}
	if scan.UserID != "" {
		row, ok := s.keys.get(keyID)
		return ok && row.record.UserID == scan.UserID
	}
	return true
}

// PruneUsage deletes old events and then old claims.
func (s *Store) PruneUsage(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	// A claim outlives the longest time for which a recorder may send its batch
	// again, whatever the retention of events.
	const day = 24 * time.Hour
	now := time.Now()
	claimsBefore := now.Add(-day)
	if before.Before(claimsBefore) {
		claimsBefore = before
	}
	if oldest := now.Add(-30 * day); claimsBefore.Before(oldest) {
		claimsBefore = oldest
	}
	err = s.write(ctx, func(st *state) error {
		oldest := slices.SortedFunc(slices.Values(st.events), compareEvents)
		for deleted < min(limit, len(oldest)) && oldest[deleted].At.Before(before) {
			deleted++
		}
		st.events = oldest[deleted:]
		more = len(st.events) > 0 && st.events[0].At.Before(before)
		pruneOldest(&st.claims, func(_ claim, at time.Time) time.Time { return at }, claimsBefore, limit-deleted, &more)
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}

// PruneHours deletes old counts.
func (s *Store) PruneHours(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	before = before.Truncate(time.Hour)
	err = s.write(ctx, func(st *state) error {
		kept := before
		for _, event := range st.events {
			if event.At.Before(kept) {
				kept = event.At.Truncate(time.Hour)
			}
		}
		deleted = pruneOldest(&st.hours, func(of hour, _ int64) time.Time { return time.UnixMilli(of.at) }, kept, limit, &more)
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}

// pruneOldest deletes the oldest rows and sets more when old ones are left.
func pruneOldest[K comparable, V any](rows *table[K, V], age func(K, V) time.Time, before time.Time, limit int, more *bool) (deleted int) {
	type aged struct {
		key K
		at  time.Time
	}
	var old []aged
	for key, row := range rows.all() {
		if at := age(key, row); at.Before(before) {
			old = append(old, aged{key, at})
		}
	}
	slices.SortFunc(old, func(a, b aged) int { return a.at.Compare(b.at) })
	for i := range old[:min(len(old), max(0, limit))] {
		rows.delete(old[i].key)
		deleted++
	}
	*more = *more || deleted < len(old)
	return deleted
}

// compareEvents orders events, oldest first.
func compareEvents(a, b keyfold.UsageEvent) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Seq, b.Seq))
}
