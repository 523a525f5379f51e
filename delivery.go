package keyfold

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keyfold/keyfold/internal/keycache"
	"github.com/keyfold/keyfold/internal/text"
	"github.com/keyfold/keyfold/internal/token"
)

const (
	flushTimeout = 10 * time.Second // of one batch
	closeBudget  = 10 * time.Second
	closeGrace   = time.Second // for a write that is running while Close begins
	batchEvents  = 20_000      // a batch that takes too long is never stored, so it is bounded
	batchHours   = 50_000      // the same for uses without an event
	retryPause   = time.Second // between tries while verifies wait

	// A batch that the store refuses so often, though it works, is set aside. If
	// it refuses that many of them, the store is at fault.
	rejectAfter = 20
	maxRejected = 4

	recorderIDLen = 16
)

// delivery writes what a [recorder] gathers, in batches. One batch is in flight at
// a time. While the store fails, that batch is tried again, whole and under its own
// number, until it is stored; other uses wait in the recorder. So a commit whose
// answer was lost is not applied twice, and totals and events of one verify are
// never separated.
type delivery struct {
	store    Store
	opts     *Options
	id       string
	recorder *recorder
	stop     chan struct{}
	done     chan struct{}

	turn chan struct{} // holds one token while a delivery runs
	work struct {      // belongs to the delivery that has the turn
		refused  map[hourKey]int64
		overflow map[hourKey]useCount
		inFlight []*parcel
		rehashes []rehash
		number   int64 // of the batch made last
	}

	state struct {
		sync.Mutex
		started, closed bool
		cancel          context.CancelFunc // ends what the background is waiting for
		pending         int64              // events in flight
		lost            int64              // uses of keys that were deleted
		rejected        int64              // batches that are set aside
		failure         error              // of the last delivery, if the store took nothing
	}
}

// parcel is a batch on its way to the store.
type parcel struct {
	batch    *UsageBatch
	size     allowance
	refusals int
	rejected bool
	ack      *ack // nil unless verifies wait for it
}

func newDelivery(store Store, opts *Options, r *recorder) *delivery {
	d := &delivery{
		store: store, opts: opts, id: token.Random(recorderIDLen), recorder: r,
		stop: make(chan struct{}), done: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	d.work.refused, d.work.overflow = map[hourKey]int64{}, map[hourKey]useCount{}
	r.start = d.start
	return d
}

// start begins the background work with the first verify.
func (d *delivery) start() {
	d.state.Lock()
	defer d.state.Unlock()
	d.recorder.started.Store(true)
	if d.state.started || d.state.closed {
		return
	}
	d.state.started = true
	ctx, cancel := context.WithCancel(context.Background())
	d.state.cancel = cancel
	go d.run(ctx)
}

func (d *delivery) run(ctx context.Context) {
	defer close(d.done)
	ticker := time.NewTicker(d.opts.FlushInterval)
	defer ticker.Stop()
	var again <-chan time.Time
	pause, down := minFlush, false
	for {
		select {
		case <-d.stop:
			return
		case <-again:
		case <-ticker.C:
		case <-d.recorder.wake:
			if down { // a full batch does not change that the store is down
				continue
			}
		}
		wasDown := down
		var err error
		down, err = d.deliver(ctx)
		if ctx.Err() != nil {
			return
		}
		if down != wasDown {
			d.report(down, err)
		}
		again = nil
		switch {
		case !down:
			pause = minFlush
		case d.opts.Usage == UsageSync:
			again, pause = time.After(pause), min(2*pause, retryPause)
		}
	}
}

// report logs that writing usage begins to fail or works again.
func (d *delivery) report(down bool, err error) {
	if down {
		d.opts.Logger.Warn("keyfold: usage cannot be written; it is kept and tried again", slog.Any("error", err))
		return
	}
	d.opts.Logger.Info("keyfold: usage is written again")
}

// flush writes the usage that was recorded before the call.
func (d *delivery) flush(ctx context.Context) error {
	_, err := d.deliver(ctx)
	return err
}

// deliver writes the batches in flight, if there are any, and then what was
// gathered since. down means that it gave up because the store takes nothing.
func (d *delivery) deliver(ctx context.Context) (down bool, err error) {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-d.turn }()
	defer func() { d.remember(ctx, down, err) }()
	d.collectCounts()
	down, err = d.write(ctx, 0)
	if down {
		return true, err
	}
	rejected := len(d.work.inFlight)
	d.makeBatches()
	var later error
	down, later = d.write(ctx, rejected)
	if !down {
		d.rehashKeys(ctx)
	}
	return down, cmp.Or(err, later)
}

