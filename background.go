package keyfold

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// background is the work of a Service in addition to verifying. It begins with the first
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

// janitor deletes expired rows once an hour. Every process does so, at its own times.
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

// tidy deletes the rows that are older than the options allow.
func (j janitor) tidy(ctx context.Context, now time.Time) error {
	if _, err := inSteps(ctx, j.store.PruneChanges, now.Add(-feedRetention)); err != nil {
		return err
	}
	for _, prune := range []pruneFunc{j.store.PruneOneTimeTokens, j.store.PruneThrottles} {
		if _, err := inSteps(ctx, prune, now); err != nil {
			return err
		}
	}
	var events time.Time // of the oldest event; other data is still pruned
	if j.opts.EventRetention != Never {
		events = now.Add(-j.opts.EventRetention)
	}
	if _, err := inSteps(ctx, j.store.PruneUsage, events); err != nil || j.opts.HourRetention == Never {
		return err
	}
	_, err := inSteps(ctx, j.store.PruneHours, now.Add(-j.opts.HourRetention))
	return err
}

const (
	mergeInterval = 5 * time.Minute
	mergeAge      = 10 * time.Minute // of an hour that has ended; later batches are rare
)

// merger combines blocks of usage events. All processes do it, at different times.
type merger struct {
	store UsageMerger
	opts  *Options
}

func (m merger) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(mergeInterval/2 + rand.N(mergeInterval)):
		}
		bounded, cancel := context.WithTimeout(ctx, tidyTimeout)
		err := m.merge(bounded, m.opts.Now())
		cancel()
		if err != nil && ctx.Err() == nil {
			m.opts.Logger.Warn("keyfold: usage events cannot be merged; it is tried again", slog.Any("error", err))
		}
	}
}

// merge combines the blocks of all hours that have ended.
func (m merger) merge(ctx context.Context, now time.Time) error {
	for {
		more, err := m.store.MergeUsage(ctx, now.Add(-mergeAge))
		if err != nil || !more {
			return err
		}
	}
}

// pruneFunc is one of the Prune methods of a Store.
type pruneFunc func(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error)

// inSteps calls prune until there is nothing more to delete, and returns the number of
// deleted rows.
func inSteps(ctx context.Context, prune pruneFunc, before time.Time) (total int, err error) {
	for {
		deleted, more, err := prune(ctx, before, pruneStep)
		total += deleted
		if err != nil || !more {
			return total, err
		}
	}
}

const pruneStep = 5000

const (
	maxMails    = 64 // at once
	mailTimeout = 30 * time.Second
	mailGrace   = time.Second // for a Mailer to return when its context is done
)

// outbox sends mail in the background. It limits the number of mails at a time, and sends
// none after it was closed.
type outbox struct {
	mu     sync.Mutex
	group  sync.WaitGroup
	sent   int // now
	closed bool
	log    *slog.Logger
	stop   context.CancelFunc
	ctx    context.Context // of all that is sent; ends with the outbox
}

func newOutbox(log *slog.Logger) *outbox {
	o := &outbox{log: log}
	o.ctx, o.stop = context.WithCancel(context.Background())
	return o
}

// take reserves a place for a mail before the store is called. It returns false if all
// places are taken. The caller must use the place with send, or give it back.
func (o *outbox) take() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.sent >= maxMails {
		return false
	}
	o.sent++
	o.group.Add(1)
	return true
}

func (o *outbox) giveBack() {
	o.mu.Lock()
	o.sent--
	o.mu.Unlock()
	o.group.Done()
}

// send runs fn in the background, in a place from take. It recovers from a panic of the
// program's Mailer.
func (o *outbox) send(fn func(context.Context)) {
	go func() {
		defer o.giveBack()
		defer func() {
			if reason := recover(); reason != nil {
				o.log.Error("keyfold: the Mailer panicked", slog.Any("panic", reason))
			}
		}()
		ctx, cancel := context.WithTimeout(o.ctx, mailTimeout)
		defer cancel()
		fn(ctx)
	}()
}

// close waits for mails that are being sent until ctx is done, and then cancels them. It
// does not wait for a Mailer that ignores the cancellation.
func (o *outbox) close(ctx context.Context) {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		o.group.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
	o.stop()
	select {
	case <-gone:
	case <-time.After(mailGrace):
		o.log.Error("keyfold: the Mailer did not return when its context was done")
	}
}
