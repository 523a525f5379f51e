package keyfold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	flushTimeout = 10 * time.Second // of one batch
	closeBudget  = 10 * time.Second
	closeGrace   = time.Second // for what the background is writing while Close begins
	batchEvents  = 20_000      // a batch that takes too long is never stored, so it is bounded
	batchHours   = 50_000      // the same for uses without an event
	retryPause   = time.Second // between tries while verifies wait

	// A batch that the store refused so often, though it works, is set aside. If
	// it refuses that many of them, it is the store that is at fault.
	asideAfter = 20
	maxAside   = 4
)

// delivery is a batch on its way to the store.
type delivery struct {
	batch   *UsageBatch
	size    allowance
	refused int
	aside   bool
	landing *landing // nil unless verifies wait for it
}

// landing tells those who wait that their uses are stored.
type landing struct {
	waiting int // that are not; belongs to whoever flushes
	done    chan struct{}
}

func newLanding(opts *Options) *landing {
	if opts.Usage != UsageSync {
		return nil
	}
	return &landing{done: make(chan struct{})}
}

var errNotStored = errors.New("the use was not stored in time; it may be counted all the same")

// wait returns when the uses of that landing are stored.
func (l *landing) wait(ctx context.Context, limit time.Time) error {
	timer := time.NewTimer(time.Until(limit))
	defer timer.Stop()
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &unavailable{cause: errNotStored}
	}
}

// start begins the background work with the first verify.
func (r *recorder) start() {
	r.room.Lock()
	defer r.room.Unlock()
	if !r.started.Load() {
		r.started.Store(true)
		var ctx context.Context
		ctx, r.cancel = context.WithCancel(context.Background())
		go r.run(ctx)
	}
}

func (r *recorder) run(ctx context.Context) {
	defer close(r.done)
	ticker := time.NewTicker(r.opts.FlushInterval)
	defer ticker.Stop()
	var again <-chan time.Time
	pause, away := minFlush, false
	for {
		select {
		case <-r.stop:
			return
		case <-again:
		case <-ticker.C:
		case <-r.wake:
			if away { // a full batch is no reason to hurry a store that is away
				continue
			}
		}
		was := away
		var err error
		away, err = r.deliver(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case away != was:
			r.report(away, err)
		}
		again = nil
		if !away {
			pause = minFlush
		} else if r.opts.Usage == UsageSync {
			again, pause = time.After(pause), min(2*pause, retryPause)
		}
	}
}

// report tells the log when writing usage begins to fail and when it works again.
func (r *recorder) report(away bool, err error) {
	if away {
		r.opts.Logger.Warn("keyfold: usage cannot be written; it is kept and tried again", slog.Any("error", err))
		return
	}
	r.opts.Logger.Info("keyfold: usage is written again")
}

// flush writes what was recorded before.
func (r *recorder) flush(ctx context.Context) error {
	_, err := r.deliver(ctx)
	return err
}

// deliver writes the batches in flight, if there are any, and then what has
// gathered behind them. away means that it gave up because the store does not
// take anything.
func (r *recorder) deliver(ctx context.Context) (away bool, err error) {
	select {
	case r.flushing <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-r.flushing }()
	for i := range r.shards {
		r.collect(&r.shards[i])
	}
	defer func() { r.noteFlush(ctx, away, err) }()
	away, err = r.write(ctx, 0)
	if away {
		return true, err
	}
	aside := len(r.inFlight)
	r.take()
	away, more := r.write(ctx, aside)
	if err == nil {
		err = more
	}
	if !away {
		r.rehashKeys(ctx)
	}
	return away, err
}

// noteFlush keeps why the store takes no usage, for [Service.Ready].
func (r *recorder) noteFlush(ctx context.Context, away bool, err error) {
	switch {
	case !away:
		r.failed.Store(nil)
	case ctx.Err() == nil:
		r.failed.Store(&err)
	}
}

// collect moves the counts out of a shard, so that they are kept once while
// the store is away, whatever the number of shards.
func (r *recorder) collect(s *usageShard) {
	s.mu.Lock()
	s.turn(s.minute)
	before, late := s.before, s.late
	s.before, s.late = nil, nil
	s.mu.Unlock()
	for of, count := range before {
		r.refused[of] += count
	}
	r.addLate(late)
}

func (r *recorder) addLate(late map[hourOf]lateUse) {
	for of, use := range late {
		r.late[of] = r.late[of].plus(use)
	}
}

// take makes batches of what has gathered.
func (r *recorder) take() {
	sum := newSum(len(r.shards), !r.opts.DisableEvents)
	var last *landing
	next := newLanding(r.opts)
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		sum.uses[i], last = s.uses, s.next
		late := s.late
		for _, move := range s.moves {
			r.moves = append(r.moves, move)
		}
		s.uses, s.spare, s.late, s.moves, s.next = s.spare, nil, nil, nil, next
		s.mu.Unlock()
		r.addLate(late)
	}
	for first := true; ; first = false {
		batch, size := sum.next(r.late)
		if first {
			batch.Minutes = r.takeRefused()
		}
		if len(batch.Hours) == 0 && len(batch.Events) == 0 && len(batch.Minutes) == 0 {
			break
		}
		r.number++
		batch.RecorderID, batch.Number, batch.At = r.id, r.number, r.opts.Now().UTC()
		r.launch(&delivery{batch: batch, size: size, landing: last})
	}
	for i := range r.shards {
		r.shards[i].reuse(sum.uses[i])
	}
}

