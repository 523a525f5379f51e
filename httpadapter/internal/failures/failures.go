// Package failures limits how often an address may fail, for every handler that
// a secret could be guessed at.
package failures

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

const (
	maxFailures   = 10 // an address may fail this often in one window
	failureWindow = time.Minute

	// maxAddresses bounds the memory of a Limiter to well under a megabyte.
	// Beyond it the oldest window is forgotten.
	maxAddresses = 4096
)

// Limiter counts failures by address. A window begins with an address's first
// failure, so a refused address waits a minute at most. It is safe for
// concurrent use.
type Limiter struct {
	now func() time.Time

	mu      sync.Mutex
	windows map[netip.Prefix]*list.Element
	oldest  list.List // of *window, by start
}

type window struct {
	address  netip.Prefix
	start    time.Time
	failures int
}

// New returns a Limiter that has seen nobody fail.
func New(now func() time.Time) *Limiter {
	return &Limiter{now: now, windows: map[netip.Prefix]*list.Element{}}
}

// Attempt reports how long the address has to wait: zero when it may have its
// answer. Reading and counting are one step, so attempts side by side get no
// more tries than attempts in a row.
func (l *Limiter) Attempt(from netip.Addr, good bool) time.Duration {
	now := l.now()
	address := block(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	var w *window
	if element, ok := l.windows[address]; ok {
		w = element.Value.(*window)
		if w.failures >= maxFailures {
			return w.start.Add(failureWindow).Sub(now)
		}
	}
	if good {
		return 0
	}
	if w == nil {
		if l.oldest.Len() == maxAddresses {
			l.drop(l.oldest.Front())
		}
		w = &window{address: address, start: now}
		l.windows[address] = l.oldest.PushBack(w)
	}
	w.failures++
	return 0
}

// forget drops the windows that are over. A clock that jumped back ends them
// too: a window must not outlive its minute because of it.
func (l *Limiter) forget(now time.Time) {
	for element := l.oldest.Front(); element != nil; element = l.oldest.Front() {
		age := now.Sub(element.Value.(*window).start)
		if age >= 0 && age < failureWindow {
			return
		}
		l.drop(element)
	}
}

func (l *Limiter) drop(element *list.Element) {
	delete(l.windows, element.Value.(*window).address)
	l.oldest.Remove(element)
}

// block is what one client holds: an IPv4 address, or the /64 that an IPv6
// host can pick its address from.
func block(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := 64
	if address.Is4() {
		bits = 32
	}
	prefix, err := address.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // an unknown address shares one count
	}
	return prefix
}
