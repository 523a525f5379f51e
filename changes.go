package keyfold

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/internal/clock"
	"github.com/keyfold/keyfold/internal/keycache"
	"github.com/keyfold/keyfold/internal/wake"
)

// watcher tails the store's change feed and evicts what changed from the cache.
//
// What it has heard counts from the moment its last good poll began. Each poll
// begins with the check of the database: as soon as the answer is no, nothing has
// been heard, so a verify that finds the feed fresh need not look at the answer.
type watcher struct {
	store   Store
	opts    *Options
	cache   *keycache.Cache
	clock   *clock.Clock
	checker *checker

	pollAfter time.Duration // the age of the last good poll at which a verify asks for the next
	inline    bool          // whether that verify polls by itself

	heard atomic.Pointer[clock.Instant] // when the last good poll began; nil before the first and while the check fails
	asked atomic.Pointer[clock.Instant] // the value of heard that a verify found too old last

	polling chan struct{} // holds one token while a poll runs, which owns the cursor
	cursor  string
	wake    wake.Signal // holds a token while there is a reason not to wait for the next poll
}

const (
	pollPause     = 10 * time.Millisecond // between the beginnings of two polls, however many changes there are
	retryInterval = time.Second           // after a poll that failed, if PollInterval is not shorter
	inlineTimeout = 50 * time.Millisecond // for a poll that a verify waits for; it takes microseconds
)

func newWatcher(store Store, opts *Options, c *keycache.Cache, clk *clock.Clock, check *checker) *watcher {
	w := &watcher{
		store: store, opts: opts, cache: c, clock: clk, checker: check,
		polling: make(chan struct{}, 1), wake: wake.New(),
	}
	check.refuse = func() { w.heard.Store(nil) }
	w.pollAfter = opts.PollAfter
	if polling, ok := store.(PollingStore); ok {
		policy := polling.PollPolicy()
		w.inline = policy.Inline
		orDefault(&w.pollAfter, policy.After)
	}
	if w.pollAfter <= 0 {
		w.pollAfter = math.MaxInt64
	}
	return w
}

// behind is how long ago the last good poll began.
func (w *watcher) behind(now clock.Instant) (time.Duration, bool) {
	heard := w.heard.Load()
	if heard == nil {
		return 0, false
	}
	return heard.Age(now), true
}

// fresh reports whether what is remembered may be served. Where it may not, a
// poll is due: a process that was stopped, or a machine that slept, need not
// wait for the rest of PollInterval.
func (w *watcher) fresh(now clock.Instant, grace time.Duration) bool {
	behind, heard := w.behind(now)
	if behind > w.opts.MaxStaleness {
		w.wake.Send()
	}
	return heard && behind <= w.opts.MaxStaleness+grace
}

// catchUp polls, or asks for a poll, if the last one is older than pollAfter. So a
// process that is in use hears of changes soon, and an idle one polls once per
// PollInterval. It is called for well-formed tokens only, because a malformed one must
// not cost a store call. It reports whether it polled: the caller then has to look
// again at what is remembered.
func (w *watcher) catchUp(now clock.Instant) bool {
	heard := w.heard.Load()
	return heard != nil && heard.Age(now) > w.pollAfter && w.refresh(heard)
}

// refresh polls, or wakes follow for a poll, if the caller is the first to find that
// value of heard too old. It reports whether it polled. All other verifies go on with
// what was heard before: none waits for the poll of another one. After a poll that
// failed the value is the same, so that verifies leave the next one to follow.
func (w *watcher) refresh(heard *clock.Instant) bool {
	if last := w.asked.Load(); last == heard || !w.asked.CompareAndSwap(last, heard) {
		return false
	}
	if w.inline {
		select {
		case w.polling <- struct{}{}:
			defer func() { <-w.polling }()
			// The poll is for all verifies, so the caller's context must not end it.
			ctx, cancel := context.WithTimeout(context.Background(), inlineTimeout)
			defer cancel()
			if w.pollOnce(ctx) == nil {
				return true
			}
		default: // a poll is under way
		}
	}
	w.wake.Send()
	return false
}

// poll waits for a poll that is under way, and polls.
func (w *watcher) poll(ctx context.Context) error {
	select {
	case w.polling <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-w.polling }()
	return w.pollOnce(ctx)
}

// pollOnce runs the check, reads the feed once and acts on it. The caller holds the
// token of polling.
func (w *watcher) pollOnce(ctx context.Context) error {
	began := w.clock.Read()
	if err := w.checker.run(ctx); err != nil {
		if errors.Is(err, ErrCheckFailed) {
			w.cursor = "" // once it passes again, nothing is remembered from before
		}
		return err
	}
	changes, next, err := w.store.Changes(ctx, w.cursor)
	if err != nil {
		return err
	}
	if w.cursor == "" {
		w.cache.Flush() // what was read before the feed was followed may have changed unheard
	}
	evictChanged(w.cache, changes)
	w.cursor = next
	w.heard.Store(&began)
	if w.checker.failing() { // a verify ran the check after this poll did
		w.heard.Store(nil)
	}
	return nil
}

// follow polls until ctx is done: every PollInterval, sooner after a failure,
// and whenever there is a reason to. The second poll comes at a time of its
// own, so that processes that were started together do not poll together.
func (w *watcher) follow(ctx context.Context) {
	if store, ok := w.store.(FeedListener); ok {
		listening := make(chan struct{})
		go func() {
			defer close(listening)
			store.Listen(ctx, func() { w.wake.Send() })
		}()
		defer func() { <-listening }()
	}
	interval := w.opts.PollInterval
	next := interval/2 + rand.N(interval/2)
	deaf := false
	for {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, checkTimeout)
		err := w.poll(bounded)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != deaf {
			deaf = err != nil
			if !errors.Is(err, ErrCheckFailed) { // of which the checker tells
				w.report(err)
			}
		}
		if w.opts.OnPoll != nil {
			behind, _ := w.behind(w.clock.Read())
			w.opts.OnPoll(behind, err)
		}
		pause := pollPause
		if deaf {
			pause = min(interval, retryInterval)
			next = pause
		}
		if !w.rest(ctx, began, pause, max(pause, next)) {
			return
		}
		next = interval
	}
}

// rest waits until the next poll is due: least after the last one began if
// there is a reason for it, most after that otherwise. It reports false when
// ctx is done.
func (w *watcher) rest(ctx context.Context, began time.Time, least, most time.Duration) bool {
	timer := time.NewTimer(least - time.Since(began))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	}
	timer.Reset(most - time.Since(began))
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-w.wake:
	}
	return true
}

// report tells the log when the feed falls silent and when it is heard again.
func (w *watcher) report(err error) {
	if err != nil {
		w.opts.Logger.Warn("keyfold: the change feed cannot be read; verifies will go to the store", slog.Any("error", err))
		return
	}
	w.opts.Logger.Info("keyfold: the change feed is read again")
}

// evictChanged evicts the keys that have changed.
func evictChanged(c *keycache.Cache, changes []Change) {
	users := map[string]bool{}
	for i := range changes {
		target := changes[i].Target
		if target == "" {
			c.Flush()
			return
		}
		switch action := changes[i].Action; {
		case action == actionUserDisable, action == actionUserEnable, action == actionUserDelete:
			users[target] = true
		case !strings.HasPrefix(action, "user."):
			c.Evict(target)
		}
	}
	c.EvictUsers(users)
}
