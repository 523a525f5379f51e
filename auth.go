package keyfold

import (
	"context"
	"errors"
	"net/netip"
	"runtime"
	"time"

	"github.com/keyfold/keyfold/internal/clock"
	"github.com/keyfold/keyfold/internal/password"
)

// Service is the whole of Keyfold: it verifies tokens, and keeps keys and users. Make
// one with [New] and share it; it is safe for concurrent use.
type Service struct {
	store    Store
	opts     *Options // without Peppers
	peppers  peppers
	clock    *clock.Clock
	recorder *recorder
	cache    *cache   // nil: every verify reads the store
	watcher  *watcher // nil without a cache
	checker  *checker
	changes  *changesState
	beside   *background
	outbox   *outbox
	logins   *logins
	outages  *outages
	gate     *gate

	passwords *password.Hasher

	bound   bool     // to a transaction, of InTx or of the caller
	touched *touched // what a transaction of InTx changed
}

// New returns a Service on that store. Nil options mean the defaults. It
// validates the options, with an [InvalidError] naming the field, and touches
// neither network nor disk: nothing runs until the Service is first used.
//
// Before its first decision the Service checks that the database fits this
// process, see [ErrCheckFailed], and then again with every poll of the change
// feed, every Options.PollInterval. Until the check passes, everything but
// reading lists is an [ErrUnavailable]; [Service.Ping] returns the reason.
//
// The store stays the caller's: close it after [Service.Close].
func New(store Store, options *Options) (*Service, error) {
	if store == nil {
		return nil, invalid("store", "a Store; the packages under store/ have them")
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
	s := &Service{opts: &opts, clock: clock.New(now), beside: &background{}}
	s.checker = newChecker(store, s.opts, s.clock)
	s.peppers = opts.takePeppers()
	s.changes = &changesState{store: store, opts: s.opts}
	s.store = checked{store, s.checker, s.changes, false}
	s.beside.work = append(s.beside.work, janitor{s.store, s.opts}.run)
	s.recorder = newRecorder(s.store, s.opts)
	slots := max(1, runtime.GOMAXPROCS(0)-1)
	s.passwords, s.outbox = password.New(slots, passwordWait), newOutbox(opts.Logger)
	s.logins, s.outages, s.gate = new(logins), new(outages), newGate(placesPerSlot*slots, s.now)
	if !opts.DisableCache {
		s.cache = newCache(opts.CacheEntries, int64(opts.CacheBytes), opts.CacheMaxAge, 4*runtime.GOMAXPROCS(0))
		s.watcher = newWatcher(store, s.opts, s.cache, s.clock, s.checker)
		s.beside.work = append(s.beside.work, s.watcher.follow)
	} else {
		s.beside.work = append(s.beside.work, s.checker.follow)
	}
	return s, nil
}

// now is the time as stores keep it: milliseconds, UTC.
func (s *Service) now() time.Time { return s.clock.Now() }

// Close writes the usage that is still in memory and stops the background
// work. It tries until ctx is done; for a ctx that is done already or has no
// end, for ten seconds. Verifies that come later are refused with an
// [ErrUnavailable] that is an [ErrClosed]. Close on a Service from [Service.With]
// does nothing; a second Close returns nil.
func (s *Service) Close(ctx context.Context) error {
	if s.bound {
		return nil
	}
	if _, ends := ctx.Deadline(); !ends || ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), closeBudget)
		defer cancel()
	}
	s.beside.close()
	err := s.recorder.close(ctx)
	s.outbox.close(ctx)
	return err
}

// Ping checks that the store works and that this process may decide on it. It
// returns nil, ctx's error, or an [ErrUnavailable], which is an [ErrCheckFailed] too
// if the store works and the process must not decide. [Service.Ready] also tells
// whether changes and usage are stored.
func (s *Service) Ping(ctx context.Context) error {
	check := s.checker.run
	if s.bound {
		check = s.mayDecide
	}
	if err := check(ctx); err != nil {
		return storeError(ctx, err)
	}
	return storeError(ctx, s.store.Ping(ctx))
}

