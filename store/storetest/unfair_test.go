package storetest_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/storetest"
)

// unfair blocks the first updates until the first state change, so that only one of the
// editors of a key makes progress.
type unfair struct {
	keyfold.Store
	updates, changes atomic.Int32
	changed          chan struct{}
}

func newUnfair() keyfold.Store { return &unfair{Store: memory.New(), changed: make(chan struct{})} }

func (s *unfair) UpdateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	if s.updates.Add(1) <= 3 {
		select {
		case <-s.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.Store.UpdateKey(ctx, key, m)
}

func (s *unfair) SetKeyState(ctx context.Context, ids []string, change keyfold.StateChange, reason string, m keyfold.Mutation) ([]string, error) {
	changed, err := s.Store.SetKeyState(ctx, ids, change, reason, m)
	if s.changes.Add(1) == 1 {
		close(s.changed)
	}
	return changed, err
}

func TestRevocationDoesNotWaitForEveryEditor(t *testing.T) {
	t.Parallel()
	for _, c := range storetest.Cases() {
		if strings.HasPrefix(c.Name, "states/a revocation succeeds during a stream of updates") {
			if lines := runAlone(t.Context(), c, newUnfair); len(lines) > 0 {
				t.Errorf("a store that is not fair fails: %s", lines[0])
			}
			return
		}
	}
	t.Fatal("the case does not exist")
}