// remember keeps the reason why the store takes no usage.
func (d *delivery) remember(ctx context.Context, down bool, err error) {
	d.state.Lock()
	defer d.state.Unlock()
	switch {
	case !down:
		d.state.failure = nil
	case ctx.Err() == nil:
		d.state.failure = err
	}
}

// failure returns why the store took no usage at the last delivery, or nil.
func (d *delivery) failure() error {
	d.state.Lock()
	defer d.state.Unlock()
	return d.state.failure
}

// collectCounts moves the counts out of the shards, so that they are kept once while
// the store is down, whatever the number of shards.
func (d *delivery) collectCounts() {
	for i := range d.recorder.shards {
		refused, overflow := d.recorder.shards[i].takeCounts()
		for of, count := range refused {
			d.work.refused[of] += count
		}
		d.addOverflow(overflow)
	}
}

func (d *delivery) addOverflow(overflow map[hourKey]useCount) {
	for of, use := range overflow {
		d.work.overflow[of] = d.work.overflow[of].plus(use)
	}
}

// makeBatches makes batches of what the recorder has gathered.
func (d *delivery) makeBatches() {
	shards := d.recorder.shards
	sum := newSum(len(shards), !d.opts.DisableEvents)
	var last *ack
	next := newAck(d.opts)
	for i := range shards {
		g := shards[i].take(next)
		sum.uses[i], last = g.uses, g.ack
		for _, move := range g.rehashes {
			d.work.rehashes = append(d.work.rehashes, move)
		}
		d.addOverflow(g.overflow)
	}
	for first := true; ; first = false {
		batch, size := sum.next(d.work.overflow)
		if first {
			batch.Hours = append(batch.Hours, d.takeRefused()...)
		}
		if len(batch.Hours) == 0 && len(batch.Events) == 0 {
			break
		}
		d.work.number++
		batch.RecorderID, batch.Number, batch.At = d.id, d.work.number, d.opts.Now().UTC()
		d.enqueue(&parcel{batch: batch, size: size, ack: last})
	}
	for i := range shards {
		shards[i].reuse(sum.uses[i])
	}
}

func (d *delivery) takeRefused() []UsageHour {
	hours := make([]UsageHour, 0, len(d.work.refused))
	for of, count := range d.work.refused {
		hours = append(hours, UsageHour{HourAt: time.UnixMilli(of.hour).UTC(), Outcome: of.outcome, Count: count})
	}
	clear(d.work.refused)
	return hours
}

func (d *delivery) enqueue(p *parcel) {
	d.work.inFlight = append(d.work.inFlight, p)
	if p.ack != nil {
		p.ack.waiting++
	}
	d.state.Lock()
	defer d.state.Unlock()
	d.state.pending += p.size.events
}

// write stores the batches in flight from that index on. Those that fail stay in
// flight. down means that the store does not take any.
func (d *delivery) write(ctx context.Context, from int) (down bool, err error) {
	kept := d.work.inFlight[:from]
	for i := from; i < len(d.work.inFlight) && !down; i++ {
		p := d.work.inFlight[i]
		failed := d.send(ctx, p)
		if failed == nil {
			continue
		}
		err = cmp.Or(err, failed)
		kept = append(kept, p)
		if down = !p.rejected; down {
			kept = append(kept, d.work.inFlight[i+1:]...)
		}
	}
	clear(d.work.inFlight[len(kept):])
	d.work.inFlight = kept
	return down, err
}

// send stores one batch.
func (d *delivery) send(ctx context.Context, p *parcel) error {
	bounded, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	result, err := d.store.RecordUsage(bounded, *p.batch)
	if err == nil {
		d.acknowledge(p, result)
		return nil
	}
	if bounded.Err() != nil || p.rejected || errors.Is(err, ErrCheckFailed) {
		return err
	}
	if p.refusals++; p.refusals >= rejectAfter && d.store.Ping(bounded) == nil {
		d.reject(p, err)
	}
	return err
}

