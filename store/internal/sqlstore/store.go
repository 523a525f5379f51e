package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold"
)

// Store implements keyfold.Store over an [Engine].
type Store struct {
	engine *Engine
	bound  *transaction // that every call runs in; nil for a Store that begins its own
	closed atomic.Bool
	passed atomic.Pointer[string] // the result of Engine.State at the last schema check that passed
}

var _ keyfold.Store = (*Store)(nil)

// transaction is a transaction that several calls run in.
type transaction struct {
	Session
	// lost is set when the database has ended the transaction. The connection must not
	// be used after that, because MySQL then commits each statement by itself.
	lost atomic.Bool
}

// New returns a Store that begins and ends its own transactions.
func New(engine Engine) *Store {
	engine.traffic, engine.words = newTraffic(&engine), newWordMemory()
	engine.merges, engine.unreadable = new(merges), &unreadable{ids: map[int64]struct{}{}, report: engine.Warn}
	return &Store{engine: &engine}
}

// Bind returns a Store that runs everything in a transaction of the caller.
func Bind(engine Engine, session Session) keyfold.Tx {
	return keyfold.Tx{Store: &Store{engine: &engine, bound: &transaction{Session: session}}}
}

const (
	savepoint = "SAVEPOINT keyfold_step"
	undo      = "ROLLBACK TO SAVEPOINT keyfold_step"
	release   = "RELEASE SAVEPOINT keyfold_step"
)

// read runs fn in the transaction that s is bound to, or outside of a transaction.
func (s *Store) read(ctx context.Context, operation string, fn func(*Session) error) error {
	return s.readIn(ctx, laneWork, operation, fn)
}

func (s *Store) readIn(ctx context.Context, in lane, operation string, fn func(*Session) error) error {
	if s.closed.Load() {
		return s.wrap(operation, errClosed)
	}
	if s.bound == nil {
		if in == laneAttempt {
			if err := s.engine.traffic.attempts.take(ctx); err != nil {
				return s.wrap(operation, err)
			}
			defer s.engine.traffic.attempts.give()
		}
		err := s.engine.read(ctx, in, fn)
		if class := s.engine.class(err); class == Lost || class == Full {
			err = s.engine.retry(ctx, writeDeadline, func(context.Context) error { return s.engine.read(ctx, in, fn) })
		}
		return s.wrap(operation, err)
	}
	if s.bound.lost.Load() {
		return keyfold.ErrRetry
	}
	err := fn(&s.bound.Session)
	if s.engine.class(err) == Lost {
		s.bound.lost.Store(true)
	}
	return s.wrap(operation, err)
}

func (e *Engine) read(ctx context.Context, in lane, fn func(*Session) error) error {
	if in == laneFeed && e.Reserve != nil {
		if err := fn(&e.Reserve.Pool); e.class(err) != Full {
			return err
		}
		// The server refuses more connections, so the feed uses the pool.
	}
	if e.Read != nil {
		return e.Read(ctx, fn)
	}
	return fn(&e.Pool)
}

// write runs a mutation in the transaction that s is bound to, or in a transaction of
// its own. It retries its own transaction if the database ends it, such as after a
// deadlock. If fn returns an error, nothing that it wrote is kept. Writes other than
// mutations use writeIn.
func (s *Store) write(ctx context.Context, operation string, limit time.Duration, fn func(context.Context, *Session) error) error {
	return s.writeIn(ctx, laneChange, operation, limit, fn)
}

func (s *Store) writeIn(ctx context.Context, in lane, operation string, limit time.Duration, fn func(context.Context, *Session) error) error {
	if s.closed.Load() {
		return s.wrap(operation, errClosed)
	}
	if s.bound == nil {
		return s.wrap(operation, s.engine.retry(ctx, limit, func(ctx context.Context) error {
			return s.engine.run(ctx, in, func(session *Session) error { return fn(ctx, session) })
		}))
	}
	return s.wrap(operation, s.engine.step(ctx, s.bound, fn))
}

// step runs fn behind a savepoint of a transaction that continues after it.
func (e *Engine) step(ctx context.Context, t *transaction, fn func(context.Context, *Session) error) error {
	if t.lost.Load() {
		return keyfold.ErrRetry
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.Exec(ctx, savepoint); err != nil {
		t.lost.Store(true) // a transaction that cannot set a savepoint is unusable
		return err
	}
	err := e.runAndRelease(ctx, t, fn)
	if err == nil {
		return nil
	}
	if e.class(err) == Lost {
		t.lost.Store(true)
		return err
	}
	// fn may have failed because ctx is done. The transaction must not keep half of a
	// change, so the rollback has a context of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeDeadline)
	defer cancel()
	if t.Exec(ctx, undo) != nil || t.Exec(ctx, release) != nil {
		t.lost.Store(true) // SQLite ends a transaction when it is interrupted or the disk is full
	}
	return err
}

func (e *Engine) runAndRelease(ctx context.Context, t *transaction, fn func(context.Context, *Session) error) error {
	if err := fn(ctx, &t.Session); err != nil {
		return err
	}
	return t.Exec(ctx, release)
}

// run begins a transaction, runs fn in it, and commits.
func (e *Engine) run(ctx context.Context, in lane, fn func(*Session) error) error {
	begin, leave, err := e.enter(ctx, in)
	if err != nil {
		return err
	}
	defer leave()
	session, err := begin(ctx)
	if err != nil {
		return err
	}
	committed := false
	defer func() {
		if !committed { // even if fn panics
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeDeadline)
			defer cancel()
			_ = session.Rollback(ctx) // if this fails, the driver closes the connection
		}
	}()
	if err := fn(&session); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := session.Commit(ctx); err != nil {
		return err
	}
	committed = true
	return nil
}

