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

// changeHealth knows what the last changes say about the next ones.
type changeHealth struct {
	store Store // outside of every transaction
	opts  *Options

	state struct {
		sync.Mutex
		err     error     // of the last change; nil if it succeeded
		at      time.Time // when it ended
		probing bool
	}
}

// observe remembers the outcome of a change, unless it says nothing about the
// database: the store decided against the change, or the caller gave up.
func (c *changeHealth) observe(ctx context.Context, err error) {
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrCheckFailed) || !errors.Is(storeError(ctx, err), ErrUnavailable) {
			return
		}
	}
	c.state.Lock()
	defer c.state.Unlock()
	failed := c.state.err != nil
	c.state.err, c.state.at = err, time.Now()
	switch {
	case err != nil && !failed:
		c.opts.Logger.Error("keyfold: changes fail; this process is not ready", slog.Any("error", err))
	case err == nil && failed:
		c.opts.Logger.Info("keyfold: changes succeed again")
	}
}

// observeTx is observe for a transaction, whose error may be the program's own.
func (c *changeHealth) observeTx(ctx context.Context, err error) {
	if err == nil || errors.Is(err, ErrNoSpace) || errors.Is(err, ErrReadOnly) {
		c.observe(ctx, err)
	}
}

// failure returns why changes fail, or nil. It probes where the last change says too
// little. Of several callers one probes, and the others get the last answer.
func (c *changeHealth) failure(ctx context.Context) error {
	store, probes := c.store.(ProbingStore)
	c.state.Lock()
	err, wait := c.state.err, probeAge
	if err != nil && probes {
		wait = probePause
	}
	if c.state.probing || time.Since(c.state.at) < wait {
		c.state.Unlock()
		return err
	}
	if !probes {
		c.state.err = nil // too long ago to say anything
		c.state.Unlock()
		return nil
	}
	c.state.probing = true
	c.state.Unlock()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollTimeout)
	defer cancel()
	c.observe(bounded, store.Probe(bounded))
	c.state.Lock()
	defer c.state.Unlock()
	c.state.probing = false
	if bounded.Err() != nil {
		c.state.at = time.Now() // the next probe waits for its turn too
	}
	return c.state.err
}

// Ready reports whether this Service can do all of its work, for a readiness check.
// It returns nil, ctx's error, or a [NotReadyError] that names the first part that does
// not work. Verifies may go on while it does: on a full disk, or if the database is
// read-only, only changes and the storing of usage fail.
//
// Ready knows the outcome of the last change and of the last batch of usage. It
// writes to the database itself, a few KiB that it deletes again, only to find out
// whether changes succeed again, at most once in five seconds, and if nothing was
// changed for a minute. A store that is not a [ProbingStore] is never written to; with
// such a store a failure is forgotten after a minute.
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
	if err := s.store.changes.failure(ctx); err != nil {
		return &NotReadyError{Part: PartChanges, cause: err}
	}
	if err := s.delivery.failure(); err != nil {
		return &NotReadyError{Part: PartUsage, cause: err}
	}
	return nil
}
