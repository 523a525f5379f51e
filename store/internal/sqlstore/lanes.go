package sqlstore

import (
	"container/list"
	"context"
	"sync"

	"github.com/keyfold/keyfold/query/model"
)

// lane says what a call is for. Work in one lane must not keep that in another
// from the database for long.
type lane uint8

const (
	laneWork    lane = iota // verifies, lists, usage and upkeep
	laneFeed                // the feed, and checks of the database
	laneChange              // mutations
	laneAttempt             // throttles, which anonymous clients use
)

// Reserve is a small pool that is set apart for the feed and for changes, so that
// neither waits for a connection behind verifies, usage or log-ins.
type Reserve struct {
	// Pool runs the statements of the feed.
	Pool Session
	// Begin begins the transaction of a change. Nil means Engine.Begin.
	Begin func(ctx context.Context) (Session, error)
	// Changes is how many transactions of Begin may be open. The pool must have at
	// least one connection more, which is left to the feed.
	Changes int
	// Idle reports whether the ordinary pool has a connection to spare. Changes
	// that find the reserve in use then take that one.
	Idle func() bool
}

// Lookups is a small pool that only reads the keys of verifies. A context that can
// be cancelled costs such a short query a goroutine and more time than the query
// itself, so Find may leave it out. That is why the pool is set apart: a verify
// uses it only when it has a connection to spare, so Find never waits for one.
type Lookups struct {
	// Find must return ctx's error if ctx is done when it is called. After that it
	// may go on until the deadline of ctx, or for as long as the database needs for
	// the query if nothing can hold the query up.
	Find func(ctx context.Context, id string) (model.Verify, error)
	// Conns is the size of the pool.
	Conns int
}

// traffic keeps the lanes apart in one process.
type traffic struct {
	attempts tokens // the attempts that hold a connection; nil for no bound
	changes  tokens // the reserved connections in use; nil without a reserve
	lookups  tokens // the connections of Lookups in use; nil without them
	turns    *turns // nil unless one transaction writes at a time
}

// tokens is a semaphore. A nil one has no bound.
type tokens chan struct{}

func newTokens(n int) tokens {
	if n <= 0 {
		return nil
	}
	return make(tokens, n)
}

func (t tokens) take(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try takes a token if that needs no wait.
func (t tokens) try() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false // a nil one has none to give
	}
}

func (t tokens) give() {
	if t != nil {
		<-t
	}
}

func newTraffic(e *Engine) *traffic {
	t := &traffic{attempts: newTokens(e.Attempts)}
	if e.Reserve != nil {
		t.changes = newTokens(e.Reserve.Changes)
	}
	if e.Lookups != nil {
		t.lookups = newTokens(e.Lookups.Conns)
	}
	if e.OneWriter {
		t.turns = new(turns)
	}
	return t
}

// verifyRow reads what a verify needs. It shares the ordinary connections, where
// waiting ends with ctx, while all those of Lookups are in use.
func (s *Store) verifyRow(ctx context.Context, session *Session, id string) (model.Verify, error) {
	if s.bound == nil && s.engine.traffic.lookups.try() {
		defer s.engine.traffic.lookups.give()
		return s.engine.Lookups.Find(ctx, id)
	}
	return session.Querier.VerifyRow(ctx, id)
}

// enter waits until a transaction of that lane may begin. leave must be called
// when it has ended.
func (e *Engine) enter(ctx context.Context, in lane) (begin func(context.Context) (Session, error), leave func(), err error) {
	begin, used := e.Begin, tokens(nil)
	switch {
	case in == laneAttempt:
		used = e.traffic.attempts
	case in == laneChange && e.Reserve != nil && e.Reserve.Begin != nil:
		begin, used = e.beginReserved, e.traffic.changes
		if len(used) == cap(used) && e.Reserve.Idle() {
			begin, used = e.Begin, nil
		}
	}
	if err := used.take(ctx); err != nil {
		return nil, nil, err
	}
	if e.traffic.turns == nil {
		return begin, used.give, nil
	}
	if err := e.traffic.turns.take(ctx, in == laneChange); err != nil {
		used.give()
		return nil, nil, err
	}
	return begin, func() { e.traffic.turns.give(); used.give() }, nil
}

// beginReserved falls back on the pool where the server allows no further
// connection.
func (e *Engine) beginReserved(ctx context.Context) (Session, error) {
	session, err := e.Reserve.Begin(ctx)
	if e.class(err) == Full {
		return e.Begin(ctx)
	}
	return session, err
}

// turns lets one writer work at a time. Changes go before the others, but not
// more than changesInARow of them while others wait.
type turns struct {
	mu      sync.Mutex
	taken   bool
	changes list.List // of *turn, the oldest first
	others  list.List
	inARow  int // changes since one of the others, counted while others wait
}

const changesInARow = 8

type turn struct {
	ready   chan struct{} // closed when it has come
	element *list.Element // nil when it has come
}

func (t *turns) take(ctx context.Context, change bool) error {
	queue := &t.others
	if change {
		queue = &t.changes
	}
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return nil
	}
	mine := &turn{ready: make(chan struct{})}
	mine.element = queue.PushBack(mine)
	t.mu.Unlock()
	select {
	case <-mine.ready:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.element == nil {
		return nil // it came at the last moment
	}
	queue.Remove(mine.element)
	return ctx.Err()
}

// give lets the next one work.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	queue := &t.changes
	if t.others.Len() > 0 {
		t.inARow++
		if t.changes.Len() == 0 || t.inARow > changesInARow {
			queue, t.inARow = &t.others, 0
		}
	}
	if queue.Len() == 0 {
		t.taken = false
		return
	}
	next := queue.Remove(queue.Front()).(*turn)
	next.element = nil
	close(next.ready)
}

// Share returns how many connections of a pool of that size attempts may hold at
// a time: half of them, and one of one. Zero stands for a pool without a bound,
// and for no bound.
func Share(size int) int {
	if size <= 0 {
		return 0
	}
	return max(1, size/2)
}