// retry runs fn, and repeats it after a random pause if the database ended the
// transaction or refused the connection. limit is the timeout of each try. No try
// begins later than limit after the first.
func (e *Engine) retry(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	began := time.Now()
	pause := 2 * time.Millisecond
	for try := 1; ; try++ {
		err := e.try(ctx, limit, fn)
		class := e.class(err)
		if err == nil || ctx.Err() != nil || !errors.Is(err, keyfold.ErrRetry) && class != Lost && class != Full {
			return err
		}
		if try >= maxTries && class != Full || time.Since(began) > limit {
			return fmt.Errorf("gave up after %d tries: %w", try, err)
		}
		if err := sleep(ctx, time.Duration(rand.Int64N(int64(pause)))); err != nil {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

func (e *Engine) try(ctx context.Context, limit time.Duration, fn func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := fn(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("transaction took longer than %v: %w", limit, context.DeadlineExceeded)
	}
	return err
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// InTx implements keyfold.Store.
func (s *Store) InTx(ctx context.Context, fn func(keyfold.Store) error) error {
	if s.bound != nil {
		if s.bound.lost.Load() {
			return keyfold.ErrRetry
		}
		return fn(s)
	}
	if s.closed.Load() {
		return s.wrap("transaction", errClosed)
	}
	err := s.engine.retry(ctx, writeDeadline, func(ctx context.Context) error {
		return s.engine.run(ctx, laneChange, func(session *Session) error {
			t := &transaction{Session: *session}
			defer t.lost.Store(true) // a Store that is used after its transaction must not reach the connection
			err := fn(&Store{engine: s.engine, bound: t})
			switch {
			case t.lost.Load() && err == nil:
				return keyfold.ErrRetry // fn ignored the error, but the transaction cannot be committed
			case t.lost.Load():
				return fmt.Errorf("%w: %w", keyfold.ErrRetry, err)
			case err != nil:
				return &callerError{err}
			}
			return nil
		})
	})
	if own, ok := err.(*callerError); ok {
		return own.error
	}
	return s.wrap("transaction", err)
}

// callerError is an error of the caller's function, which InTx returns unchanged.
type callerError struct{ error }

func (e *callerError) Unwrap() error { return e.error }

// Ping implements keyfold.Store.
func (s *Store) Ping(ctx context.Context) error {
	return s.readIn(ctx, laneFeed, "ping", func(session *Session) error {
		_, err := session.Querier.Meta(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNoMeta
		}
		return err
	})
}

// Check implements keyfold.Store. A bound Store checks only the schema, because the
// connection belongs to the caller.
func (s *Store) Check(ctx context.Context) error {
	if s.closed.Load() {
		return s.wrap("check", errClosed)
	}
	var state string
	if s.bound == nil {
		if s.engine.Check != nil {
			if err := s.engine.Check(ctx); err != nil {
				return s.wrap("check", err)
			}
		}
		if s.engine.State != nil {
			state = s.engine.State(ctx)
		}
	}
	if passed := s.passed.Load(); passed != nil && *passed == state {
		return nil
	}
	known, err := latest(s.engine.Migrations)
	if err != nil {
		return s.wrap("check", err)
	}
	err = s.readIn(ctx, laneFeed, "check", func(session *Session) error {
		meta, err := session.Querier.Meta(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w: %w", keyfold.ErrCheckFailed, ErrNoMeta)
		}
		if err != nil {
			return err
		}
		if reason := (Version{meta.SchemaVersion, meta.OldestVersion}).admits(known); reason != nil {
			return fmt.Errorf("%w: %w", keyfold.ErrCheckFailed, reason)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if state != "" {
		s.passed.Store(&state)
	}
	return nil
}

// Close implements keyfold.Store. Closing a bound Store has no effect.
func (s *Store) Close() error {
	if s.bound != nil || s.closed.Swap(true) || s.engine.Close == nil {
		return nil
	}
	return s.engine.Close()
}

var errClosed = errors.New("the store is closed")

// ErrNoMeta means that the table keyfold_meta exists and is empty.
var ErrNoMeta = errors.New("the table keyfold_meta must have a row, but it is empty")

func (e *Engine) class(err error) Class {
	if err == nil {
		return Other
	}
	return e.Class(err)
}

// wrap turns an error of the driver into an error of the Store contract. It returns
// the sentinel errors of the contract unchanged.
func (s *Store) wrap(operation string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keyfold.ErrRetry):
		return err
	case err == keyfold.ErrNotFound, err == keyfold.ErrConflict, err == keyfold.ErrStale:
		return err
	case errors.Is(err, sql.ErrNoRows):
		return keyfold.ErrNotFound
	}
	switch s.engine.class(err) {
	case Conflict:
		return keyfold.ErrConflict
	case Lost:
		return fmt.Errorf("%s: %s: %w: %w", s.engine.Name, operation, keyfold.ErrRetry, err)
	}
	switch s.engine.class(err) {
	case NoSpace:
		err = fmt.Errorf("%w: %w", keyfold.ErrNoSpace, err)
	case ReadOnly:
		err = fmt.Errorf("%w: %w", keyfold.ErrReadOnly, err)
	}
	if s.engine.Hint != nil {
		if hint := s.engine.Hint(err); hint != "" {
			return fmt.Errorf("%s: %s: %w (%s)", s.engine.Name, operation, err, hint)
		}
	}
	return fmt.Errorf("%s: %s: %w", s.engine.Name, operation, err)
}
