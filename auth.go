package keyfold

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/internal/clock"
	"github.com/keyfold/keyfold/internal/keycache"
	"github.com/keyfold/keyfold/internal/loglimit"
	"github.com/keyfold/keyfold/internal/password"
	"github.com/keyfold/keyfold/internal/redact"
)

// Service verifies tokens and manages keys and users. Create one with [New] and
// share it. It is safe for concurrent use.
type Service struct {
	store      Store    // check
	check      checked  // the store, and whether this process may change it
	opts       *Options // without Peppers
	secrets    *secrets
	clock      *clock.Clock
	recorder   *recorder       // of usage
	delivery   *delivery       // of what was recorded
	waitForUse bool            // until the use of a key is stored
	cache      *keycache.Cache // nil: every verify reads the store
	watcher    *watcher        // nil without a cache
	background *background     // nil in a transaction
	gate       *gate           // likewise
	outageLog  *loglimit.Interval
	passwords  *password.Hasher
	loginLog   *loglimit.PerSecond
	databaseID *atomic.Pointer[[]byte] // nil in it until it is known
	outbox     *outbox
	adapters   *adapterStates

	bound   bool              // to a transaction, of InTx or of the caller
	pending *pendingEvictions // of a transaction of InTx; nil outside
}

const (
	// passwordWait is how long a log-in waits for others to be checked.
	passwordWait = 2 * time.Second
	// outageInterval is the least time between two lines about verifies that ended
	// with an [ErrUnavailable].
	outageInterval = 10 * time.Second
	// loggedRefusals is how many refused log-ins are logged in a second.
	loggedRefusals = 10
)

// New returns a Service that uses the given store. Nil options mean the defaults;
// an option that is out of range is an [InvalidError] that names the field. New
// uses neither the network nor the disk, and nothing runs in the background until
// the Service is used.
//
// Before its first decision the Service checks that the database fits this
// process, see [ErrCheckFailed], and repeats the check with every poll of the
// change feed. Until the check passes, everything except reading lists returns an
// [ErrUnavailable], and [Service.Ping] returns the reason.
//
// The caller keeps the ownership of the store and must close it after
// [Service.Close].
func New(store Store, options *Options) (*Service, error) {
	if store == nil {
		return nil, invalid("store", "must not be nil; the packages under store/ have stores")
	}
	opts, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	var now func() time.Time // nil: the system's clock
	if options != nil {
		now = options.Now
	}
	if store, ok := store.(LoggingStore); ok {
		store.SetLogger(opts.Logger)
	}
	s := &Service{
		opts: &opts, clock: clock.New(now), background: &background{},
		databaseID: new(atomic.Pointer[[]byte]), adapters: &adapterStates{},
	}
	check := newChecker(store, s.opts, s.clock)
	s.secrets = newSecrets(opts.Peppers, opts.CurrentPepper, opts.RequirePepper)
	opts.Peppers = nil
	s.check = checked{store, check, &changeHealth{store: store, opts: s.opts}, false}
	s.store = s.check
	s.background.work = append(s.background.work, janitor{s.store, s.opts}.run, merger{s.check, s.opts}.run)
	s.recorder, s.waitForUse = newRecorder(s.opts), opts.Usage == UsageSync
	s.delivery = newDelivery(s.store, s.opts, s.recorder)
	slots := max(1, runtime.GOMAXPROCS(0)-1)
	s.passwords, s.outbox = password.New(slots, passwordWait), newOutbox(opts.Logger)
	s.gate = newGate(placesPerSlot*slots, s.now)
	s.outageLog, s.loginLog = loglimit.NewInterval(outageInterval), loglimit.NewPerSecond(loggedRefusals)
	if !opts.DisableCache {
		s.cache = keycache.New(opts.CacheEntries, int64(opts.CacheBytes), opts.CacheMaxAge, 4*runtime.GOMAXPROCS(0))
		s.watcher = newWatcher(store, s.opts, s.cache, s.clock, check)
		s.background.work = append(s.background.work, s.watcher.follow)
	} else {
		s.background.work = append(s.background.work, check.follow)
	}
	return s, nil
}

