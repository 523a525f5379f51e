package keyfold

import (
	"container/list"
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/keyfold/keyfold/internal/ipblock"
)

const (
	// placesPerSlot is how many requests may be past the gate for each password
	// that is hashed at a time: enough to keep the hash slots busy while others
	// wait for the store.
	placesPerSlot = 4
	// gateWait is how long a request waits for a place.
	gateWait = 2 * time.Second

	// gateAddresses bounds each of the two tables of addresses.
	gateAddresses = 10_000
	// failureMemory is how long a failure puts an address behind others.
	failureMemory = 10 * time.Minute
	// slips is how many failures an address may have after a success and still go
	// first. It is what the throttles allow for free.
	slips = 5
)

// errCrowded has two parents: the caller has to wait, and nothing was decided.
const errCrowded = busy("keyfold: too many log-ins and one-time tokens at once")

// gate bounds the requests of anonymous clients that may use the store at the
// same time. A request takes a place before its first store call and keeps it
// until its last one. Requests without a place wait, at most gateWait, in the
// order of their rank, and are then turned away without a store call.
//
// The rank of a request comes from a bounded table in this process and never
// from the store: a store that is asked who may ask it is not protected.
type gate struct {
	wait time.Duration
	now  func() time.Time

	state struct {
		sync.Mutex
		free      int
		waiting   [ranks]list.List // of *waiter, the oldest first
		succeeded addressTable     // addresses from which a user proved an identity
		failed    addressTable     // addresses of recent failures
	}
}

// rank says who goes first: a lower rank does.
type rank int

const (
	rankProved rank = iota // a user succeeded from that address, with few failures since
	rankClean              // no recent failures
	rankFailed
	ranks
)

// waiter is a request that waits for a place.
type waiter struct {
	network netip.Prefix
	ready   chan struct{} // closed when it has a place
	rank    rank
	element *list.Element // nil when it has a place
}

func newGate(places int, now func() time.Time) *gate {
	g := &gate{wait: gateWait, now: now}
	g.state.free = places
	g.state.succeeded.limit, g.state.failed.limit = gateAddresses, gateAddresses
	return g
}

// admit takes a place for a request from that address, which may be unknown, and
// returns the function that gives it back. Further calls of that function do
// nothing. The error is errCrowded, or ctx's own. A nil gate has a place for each
// request.
func (g *gate) admit(ctx context.Context, ip netip.Addr) (leave func(), err error) {
	if g == nil {
		return func() {}, nil
	}
	if err := g.enter(ctx, ipblock.Of(ip)); err != nil {
		return nil, err
	}
	return sync.OnceFunc(g.leave), nil
}

func (g *gate) enter(ctx context.Context, network netip.Prefix) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := g.queue(network)
	if w == nil {
		return nil
	}
	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	err := error(errCrowded)
	select {
	case <-w.ready:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if !g.giveUp(w) {
		return nil // the place came at the last moment
	}
	return err
}

// queue takes a free place, or returns a waiter where there is none.
func (g *gate) queue(network netip.Prefix) *waiter {
	g.state.Lock()
	defer g.state.Unlock()
	if g.state.free > 0 {
		g.state.free--
		return nil
	}
	w := &waiter{network: network, ready: make(chan struct{}), rank: g.rankOf(network)}
	w.element = g.state.waiting[w.rank].PushBack(w)
	return w
}

// giveUp ends the wait. It reports false when the waiter has got a place.
func (g *gate) giveUp(w *waiter) bool {
	g.state.Lock()
	defer g.state.Unlock()
	if w.element == nil {
		return false
	}
	g.state.waiting[w.rank].Remove(w.element)
	return true
}

// leave hands a place over to the next waiter. One whose address has failed
// since it came goes back behind the others: a client that sends a thousand
// guesses at once must not stay in front with all of them.
func (g *gate) leave() {
	g.state.Lock()
	defer g.state.Unlock()
	for at := range g.state.waiting {
		queue := &g.state.waiting[at]
		for queue.Len() > 0 {
			w := queue.Remove(queue.Front()).(*waiter)
			if now := g.rankOf(w.network); now > w.rank {
				w.rank = now
				w.element = g.state.waiting[now].PushBack(w)
				continue
			}
			w.element = nil
			close(w.ready)
			return
		}
	}
	g.state.free++
}

// rankOf needs the lock.
func (g *gate) rankOf(network netip.Prefix) rank {
	if !network.IsValid() {
		return rankClean
	}
	failures := 0
	if last := g.state.failed.get(network); last != nil && g.now().Sub(last.at) < failureMemory {
		failures = last.count
	}
	switch {
	case failures <= slips && g.state.succeeded.get(network) != nil:
		return rankProved
	case failures == 0:
		return rankClean
	}
	return rankFailed
}

// learn remembers how a request ended. Errors that decided nothing say nothing
// about the address.
func (g *gate) learn(ip netip.Addr, err error) {
	network := ipblock.Of(ip)
	if g == nil || !network.IsValid() {
		return
	}
	g.state.Lock()
	defer g.state.Unlock()
	now := g.now()
	switch {
	case err == nil:
		g.state.failed.forget(network)
		g.state.succeeded.add(network, now)
	case errors.Is(err, ErrUnavailable):
	case errors.Is(err, ErrUnauthenticated), errors.Is(err, ErrRateLimited):
		if last := g.state.failed.get(network); last != nil && now.Sub(last.at) >= failureMemory {
			g.state.failed.forget(network)
		}
		g.state.failed.add(network, now)
	}
}

// addressTable counts by address. When it is full, the address that was counted
// longest ago makes room.
type addressTable struct {
	limit   int
	order   list.List // of *counted, the newest first
	entries map[netip.Prefix]*list.Element
}

type counted struct {
	network netip.Prefix
	count   int
	at      time.Time // of the last
}

// get returns nil for an address that is not in the table.
func (t *addressTable) get(network netip.Prefix) *counted {
	if element, ok := t.entries[network]; ok {
		return element.Value.(*counted)
	}
	return nil
}

func (t *addressTable) add(network netip.Prefix, at time.Time) {
	if element, ok := t.entries[network]; ok {
		entry := element.Value.(*counted)
		entry.count, entry.at = entry.count+1, at
		t.order.MoveToFront(element)
		return
	}
	if t.entries == nil {
		t.entries = map[netip.Prefix]*list.Element{}
	}
	if len(t.entries) >= t.limit {
		t.forget(t.order.Back().Value.(*counted).network)
	}
	t.entries[network] = t.order.PushFront(&counted{network: network, count: 1, at: at})
}

func (t *addressTable) forget(network netip.Prefix) {
	if element, ok := t.entries[network]; ok {
		t.order.Remove(element)
		delete(t.entries, network)
	}
}