func (r *recorder) takeRefused() []RefusalMinute {
	minutes := make([]RefusalMinute, 0, len(r.refused))
	for of, count := range r.refused {
		minutes = append(minutes, RefusalMinute{MinuteAt: time.UnixMilli(of.minute).UTC(), Outcome: of.code, Count: count})
	}
	clear(r.refused)
	return minutes
}

func (r *recorder) launch(f *delivery) {
	r.inFlight = append(r.inFlight, f)
	if f.landing != nil {
		f.landing.waiting++
	}
	r.room.Lock()
	defer r.room.Unlock()
	r.held.events += f.size.events
	r.held.bytes += f.size.bytes
}

// reuse keeps the memory of uses that are in a batch now, unless a burst made
// it large.
func (s *usageShard) reuse(uses []use) {
	if cap(uses) > flushEvents {
		return
	}
	clear(uses)
	s.mu.Lock()
	s.spare = uses[:0]
	s.mu.Unlock()
}

// write stores the batches in flight from that place on. Those that fail stay
// in flight. away means that the store does not take any.
func (r *recorder) write(ctx context.Context, from int) (away bool, err error) {
	kept := r.inFlight[:from]
	for i := from; i < len(r.inFlight) && !away; i++ {
		f := r.inFlight[i]
		failed := r.send(ctx, f)
		if failed == nil {
			continue
		}
		if err == nil {
			err = failed
		}
		kept = append(kept, f)
		if away = !f.aside; away {
			kept = append(kept, r.inFlight[i+1:]...)
		}
	}
	clear(r.inFlight[len(kept):])
	r.inFlight = kept
	return away, err
}

// send stores one batch.
func (r *recorder) send(ctx context.Context, f *delivery) error {
	bounded, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	result, err := r.store.RecordUsage(bounded, *f.batch)
	if err == nil {
		r.landed(f, result)
		return nil
	}
	if bounded.Err() != nil || f.aside || errors.Is(err, ErrCheckFailed) {
		return err
	}
	if f.refused++; f.refused >= asideAfter && r.store.Ping(bounded) == nil {
		r.setAside(f, err)
	}
	return err
}

// setAside lets others pass a batch that the store refuses. It is tried again
// with every flush: nothing tells that it will be refused for ever.
func (r *recorder) setAside(f *delivery, err error) {
	r.room.Lock()
	f.aside = r.aside < maxAside
	if f.aside {
		r.aside++
	}
	r.room.Unlock()
	if f.aside {
		r.opts.Logger.Error("keyfold: the store works and refuses a batch of usage; it is set aside and tried again",
			slog.Int64("batch", f.batch.Number), slog.Int("events", len(f.batch.Events)), slog.Any("error", err))
	}
}

// landed gives the room of a batch back and wakes those who wait for it.
func (r *recorder) landed(f *delivery, result UsageResult) {
	r.room.Lock()
	r.left.events += f.size.events
	r.left.bytes += f.size.bytes
	r.held.events -= f.size.events
	r.held.bytes -= f.size.bytes
	r.lost += result.LostUses
	if f.aside {
		r.aside--
	}
	r.room.Unlock()
	if f.aside {
		r.opts.Logger.Info("keyfold: a batch of usage that was set aside is written", slog.Int64("batch", f.batch.Number))
	}
	if f.landing != nil {
		if f.landing.waiting--; f.landing.waiting == 0 {
			close(f.landing.done)
		}
	}
}

// rehashKeys moves keys to the newest pepper. What fails is done at the key's
// next use.
func (r *recorder) rehashKeys(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	for _, move := range r.moves {
		if err := move.apply(ctx, r.store); err != nil {
			break
		}
	}
	r.moves = nil
}

// close refuses further records and writes what there is.
func (r *recorder) close(ctx context.Context) error {
	if r.closed.Swap(true) {
		return nil
	}
	for i := range r.shards {
		r.shards[i].mu.Lock()
		r.shards[i].closed = true
		r.shards[i].mu.Unlock()
	}
	r.room.Lock()
	running := r.started.Swap(true)
	r.room.Unlock()
	if running {
		close(r.stop)
		r.settle(ctx)
	}
	err := r.flush(ctx)
	for pause := minFlush; err != nil; pause = min(2*pause, time.Second) {
		select {
		case <-ctx.Done():
			return &unavailable{cause: fmt.Errorf("usage of %d events was not written: %w", r.stats().PendingEvents, err)}
		case <-time.After(pause):
			err = r.flush(ctx)
		}
	}
	return nil
}

// settle ends the background work. It leaves it a moment to finish what it is
// writing: ended half-way, that would be written again from its start.
func (r *recorder) settle(ctx context.Context) {
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-r.done:
	case <-grace.C:
	case <-ctx.Done():
	}
	r.cancel()
}
