// Package memory is a [keyfold.Store] in the memory of one process, for tests and
// short-lived programs. All data is lost when the process exits. Memory use grows
// until data is pruned or deleted.
//
// The package is also the shortest implementation of the Store contract. Authors of
// other stores can read here what each method does, without a database in between.
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

// Store is a [keyfold.Store] in memory, made by [New]. It is safe for concurrent use.
//
// Every mutation is a transaction, and only one transaction writes at a time. Readers
// never wait: they see the last committed state. Inside [Store.InTx] all work must go
// through the Store that the function receives. A write through the outer Store would
// wait for the transaction to end, and fail when its context is done.
type Store struct {
	db *db
	tx *Tx // nil for the Store that New returned
}

// db is shared by a Store and the Stores of its transactions.
type db struct {
	// feedID distinguishes the cursors of this store from those of other stores.
	feedID string
	// writing holds a token while a transaction is open. It is a channel and not a
	// mutex, so that a context can end the wait.
	writing chan struct{}

	shared struct {
		sync.RWMutex
		committed *state
		closed    bool
	}
}

// New returns an empty Store. Calling Close is optional.
func New() *Store {
	db := &db{feedID: rand.Text(), writing: make(chan struct{}, 1)}
	db.shared.committed = newState()
	return &Store{db: db}
}

// Ping returns an error if ctx is done or the Store is closed.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, func(*state) error { return nil })
}

// Check returns an error if ctx is done or the Store is closed. The schema always
// fits, because it is part of the process.
func (s *Store) Check(ctx context.Context) error { return s.Ping(ctx) }

// Close makes every later call fail. Closing a Store twice, or closing a Store that is
// bound to a transaction, has no effect.
func (s *Store) Close() error {
	if s.tx != nil {
		return nil
	}
	s.db.shared.Lock()
	defer s.db.shared.Unlock()
	s.db.shared.closed = true
	return nil
}

// usable returns an error if ctx is done, the transaction has ended, or the Store is
// closed.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.tx != nil && s.tx.ended {
		return errDone
	}
	s.db.shared.RLock()
	defer s.db.shared.RUnlock()
	if s.db.shared.closed {
		return errClosed
	}
	return nil
}

// read calls fn with the state of the transaction that s is bound to, or else with the
// last committed state.
func (s *Store) read(ctx context.Context, fn func(*state) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	if s.tx != nil {
		return fn(s.tx.state)
	}
	s.db.shared.RLock()
	defer s.db.shared.RUnlock()
	return fn(s.db.shared.committed)
}

// write calls fn with a new state, and keeps that state only if fn returns nil. A
// transaction uses a new state for each call too, so that a method that fails has no
// effect on the rest of the transaction.
func (s *Store) write(ctx context.Context, fn func(*state) error) error {
	if s.tx == nil {
		return s.InTx(ctx, func(bound keyfold.Store) error {
			return bound.(*Store).write(ctx, fn)
		})
	}
	if err := s.usable(ctx); err != nil {
		return err
	}
	layer := s.tx.state.over()
	if err := fn(layer); err != nil {
		return err
	}
	layer.merge()
	return nil
}