// reject lets others pass a batch that the store refuses. It is tried again with
// every delivery: it is unknown whether the store will always refuse it.
func (d *delivery) reject(p *parcel, err error) {
	d.state.Lock()
	p.rejected = d.state.rejected < maxRejected
	if p.rejected {
		d.state.rejected++
	}
	d.state.Unlock()
	if p.rejected {
		d.opts.Logger.Error("keyfold: the store works and refuses a batch of usage; it is set aside and tried again",
			slog.Int64("batch", p.batch.Number), slog.Int("events", len(p.batch.Events)), slog.Any("error", err))
	}
}

// acknowledge returns the allowance of a batch that is stored, and wakes the
// verifies that wait for it.
func (d *delivery) acknowledge(p *parcel, result UsageResult) {
	d.recorder.giveBack(p.size)
	d.state.Lock()
	d.state.pending -= p.size.events
	d.state.lost += result.LostUses
	if p.rejected {
		d.state.rejected--
	}
	d.state.Unlock()
	if p.rejected {
		d.opts.Logger.Info("keyfold: a batch of usage that was set aside is written", slog.Int64("batch", p.batch.Number))
	}
	if p.ack == nil {
		return
	}
	if p.ack.waiting--; p.ack.waiting == 0 {
		close(p.ack.done)
	}
}

// rehashKeys moves keys to the newest pepper. If that fails, the next use of the
// key tries again.
func (d *delivery) rehashKeys(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	for _, move := range d.work.rehashes {
		if err := d.store.RehashKey(ctx, move.keyID, move.old, move.new); err != nil {
			break
		}
	}
	d.work.rehashes = nil
}

// stats returns the state for [Service.UsageStats].
func (d *delivery) stats() UsageStats {
	d.state.Lock()
	stats := UsageStats{PendingEvents: d.state.pending, LostUses: d.state.lost, RejectedBatches: d.state.rejected}
	d.state.Unlock()
	for i := range d.recorder.shards {
		s := &d.recorder.shards[i].state
		s.Lock()
		stats.PendingEvents += int64(len(s.uses))
		stats.DroppedEvents += s.dropped
		s.Unlock()
	}
	return stats
}

// close ends the recording and writes all that was recorded.
func (d *delivery) close(ctx context.Context) error {
	d.state.Lock()
	closed, running := d.state.closed, d.state.started
	d.state.closed = true
	d.state.Unlock()
	if closed {
		return nil
	}
	d.recorder.close()
	if running {
		close(d.stop)
		d.settle(ctx)
	}
	err := d.flush(ctx)
	for pause := minFlush; err != nil; pause = min(2*pause, time.Second) {
		select {
		case <-ctx.Done():
			return &unavailable{cause: fmt.Errorf("%d usage events were not written: %w", d.stats().PendingEvents, err)}
		case <-time.After(pause):
			err = d.flush(ctx)
		}
	}
	return nil
}

// settle ends the background work. A write that is running gets a moment to finish:
// if it were ended half-way, it would have to start again.
func (d *delivery) settle(ctx context.Context) {
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-d.done:
	case <-grace.C:
	case <-ctx.Done():
	}
	d.state.cancel()
}

// usageSum makes batches of the uses of all shards. It runs in the background, but
// for every verify, so it allocates little for each.
type usageSum struct {
	uses    [][]use // of each shard
	events  bool    // to be kept, in addition to the counts
	ordered bool
	places  []place // of the uses that are in no batch yet, oldest first
	texts   map[string]string
}

// tallyKey is what uses are counted by: in one delivery a key nearly always has the
// same place in memory, and comparing pointers is cheaper than comparing ids.
type tallyKey struct {
	key     keycache.Key
	hour    int64
	outcome Outcome
}

type tally struct {
	hourKey
	useCount
}

func newSum(shards int, events bool) *usageSum {
	return &usageSum{uses: make([][]use, shards), events: events, texts: map[string]string{}}
}

