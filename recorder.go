package keyfold

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/internal/keycache"
	"github.com/keyfold/keyfold/internal/wake"
)

// recorder gathers usage in memory, so that a verify never waits for a write. Its
// other half is [delivery], which writes what was gathered.
//
// A verify leaves one entry in a shard picked at random, so there is no lock that
// all verifies share, and everything that costs time (sums, formatting) is left to
// the delivery.
//
// With UsageSync a verify then waits until the batch with its use is stored.
type recorder struct {
	opts    *Options
	shards  []usageShard
	samples sampler
	started atomic.Bool // the delivery runs, or is closed
	start   func()      // starts the delivery
	wake    wake.Signal // holds a token while there is a reason to deliver now
	full    allowance   // with less than this left, it is time to deliver

	budget struct { // may be locked while a shard is, and never the other way round
		sync.Mutex
		left allowance // that no shard has been granted
	}
}

const (
	flushEvents  = 20_000 // events that are written without waiting for the interval
	useSize      = 128    // bytes of a use without its texts, here and in its batch
	maxRehashes  = 1000   // per shard
	maxEventText = 256    // bytes of each text of an event
	creditEvents = 64     // granted to a shard at a time
)

// usageShard is one of the places where verifies leave their use.
type usageShard struct {
	state struct {
		sync.Mutex
		closed   bool
		credit   allowance
		uses     []use
		spare    []use                // emptied by the last delivery, to be filled next
		overflow map[hourKey]useCount // uses for which the budget had no event left
		refused  [len(outcomeNames)]int64
		hour     int64             // of the counts in refused
		earlier  map[hourKey]int64 // refusals of other hours
		rehashes map[string]rehash
		dropped  int64 // events since the start
		next     *ack  // for the uses of the next batches; nil unless verifies wait
	}
	_ [64]byte // shards that are used at the same time share no cache line
}

// allowance is a number of events and of their bytes.
type allowance struct{ events, bytes int64 }

// observation is one verify as the recorder needs it.
type observation struct {
	at        int64 // unix milliseconds
	outcome   Outcome
	ip        netip.Addr
	route     string
	requestID string
	userAgent string
}

// use is one verify of a key whose secret was right, or a sampled refusal. It
// fills a cache line, of which every verify writes one.
type use struct {
	key     keycache.Key // zero for a sample
	route   string
	address [16]byte // zero if it is unknown
	details *useDetails
	when    int64 // unix milliseconds, and the outcome in the lowest bits
}

// useDetails are what the options have to ask for; most uses have none.
type useDetails struct{ requestID, userAgent string }

const outcomeBits = 8

func (u *use) at() int64        { return u.when >> outcomeBits }
func (u *use) outcome() Outcome { return Outcome(u.when & (1<<outcomeBits - 1)) }

func (u *use) size() int64 {
	size := useSize + int64(len(u.route))
	if u.details != nil {
		size += int64(len(u.details.requestID) + len(u.details.userAgent))
	}
	return size
}

// hourKey is what uses are counted by.
type hourKey struct {
	keyID   string
	hour    int64
	outcome Outcome
}

// useCount counts uses, and has the time of the last.
type useCount struct{ count, last int64 }

func (u useCount) plus(more useCount) useCount {
	return useCount{count: u.count + more.count, last: max(u.last, more.last)}
}

func newRecorder(opts *Options) *recorder {
	shards := 1
	for shards < 4*runtime.GOMAXPROCS(0) {
		shards *= 2
	}
	r := &recorder{opts: opts, shards: make([]usageShard, shards), wake: wake.New()}
	left := allowance{events: int64(opts.MaxPendingEvents), bytes: int64(opts.MaxPendingBytes)}
	r.budget.left = left
	// Events that shards have been granted and not used yet do not start a delivery.
	granted := int64(shards * creditEvents)
	r.full = allowance{
		events: left.events - min(flushEvents+granted, left.events/2),
		bytes:  left.bytes / 2,
	}
	next := newAck(opts)
	for i := range r.shards {
		r.shards[i].state.next = next
	}
	return r
}

