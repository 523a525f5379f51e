package keyfold

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// The causes of an [ErrUnavailable] that a store knows. A store returns one of them
// together with the error of the database.
var (
	// ErrNoSpace means that the database refuses changes because its disk, or the
	// space that it may use, is full.
	ErrNoSpace = errors.New("keyfold: the database has no space left")
	// ErrReadOnly means that the database refuses changes because it is read-only.
	ErrReadOnly = errors.New("keyfold: the database is read-only")
)

// ReadyPart is a part of the work of a Service that can fail while others go on.
type ReadyPart string

// The parts, in the order in which [Service.Ready] looks at them.
const (
	PartDatabase ReadyPart = "database" // the database answers
	PartCheck    ReadyPart = "check"    // the process may decide on the database: see ErrCheckFailed
	PartChanges  ReadyPart = "changes"  // keys, users and settings can be changed
	PartUsage    ReadyPart = "usage"    // the usage of keys is stored
)

// NotReadyError is the [ErrUnavailable] of [Service.Ready]. The error of the store
// can be found in it by errors.Is and errors.As, [ErrNoSpace] and [ErrReadOnly] too.
type NotReadyError struct {
	// Part is the first part that does not work.
	Part  ReadyPart
	cause error
}

// Error names the part and the error of the store. Do not show it to clients.
func (e *NotReadyError) Error() string {
	return "keyfold: not ready: " + string(e.Part) + ": " + e.cause.Error()
}

// Unwrap returns ErrUnavailable and the error of the store.
func (e *NotReadyError) Unwrap() []error { return []error{ErrUnavailable, e.cause} }

const (
	// A probe writes a little. While changes fail it is made at most once in
	// probePause; while nothing is known to be wrong, only if no change was tried for
	// probeAge.
	probePause = 5 * time.Second
	probeAge   = time.Minute
)

// ProbingStore is an optional interface of a Store that can find out whether changes
// would succeed.
type ProbingStore interface {
	// Probe must write to the database as a change does, a few KiB, and leave
	// nothing behind. It must return an error if changes would fail for lack of
	// space or permission, which is an ErrNoSpace or ErrReadOnly if that is known.
	Probe(ctx context.Context) error
}

// changesState is what the last changes say about those to come.
type changesState struct {
	store Store // outside of every transaction
	opts  *Options

	mu      sync.Mutex
	err     error     // of the last change; nil if it succeeded
	at      time.Time // when it ended
	probing bool
}

// note remembers the outcome of a change, unless it says nothing about the
// database: the store decided against the change, or the caller went away.
func (c *changesState) note(ctx context.Context, err error) {
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrCheckFailed) || !errors.Is(storeError(ctx, err), ErrUnavailable) {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	failed := c.err != nil
	c.err, c.at = err, time.Now()
	switch {
	case err != nil && !failed:
		c.opts.Logger.Error("keyfold: changes fail; this process is not ready", slog.Any("error", err))
	case err == nil && failed:
		c.opts.Logger.Info("keyfold: changes succeed again")
	}
}

// noteTx is note for a transaction, whose error may be the program's own.
func (c *changesState) noteTx(ctx context.Context, err error) {
	if err == nil || errors.Is(err, ErrNoSpace) || errors.Is(err, ErrReadOnly) {
		c.note(ctx, err)
	}
}

// failure returns why changes fail, or nil. It probes where the last change says too
// little. Of several callers one probes, and the others get the last answer.
func (c *changesState) failure(ctx context.Context) error {
	store, probes := c.store.(ProbingStore)
	c.mu.Lock()
	err, wait := c.err, probeAge
	if err != nil && probes {
		wait = probePause
	}
	if c.probing || time.Since(c.at) < wait {
		c.mu.Unlock()
		return err
	}
	if !probes {
		c.err = nil // too long ago to say anything
		c.mu.Unlock()
		return nil
	}
	c.probing = true
	c.mu.Unlock()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollTimeout)
	defer cancel()
	c.note(bounded, store.Probe(bounded))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probing = false
	if bounded.Err() != nil {
		c.at = time.Now() // the next probe waits for its turn too
	}
	return c.err
}

// Ready reports whether this Service can do all of its work, for a readiness check.
// It returns nil, ctx's error, or a [NotReadyError] that names the first part that does
// not work. Verifies may go on while it does: on a full disk, or if the database is
// read-only, only changes and the storing of usage fail.
//
// Ready knows the outcome of the last change and of the last batch of usage. It
// writes to the database itself, a few KiB that it deletes again, only to find out
// whether changes succeed again, at most once in five seconds, and if nothing was
// changed for a minute. A store that is no [ProbingStore] is never written to; with
// such a one a failure is forgotten after a minute.
func (s *Service) Ready(ctx context.Context) error {
	if err := s.Ping(ctx); err != nil {
		if cause := ctx.Err(); cause != nil {
			return cause
		}
		part := PartDatabase
		if errors.Is(err, ErrCheckFailed) {
			part = PartCheck
		}
		return &NotReadyError{Part: part, cause: err}
	}
	if err := s.changes.failure(ctx); err != nil {
		return &NotReadyError{Part: PartChanges, cause: err}
	}
	if failed := s.recorder.failed.Load(); failed != nil {
		return &NotReadyError{Part: PartUsage, cause: *failed}
	}
	return nil
}
