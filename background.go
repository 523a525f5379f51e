package keyfold

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// background is what a Service does beside verifying. It begins with the first
// verify and ends with Close.
type background struct {
	work    []func(context.Context) // each until its context is done
	started atomic.Bool

	mu     sync.Mutex // guards the next two
	closed bool
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// start begins the work. Calling it again does nothing.
func (b *background) start() {
	if b == nil || b.started.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.started.Swap(true) || b.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	for _, work := range b.work {
		b.group.Go(func() { work(ctx) })
	}
}

// close stops the work and waits for its end.
func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	if b.cancel != nil {
		b.cancel()
	}
	b.mu.Unlock()
	b.group.Wait()
}

const (
	tidyInterval  = time.Hour
	tidyTimeout   = 5 * time.Minute
	feedRetention = 24 * time.Hour
)

// janitor deletes what has outlived its use, once an hour. All processes do it,
// at times of their own; what one has deleted the next does not find.
type janitor struct {
	store Store
	opts  *Options
}

func (j janitor) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(tidyInterval/2 + rand.N(tidyInterval)):
		}
		bounded, cancel := context.WithTimeout(ctx, tidyTimeout)
		err := j.tidy(bounded, j.opts.Now())
		cancel()
		if err != nil && ctx.Err() == nil {
			j.opts.Logger.Warn("keyfold: old usage and changes cannot be deleted; it is tried again", slog.Any("error", err))
		}
	}
}

// tidy deletes what the options do not keep.
func (j janitor) tidy(ctx context.Context, now time.Time) error {
	_, err := inSteps(func() (int, bool, error) {
		deleted, err := j.store.PruneChanges(ctx, now.Add(-feedRetention), pruneStep)
		return deleted, deleted == pruneStep, err
	})
	if err != nil {
		return err
	}
	for _, prune := range []func(context.Context, time.Time, int) (int, error){j.store.PruneOneTimeTokens, j.store.PruneThrottles} {
		_, err := inSteps(func() (int, bool, error) {
			deleted, err := prune(ctx, now, pruneStep)
			return deleted, deleted == pruneStep, err
		})
		if err != nil {
			return err
		}
	}
	var events time.Time // none are older; what else is kept beside them still ends
	if j.opts.EventRetention != Never {
		events = now.Add(-j.opts.EventRetention)
	}
	if _, err := pruneUsage(ctx, j.store, events); err != nil || j.opts.HourRetention == Never {
		return err
	}
	_, err = pruneHours(ctx, j.store, now.Add(-j.opts.HourRetention))
	return err
}
