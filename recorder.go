package keyfold

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// recorder gathers usage in memory and writes it in batches, so that a verify
// never waits for a write.
//
// One batch is in flight at a time. While the store fails, that batch is tried
// again, whole and under its own number, until it is in; what comes meanwhile
// gathers behind it. So a commit whose answer was lost is not applied twice,
// and totals and events of one verify never part.
type recorder struct {
	store Store
	opts  *Options
	id    string

	mu           sync.Mutex // guards the fields up to the next blank line
	pending      usage
	flyingEvents int // size of the batch in flight, which counts towards the bounds
	flyingBytes  int64
	sample       sampler
	stats        UsageStats
	started      bool
	closed       bool

	flushing chan struct{} // holds one token while a flush runs, which owns the next three
	inFlight *UsageBatch
	moves    []rehash
	number   int64 // of the batch made last

	wake chan struct{} // a batch is full
	stop chan struct{}
	done chan struct{}
}

const (
	flushEvents     = 10_000 // events that are written without waiting for the interval
	flushTimeout    = 10 * time.Second
	closeBudget     = 10 * time.Second
	eventSize       = 96 // bytes of a UsageEvent beside its texts, about
	samplesASecond  = 10
	maxRehashes     = 1000
	recorderIDBytes = 16
)

// usage is what was gathered since the last batch.
type usage struct {
	totals   map[string]*UsageTotal
	hours    map[hourOf]int64
	minutes  map[minuteOf]int64
	events   []UsageEvent
	bytes    int64
	rehashes map[string]rehash
}

type hourOf struct {
	keyID string
	hour  int64
	code  Code
}

type minuteOf struct {
	minute int64
	code   Code
}

func newUsage() usage {
	return usage{
		totals: map[string]*UsageTotal{}, hours: map[hourOf]int64{}, minutes: map[minuteOf]int64{},
		rehashes: map[string]rehash{},
	}
}

func (u *usage) empty() bool {
	return len(u.hours) == 0 && len(u.minutes) == 0 && len(u.events) == 0 && len(u.rehashes) == 0
}

