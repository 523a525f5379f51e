package keyfold

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/internal/clock"
)

// checker runs the check of the database, see [Store.Check], and keeps its last
// answer. A decision needs an answer that is no older than MaxStaleness. An
// answer of no stands until a later check passes; while the database does not
// answer at all, the last answer stands until it is too old.
type checker struct {
	store Store // outside of every transaction
	opts  *Options
	clock *clock.Clock

	last    atomic.Pointer[answer] // nil before the first
	refuse  func()                 // called whenever the answer is no
	peppers *pepperChecks

	remembering sync.Mutex // held to replace last
}

// answer is what one check found.
type answer struct {
	began clock.Instant
	err   error // nil, or an ErrCheckFailed
}

// newChecker must be given the options while they still have the peppers.
func newChecker(store Store, opts *Options, clk *clock.Clock) *checker {
	return &checker{store: store, opts: opts, clock: clk, peppers: newPepperChecks(opts), refuse: func() {}}
}

// mayDecide returns nil if this process may decide and write now. It asks the
// database where the last answer is too old, and tx instead of the database if
// that is not nil: the caller's transaction may hold the only connection.
func (c *checker) mayDecide(ctx context.Context, tx Store) error {
	if last := c.last.Load(); last != nil {
		lasts := c.opts.MaxStaleness
		if last.err != nil {
			lasts = c.opts.PollInterval
		}
		if last.began.Age(c.clock.Read()) <= lasts {
			return last.err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	if tx != nil {
		return c.ask(bounded, tx) // its snapshot may be old, so the answer is for this call only
	}
	return c.run(bounded)
}

// run asks the database and keeps the answer.
func (c *checker) run(ctx context.Context) error {
	began := c.clock.Read()
	err := c.ask(ctx, c.store)
	if err == nil || errors.Is(err, ErrCheckFailed) {
		c.keep(&answer{began, err})
	}
	return err
}

func (c *checker) ask(ctx context.Context, store Store) error {
	if err := store.Check(ctx); err != nil {
		return err
	}
	return c.peppers.check(ctx, store, c.clock.Read())
}

// keep replaces the last answer unless a later check was faster, and logs that
// this process stops deciding or begins to again.
func (c *checker) keep(a *answer) {
	c.remembering.Lock()
	defer c.remembering.Unlock()
	last := c.last.Load()
	if last != nil && last.began.Mono > a.began.Mono {
		return
	}
	c.last.Store(a)
	failed := last != nil && last.err != nil
	switch {
	case a.err != nil:
		c.refuse()
		if !failed {
			c.opts.Logger.Error("keyfold: this process refuses every request until the check of the database passes",
				slog.Any("error", a.err))
		}
	case failed:
		c.opts.Logger.Info("keyfold: the check of the database passes again")
	}
}

// failing reports whether the last answer was no.
func (c *checker) failing() bool {
	last := c.last.Load()
	return last != nil && last.err != nil
}

// follow runs the check every PollInterval, for a Service that reads no feed.
func (c *checker) follow(ctx context.Context) {
	ticker := time.NewTicker(c.opts.PollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		bounded, cancel := context.WithTimeout(ctx, pollTimeout)
		_ = c.run(bounded) // without an answer the last one grows too old
		cancel()
	}
}

// mayDecide returns nil if this Service may decide and write now.
func (s *Service) mayDecide(ctx context.Context) error {
	if s.bound {
		return s.checker.mayDecide(ctx, s.store)
	}
	return s.checker.mayDecide(ctx, nil)
}