// next makes a batch of a bounded number of uses, the oldest first, and of
// overflow, from which it removes the counts that fit. size is that of the uses, as
// the shards counted it.
func (sum *usageSum) next(overflow map[hourKey]useCount) (batch *UsageBatch, size allowance) {
	if !sum.ordered {
		sum.places, sum.ordered = sum.order(), true
	}
	batch = &UsageBatch{}
	places := sum.places[:min(len(sum.places), batchEvents)]
	size.events = int64(len(places))
	sum.places = sum.places[len(places):]
	if len(places) > 0 && sum.events {
		batch.Events = make([]UsageEvent, len(places))
	}
	tallies := map[tallyKey]useCount{}
	for i, at := range places {
		u := &sum.uses[at.shard][at.index]
		size.bytes += u.size()
		if sum.events {
			sum.fill(&batch.Events[i], u)
		}
		if !u.key.IsZero() {
			of := tallyKey{key: u.key, hour: floor(u.at(), time.Hour), outcome: u.outcome()}
			tallies[of] = tallies[of].plus(useCount{count: 1, last: u.at()})
		}
	}
	counts := make([]tally, 0, len(tallies)+min(len(overflow), batchHours))
	for of, use := range tallies {
		counts = append(counts, tally{hourKey{keyID: of.key.ID(), hour: of.hour, outcome: of.outcome}, use})
	}
	for of, use := range overflow {
		if len(counts) >= batchHours {
			break
		}
		counts = append(counts, tally{of, use})
		delete(overflow, of)
	}
	count(batch, counts)
	return batch, size
}

// place says where a use is; sorting places moves less memory than sorting uses.
type place struct {
	at           int64
	shard, index int32
}

func (sum *usageSum) order() []place {
	n := 0
	for _, uses := range sum.uses {
		n += len(uses)
	}
	order := make([]place, 0, n)
	for shard, uses := range sum.uses {
		for i := range uses {
			order = append(order, place{at: uses[i].at(), shard: int32(shard), index: int32(i)})
		}
	}
	slices.SortFunc(order, func(a, b place) int { return cmp.Compare(a.at, b.at) })
	return order
}

func (sum *usageSum) fill(event *UsageEvent, u *use) {
	event.At, event.Outcome, event.Route = time.UnixMilli(u.at()).UTC(), u.outcome(), sum.plain(u.route)
	if u.details != nil {
		event.RequestID, event.UserAgent = text.Plain(u.details.requestID, maxEventText), sum.plain(u.details.userAgent)
	}
	if u.address != ([16]byte{}) {
		event.IP = netip.AddrFrom16(u.address).Unmap()
	}
	if !u.key.IsZero() {
		event.KeyID = u.key.ID()
	}
}

// plain returns the part of a text that may be stored. Routes and agents repeat, so
// it remembers the answers.
func (sum *usageSum) plain(s string) string {
	if s == "" {
		return ""
	}
	plain, known := sum.texts[s]
	if !known {
		plain = text.Plain(s, maxEventText)
		sum.texts[s] = plain
	}
	return plain
}

// count turns tallies into hours and totals, by key.
func count(batch *UsageBatch, tallies []tally) {
	slices.SortFunc(tallies, func(a, b tally) int {
		return cmp.Or(strings.Compare(a.keyID, b.keyID), cmp.Compare(a.hour, b.hour), cmp.Compare(a.outcome, b.outcome))
	})
	for i, t := range tallies {
		if last := len(batch.Hours) - 1; i > 0 && tallies[i-1].hourKey == t.hourKey {
			batch.Hours[last].Count += t.count
		} else {
			batch.Hours = append(batch.Hours, UsageHour{KeyID: t.keyID, HourAt: time.UnixMilli(t.hour).UTC(), Outcome: t.outcome, Count: t.count})
		}
		if t.outcome != OutcomeAllowed {
			continue
		}
		used := time.UnixMilli(t.last).UTC()
		if last := len(batch.Keys) - 1; last >= 0 && batch.Keys[last].KeyID == t.keyID {
			batch.Keys[last].Uses += t.count
			if used.After(batch.Keys[last].LastUsedAt) {
				batch.Keys[last].LastUsedAt = used
			}
		} else {
			batch.Keys = append(batch.Keys, KeyUses{KeyID: t.keyID, Uses: t.count, LastUsedAt: used})
		}
	}
}

// UsageStats says how the recording of usage is doing in this process.
type UsageStats struct {
	PendingEvents   int64 `json:"pending_events"` // not written yet
	DroppedEvents   int64 `json:"dropped_events"` // beyond the bounds of the Options; they are in the totals all the same
	LostUses        int64 `json:"lost_uses"`      // of keys that were deleted before their last uses were written
	RejectedBatches int64 `json:"batches_aside"`  // that the store refuses although it works; they are tried again, and no use of them is lost
}
