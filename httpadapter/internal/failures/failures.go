// Package failures limits how many wrong keys or secrets an address may send.
package failures

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"github.com/keyfold/keyfold/internal/ipblock"
)

// Max is the number of failures that an address may have in one window.
const Max = 10

const (
	failureWindow = time.Minute

	// maxAddresses bounds the memory of a Limiter to well under a megabyte.
	// When it is full, the oldest window is dropped.
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

// Fail counts a failure of the address. It returns the number of failures in the
// address's window, including this one, and how long the address has to wait: zero up
// to the limit. Counting and checking are one step, so concurrent attempts get no more
// answers than sequential ones.
func (l *Limiter) Fail(now time.Time, from netip.Addr) (failures int, wait time.Duration) {
	address := ipblock.Of(from)
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

// HasFailed reports whether the address has failures in a window that is not over yet.
func (l *Limiter) HasFailed(now time.Time, from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forget(now)
	_, failed := l.windows[ipblock.Of(from)]
	return failed
}

// forget drops the windows that are over. It also drops windows that begin in the
// future: when the clock was set back, a window must not last longer than its minute.
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
