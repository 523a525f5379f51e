package keyfold

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/internal/clock"
)

// checker runs [Store.Check] and keeps the last result. A decision needs a result that is
// no older than MaxStaleness. A failed check holds until a later one passes. While the
// database does not respond, the last result holds until it is too old.
type checker struct {
	store Store // outside of every transaction
	opts  *Options
	clock *clock.Clock

	last    atomic.Pointer[answer] // nil before the first
	refuse  func()                 // called whenever the answer is no
	peppers *pepperChecks

	remembering sync.Mutex // held to replace last
}

// checkTimeout limits the time of a check in the background.
const checkTimeout = 5 * time.Second

// answer is the result of one check.
type answer struct {
	began clock.Instant
	err   error // nil, or an ErrCheckFailed
}

// newChecker must be given the options while they still have the peppers.
func newChecker(store Store, opts *Options, clk *clock.Clock) *checker {
	return &checker{store: store, opts: opts, clock: clk, peppers: newPepperChecks(opts), refuse: func() {}}
}

// mayDecide returns nil if this process may decide and write now. It checks the database
// again if the last result is too old. If tx is not nil, it checks through tx, because the
// caller's transaction may hold the only connection.
func (c *checker) mayDecide(ctx context.Context, tx Store) error {
	if last := c.last.Load(); last != nil {
		lasts := c.opts.MaxStaleness
		if last.err != nil {
			lasts = c.opts.PollInterval
		}
		if last.began.Age(c.clock.Read()) <= lasts {
			return last.err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if tx != nil {
		return c.ask(bounded, tx) // its snapshot may be old, so the answer is for this call only
	}
	return c.run(bounded)
}

// run checks the database and keeps the result.
func (c *checker) run(ctx context.Context) error {
	began := c.clock.Read()
	err := c.ask(ctx, c.store)
	if err == nil || errors.Is(err, ErrCheckFailed) {
		c.keep(&answer{began, err})
	}
	return err
}

func (c *checker) ask(ctx context.Context, store Store) error {
	if err := store.Check(ctx); err != nil {
		return err
	}
	return c.peppers.check(ctx, store, c.clock.Read())
}

// keep stores a result, unless that of a later check is already there. It logs when this
// process stops or resumes deciding.
func (c *checker) keep(a *answer) {
	c.remembering.Lock()
	defer c.remembering.Unlock()
	last := c.last.Load()
	if last != nil && last.began.Mono > a.began.Mono {
		return
	}
	c.last.Store(a)
	failed := last != nil && last.err != nil
	switch {
	case a.err != nil:
		c.refuse()
		if !failed {
			c.opts.Logger.Error("keyfold: this process refuses every request until the check of the database passes",
				slog.Any("error", a.err))
		}
	case failed:
		c.opts.Logger.Info("keyfold: the check of the database passes again")
	}
}

// failing reports whether the last check failed.
func (c *checker) failing() bool {
	last := c.last.Load()
	return last != nil && last.err != nil
}

// follow runs the check every PollInterval, for a Service that reads no feed.
func (c *checker) follow(ctx context.Context) {
	ticker := time.NewTicker(c.opts.PollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		bounded, cancel := context.WithTimeout(ctx, checkTimeout)
		_ = c.run(bounded) // without an answer the last one grows too old
		cancel()
	}
}

// pepperChecks finds peppers that differ between processes. With a mistyped pepper, a
// process would create and rehash keys that no other process accepts. The database
// therefore contains a check value for each pepper id. The first process that hashes with
// the pepper writes it, and a process with a different value fails its check.
type pepperChecks struct {
	values map[string]string             // of this process, by the id of the pepper
	sign   string                        // the id of the pepper that new keys are hashed with
	agreed atomic.Pointer[clock.Instant] // when each pepper was last found to agree
}

// newPepperChecks must be given the options while they still have the peppers.
func newPepperChecks(o *Options) *pepperChecks {
	p := &pepperChecks{values: make(map[string]string, len(o.Peppers)), sign: o.CurrentPepper}
	for id, pepper := range o.Peppers {
		p.values[id] = pepperCheck(id, pepper)
	}
	return p
}

// pepperRecheck is the time after which a matching check value is read again. It only
// changes if somebody removes it or restores another database.
const pepperRecheck = time.Minute

// pepperSetting is the name of the setting that holds the check value of a pepper.
func pepperSetting(id string) string { return "pepper." + id }

// pepperCheck returns the check value of a pepper. It is hashed in the same way as keys
// are, so it reveals no more about the pepper than the hash of a key. It cannot equal the
// hash of a key, because the label is shorter than the hashed part of a token.
func pepperCheck(id string, pepper []byte) string {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte("keyfold pepper\x00" + id))
	return hex.EncodeToString(mac.Sum(nil))
}

// check compares all peppers. A pepper that is used only for verifying has no check value
// until another process hashes with it, so it is read each time.
func (p *pepperChecks) check(ctx context.Context, store Store, now clock.Instant) error {
	if at := p.agreed.Load(); len(p.values) == 0 || at != nil && at.Age(now) < pepperRecheck {
		return nil
	}
	complete := true
	for _, id := range slices.Sorted(maps.Keys(p.values)) {
		value := p.values[id]
		stored, err := store.Setting(ctx, pepperSetting(id))
		if errors.Is(err, ErrNotFound) {
			if id != p.sign {
				complete = false
				continue
			}
			stored, err = store.AddSetting(ctx, pepperSetting(id), value)
		}
		if err != nil {
			return err
		}
		if !hmac.Equal([]byte(stored), []byte(value)) {
			p.agreed.Store(nil)
			return fmt.Errorf("%w: the pepper %q must have the value that it had when it was first used with this database; this process has a different one",
				ErrCheckFailed, id)
		}
	}
	if complete {
		p.agreed.Store(&now)
	}
	return nil
}

// checked is a Store that refuses changes unless the check of the database has passed.
// Reads are permitted; [Service.Verify] checks by itself.
type checked struct {
	Store
	checker *checker
	changes *changeHealth
	bound   bool // the Store is bound to a transaction, whose outcome says more than its changes
}

func (c checked) mayDecide(ctx context.Context) error {
	if c.bound {
		return c.checker.mayDecide(ctx, c.Store)
	}
	return c.checker.mayDecide(ctx, nil)
}

// within returns the Store of a transaction, with the same check.
func (c checked) within(tx Store) checked { return checked{tx, c.checker, c.changes, true} }

// recheck runs the check again. In a transaction, which may hold the only connection, it
// uses the last result.
func (c checked) recheck(ctx context.Context) error {
	if c.bound {
		return c.mayDecide(ctx)
	}
	return c.checker.run(ctx)
}

// change calls fn if the check has passed.
func (c checked) change(ctx context.Context, fn func() error) error {
	if err := c.mayDecide(ctx); err != nil {
		return err
	}
	err := fn()
	c.observe(ctx, err)
	return err
}

// observe keeps the result of a change.
func (c checked) observe(ctx context.Context, err error) {
	if !c.bound {
		c.changes.observe(ctx, err)
	}
}

// changed is change for a method that also returns a value.
func changed[T any](ctx context.Context, c checked, fn func() (T, error)) (T, error) {
	if err := c.mayDecide(ctx); err != nil {
		var zero T
		return zero, err
	}
	value, err := fn()
	c.observe(ctx, err)
	return value, err
}

// prune is change for the deletion of old rows. Its result is not kept, because deleting
// can succeed while changes fail.
func (c checked) prune(ctx context.Context, prune func() (int, bool, error)) (deleted int, more bool, err error) {
	if err := c.mayDecide(ctx); err != nil {
		return 0, false, err
	}
	return prune()
}

func (c checked) InTx(ctx context.Context, fn func(Store) error) error {
	if err := c.mayDecide(ctx); err != nil {
		return err
	}
	err := c.Store.InTx(ctx, fn)
	if !c.bound {
		c.changes.observeTx(ctx, err)
	}
	return err
}

func (c checked) CreateKey(ctx context.Context, key KeyRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.CreateKey(ctx, key, m) })
}

