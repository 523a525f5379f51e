package sqlstore

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/usageblock"
)

const (
	// An hour is merged if it has that many small blocks.
	minSmallBlocks = 64
	smallBlock     = 4096 // events

	maxHeads   = 5000           // of blocks that are read at once
	mergeAgain = 24 * time.Hour // how often hours are checked for blocks that arrived late
)

// errUnmerged means that blocks were not merged because others had changed them.
var errUnmerged = errors.New("blocks have changed")

// merges remembers how far the blocks of a store have been merged.
type merges struct {
	sync.Mutex
	next  int64 // lowest id of the blocks to be looked at
	began time.Time
}

// MergeUsage implements keyfold.UsageMerger for a store of this package.
func MergeUsage(ctx context.Context, store keyfold.Store, before time.Time) (more bool, err error) {
	s, ok := store.(*Store)
	if !ok || s.bound != nil {
		return false, errors.ErrUnsupported
	}
	return s.mergeUsage(ctx, usageblock.FirstID(usageblock.HourOf(usageblock.Clamp(before.UnixMilli()))))
}

// mergeUsage merges small blocks of one hour. more is true if there are blocks of later
// hours, before the one with the id end.
//
// Events may move only within a run of blocks that are all deleted: a reader that is
// between two blocks of the run sees that its block is gone, and reads again.
func (s *Store) mergeUsage(ctx context.Context, end int64) (more bool, err error) {
	m := s.engine.merges
	m.Lock()
	defer m.Unlock()
	if time.Since(m.began) > mergeAgain {
		m.next, m.began = math.MinInt64, time.Now()
	}
	var heads []model.UsageBlockHead
	err = s.read(ctx, "list usage blocks", func(session *Session) (err error) {
		heads, err = session.Querier.UsageBlockHeads(ctx, m.next, end, maxHeads)
		return err
	})
	if err != nil || len(heads) == 0 {
		return false, err
	}
	for len(heads) > 0 {
		hour := heads
		next := usageblock.FirstID(usageblock.HourOf(usageblock.Time(heads[0].ID)) + time.Hour.Milliseconds())
		if n := slices.IndexFunc(heads, func(head model.UsageBlockHead) bool { return head.ID >= next }); n >= 0 {
			hour = heads[:n]
		}
		merged, err := s.mergeHour(ctx, hour)
		if err != nil {
			return false, err
		}
		m.next, heads = hour[len(hour)-1].ID+1, heads[len(hour):]
		if merged {
			return true, nil
		}
	}
	return m.next < end, nil
}

// mergeHour merges the blocks of an hour if many of them are small.
func (s *Store) mergeHour(ctx context.Context, heads []model.UsageBlockHead) (merged bool, err error) {
	small := 0
	for _, head := range heads {
		if head.Events < smallBlock {
			small++
		}
	}
	if small < minSmallBlocks {
		return false, nil
	}
	for _, run := range runsOf(heads) {
		if err := s.mergeRun(ctx, run); err != nil && !errors.Is(err, errUnmerged) {
			return false, err
		}
	}
	return true, nil
}

// runsOf returns the runs of small blocks that follow each other, each with as many
// events as a block may have.
func runsOf(heads []model.UsageBlockHead) (runs [][]model.UsageBlockHead) {
	begin, events := 0, int64(0)
	cut := func(end int) {
		if end-begin > 1 {
			runs = append(runs, heads[begin:end])
		}
		begin, events = end, 0
	}
	for i, head := range heads {
		switch {
		case head.Events >= smallBlock:
			cut(i)
			begin = i + 1
		case events+head.Events > usageblock.MaxEvents:
			cut(i)
			fallthrough
		default:
			events += head.Events
		}
	}
	cut(len(heads))
	return runs
}

// mergeRun replaces blocks that follow each other by as few as possible. It leaves
// blocks alone that cannot be read.
func (s *Store) mergeRun(ctx context.Context, run []model.UsageBlockHead) error {
	if len(run) < 2 {
		return nil
	}
	lowest, highest := run[0].ID, run[len(run)-1].ID
	var blocks []model.UsageBlock
	err := s.read(ctx, "read usage blocks", func(session *Session) (err error) {
		blocks, err = session.Querier.UsageBlocksAscending(ctx, lowest, highest+1, int64(len(run)))
		return err
	})
	if err != nil {
		return err
	}
	if len(blocks) != len(run) || blocks[len(blocks)-1].ID != highest {
		return errUnmerged
	}
	builder := usageblock.NewBuilder()
	defer builder.Free()
	var open usageblock.Block
	begin := 0
	replace := func(end int) error {
		defer func() { begin = end }()
		if end-begin < 2 {
			builder.Reset()
			return nil
		}
		return s.replaceBlocks(ctx, blocks[begin:end], builder.Encode(false))
	}
	for i := range blocks {
		block := &blocks[i]
		err := open.Open(block.ID, block.Span, block.Events, block.Body)
		if err == nil && !builder.Fits(&open) {
			if err := replace(i); err != nil {
				return err
			}
		}
		if err == nil {
			err = builder.AddBlock(&open)
		}
		if err != nil {
			s.engine.unreadable.found(block.ID, err)
			if err := s.mergeRun(ctx, run[begin:i]); err != nil {
				return err
			}
			return s.mergeRun(ctx, run[i+1:])
		}
	}
	return replace(len(blocks))
}

// replaceBlocks deletes blocks that follow each other and adds the one that has their
// events. Of processes that merge the same blocks, one deletes all of them.
func (s *Store) replaceBlocks(ctx context.Context, blocks []model.UsageBlock, merged usageblock.Encoded) error {
	events := int64(0)
	for i := range blocks {
		events += blocks[i].Events
	}
	if events != int64(merged.Events) {
		return errUnmerged
	}
	return s.writeIn(ctx, laneWork, "merge usage blocks", usageDeadline, func(ctx context.Context, session *Session) error {
		if len(merged.Body) > session.Bulk.MaxBody() {
			return errUnmerged
		}
		deleted := int64(0)
		for some := range slices.Chunk(blocks, wordsAtOnce) {
			ids := make([]int64, len(some))
			for i := range some {
				ids[i] = some[i].ID
			}
			n := padded(ids)
			rows, err := session.Querier.DeleteUsageBlocks(ctx, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15])
			if err != nil {
				return err
			}
			deleted += rows
		}
		if deleted != int64(len(blocks)) {
			return errUnmerged
		}
		// A block that arrived since is between those of the run.
		late, err := session.Querier.UsageBlockHeads(ctx, blocks[0].ID, blocks[len(blocks)-1].ID+1, 1)
		if err != nil {
			return err
		}
		if len(late) > 0 {
			return errUnmerged
		}
		err = s.engine.addBlock(ctx, session.Bulk, merged)
		if errors.Is(err, errIDTaken) {
			return errUnmerged
		}
		return err
	})
}
