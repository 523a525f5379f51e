package keyfold

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// recorder gathers usage in memory and writes it in batches, so that a verify
// never waits for a write.
//
// A verify leaves one entry in a shard picked at random, so there is no lock
// that all of them share; everything that costs (adding up, formatting) is done
// by whoever flushes. One batch is in flight at a time. While the store fails,
// that batch is tried again, whole and under its own number, until it is in;
// what comes meanwhile gathers behind it. So a commit whose answer was lost is
// not applied twice, and totals and events of one verify never part.
type recorder struct {
	store Store
	opts  *Options
	id    string

	shards  []usageShard
	started atomic.Bool
	samples atomic.Int64 // refusals that may still be kept as samples this interval

	closed atomic.Bool

	room sync.Mutex // guards the next three; a shard may be locked before it, never after
	left allowance  // what the shards may still take
	held allowance  // what the batch in flight takes
	over UsageStats // what was dropped and lost so far

	flushing chan struct{} // holds one token while a flush runs, which owns the next four
	refused  map[minuteOf]int64
	inFlight *UsageBatch
	moves    []rehash
	number   int64 // of the batch made last

	wake chan struct{} // there is a batch's worth of events
	stop chan struct{}
	done chan struct{}
}

const (
	flushEvents    = 10_000 // events that are written without waiting for the interval
	flushTimeout   = 10 * time.Second
	closeBudget    = 10 * time.Second
	useSize        = 128 // bytes of a use beside its texts
	samplesASecond = 10
	maxRehashes    = 1000 // per shard
	maxEventText   = 256  // bytes of each text of an event
	creditEvents   = 64   // what a shard is allowed at a time
	recorderIDLen  = 16
)

// usageShard is one of the places where verifies leave their use.
type usageShard struct {
	mu      sync.Mutex
	closed  bool
	credit  allowance
	uses    []use
	spare   []use              // emptied by the last flush, to be filled next
	late    map[hourOf]lateUse // uses that found no room as events
	refused [len(codeNames)]int64
	moves   map[string]rehash
	dropped int64
	_       [64]byte // shards that are used at the same time share no cache line
}

// allowance is room for events.
type allowance struct{ events, bytes int64 }

// use is one verify of a key whose secret was right, or a sampled refusal.
type use struct {
	who       *principal // nil for a sample
	at        int64
	code      Code
	ip        netip.Addr
	route     string
	requestID string
	userAgent string
}

type hourOf struct {
	keyID string
	hour  int64
	code  Code
}

type lateUse struct{ count, last int64 }

type minuteOf struct {
	minute int64
	code   Code
}