func (c checked) UpdateKey(ctx context.Context, key KeyRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.UpdateKey(ctx, key, m) })
}

func (c checked) RenewKey(ctx context.Context, id string, version int64, expiresAt time.Time, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.RenewKey(ctx, id, version, expiresAt, m) })
}

func (c checked) RotateKey(ctx context.Context, r Rotation, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.RotateKey(ctx, r, m) })
}

func (c checked) SetKeyState(ctx context.Context, ids []string, change StateChange, reason string, m Mutation) ([]string, error) {
	return changed(ctx, c, func() ([]string, error) { return c.Store.SetKeyState(ctx, ids, change, reason, m) })
}

func (c checked) DeleteKey(ctx context.Context, id string, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.DeleteKey(ctx, id, m) })
}

func (c checked) RehashKey(ctx context.Context, id string, old, new SecretHash) error {
	return c.change(ctx, func() error { return c.Store.RehashKey(ctx, id, old, new) })
}

func (c checked) CreateUser(ctx context.Context, user UserRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.CreateUser(ctx, user, m) })
}

func (c checked) UpdateUser(ctx context.Context, user UserRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.UpdateUser(ctx, user, m) })
}

func (c checked) SetPassword(ctx context.Context, id, hash string, version int64, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.SetPassword(ctx, id, hash, version, m) })
}

