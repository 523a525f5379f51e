package storetest_test

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// merging is a store whose MergeUsage breaks no rule.
type merging struct{ keyfold.Store }

func newMerging() keyfold.Store { return merging{memory.New()} }

func (s merging) MergeUsage(ctx context.Context, _ time.Time) (bool, error) { return false, ctx.Err() }

// forgetfulMerge loses an event with each merge, even one whose context has ended.
type forgetfulMerge struct {
	keyfold.Store
	merges *atomic.Int64
}

func newForgetfulMerge() keyfold.Store { return forgetfulMerge{memory.New(), new(atomic.Int64)} }

func (s forgetfulMerge) MergeUsage(context.Context, time.Time) (bool, error) {
	s.merges.Add(1)
	return false, nil
}

func (s forgetfulMerge) UsageEvents(ctx context.Context, scan keyfold.UsageScan) ([]keyfold.UsageEvent, error) {
	events, err := s.Store.UsageEvents(ctx, scan)
	return events[:max(0, len(events)-int(s.merges.Load()))], err
}

// renumberedMerge gives events other numbers, so that a page that continues at an event
// from before the merge lists some of them again.
type renumberedMerge struct {
	keyfold.Store
	merged *atomic.Bool
}

func newRenumberedMerge() keyfold.Store { return renumberedMerge{memory.New(), new(atomic.Bool)} }

func (s renumberedMerge) MergeUsage(context.Context, time.Time) (bool, error) {
	s.merged.Store(true)
	return false, nil
}

func (s renumberedMerge) UsageEvents(ctx context.Context, scan keyfold.UsageScan) ([]keyfold.UsageEvent, error) {
	events, err := s.Store.UsageEvents(ctx, scan)
	for i := range events {
		if s.merged.Load() {
			events[i].Seq++
		}
	}
	return events, err
}