// Flush writes the usage gathered so far and returns when it is stored. The
// Service does this by itself, every Options.FlushInterval.
func (s *Service) Flush(ctx context.Context) error {
	return storeError(ctx, s.recorder.flush(ctx))
}

// InTx runs fn with a Service whose changes take effect together when fn
// returns nil, and not at all when it returns an error, which InTx then
// returns. When the database gives the transaction up, fn runs again from its
// start, so it must be safe to repeat; after a bounded number of tries the
// error is an [ErrRetry]. The Service given to fn must not outlive it nor be
// used concurrently. With a store that has no transactions, store/mongo, the
// error is errors.ErrUnsupported, and fn does not run.
//
// On a Service from [Service.With] the caller's transaction is already the
// frame, and fn just runs.
func (s *Service) InTx(ctx context.Context, fn func(*Service) error) error {
	if s.bound {
		return fn(s)
	}
	var refused error
	var touched touched
	defer touched.forget(s.cache)
	err := s.store.InTx(ctx, func(tx Store) error {
		bound := s.With(Tx{Store: tx})
		bound.touched = &touched
		refused = fn(bound)
		return refused
	})
	if err != nil && refused != nil && errors.Is(err, refused) {
		return err // fn's own error is the caller's, not the store's
	}
	return storeError(ctx, err)
}

// With returns a Service that works inside the caller's own transaction:
//
//	k := svc.With(postgres.Tx(tx))
//	_, token, err := k.CreateKey(ctx, …)   // commits and rolls back with tx
//
// It begins, commits and retries nothing; an [ErrRetry] means that the database
// gave the transaction up and the caller must run it again whole. Nothing is
// visible to others before the caller commits. It is not for concurrent use,
// and must not be used after the transaction has ended.
func (s *Service) With(tx Tx) *Service {
	bound := *s
	bound.store, bound.bound = checked{tx.Store, s.checker, nil, true}, true
	return &bound
}

// Request is what [Service.Verify] decides on.
//
// Printing, logging or encoding a Request shows the id of the key in place of the
// token. It is a plain value, so fmt shows the whole token where it calls no
// methods: in an unexported field of another struct, and for the verbs %p and %w.
type Request struct {
	// Token is the credential as it was presented.
	Token string
	// Scopes are the scopes that the key must hold, all of them. None holds a
	// wildcard. Empty: any good key will do.
	Scopes []string
	// IP is the client's address, for keys that are bound to networks and for
	// the usage log. The zero Addr is "unknown": keys bound to networks refuse it.
	IP netip.Addr
	// Route is the pattern that the request matched, never its path: "GET /reports/{id}".
	Route string
	// RequestID and UserAgent are kept only if the Options say so.
	RequestID string
	UserAgent string
}

// Verify decides whether the token may do what the request wants. It returns
//   - a nil error and who it is;
//   - an [ErrUnauthenticated]: no token, not a good one, or one whose time is
//     over; tell the caller no more than that ([OutcomeOf] is for the log);
//   - an [ErrForbidden] beside a valid Identity: a good key without a scope, or
//     used from outside its networks;
//   - an [ErrUnavailable]: the store could not answer within
//     Options.VerifyTimeout. Refuse the request: nothing was decided;
//   - an [InvalidError] for the field "scopes[0]" when the request asks for a
//     scope that is malformed or holds a wildcard, which is a mistake of the
//     program: nothing was decided, and nothing is counted;
//   - ctx's own error when the caller went away.
//
// A malformed token costs no store call. Each call is counted, whatever its
// outcome, without waiting for the store unless Options.Usage says so.
func (s *Service) Verify(ctx context.Context, r Request) (Identity, error) {
	if err := ctx.Err(); err != nil {
		return Identity{}, err
	}
	if err := checkConcrete(r.Scopes); err != nil {
		return Identity{}, err
	}
	var limit time.Time
	if s.opts.Usage == UsageSync {
		limit = time.Now().Add(s.opts.VerifyTimeout)
	}
	now := s.clock.Read()
	who, err := s.decide(ctx, &r, now)
	code := OutcomeAllowed
	if err != nil {
		if gone := ctx.Err(); gone != nil && errors.Is(err, gone) {
			return Identity{}, gone // not a verdict, so it is not counted
		}
		if code = OutcomeOf(err); code == OutcomeUnavailable {
			s.outages.report(ctx, s.opts.Logger, now.Wall, err)
		}
	}
	use, ok := s.recorder.record(who, code, &r, now.Wall)
	if !ok {
		err := &unavailable{cause: ErrClosed}
		s.outages.report(ctx, s.opts.Logger, now.Wall, err)
		return Identity{}, err
	}
	if use != nil && !s.bound {
		if err := use.wait(ctx, limit); err != nil {
			s.outages.report(ctx, s.opts.Logger, now.Wall, err)
			return Identity{}, err
		}
	}
	if err != nil && !isForbidden(err) {
		return Identity{}, err
	}
	return Identity{who}, err
}

