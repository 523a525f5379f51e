// Package memory keeps Keyfold's state in the memory of one process, for tests
// and throw-away programs: everything is lost at exit, and nothing bounds it
// but what is pruned and deleted.
//
// It is also the contract of [keyfold.Store] in its shortest form. An author who
// writes another store can read here what each method means, without a
// database in between.
package memory

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"

	"github.com/keyfold/keyfold"
)

var (
	errClosed = errors.New("keyfold/memory: store is closed")
	errDone   = errors.New("keyfold/memory: transaction has ended")
)

var _ keyfold.Store = (*Store)(nil)

// Store is a [keyfold.Store] in memory. Make one with [New]; it is safe for
// concurrent use.
//
// One transaction writes at a time, and every mutation is one. Readers never
// wait for it: they see what was committed last. Inside [Store.InTx] all work
// must therefore go through the Store that the function is given: a write
// through the outer Store waits for the transaction to end, until its context
// does.
type Store struct {
	db *db
	tx *Tx // nil for the Store that New returned
}

// db is what a Store and the Stores of its transactions have in common.
type db struct {
	// feedID tells the cursors of this store from those of every other.
	feedID string
	// writing holds a token while a transaction is open. It is a channel
	// rather than a mutex so that waiting can end with a context.
	writing chan struct{}

	mu        sync.RWMutex // guards what follows
	committed *state
	closed    bool
}

// New returns an empty Store. It needs no Close, but has one.
func New() *Store {
	return &Store{db: &db{
		feedID:    rand.Text(),
		writing:   make(chan struct{}, 1),
		committed: newState(),
	}}
}

// Ping returns an error when ctx is done or the Store was closed.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, func(*state) error { return nil })
}

// Check returns an error when ctx is done or the Store was closed. A process
// always understands what it keeps in its own memory.
func (s *Store) Check(ctx context.Context) error { return s.Ping(ctx) }

// Close makes every later call fail. Closing again does nothing, and so does
// closing a Store that is bound to a transaction.
func (s *Store) Close() error {
	if s.tx != nil {
		return nil
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	s.db.closed = true
	return nil
}

// check returns why no work can begin, or nil.
func (s *Store) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.tx != nil && s.tx.ended {
		return errDone
	}
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	if s.db.closed {
		return errClosed
	}
	return nil
}

// read calls fn with the state that this Store sees: its transaction's, or
// what was committed last.
func (s *Store) read(ctx context.Context, fn func(*state) error) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	if s.tx != nil {
		return fn(s.tx.state)
	}
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	return fn(s.db.committed)
}

// write calls fn with a state that is kept only when fn returns nil. In a
// transaction that is a layer of its own too, so that a method which fails
// leaves nothing behind while the transaction goes on.
func (s *Store) write(ctx context.Context, fn func(*state) error) error {
	if s.tx == nil {
		return s.InTx(ctx, func(bound keyfold.Store) error {
			return bound.(*Store).write(ctx, fn)
		})
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	layer := s.tx.state.over()
	if err := fn(layer); err != nil {
		return err
	}
	layer.merge()
	return nil
}