// record counts one verify; key is zero where the request proved none. It reports
// false, and counts nothing, once the recorder is closed. With UsageSync it returns
// the ack of the use.
func (r *recorder) record(key keycache.Key, o *observation) (*ack, bool) {
	if !r.started.Load() {
		r.start()
	}
	shard := &r.shards[rand.Uint32()&uint32(len(r.shards)-1)]
	s := &shard.state
	s.Lock()
	defer s.Unlock()
	if s.closed {
		return nil, false
	}
	if key.IsZero() {
		if o.at < s.hour || o.at >= s.hour+time.Hour.Milliseconds() {
			shard.beginHour(o.at)
		}
		s.refused[o.outcome]++
		if !r.opts.DisableEvents && r.samples.take(o.at) {
			// The request ID and the user agent are the client's own text: without
			// them a client cannot choose the size of any part of a sample.
			r.add(shard, key, &observation{at: o.at, outcome: o.outcome, ip: o.ip, route: o.route})
		}
		return nil, true
	}
	if !r.add(shard, key, o) {
		if !r.opts.DisableEvents {
			s.dropped++
		}
		shard.countOverflow(hourKey{keyID: key.ID(), hour: floor(o.at, time.Hour), outcome: o.outcome}, o.at)
	}
	if s.next != nil {
		r.wake.Send()
	}
	return s.next, true
}

// add adds an event if the budget allows it. The caller holds the shard's lock.
func (r *recorder) add(shard *usageShard, key keycache.Key, o *observation) bool {
	u := use{key: key, when: o.at<<outcomeBits | int64(o.outcome), route: truncate(o.route), details: r.details(o)}
	if o.ip.IsValid() {
		u.address = o.ip.As16()
	}
	s, size := &shard.state, u.size()
	if (s.credit.events < 1 || s.credit.bytes < size) && !r.grant(&s.credit, size) {
		return false
	}
	s.credit.events--
	s.credit.bytes -= size
	s.uses = append(s.uses, u)
	return true
}

// details allocates, but only where the options ask for it.
func (r *recorder) details(o *observation) *useDetails {
	if (!r.opts.RecordRequestID || o.requestID == "") && (!r.opts.RecordUserAgent || o.userAgent == "") {
		return nil
	}
	details := new(useDetails)
	if r.opts.RecordRequestID {
		details.requestID = truncate(o.requestID)
	}
	if r.opts.RecordUserAgent {
		details.userAgent = truncate(o.userAgent)
	}
	return details
}

// grant raises the credit of a shard if the budget allows an event of that size,
// and wakes the delivery when a batch's worth of events, or half of what may wait,
// is waiting.
func (r *recorder) grant(credit *allowance, size int64) bool {
	r.budget.Lock()
	defer r.budget.Unlock()
	// Only the shortfall: granting the full credit each time that one kind has run
	// out would pile up the other kind.
	left := &r.budget.left
	events := min(left.events, max(0, creditEvents-credit.events))
	bytes := min(left.bytes, max(0, creditEvents*useSize+size-credit.bytes))
	left.events -= events
	left.bytes -= bytes
	credit.events += events
	credit.bytes += bytes
	if left.events <= r.full.events || left.bytes <= r.full.bytes {
		r.wake.Send()
	}
	return credit.events >= 1 && credit.bytes >= size
}

// giveBack returns the allowance of events that are stored.
func (r *recorder) giveBack(size allowance) {
	r.budget.Lock()
	defer r.budget.Unlock()
	r.budget.left.events += size.events
	r.budget.left.bytes += size.bytes
}

// rehash remembers a key that has to move to the newest pepper.
func (r *recorder) rehash(move rehash) {
	s := &r.shards[0].state
	s.Lock()
	defer s.Unlock()
	if s.closed || len(s.rehashes) >= maxRehashes {
		return
	}
	if s.rehashes == nil {
		s.rehashes = map[string]rehash{}
	}
	s.rehashes[move.keyID] = move
}

// close refuses further verifies.
func (r *recorder) close() {
	for i := range r.shards {
		s := &r.shards[i].state
		s.Lock()
		s.closed = true
		s.Unlock()
	}
}

// countOverflow counts a use that is not kept as an event.
func (shard *usageShard) countOverflow(of hourKey, now int64) {
	s := &shard.state
	if s.overflow == nil {
		s.overflow = map[hourKey]useCount{}
	}
	s.overflow[of] = s.overflow[of].plus(useCount{count: 1, last: now})
}

