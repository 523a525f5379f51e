package keyfold

import (
	"context"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/internal/token"
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
//
// With UsageSync a verify waits for the batch that its use went into.
type recorder struct {
	store Store
	opts  *Options
	id    string

	shards  []usageShard
	started atomic.Bool
	samples sampler
	closed  atomic.Bool

	room   sync.Mutex         // guards the next six; a shard may be locked before it, never after
	full   allowance          // less than this left: time to flush
	left   allowance          // what the shards may still take
	held   allowance          // what the batches in flight take
	lost   int64              // uses of keys that are gone
	aside  int64              // batches set aside
	cancel context.CancelFunc // ends what the background is waiting for

	flushing chan struct{} // holds one token while a flush runs, which owns the next five
	refused  map[minuteOf]int64
	late     map[hourOf]lateUse
	inFlight []*delivery
	moves    []rehash
	number   int64 // of the batch made last

	failed atomic.Pointer[error] // of the last flush; nil if the store took it

	wake chan struct{} // there is a batch's worth of events, or somebody waits
	stop chan struct{}
	done chan struct{}
}

const (
	flushEvents   = 20_000 // events that are written without waiting for the interval
	useSize       = 128    // bytes of a use without its texts, here and in its batch
	maxRehashes   = 1000   // per shard
	maxEventText  = 256    // bytes of each text of an event
	creditEvents  = 64     // what a shard is allowed at a time
	recorderIDLen = 16
)

// usageShard is one of the places where verifies leave their use.
type usageShard struct {
	mu      sync.Mutex
	closed  bool
	credit  allowance
	uses    []use
	spare   []use              // emptied by the last flush, to be filled next
	late    map[hourOf]lateUse // uses that found no room as events
	refused [len(outcomeNames)]int64
	minute  int64              // which refused counts
	before  map[minuteOf]int64 // refusals of other minutes
	moves   map[string]rehash
	dropped int64    // ever
	next    *landing // of the batch that uses go into next; nil unless verifies wait for it
	_       [64]byte // shards that are used at the same time share no cache line
}

// allowance is room for events.
type allowance struct{ events, bytes int64 }

// use is one verify of a key whose secret was right, or a sampled refusal. It
// fills a cache line, of which every verify writes one.
type use struct {
	who     principal // nobody for a sample
	route   string
	address [16]byte // zero if none is known
	more    *useMore // nil for most
	when    int64    // unix milliseconds, and the code in the lowest bits
}

// useMore is what is only kept where the options say so.
type useMore struct{ requestID, userAgent string }

const codeBits = 8

func (u *use) at() int64     { return u.when >> codeBits }
func (u *use) code() Outcome { return Outcome(u.when & (1<<codeBits - 1)) }

type hourOf struct {
	keyID string
	hour  int64
	code  Outcome
}

type lateUse struct{ count, last int64 }

type minuteOf struct {
	minute int64
	code   Outcome
}

func newRecorder(store Store, opts *Options) *recorder {
	shards := 1
	for shards < 4*runtime.GOMAXPROCS(0) {
		shards *= 2
	}
	r := &recorder{
		store: store, opts: opts, id: token.Random(recorderIDLen), shards: make([]usageShard, shards),
		left:     allowance{events: int64(opts.MaxPendingEvents), bytes: int64(opts.MaxPendingBytes)},
		flushing: make(chan struct{}, 1), refused: map[minuteOf]int64{}, late: map[hourOf]lateUse{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	// What shards have been granted and not used yet is no reason to flush.
	granted := int64(shards * creditEvents)
	r.full = allowance{
		events: r.left.events - min(flushEvents+granted, r.left.events/2),
		bytes:  r.left.bytes / 2,
	}
	next := newLanding(opts)
	for i := range r.shards {
		r.shards[i].next = next
	}
	return r
}

// record counts one verify. It reports false, and counts nothing, once the
// recorder is closed. With UsageSync it returns the landing of a use.
func (r *recorder) record(who principal, code Outcome, req *Request, now int64) (*landing, bool) {
	if !r.started.Load() {
		r.start()
	}
	s := &r.shards[rand.Uint32()&uint32(len(r.shards)-1)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false
	}
	if who.isNobody() {
		if now < s.minute || now >= s.minute+time.Minute.Milliseconds() {
			s.turn(now)
		}
		s.refused[code]++
		if !r.opts.DisableEvents && r.samples.take(now) {
			// The request ID and the user agent are the client's own text: without
			// them a sample has no part whose size a stranger chooses.
			r.keep(s, principal{}, code, &Request{IP: req.IP, Route: req.Route}, now)
		}
		return nil, true
	}
	if !r.keep(s, who, code, req, now) {
		if !r.opts.DisableEvents {
			s.dropped++
		}
		s.count(hourOf{keyID: who.keyID(), hour: floor(now, time.Hour), code: code}, now)
	}
	if s.next != nil {
		notify(r.wake)
	}
	return s.next, true
}

// keep adds an event if there is room for it.
func (r *recorder) keep(s *usageShard, who principal, code Outcome, req *Request, at int64) bool {
	u := use{who: who, when: at<<codeBits | int64(code), route: bounded(req.Route), more: r.more(req)}
	if req.IP.IsValid() {
		u.address = req.IP.As16()
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

// more allocates, but only where the options ask for it.
func (r *recorder) more(req *Request) *useMore {
	if (!r.opts.RecordRequestID || req.RequestID == "") && (!r.opts.RecordUserAgent || req.UserAgent == "") {
		return nil
	}
	more := new(useMore)
	if r.opts.RecordRequestID {
		more.requestID = bounded(req.RequestID)
	}
	if r.opts.RecordUserAgent {
		more.userAgent = bounded(req.UserAgent)
	}
	return more
}

func (u *use) size() int64 {
	size := useSize + int64(len(u.route))
	if u.more != nil {
		size += int64(len(u.more.requestID) + len(u.more.userAgent))
	}
	return size
}

// refill gives the shard more room, if there is any, and wakes the flush when
// a batch's worth of events or half of what may wait is waiting.
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
	if r.left.events <= r.full.events || r.left.bytes <= r.full.bytes {
		notify(r.wake)
	}
	return s.credit.events >= 1 && s.credit.bytes >= size
}

// count keeps a use as a number when it found no room as an event.
func (s *usageShard) count(of hourOf, now int64) {
	if s.late == nil {
		s.late = map[hourOf]lateUse{}
	}
	s.late[of] = s.late[of].plus(lateUse{count: 1, last: now})
}

func (u lateUse) plus(more lateUse) lateUse {
	return lateUse{count: u.count + more.count, last: max(u.last, more.last)}
}

// turn puts the refusals of one minute away and begins with another.
func (s *usageShard) turn(now int64) {
	for code, count := range s.refused {
		if count > 0 {
			if s.before == nil {
				s.before = map[minuteOf]int64{}
			}
			s.before[minuteOf{minute: s.minute, code: Outcome(code)}] += count
		}
	}
	clear(s.refused[:])
	s.minute = floor(now, time.Minute)
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

// stats returns the state for [Service.UsageStats].
func (r *recorder) stats() UsageStats {
	r.room.Lock()
	stats := UsageStats{PendingEvents: r.held.events, LostUses: r.lost, RejectedBatches: r.aside}
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