// decide returns the key whose secret was right, if it was, and the verdict.
func (s *Service) decide(ctx context.Context, r *Request, now clock.Instant) (principal, error) {
	parts, err := parseToken(r.Token)
	if err != nil {
		return principal{}, err
	}
	who, err := s.lookUp(ctx, parts.ID, now)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			_ = checkNobody(parts)
			return principal{}, errUnknown
		}
		return principal{}, err
	}
	match, err := s.checkSecret(who, parts)
	if err != nil {
		return principal{}, err
	}
	if !match {
		return principal{}, errWrongSecret
	}
	if s.opts.CurrentPepper != "" {
		if move, ok := s.outdated(who, parts); ok {
			s.recorder.rehash(move)
		}
	}
	verdict := who.admit(r, now.Wall)
	if verdict == error(errIdle) && s.cache != nil && !s.bound {
		// What is remembered does not tell of uses since: ask again before refusing.
		s.cache.evict(parts.ID)
		if who, err = s.lookUp(ctx, parts.ID, now); err != nil {
			return principal{}, err
		}
		verdict = who.admit(r, now.Wall)
	}
	return who, verdict
}

// lookUp returns the key that a verify decides on: the one remembered, while
// the change feed is heard, or the one in the store.
func (s *Service) lookUp(ctx context.Context, id string, now clock.Instant) (principal, error) {
	if !s.bound {
		s.beside.start()
	}
	if s.cache == nil || s.bound {
		bounded, cancel := context.WithTimeout(ctx, s.opts.VerifyTimeout)
		defer cancel()
		return s.read(bounded, id)
	}
	wait := s.opts.VerifyTimeout
	if s.watcher.fresh(now, 0) {
		if who := s.cache.get(id, now.Wall); !who.isNobody() {
			return who, nil
		}
	} else if _, heard := s.watcher.behind(now); heard {
		wait = min(wait, staleWait)
	}
	who, err := s.cache.load(ctx, id, wait, func(ctx context.Context) (principal, error) { return s.read(ctx, id) })
	if s.opts.StaleGrace > 0 && errors.Is(err, ErrUnavailable) && s.watcher.fresh(now, s.opts.StaleGrace) {
		if old := s.cache.peek(id); !old.isNobody() {
			return old, nil
		}
	}
	return who, err
}

// passwordWait is how long a log-in waits for others to be checked.
const passwordWait = 2 * time.Second

// staleWait bounds the wait for the store while the change feed is not heard.
const staleWait = 250 * time.Millisecond

// read asks the store for a key, once the check has passed.
func (s *Service) read(ctx context.Context, id string) (principal, error) {
	if err := s.mayDecide(ctx); err != nil {
		return principal{}, storeError(context.WithoutCancel(ctx), err)
	}
	began := s.clock.Read().Wall
	record, err := s.store.VerifyKey(ctx, id)
	if err != nil {
		return principal{}, storeError(context.WithoutCancel(ctx), err)
	}
	who, err := newPrincipal(&record)
	if err != nil {
		return principal{}, &unavailable{cause: err}
	}
	if s.cache != nil {
		who.chunk.base = s.cache.staleAt(began)
	}
	return who, nil
}