// beginHour puts the refusals of one hour away and begins with another.
func (shard *usageShard) beginHour(now int64) {
	s := &shard.state
	for outcome, count := range s.refused {
		if count == 0 {
			continue
		}
		if s.earlier == nil {
			s.earlier = map[hourKey]int64{}
		}
		s.earlier[hourKey{hour: s.hour, outcome: Outcome(outcome)}] += count
	}
	clear(s.refused[:])
	s.hour = floor(now, time.Hour)
}

// takeCounts moves the counts out of the shard.
func (shard *usageShard) takeCounts() (refused map[hourKey]int64, overflow map[hourKey]useCount) {
	s := &shard.state
	s.Lock()
	defer s.Unlock()
	shard.beginHour(s.hour)
	refused, overflow = s.earlier, s.overflow
	s.earlier, s.overflow = nil, nil
	return refused, overflow
}

// gathered is what a shard had when it was emptied.
type gathered struct {
	uses     []use
	overflow map[hourKey]useCount
	rehashes map[string]rehash
	ack      *ack
}

// take empties the shard but for its refusals. Uses that come later get the next
// ack.
func (shard *usageShard) take(next *ack) gathered {
	s := &shard.state
	s.Lock()
	defer s.Unlock()
	g := gathered{uses: s.uses, overflow: s.overflow, rehashes: s.rehashes, ack: s.next}
	s.uses, s.spare, s.overflow, s.rehashes, s.next = s.spare, nil, nil, nil, next
	return g
}

// reuse keeps the memory of uses that are in a batch now, unless a burst made it
// large.
func (shard *usageShard) reuse(uses []use) {
	if cap(uses) > flushEvents {
		return
	}
	clear(uses)
	shard.state.Lock()
	defer shard.state.Unlock()
	shard.state.spare = uses[:0]
}

// truncate cuts a text that is too long for an event, and lets go of the rest.
func truncate(s string) string {
	if len(s) > maxEventText {
		return strings.Clone(s[:maxEventText])
	}
	return s
}

// floor returns the beginning of the unit that now, in milliseconds, falls into.
func floor(now int64, unit time.Duration) int64 { return now - now%unit.Milliseconds() }

// ack is closed when the uses of a delivery are stored.
type ack struct {
	waiting int // batches that are not stored; belongs to the delivery
	done    chan struct{}
}

func newAck(opts *Options) *ack {
	if opts.Usage != UsageSync {
		return nil
	}
	return &ack{done: make(chan struct{})}
}

// errNotStored is for a caller that waited for its use to be stored.
var errNotStored = errors.New("the usage event was not stored in time, but may still be counted")

// wait returns nil when the uses are stored.
func (a *ack) wait(ctx context.Context, limit time.Time) error {
	timer := time.NewTimer(time.Until(limit))
	defer timer.Stop()
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &unavailable{cause: errNotStored}
	}
}

// The bounds of what requests without a valid key leave on disk. A day's
// samples are enough to see where refused requests come from, and 30 days of
// them, the default retention, are 300 000 rows for each process. Hourly counts
// are exact and do not depend on them.
const (
	samplesADay  = 10_000 // in any 24 hours
	samplesBurst = 100    // of them, at once

	// sampleInterval is the time in which the budget regains one sample, in
	// milliseconds, rounded up: burst and refill together stay within a day's
	// budget.
	sampleInterval = (24*60*60*1000 + samplesADay - samplesBurst - 1) / (samplesADay - samplesBurst)
)

// sampler decides which refused requests are kept as samples. It is a token
// bucket in one number, the generic cell rate algorithm (ITU-T I.371): next is
// when the bucket would be full again, and a flood only reads it.
type sampler struct {
	next atomic.Int64 // unix milliseconds
}

// take reports whether a refusal at that time, in unix milliseconds, is kept.
func (s *sampler) take(now int64) bool {
	const full = samplesBurst * sampleInterval
	for {
		next := s.next.Load()
		refilled := max(next, now) + sampleInterval
		if refilled-now > full {
			return false
		}
		if s.next.CompareAndSwap(next, refilled) {
			return true
		}
	}
}