func (c checked) RehashPassword(ctx context.Context, id, old, new string) error {
	return c.change(ctx, func() error { return c.Store.RehashPassword(ctx, id, old, new) })
}

func (c checked) SetUserState(ctx context.Context, id string, change StateChange, reason string, m Mutation) (bool, error) {
	return changed(ctx, c, func() (bool, error) { return c.Store.SetUserState(ctx, id, change, reason, m) })
}

func (c checked) DeleteUser(ctx context.Context, id string, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.DeleteUser(ctx, id, m) })
}

func (c checked) CreateOneTimeToken(ctx context.Context, token OneTimeTokenRecord, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.CreateOneTimeToken(ctx, token, m) })
}

func (c checked) UseOneTimeToken(ctx context.Context, use OneTimeTokenUse, m Mutation) (UserRecord, error) {
	return changed(ctx, c, func() (UserRecord, error) { return c.Store.UseOneTimeToken(ctx, use, m) })
}

func (c checked) PruneOneTimeTokens(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error) {
	return c.prune(ctx, func() (int, bool, error) { return c.Store.PruneOneTimeTokens(ctx, at, limit) })
}

func (c checked) ReserveAttempt(ctx context.Context, names []ThrottleReservation, at time.Time) (Throttle, error) {
	return changed(ctx, c, func() (Throttle, error) { return c.Store.ReserveAttempt(ctx, names, at) })
}

func (c checked) RecordAttemptResult(ctx context.Context, s AttemptResult) error {
	return c.change(ctx, func() error { return c.Store.RecordAttemptResult(ctx, s) })
}

func (c checked) UnlockUser(ctx context.Context, id string, s AttemptResult, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.UnlockUser(ctx, id, s, m) })
}

func (c checked) PruneThrottles(ctx context.Context, at time.Time, limit int) (deleted int, more bool, err error) {
	return c.prune(ctx, func() (int, bool, error) { return c.Store.PruneThrottles(ctx, at, limit) })
}

func (c checked) RecordUsage(ctx context.Context, batch UsageBatch) (UsageResult, error) {
	if err := c.mayDecide(ctx); err != nil {
		return UsageResult{}, err
	}
	return c.Store.RecordUsage(ctx, batch) // the delivery knows whether it fails
}

func (c checked) PruneUsage(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	return c.prune(ctx, func() (int, bool, error) { return c.Store.PruneUsage(ctx, before, limit) })
}

func (c checked) PruneHours(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	return c.prune(ctx, func() (int, bool, error) { return c.Store.PruneHours(ctx, before, limit) })
}

// MergeUsage implements [UsageMerger]. It does nothing if the Store does not.
func (c checked) MergeUsage(ctx context.Context, before time.Time) (more bool, err error) {
	merger, ok := c.Store.(UsageMerger)
	if !ok {
		return false, nil
	}
	if err := c.mayDecide(ctx); err != nil {
		return false, err
	}
	return merger.MergeUsage(ctx, before)
}

func (c checked) PruneChanges(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	return c.prune(ctx, func() (int, bool, error) { return c.Store.PruneChanges(ctx, before, limit) })
}

func (c checked) SetSetting(ctx context.Context, name, value string, m Mutation) error {
	return c.change(ctx, func() error { return c.Store.SetSetting(ctx, name, value, m) })
}

const (
	// A probe writes a few KiB. While changes fail, there is at most one per probePause.
	// While they succeed, there is one only if no change was made for probeAge.
	probePause = 5 * time.Second
	probeAge   = time.Minute
)

// changeHealth keeps the result of the last changes, to report whether changes work.
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

// observe keeps the result of a change. It ignores results that are not about the health
// of the database: the store refused the change, or the caller canceled it.
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

// failure returns the reason for which changes fail, or nil. It probes the database if the
// last change is too old. Of concurrent callers one probes; the others get the last
// result.
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
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
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
