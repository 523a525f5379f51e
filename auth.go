package keyfold

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"
)

// Service is the whole of Keyfold: it verifies tokens and changes keys. Make
// one with [New] and share it; it is safe for concurrent use.
type Service struct {
	store    Store
	opts     Options
	recorder *recorder
	clock    *clock
	feed     *feed
	bound    bool // to a transaction of the caller
}

// New returns a Service on that store. Nil options mean the defaults. It
// validates the options, with an [InvalidError] naming the field, and touches
// neither network nor disk: nothing runs until the Service is first used.
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
	s := &Service{store: store, opts: opts, clock: &clock{now: opts.Now}, feed: &feed{}}
	s.recorder = newRecorder(store, &s.opts)
	return s, nil
}

// Close writes the usage that is still in memory and stops the background
// work. It tries until ctx is done; for a ctx that is done already or has no
// end, for ten seconds. Verifies that come later are refused with an
// [ErrUnavailable] that is an [ErrClosed]. Close on a Service from [Service.With]
// does nothing; a second Close returns nil.
func (s *Service) Close(ctx context.Context) error {
	if s.bound {
		return nil
	}
	return s.recorder.close(ctx)
}

// Ping asks the store whether it works: nil, ctx's error, or an [ErrUnavailable].
func (s *Service) Ping(ctx context.Context) error {
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
// used concurrently.
//
// On a Service from [Service.With] the caller's transaction is already the
// frame, and fn just runs.
func (s *Service) InTx(ctx context.Context, fn func(*Service) error) error {
	if s.bound {
		return fn(s)
	}
	var refused error
	err := s.store.InTx(ctx, func(tx Store) error {
		refused = fn(s.With(Tx{Store: tx}))
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
	bound.store, bound.bound = tx.Store, true
	return &bound
}

// Request is what [Service.Verify] decides on.
type Request struct {
	// Token is the credential as it was presented.
	Token string
	// Scopes are all needed. Empty: any good key will do.
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
//     over; tell the caller no more than that ([CodeOf] is for the log);
//   - an [ErrForbidden] beside a valid Identity: a good key without a scope, or
//     used from outside its networks;
//   - an [ErrUnavailable]: the store could not answer within
//     Options.VerifyTimeout. Refuse the request: nothing was decided;
//   - ctx's own error when the caller went away.
//
// A malformed token costs no store call. Each call is counted, whatever its
// outcome, without waiting for the store.
func (s *Service) Verify(ctx context.Context, r Request) (Identity, error) {
	if err := ctx.Err(); err != nil {
		return Identity{}, err
	}
	now := s.clock.read()
	who, err := s.decide(ctx, &r, now)
	if gone := ctx.Err(); gone != nil && errors.Is(err, gone) {
		return Identity{}, gone // not a verdict, so it is not counted
	}
	if !s.recorder.record(who, CodeOf(err), &r, now) {
		return Identity{}, &unavailable{cause: ErrClosed}
	}
	if err != nil && !errors.Is(err, ErrForbidden) {
		return Identity{}, err
	}
	return Identity{who}, err
}

// decide returns the key whose secret was right, if it was, and the verdict.
func (s *Service) decide(ctx context.Context, r *Request, now int64) (*principal, error) {
	if r.Token == "" {
		return nil, errMissing
	}
	token, ok := splitToken(r.Token)
	if !ok {
		return nil, errMalformed
	}
	who, err := s.lookUp(ctx, token.id)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			_, _ = s.checkSecret(&dummySecret, token) // so that an unknown id costs what a wrong secret does
			return nil, errUnknown
		}
		return nil, err
	}
	match, err := s.checkSecret(&who.record, token)
	if err != nil {
		return nil, err
	}
	if !match {
		return nil, errWrongSecret
	}
	if move, ok := s.outdated(&who.record, token); ok {
		s.recorder.rehash(move)
	}
	return who, who.admit(r, now)
}

// lookUp reads the key that a verify decides on.
func (s *Service) lookUp(ctx context.Context, id string) (*principal, error) {
	bounded, cancel := context.WithTimeout(ctx, s.opts.VerifyTimeout)
	defer cancel()
	record, err := s.store.VerifyKey(bounded, id)
	if err != nil {
		return nil, storeError(ctx, err)
	}
	return newPrincipal(record), nil
}

// now is the clock as stores keep it: milliseconds, UTC.
func (s *Service) now() time.Time { return time.UnixMilli(s.clock.read()).UTC() }

// clock never goes back, so that a key found expired stays expired in this
// process whatever happens to the system's clock.
type clock struct {
	now     func() time.Time
	highest atomic.Int64
}

// read returns unix milliseconds.
func (c *clock) read() int64 {
	now := c.now().UnixMilli()
	for {
		highest := c.highest.Load()
		if now <= highest {
			return highest
		}
		if c.highest.CompareAndSwap(highest, now) {
			return now
		}
	}
}
