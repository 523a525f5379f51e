package memory

import (
	"context"

	"github.com/keyfold/keyfold"
)

// Tx is a transaction that its caller ends, as a host's own transaction is. It
// lets a test see what a Service does that is bound to one. It is not safe for
// concurrent use.
type Tx struct {
	db    *db
	state *state
	ended bool
}

// Begin waits until no other transaction is open and begins one. It returns
// ctx.Err() when ctx is done first. Every Tx must be ended by Commit or
// Rollback: until then all other writers wait.
func (s *Store) Begin(ctx context.Context) (*Tx, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	select {
	case s.db.writing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// Only transactions change the committed state, so this one may
	// read it without the lock while it is open.
	return &Tx{db: s.db, state: s.db.committed.over()}, nil
}

// Tx returns the transaction as a Service takes it.
func (tx *Tx) Tx() keyfold.Tx {
	return keyfold.Tx{Store: &Store{db: tx.db, tx: tx}}
}

// Commit makes what was done visible to all, at once. It returns an error when
// the transaction has ended already or the Store was closed; then nothing of
// it is kept.
func (tx *Tx) Commit() error {
	if tx.ended {
		return errDone
	}
	defer tx.end()
	tx.db.mu.Lock()
	defer tx.db.mu.Unlock()
	if tx.db.closed {
		return errClosed
	}
	tx.state.merge()
	return nil
}

// Rollback forgets what was done. After Commit or Rollback it does nothing, so
// that it can be deferred.
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

// InTx calls fn once with a Store that is bound to a transaction, commits when
// fn returns nil and rolls back when it returns an error, panics or leaves ctx
// done. There is only one writer, so nothing is ever retried.
func (s *Store) InTx(ctx context.Context, fn func(keyfold.Store) error) error {
	if s.tx != nil {
		if err := s.check(ctx); err != nil {
			return err
		}
		return fn(s)
	}
	tx, err := s.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback() // also when fn panics, and the panic goes on
	if err := fn(tx.Tx().Store); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return tx.Commit()
}
