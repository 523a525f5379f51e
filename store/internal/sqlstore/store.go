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
	// bound is the transaction that every call runs in; nil for a Store that
	// begins its own.
	bound  *transaction
	closed atomic.Bool
	passed atomic.Pointer[string] // what Engine.State returned when the schema was last found to fit
}

var _ keyfold.Store = (*Store)(nil)

// transaction is one that several calls run in.
type transaction struct {
	Session
	// lost is set once the database gave the transaction up. From then on the
	// connection must not be touched: MySQL has begun to commit by itself.
	lost atomic.Bool
}

// New returns a Store that begins and ends its transactions.
func New(engine Engine) *Store {
	engine.traffic = newTraffic(&engine)
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

// read runs fn outside of a transaction, or in the one that s is bound to.
func (s *Store) read(ctx context.Context, what string, fn func(*Session) error) error {
	return s.readIn(ctx, laneWork, what, fn)
}

func (s *Store) readIn(ctx context.Context, in lane, what string, fn func(*Session) error) error {
	if s.closed.Load() {
		return s.wrap(what, errClosed)
	}
	if s.bound == nil {
		if in == laneAttempt {
			if err := s.engine.traffic.attempts.take(ctx); err != nil {
				return s.wrap(what, err)
			}
			defer s.engine.traffic.attempts.give()
		}
		err := s.engine.read(ctx, in, fn)
		if class := s.engine.class(err); class == Lost || class == Full {
			err = s.engine.retry(ctx, writeDeadline, func(context.Context) error { return s.engine.read(ctx, in, fn) })
		}
		return s.wrap(what, err)
	}
	if s.bound.lost.Load() {
		return keyfold.ErrRetry
	}
	err := fn(&s.bound.Session)
	if s.engine.class(err) == Lost {
		s.bound.lost.Store(true)
	}
	return s.wrap(what, err)
}

func (e *Engine) read(ctx context.Context, in lane, fn func(*Session) error) error {
	if in == laneFeed && e.Reserve != nil {
		if err := fn(&e.Reserve.Pool); e.class(err) != Full {
			return err
		}
		// The server allows no further connection: the feed shares the others.
	}
	if e.Read != nil {
		return e.Read(ctx, fn)
	}
	return fn(&e.Pool)
}

// write runs fn in a transaction of its own, which it repeats as long as the
// database gives it up, or in the one that s is bound to. Either everything
// that fn did is kept or nothing. What it writes is a change; see [Store.writeIn]
// for anything else.
func (s *Store) write(ctx context.Context, what string, limit time.Duration, fn func(context.Context, *Session) error) error {
	return s.writeIn(ctx, laneChange, what, limit, fn)
}

func (s *Store) writeIn(ctx context.Context, in lane, what string, limit time.Duration, fn func(context.Context, *Session) error) error {
	if s.closed.Load() {
		return s.wrap(what, errClosed)
	}
	if s.bound == nil {
		return s.wrap(what, s.engine.retry(ctx, limit, func(ctx context.Context) error {
			return s.engine.run(ctx, in, func(session *Session) error { return fn(ctx, session) })
		}))
	}
	return s.wrap(what, s.engine.step(ctx, s.bound, fn))
}

// step runs fn inside a transaction that goes on after it, behind a savepoint.
func (e *Engine) step(ctx context.Context, t *transaction, fn func(context.Context, *Session) error) error {
	if t.lost.Load() {
		return keyfold.ErrRetry
	}
	err := ctx.Err()
	if err != nil {
		return err
	}
	if err = t.Exec(ctx, savepoint); err != nil {
		// Nothing was done, but a transaction that takes no savepoint is none.
		t.lost.Store(true)
		return err
	}
	if err = fn(ctx, &t.Session); err == nil {
		if err = t.Exec(ctx, release); err == nil {
			return nil
		}
	}
	if e.class(err) == Lost {
		t.lost.Store(true)
		return err
	}
	// The caller's context may be why fn failed; its transaction must not keep
	// half a change for that.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeDeadline)
	defer cancel()
	if undone := t.Exec(ctx, undo); undone != nil {
		t.lost.Store(true) // the database ended the transaction: SQLite does when it is interrupted or full
	} else if t.Exec(ctx, release) != nil {
		t.lost.Store(true)
	}
	return err
}

// run begins a transaction, runs fn in it and commits.
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
		if !committed { // also when fn panics
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeDeadline)
			defer cancel()
			_ = session.Rollback(ctx) // the driver drops a connection on which this fails
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

// retry runs fn again, with jitter, as long as the database gives up what it
// did, or has no connection for it. Each try has limit, and none begins later
// than that after the first.
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
			return fmt.Errorf("given up after %d tries: %w", try, err)
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
			defer t.lost.Store(true) // a Store that outlives its transaction must not reach the connection
			err := fn(&Store{engine: s.engine, bound: t})
			switch {
			case t.lost.Load() && err == nil:
				return keyfold.ErrRetry // whatever fn made of it, there is nothing left to commit
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

// callerError is what the caller's function returned. It comes back as it is.
type callerError struct{ error }

func (e *callerError) Unwrap() error { return e.error }

// Ping implements keyfold.Store.
func (s *Store) Ping(ctx context.Context) error {
	return s.readIn(ctx, laneFeed, "ping", func(session *Session) error {
		_, err := session.Querier.Meta(ctx)
		if errors.Is(err, sql.ErrNoRows) {
			return errors.New("the table keyfold_meta has lost its row")
		}
		return err
	})
}

// Check implements keyfold.Store. A bound Store asks for the schema alone: its
// connection is the caller's.
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
		switch {
		case errors.Is(err, sql.ErrNoRows):
			err = fmt.Errorf("%w: the table keyfold_meta has lost its row", keyfold.ErrCheckFailed)
		case err == nil:
			if reason := (Version{meta.SchemaVersion, meta.OldestVersion}).admits(known); reason != nil {
				err = fmt.Errorf("%w: %w", keyfold.ErrCheckFailed, reason)
			}
		}
		return err
	})
	if err == nil && state != "" {
		s.passed.Store(&state)
	}
	return err
}

// Close implements keyfold.Store. A bound Store has nothing to release.
func (s *Store) Close() error {
	if s.bound != nil || s.closed.Swap(true) || s.engine.Close == nil {
		return nil
	}
	return s.engine.Close()
}

var errClosed = errors.New("the store is closed")

func (e *Engine) class(err error) Class {
	if err == nil {
		return Other
	}
	return e.Class(err)
}

// wrap turns an error of the driver into one of the contract. The sentinels
// pass as they are.
func (s *Store) wrap(what string, err error) error {
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
		return fmt.Errorf("%s: %s: %w: %w", s.engine.Name, what, keyfold.ErrRetry, err)
	}
	switch s.engine.class(err) {
	case NoSpace:
		err = fmt.Errorf("%w: %w", keyfold.ErrNoSpace, err)
	case ReadOnly:
		err = fmt.Errorf("%w: %w", keyfold.ErrReadOnly, err)
	}
	if s.engine.Hint != nil {
		if hint := s.engine.Hint(err); hint != "" {
			return fmt.Errorf("%s: %s: %w (%s)", s.engine.Name, what, err, hint)
		}
	}
	return fmt.Errorf("%s: %s: %w", s.engine.Name, what, err)
}