func newRecorder(store Store, opts *Options) *recorder {
	shards := 1
	for shards < 4*runtime.GOMAXPROCS(0) {
		shards *= 2
	}
	r := &recorder{
		store: store, opts: opts, id: randomBase62(recorderIDLen), shards: make([]usageShard, shards),
		left:     allowance{events: int64(opts.MaxPendingEvents), bytes: int64(opts.MaxPendingBytes)},
		flushing: make(chan struct{}, 1), refused: map[minuteOf]int64{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	r.samples.Store(samplesASecond)
	return r
}

// record counts one verify. It reports false, and counts nothing, once the
// recorder is closed.
func (r *recorder) record(who *principal, code Code, req *Request, now int64) bool {
	if !r.started.Load() {
		r.start()
	}
	s := &r.shards[rand.Uint32()&uint32(len(r.shards)-1)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if who == nil {
		s.refused[code]++
		if r.samples.Load() > 0 && r.samples.Add(-1) >= 0 {
			r.keep(s, use{at: now, code: code}, req)
		}
		return true
	}
	if !r.keep(s, use{who: who, at: now, code: code}, req) {
		s.dropped++
		s.count(hourOf{keyID: who.keyID(), hour: floor(now, time.Hour), code: code}, now)
	}
	return true
}

// keep adds an event if there is room for it.
func (r *recorder) keep(s *usageShard, u use, req *Request) bool {
	u.ip, u.route = req.IP, bounded(req.Route)
	if r.opts.RecordRequestID {
		u.requestID = bounded(req.RequestID)
	}
	if r.opts.RecordUserAgent {
		u.userAgent = bounded(req.UserAgent)
	}
	size := u.size()
	if (s.credit.events < 1 || s.credit.bytes < size) && !r.refill(s, size) {
		return false
	}
	s.credit.events--
	s.credit.bytes -= size
	s.uses = append(s.uses, u)
	return true
}

func (u *use) size() int64 {
	return useSize + int64(len(u.route)+len(u.requestID)+len(u.userAgent))
}

// refill gives the shard more room, if there is any, and wakes the flush when
// half of what may wait is waiting.
func (r *recorder) refill(s *usageShard, size int64) bool {
	r.room.Lock()
	defer r.room.Unlock()
	// Only what is missing: granting the full credit each time that one kind has
	// run out would pile up the other kind.
	events := min(r.left.events, max(0, creditEvents-s.credit.events))
	bytes := min(r.left.bytes, max(0, creditEvents*useSize+size-s.credit.bytes))
	r.left.events -= events
	r.left.bytes -= bytes
	s.credit.events += events
	s.credit.bytes += bytes
	if taken := int64(r.opts.MaxPendingEvents) - r.left.events; taken >= flushEvents {
		notify(r.wake)
	}
	return s.credit.events >= 1 && s.credit.bytes >= size
}

// count keeps a use as a number when it found no room as an event.
func (s *usageShard) count(of hourOf, now int64) {
	if s.late == nil {
		s.late = map[hourOf]lateUse{}
	}
	late := s.late[of]
	s.late[of] = lateUse{count: late.count + 1, last: max(late.last, now)}
}

// bounded cuts a text that is too long for an event, and lets go of the rest.
func bounded(s string) string {
	if len(s) > maxEventText {
		return strings.Clone(s[:maxEventText])
	}
	return s
}

// floor is the beginning of the unit that now, in milliseconds, falls into.
func floor(now int64, unit time.Duration) int64 { return now - now%unit.Milliseconds() }

// rehash notes a key that has to move to the newest pepper.
func (r *recorder) rehash(move rehash) {
	s := &r.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && len(s.moves) < maxRehashes {
		if s.moves == nil {
			s.moves = map[string]rehash{}
		}
		s.moves[move.keyID] = move
	}
}

// start begins the background work with the first verify.
func (r *recorder) start() {
	r.room.Lock()
	defer r.room.Unlock()
	if !r.started.Load() {
		r.started.Store(true)
		go r.run()
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
			r.samples.Store(max(1, samplesASecond*int64(r.opts.FlushInterval)/int64(time.Second)))
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
	r.roll()
	if err := r.write(ctx); err != nil {
		return err
	}
	r.take()
	return r.write(ctx)
}

// roll moves the counts of refusals out of the shards, into the minute that is now.
func (r *recorder) roll() {
	minute := floor(r.opts.Now().UnixMilli(), time.Minute)
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for code, count := range s.refused {
			if count > 0 {
				r.refused[minuteOf{minute: minute, code: Code(code)}] += count
			}
		}
		clear(s.refused[:])
		s.mu.Unlock()
	}
}

// take makes a batch of what has gathered.
func (r *recorder) take() {
	sum := newSum(len(r.shards))
	var dropped int64
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		sum.uses[i] = s.uses
		sum.addLate(s.late)
		for _, move := range s.moves {
			r.moves = append(r.moves, move)
		}
		dropped += s.dropped
		s.uses, s.spare, s.late, s.moves, s.dropped = s.spare, nil, nil, nil, 0
		s.mu.Unlock()
	}
	batch, bytes := sum.batch()
	for i := range r.shards {
		r.shards[i].reuse(sum.uses[i])
	}
	r.room.Lock()
	r.over.DroppedEvents += dropped
	r.held = allowance{events: int64(len(batch.Events)), bytes: bytes}
	r.room.Unlock()
	for of, count := range r.refused {
		batch.Minutes = append(batch.Minutes, RefusalMinute{MinuteAt: time.UnixMilli(of.minute).UTC(), Code: of.code, Count: count})
	}
	if len(batch.Hours) == 0 && len(batch.Events) == 0 && len(batch.Minutes) == 0 {
		return
	}
	r.number++
	batch.RecorderID, batch.Number, batch.At = r.id, r.number, r.opts.Now().UTC()
	r.inFlight, r.refused = batch, map[minuteOf]int64{}
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

// write stores the batch in flight. On an error it stays in flight.
func (r *recorder) write(ctx context.Context) error {
	if r.inFlight != nil {
		result, err := r.store.RecordUsage(ctx, *r.inFlight)
		if err != nil {
			return err
		}
		r.landed(result)
	}
	for _, move := range r.moves { // what fails now is done at the key's next use
		if err := move.apply(ctx, r.store); err != nil {
			break
		}
	}
	r.moves = nil
	return nil
}

// landed gives the room of the batch in flight back.
func (r *recorder) landed(result UsageResult) {
	r.room.Lock()
	defer r.room.Unlock()
	r.left.events += r.held.events
	r.left.bytes += r.held.bytes
	r.held, r.inFlight = allowance{}, nil
	r.over.LostUses += result.LostUses
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
			return &unavailable{cause: fmt.Errorf("usage of %d events was not written: %w", r.stats().PendingEvents, err)}
		case <-time.After(pause):
			err = r.flush(ctx)
		}
	}
	return nil
}

// stats returns the state for [Service.UsageStats].
func (r *recorder) stats() UsageStats {
	r.room.Lock()
	stats := r.over
	stats.PendingEvents = r.held.events
	r.room.Unlock()
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		stats.PendingEvents += int64(len(s.uses))
		stats.DroppedEvents += s.dropped
		s.mu.Unlock()
	}
	return stats
}
