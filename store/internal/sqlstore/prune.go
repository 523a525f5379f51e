package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/usageblock"
)

var _ keyfold.UsageStore = (*Store)(nil)

// A claim is kept for at least minClaimAge, longer than any recorder tries to
// deliver its batch while the store works, and at most maxClaimAge.
const (
	minClaimAge = day
	maxClaimAge = 30 * day
)

// PruneUsage implements keyfold.UsageStore.
func (s *Store) PruneUsage(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	now := time.Now()
	claims := max(min(before.UnixMilli(), now.Add(-minClaimAge).UnixMilli()), now.Add(-maxClaimAge).UnixMilli())
	var moreEvents, moreClaims, moreWords bool
	err = s.writeIn(ctx, laneWork, "prune usage events", usageDeadline, func(ctx context.Context, session *Session) (err error) {
		deleted, moreEvents, err = pruneBlocks(ctx, session.Querier, before.UnixMilli(), limit)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	err = s.writeIn(ctx, laneWork, "prune batches", usageDeadline, func(ctx context.Context, session *Session) (err error) {
		moreClaims, err = pruneMoments(ctx, session.Querier.NthBatchAt, session.Querier.DeleteBatches, claims, limit)
		return err
	})
	if err != nil || moreEvents { // those still name words
		return deleted, moreEvents || moreClaims, err
	}
	err = s.writeIn(ctx, laneWork, "prune words", usageDeadline, func(ctx context.Context, session *Session) (err error) {
		moreWords, err = pruneWords(ctx, session.Querier, before.UnixMilli(), limit)
		return err
	})
	s.engine.words.forget()
	return deleted, moreClaims || moreWords, err
}

// PruneHours implements keyfold.UsageStore.
func (s *Store) PruneHours(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	err = s.writeIn(ctx, laneWork, "prune usage hours", usageDeadline, func(ctx context.Context, session *Session) error {
		end, err := oldestEvent(ctx, session.Querier, hourOf(before.UnixMilli()))
		if err != nil {
			return err
		}
		deleted, more, err = pruneHours(ctx, session.Querier, hourOf(end), limit)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}

// oldestEvent returns a time in the hour of the oldest event, or end if there is no
// event before.
func oldestEvent(ctx context.Context, q Querier, end int64) (int64, error) {
	oldest, err := q.NthUsageBlock(ctx, math.MinInt64, usageblock.FirstID(end), 0)
	if errors.Is(err, sql.ErrNoRows) {
		return end, nil
	}
	return usageblock.Time(oldest.ID), err
}

// None of the engines can delete the first rows of an order. So the first row
// that stays is looked up, and everything before it deleted.

// maxPrunedEvents bounds the events, and so the bytes, that one step deletes.
const maxPrunedEvents = 50_000_000

// pruneBlocks deletes the first blocks that end before a time, at most limit of
// them, and returns how many events they had.
func pruneBlocks(ctx context.Context, q Querier, before int64, limit int) (deleted int, more bool, err error) {
	end := usageblock.FirstID(before)
	heads, err := q.UsageBlockHeads(ctx, math.MinInt64, end, int64(limit)+1)
	if err != nil || len(heads) == 0 {
		return 0, false, err
	}
	for i, head := range heads {
		if i == limit || i > 0 && deleted+int(head.Events) > maxPrunedEvents {
			end, more = head.ID, true
			break
		}
		deleted += int(head.Events)
	}
	_, err = q.DeleteUsageBlocksBefore(ctx, end)
	return deleted, more, err
}

func pruneHours(ctx context.Context, q Querier, before int64, limit int) (deleted int, more bool, err error) {
	kept, err := q.NthHour(ctx, before, int64(limit))
	upto := kept.HourAt
	if errors.Is(err, sql.ErrNoRows) {
		upto, kept, err = before-1, model.UsageHour{HourAt: math.MaxInt64}, nil
	} else {
		more = true
	}
	if err != nil {
		return 0, false, err
	}
	n, err := q.DeleteHours(ctx, upto, kept.HourAt, kept.KeyID)
	return int(n), more, err
}

// pruneWords deletes words that only events from earlier than before can name.
func pruneWords(ctx context.Context, q Querier, before int64, limit int) (more bool, err error) {
	kept, err := q.NthWord(ctx, before, int64(limit))
	upto := kept.UsedAt
	if errors.Is(err, sql.ErrNoRows) {
		upto, kept, err = before-1, model.Word{UsedAt: math.MaxInt64}, nil
	} else {
		more = true
	}
	if err != nil {
		return false, err
	}
	_, err = q.DeleteWords(ctx, upto, kept.UsedAt, kept.ID)
	return more, err
}

// pruneMoments deletes rows that are known by their time only.
func pruneMoments(
	ctx context.Context, nth func(context.Context, int64, int64) (int64, error),
	remove func(context.Context, int64) (int64, error), before int64, limit int,
) (more bool, err error) {
	kept, err := nth(ctx, before, int64(limit))
	if more = err == nil; !more {
		if !errors.Is(err, sql.ErrNoRows) {
			return false, err
		}
		kept = before
	}
	n, err := remove(ctx, kept)
	if err == nil && n == 0 && more {
		_, err = remove(ctx, kept+1) // more of them at one moment than the limit
	}
	return more, err
}
