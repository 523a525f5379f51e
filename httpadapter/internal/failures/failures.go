// Package failures limits how often an address may fail, for every handler that
// a secret could be guessed at.
package failures

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// Max is how often an address may fail in one window.
const Max = 10

const (
	failureWindow = time.Minute

	// maxAddresses bounds the memory of a Limiter to well under a megabyte.
	// Beyond it the oldest window is forgotten.
	maxAddresses = 4096
)

// Limiter counts failures by address. A window begins with an address's first
// failure, so a refused address waits a minute at most. It is safe for
// concurrent use.
type Limiter struct {
	mu      sync.Mutex
	windows map[netip.Prefix]*list.Element
	oldest  list.List // of *window, by start
}

type window struct {
	address  netip.Prefix
	start    time.Time
	failures int
}

// New returns a Limiter without failures.
func New() *Limiter { return &Limiter{windows: map[netip.Prefix]*list.Element{}} }

// Fail counts a failure of the address. It returns the number of failures in
// the window of the address, this one included, and how long the address has to
// wait: zero while it may have its answer. Reading and counting are one step, so
// attempts side by side get no more answers than attempts in a row.
func (l *Limiter) Fail(now time.Time, from netip.Addr) (failures int, wait time.Duration) {
	address := Block(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	element, known := l.windows[address]
	if !known {
		if l.oldest.Len() == maxAddresses {
			l.drop(l.oldest.Front())
		}
		element = l.oldest.PushBack(&window{address: address, start: now})
		l.windows[address] = element
	}
	w := element.Value.(*window)
	w.failures++
	if w.failures > Max {
		wait = w.start.Add(failureWindow).Sub(now)
	}
	return w.failures, wait
}

// HasFailed reports whether the address has failures in a window that is not
// over.
func (l *Limiter) HasFailed(now time.Time, from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	_, failed := l.windows[Block(from)]
	return failed
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

// Block is what one client holds: an IPv4 address, or the /64 that an IPv6
// host can pick its address from. All unknown addresses are one block.
func Block(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := 64
	if address.Is4() {
		bits = 32
	}
	prefix, err := address.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
