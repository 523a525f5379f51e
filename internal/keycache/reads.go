package keycache

import (
	"context"
	"errors"
	"time"
)

// flight is one read that all callers share that want the same key.
type flight struct {
	done       chan struct{}
	generation uint64
	key        Key
	err        error
	abandoned  bool // its own caller gave up: those that wait read again
}

// Load reads a key, in one read for all callers that want it now, and keeps it.
// The read gets a context that ends within wait. The error is that of the read,
// ctx's own, [ErrBusy], or context.DeadlineExceeded after wait.
func (c *Cache) Load(ctx context.Context, id string, wait time.Duration, read func(context.Context) (Key, error)) (Key, error) {
	s, _ := c.shard(id)
	for {
		s.state.Lock()
		f, joined := s.state.flights[id]
		if !joined {
			f = &flight{done: make(chan struct{}), generation: s.state.generation}
			if s.state.flights == nil {
				s.state.flights = map[string]*flight{}
			}
			s.state.flights[id] = f
		}
		s.state.Unlock()
		if !joined {
			c.fly(ctx, s, id, f, wait, read)
			return f.key, f.err
		}
		if err := f.wait(ctx, wait); err != nil {
			return Key{}, err
		}
		if !f.abandoned {
			return f.key, f.err
		}
	}
}

// wait waits for the flight to end, within the limit of its own caller.
func (f *flight) wait(ctx context.Context, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-f.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return context.DeadlineExceeded
	}
}

// fly reads for all callers that wait.
func (c *Cache) fly(ctx context.Context, s *shard, id string, f *flight, wait time.Duration, read func(context.Context) (Key, error)) {
	f.err = errAbandoned // unless read returns: it may panic
	defer func() {
		s.state.Lock()
		defer s.state.Unlock()
		if s.state.flights[id] == f {
			delete(s.state.flights, id)
		}
		f.abandoned = f.err != nil && (ctx.Err() != nil || errors.Is(f.err, errAbandoned))
		if f.err == nil && f.generation == s.state.generation {
			c.put(s, f.key)
		}
		close(f.done)
	}()
	bounded, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	select {
	case c.reads <- struct{}{}:
		defer func() { <-c.reads }()
		f.key, f.err = read(bounded)
	case <-bounded.Done():
		f.err = ErrBusy
	}
}

// ErrBusy means that too many other reads were running for as long as the caller
// could wait.
var ErrBusy = errors.New("keyfold: too many reads in flight")

var errAbandoned = errors.New("keyfold: read was abandoned")