// now is the time as stores keep it: milliseconds, UTC.
func (s *Service) now() time.Time { return s.clock.Now() }

// Close writes the remaining usage and stops the background work. It tries until
// ctx is done; if ctx is done already or has no deadline, for ten seconds. After
// Close, Verify returns an [ErrUnavailable] that is also an [ErrClosed]. Closing
// twice returns nil. On a Service from [Service.With], Close does nothing.
func (s *Service) Close(ctx context.Context) error {
	if s.bound {
		return nil
	}
	if _, ends := ctx.Deadline(); !ends || ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeBudget)
		defer cancel()
	}
	s.background.close()
	err := s.delivery.close(ctx)
	s.outbox.close(ctx)
	return err
}

// Ping checks that the store works and that this process may use it. It returns
// nil, the error of ctx, or an [ErrUnavailable]. If the store works but must not
// be used, the error is an [ErrCheckFailed], too. [Service.Ready] also reports
// whether changes and usage are stored.
func (s *Service) Ping(ctx context.Context) error {
	if err := s.check.recheck(ctx); err != nil {
		return storeError(ctx, err)
	}
	return storeError(ctx, s.store.Ping(ctx))
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
	if err := s.check.changes.failure(ctx); err != nil {
		return &NotReadyError{Part: PartChanges, cause: err}
	}
	if err := s.delivery.failure(); err != nil {
		return &NotReadyError{Part: PartUsage, cause: err}
	}
	return nil
}

// Flush writes the usage recorded so far and returns when it is stored. The
// Service does this by itself once per Options.FlushInterval.
func (s *Service) Flush(ctx context.Context) error {
	return storeError(ctx, s.delivery.flush(ctx))
}

// InTx runs fn in a transaction. The changes made through the Service that fn
// receives take effect together if fn returns nil, and not at all if it returns an
// error, which InTx then returns.
//
// If the database aborts the transaction, for example because of a deadlock, fn
// runs again from the start, so it must be safe to repeat. After a limited number
// of attempts InTx returns an [ErrRetry]. The Service given to fn must not be used
// after fn returns, nor concurrently. With a store without transactions
// (store/mongo), InTx returns errors.ErrUnsupported and does not call fn.
//
// On a Service from [Service.With] the transaction of the caller is used, and fn
// just runs.
func (s *Service) InTx(ctx context.Context, fn func(*Service) error) error {
	if s.bound {
		return fn(s)
	}
	var refused error
	var pending pendingEvictions
	defer func() { pending.evict(s.cache) }()
	err := s.store.InTx(ctx, func(tx Store) error {
		bound := s.With(Tx{Store: tx})
		bound.pending = &pending
		refused = fn(bound)
		return refused
	})
	if err != nil && refused != nil && errors.Is(err, refused) {
		return err // fn's own error is the caller's, not the store's
	}
	return storeError(ctx, err)
}

// With returns a Service that works inside a transaction of the caller:
//
//	k := svc.With(postgres.Tx(tx))
//	_, token, err := k.CreateKey(ctx, …) // committed or rolled back with tx
//
// The returned Service never begins, commits, rolls back or retries. An [ErrRetry]
// means that the database has aborted the transaction and that the caller must run
// all of it again. Other connections see nothing before the caller commits. The
// Service is not safe for concurrent use and must not be used after the
// transaction has ended.
func (s *Service) With(tx Tx) *Service {
	bound := *s
	bound.check, bound.bound = s.check.within(tx.Store), true
	bound.store = bound.check
	// What a transaction reads may never be committed, so it is not cached, and the
	// background work belongs to the Service outside. The gate protects the store
	// from new requests; the caller holds a connection already, which other requests
	// may wait for. The write of a use may wait for the transaction, so a verify must
	// not wait for that write.
	bound.cache, bound.watcher, bound.background, bound.gate, bound.waitForUse = nil, nil, nil, nil, false
	return &bound
}

// errBound refuses what must not depend on whether a transaction is committed.
var errBound = invalid("Service", "must not be bound to a transaction, because a rollback would undo the count of attempts")