func newRecorder(store Store, opts *Options) *recorder {
	return &recorder{
		store: store, opts: opts, id: randomBase62(recorderIDBytes), pending: newUsage(),
		flushing: make(chan struct{}, 1), wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// record counts one verify. It reports false, and counts nothing, once the
// recorder is closed.
func (r *recorder) record(who *principal, code Code, req *Request, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.start()
	if who == nil {
		r.pending.minutes[minuteOf{minute: now - mod(now, time.Minute), code: code}]++
		if r.sample.take(now) {
			r.keep("", code, req, now)
		}
		return true
	}
	keyID := who.record.KeyID
	if code == CodeAllowed {
		total := r.pending.totals[keyID]
		if total == nil {
			total = &UsageTotal{KeyID: keyID}
			r.pending.totals[keyID] = total
		}
		total.Uses++
		if at := time.UnixMilli(now).UTC(); at.After(total.LastUsedAt) {
			total.LastUsedAt = at
		}
	}
	r.pending.hours[hourOf{keyID: keyID, hour: now - mod(now, time.Hour), code: code}]++
	r.keep(keyID, code, req, now)
	return true
}

// mod is the part of now, in milliseconds, beyond the last whole unit.
func mod(now int64, unit time.Duration) int64 { return now % unit.Milliseconds() }

// keep adds an event, or counts it as dropped when the bounds are reached.
func (r *recorder) keep(keyID string, code Code, req *Request, now int64) {
	event := UsageEvent{At: time.UnixMilli(now).UTC(), KeyID: keyID, Code: code, Route: clip(req.Route)}
	if req.IP.IsValid() {
		event.IP = req.IP.Unmap().WithZone("").String()
	}
	if r.opts.RecordRequestID {
		event.RequestID = clip(req.RequestID)
	}
	if r.opts.RecordUserAgent {
		event.UserAgent = clip(req.UserAgent)
	}
	size := eventSize + int64(len(event.Route)+len(event.IP)+len(event.RequestID)+len(event.UserAgent))
	if len(r.pending.events)+r.flyingEvents >= r.opts.MaxPendingEvents ||
		r.pending.bytes+r.flyingBytes+size > int64(r.opts.MaxPendingBytes) {
		r.stats.DroppedEvents++
		return
	}
	r.pending.events = append(r.pending.events, event)
	r.pending.bytes += size
	if len(r.pending.events) == flushEvents {
		r.poke()
	}
}

// maxEventText bounds each text of an event, in bytes.
const maxEventText = 256

// clip makes a text fit for an event: short and plain, or nothing.
func clip(s string) string {
	if len(s) <= maxEventText && isText(s) {
		return s
	}
	return plainText(s)
}

// rehash notes a key that has to move to the newest pepper.
func (r *recorder) rehash(move rehash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed && len(r.pending.rehashes) < maxRehashes {
		r.pending.rehashes[move.keyID] = move
	}
}

// sampler lets ten events of refusals a second pass.
type sampler struct {
	second int64
	taken  int
}

func (s *sampler) take(now int64) bool {
	if second := now / 1000; second != s.second {
		s.second, s.taken = second, 0
	}
	s.taken++
	return s.taken <= samplesASecond
}

// start begins the background work with the first verify.
func (r *recorder) start() {
	if !r.started {
		r.started = true
		go r.run()
	}
}

func (r *recorder) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *recorder) run() {
	defer close(r.done)
	ticker := time.NewTicker(r.opts.FlushInterval)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C:
		case <-r.wake:
			if failing { // a full batch is no reason to hurry a store that is away
				continue
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		err := r.flush(ctx)
		cancel()
		if (err != nil) != failing {
			failing = err != nil
			r.report(err)
		}
	}
}

// report tells the log when writing usage begins to fail and when it works again.
func (r *recorder) report(err error) {
	if err != nil {
		r.opts.Logger.Warn("keyfold: usage cannot be written; it is kept and tried again", slog.Any("error", err))
		return
	}
	r.opts.Logger.Info("keyfold: usage is written again")
}

// flush writes the batch in flight, if there is one, and then what has gathered
// behind it.
func (r *recorder) flush(ctx context.Context) error {
	select {
	case r.flushing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.flushing }()
	if err := r.write(ctx); err != nil {
		return err
	}
	r.take()
	return r.write(ctx)
}

// take makes what is pending the batch in flight.
func (r *recorder) take() {
	r.mu.Lock()
	taken := r.pending
	if taken.empty() {
		r.mu.Unlock()
		return
	}
	r.pending = newUsage()
	r.flyingEvents, r.flyingBytes = len(taken.events), taken.bytes
	r.mu.Unlock()

	r.number++
	batch := &UsageBatch{RecorderID: r.id, Number: r.number, At: r.opts.Now().UTC(), Events: taken.events}
	for _, total := range taken.totals {
		batch.Totals = append(batch.Totals, *total)
	}
	for of, count := range taken.hours {
		batch.Hours = append(batch.Hours, UsageHour{KeyID: of.keyID, HourAt: time.UnixMilli(of.hour).UTC(), Code: of.code, Count: count})
	}
	for of, count := range taken.minutes {
		batch.Minutes = append(batch.Minutes, RefusalMinute{MinuteAt: time.UnixMilli(of.minute).UTC(), Code: of.code, Count: count})
	}
	r.inFlight, r.moves = batch, slices.Collect(maps.Values(taken.rehashes))
}

// write stores the batch in flight. On an error it stays in flight.
func (r *recorder) write(ctx context.Context) error {
	if r.inFlight == nil {
		return nil
	}
	result, err := r.store.RecordUsage(ctx, *r.inFlight)
	if err != nil {
		return err
	}
	r.inFlight = nil
	r.mu.Lock()
	r.flyingEvents, r.flyingBytes = 0, 0
	r.stats.LostUses += result.LostUses
	r.mu.Unlock()
	for _, move := range r.moves { // not done now, it is done at the key's next use
		if err := move.apply(ctx, r.store); err != nil {
			break
		}
	}
	r.moves = nil
	return nil
}

// close refuses further records and writes what there is.
func (r *recorder) close(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	running := r.started
	r.mu.Unlock()
	if running {
		close(r.stop)
		<-r.done
	}
	if _, ends := ctx.Deadline(); !ends || ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeBudget)
		defer cancel()
	}
	err := r.flush(ctx)
	for pause := minFlush; err != nil; pause = min(2*pause, time.Second) {
		select {
		case <-ctx.Done():
			return &unavailable{cause: fmt.Errorf("usage of %d events was not written: %w", r.snapshot().PendingEvents, err)}
		case <-time.After(pause):
			err = r.flush(ctx)
		}
	}
	return nil
}

// snapshot returns the state for [Service.UsageStats].
func (r *recorder) snapshot() UsageStats {
	r.mu.Lock()
	defer r.mu.Unlock()
	stats := r.stats
	stats.PendingEvents = int64(len(r.pending.events) + r.flyingEvents)
	return stats
}
