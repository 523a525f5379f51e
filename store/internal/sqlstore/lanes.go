package sqlstore

import (
	"container/list"
	"context"
	"sync"

	"github.com/keyfold/keyfold/query/model"
)

// lane is the purpose of a call. Calls in one lane must not delay calls in another lane
// for long.
type lane uint8

const (
	laneWork    lane = iota // verifies, lists, usage and maintenance
	laneFeed                // the feed, and checks of the database
	laneChange              // mutations
	laneAttempt             // throttles, which anonymous clients use
)

// Reserve is a small pool for the feed and for changes, so that they do not wait for
// connections that verifies, usage or log-ins hold.
type Reserve struct {
	// Pool runs the statements of the feed.
	Pool Session
	// Begin begins the transaction of a change. Nil means Engine.Begin.
	Begin func(ctx context.Context) (Session, error)
	// Changes is the maximum number of open transactions of Begin. The pool must have
	// at least one more connection for the feed.
	Changes int
	// Idle reports whether the ordinary pool has an idle connection. A change uses that
	// connection if the whole reserve is in use.
	Idle func() bool
}

// Lookups reads the keys of verifies. A cancelable context makes such a short query
// slower, because database/sql and the driver start a goroutine for it. So Find may
// ignore cancellation.
type Lookups struct {
	// Find must return the error of ctx if ctx is done when it is called. Later it may
	// continue until the deadline of ctx, or without a limit if nothing can block the
	// query.
	Find func(ctx context.Context, id string) (model.Verify, error)
	// Conns is the maximum number of calls of Find at a time, which is the size of a pool
	// that only they use: they never wait for a connection there. Verifies above that
	// number use the ordinary pool. Zero means that Find uses the ordinary pool itself, in
	// which it waits for a connection until ctx is done.
	Conns int
}

// traffic coordinates the lanes in one process.
type traffic struct {
	attempts tokens // one for each attempt that holds a connection; nil for no maximum
	changes  tokens // one for each reserved connection in use; nil without a reserve
	lookups  tokens // one for each connection of Lookups in use; nil without them
	turns    *turns // nil unless only one transaction at a time can write
}

// tokens is a semaphore. A nil semaphore never blocks.
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

// try takes a token if one is free.
func (t tokens) try() bool {
	if t == nil {
		return true
	}
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
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

// verifyRow reads the record of a verify. It uses the ordinary pool while all connections
// of Lookups are in use, because there the wait for a connection ends with ctx.
func (s *Store) verifyRow(ctx context.Context, session *Session, id string) (model.Verify, error) {
	if s.bound != nil || s.engine.Lookups == nil || !s.engine.traffic.lookups.try() {
		return session.Querier.VerifyRow(ctx, id)
	}
	defer s.engine.traffic.lookups.give()
	return s.engine.Lookups.Find(ctx, id)
}

// enter waits until a transaction in the lane may begin. The caller must call leave
// when the transaction has ended.
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

// beginReserved begins a transaction on the reserve, or on the ordinary pool if the
// server refuses more connections.
func (e *Engine) beginReserved(ctx context.Context) (Session, error) {
	session, err := e.Reserve.Begin(ctx)
	if e.class(err) == Full {
		return e.Begin(ctx)
	}
	return session, err
}

// turns admits one writer at a time. Changes precede other writers, but at most
// changesInARow changes in a row while other writers wait.
type turns struct {
	mu      sync.Mutex
	taken   bool
	changes list.List // of *turn, oldest first
	others  list.List // of *turn, oldest first
	inARow  int       // changes since the last other writer, counted while others wait
}

const changesInARow = 8

type turn struct {
	ready   chan struct{} // closed when the writer is admitted
	element *list.Element // its place in the queue; nil when it is admitted
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
	waiting := &turn{ready: make(chan struct{})}
	waiting.element = queue.PushBack(waiting)
	t.mu.Unlock()
	select {
	case <-waiting.ready:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if waiting.element == nil {
		return nil // give admitted this writer after ctx was done
	}
	queue.Remove(waiting.element)
	return ctx.Err()
}

// give admits the next writer.
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

// Share returns the maximum number of connections that attempts may hold in a pool of
// the given size: half of them, but at least one. A size of zero means an unlimited
// pool, and a result of zero means no maximum.
func Share(size int) int {
	if size <= 0 {
		return 0
	}
	return max(1, size/2)
}