// Sync returns once this Service acts on everything that was committed before
// the call. Call it after committing a transaction that [Service.With] worked
// in; otherwise this process hears of it as every other does, within
// Options.PollInterval at the latest. Errors: ctx's own, [ErrUnavailable].
func (s *Service) Sync(ctx context.Context) error {
	if s.watcher == nil {
		return nil // every verify reads the store
	}
	return storeError(ctx, s.watcher.poll(ctx))
}

// Staleness returns how long ago this process last heard what changed: the
// bound within which a change made elsewhere may still be unknown here. It is
// zero while nothing is remembered: before the first verify, and with
// Options.DisableCache.
func (s *Service) Staleness() time.Duration {
	if s.watcher == nil {
		return 0
	}
	behind, _ := s.watcher.behind(s.clock.Read())
	return behind
}

// changed evicts keys from the cache, whether a change of them succeeded or failed:
// a failed one may have been committed before its answer was lost.
func (s *Service) changed(ids ...string) {
	switch {
	case s.pending != nil:
		s.pending.keys = append(s.pending.keys, ids...) // InTx evicts them after its commit
	case s.cache != nil:
		s.cache.Evict(ids...)
	}
}

// changedUser is changed for all keys of a user.
func (s *Service) changedUser(id string) {
	switch {
	case s.pending != nil:
		s.pending.users = append(s.pending.users, id)
	case s.cache != nil:
		s.cache.EvictUsers(map[string]bool{id: true})
	}
}

// pendingEvictions are what a transaction of InTx has changed.
type pendingEvictions struct{ keys, users []string }

// evict is called once the transaction has ended.
func (p *pendingEvictions) evict(c *keycache.Cache) {
	if c == nil {
		return
	}
	c.Evict(p.keys...)
	users := map[string]bool{}
	for _, id := range p.users {
		users[id] = true
	}
	c.EvictUsers(users)
}

// databaseSecret returns the key for the names of throttles and for the
// authentication of cursors. It asks the store once.
func (s *Service) databaseSecret(ctx context.Context) ([]byte, error) {
	if known := s.databaseID.Load(); known != nil {
		return *known, nil
	}
	id, err := s.store.DatabaseID(ctx)
	if err != nil {
		return nil, storeError(ctx, err)
	}
	secret := []byte(id)
	s.databaseID.Store(&secret)
	return secret, nil
}

// AdapterState returns the state that an adapter keeps for this Service under a
// key, such as the failures that all of its middlewares count together. The first
// call for a key makes the state with create; every later call returns the same
// value. A Service from [Service.With] or [Service.InTx] has the state of the
// Service that it comes from.
//
// AdapterState is for adapters, that is, for packages that put a Service behind
// HTTP, gRPC or a framework. The state lives as long as the Service, so an adapter
// needs no package variable. As with [context.WithValue], the key must be
// comparable, and its type should be an unexported type of the adapter, so that two
// adapters cannot share a key by mistake. The state must be safe for concurrent use.
//
// create runs at most once for a key, and must not call AdapterState.
func (s *Service) AdapterState(key any, create func() any) any {
	s.adapters.Lock()
	defer s.adapters.Unlock()
	state, ok := s.adapters.states[key]
	if !ok {
		if s.adapters.states == nil {
			s.adapters.states = map[any]any{}
		}
		state = create()
		s.adapters.states[key] = state
	}
	return state
}

// adapterStates is what adapters keep for a Service.
type adapterStates struct {
	sync.Mutex
	states map[any]any
}

// Format writes the type of the store and the options without their secrets, for
// every verb and flag.
func (s Service) Format(state fmt.State, verb rune) { s.shown().Format(state, verb) }

// LogValue is a group of what Format writes.
func (s Service) LogValue() slog.Value { return s.shown().LogValue() }

func (s Service) shown() redact.Fields {
	if s.opts == nil {
		return nil // a Service that New did not make
	}
	return redact.Fields{slog.String("Store", fmt.Sprintf("%T", s.check.Store)), slog.Any("Options", s.opts.LogValue())}
}
