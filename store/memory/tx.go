package memory

import (
	"context"

	"github.com/keyfold/keyfold"
)

// Tx is a transaction that its caller ends. It stands in for a database transaction in
// tests of code that binds a Service to one. It is not safe for concurrent use.
type Tx struct {
	db    *db
	state *state
	ended bool
}

// Begin waits until no other transaction is open, and begins one. It returns ctx.Err()
// if ctx is done first. The caller must end the transaction with Commit or Rollback.
// All other writers wait until then.
func (s *Store) Begin(ctx context.Context) (*Tx, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	select {
	case s.db.writing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// Only the open transaction changes the committed state, so it can read that state
	// without the lock.
	return &Tx{db: s.db, state: s.db.shared.committed.over()}, nil
}

// Tx returns the transaction in the form that [keyfold.Service.With] accepts.
func (tx *Tx) Tx() keyfold.Tx {
	return keyfold.Tx{Store: &Store{db: tx.db, tx: tx}}
}

// Commit makes all changes visible at the same time. It returns an error and keeps
// nothing if the transaction has already ended or the Store is closed.
func (tx *Tx) Commit() error {
	if tx.ended {
		return errDone
	}
	defer tx.end()
	tx.db.shared.Lock()
	defer tx.db.shared.Unlock()
	if tx.db.shared.closed {
		return errClosed
	}
	tx.state.merge()
	return nil
}

// Rollback discards all changes. It has no effect after Commit or Rollback, so it can
// be deferred.
func (tx *Tx) Rollback() error {
	if !tx.ended {
		tx.end()
	}
	return nil
}

func (tx *Tx) end() {
	tx.ended = true
	<-tx.db.writing
}

// InTx implements keyfold.Store. There is only one writer, so fn is called only once.
func (s *Store) InTx(ctx context.Context, fn func(keyfold.Store) error) error {
	if s.tx != nil {
		if err := s.usable(ctx); err != nil {
			return err
		}
		return fn(s)
	}
	tx, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback() // even if fn panics
	if err := fn(tx.Tx().Store); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return tx.Commit()
}
