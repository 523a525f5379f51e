package keyfold

import (
	"context"
	"sync"
)

// feed is this process's place in the store's change feed.
type feed struct {
	mu     sync.Mutex
	cursor string
}

// Sync returns once this Service acts on everything that was committed before
// the call: call it after committing a transaction that [Service.With] worked
// in. A verify reads the store each time, so today Sync only makes sure that
// the change feed answers. Errors: ctx's own, [ErrUnavailable].
func (s *Service) Sync(ctx context.Context) error {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	_, next, err := s.store.Changes(ctx, s.feed.cursor)
	if err != nil {
		return storeError(ctx, err)
	}
	s.feed.cursor = next
	return nil
}
