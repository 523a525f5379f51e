package keyfold

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/netip"
	"time"

	"github.com/keyfold/keyfold/internal/clock"
	"github.com/keyfold/keyfold/internal/keycache"
	"github.com/keyfold/keyfold/internal/redact"
	"github.com/keyfold/keyfold/internal/scope"
	"github.com/keyfold/keyfold/internal/token"
)

// Request is what [Service.Verify] and [Service.Decide] decide on.
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
//   - a nil error and the [Identity] of the key;
//   - an [ErrUnauthenticated]: there is no token, or it is not that of a valid key.
//     Tell the client no more than that; [OutcomeOf] is for the log;
//   - an [ErrForbidden] together with the Identity: the key is valid, but lacks a
//     scope, or was used from outside of its networks;
//   - an [ErrUnavailable]: the store did not answer within Options.VerifyTimeout.
//     Refuse the request: nothing was decided;
//   - an [InvalidError] for the field "scopes[0]" when the request asks for a
//     scope that is malformed or contains a wildcard, which is a mistake of the
//     program: nothing was decided, and nothing is counted;
//   - ctx's own error when the caller gave up.
//
// A malformed token costs no store call. Each call is counted, whatever its
// outcome, without waiting for the store unless Options.Usage says so.
//
// [Service.Decide] returns the same in one value.
func (s *Service) Verify(ctx context.Context, r Request) (Identity, error) {
	d := s.verify(ctx, &r)
	return d.id, d.err
}

// Decision is the result of [Service.Decide]. The zero Decision allows nothing: its
// error is an [ErrUnauthenticated].
type Decision struct {
	id  Identity
	err error
}

// Identity returns the key that the token proved. It is zero unless the token is that
// of a valid key: with a nil error and with an [ErrForbidden] it is not.
func (d Decision) Identity() Identity { return d.id }

// Err returns nil if the request is allowed, and otherwise the error that
// [Service.Verify] returns.
func (d Decision) Err() error {
	if d.err == nil && d.id.IsZero() {
		return errMissing
	}
	return d.err
}

// Outcome returns the outcome as it was counted: [OutcomeAllowed] if the request is
// allowed, and [OutcomeUnavailable] if nothing was decided.
func (d Decision) Outcome() Outcome { return OutcomeOf(d.Err()) }

// RetryAfter returns how long the client should wait before it tries again, or zero
// if waiting does not help.
func (d Decision) RetryAfter() time.Duration { return RetryAfter(d.err) }

// String returns the outcome and the id of the key: "scope: key 8fJ2kQpWm3xTzR4a".
func (d Decision) String() string {
	if d.id.IsZero() {
		return d.Outcome().String()
	}
	return d.Outcome().String() + ": " + d.id.String()
}

// Format writes String for every verb and flag.
func (d Decision) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, d.String()) }

// LogValue is String, for log/slog.
func (d Decision) LogValue() slog.Value { return slog.StringValue(d.String()) }

// Decide is [Service.Verify] for adapters: it returns all that is known about a
// request in one value. It decides, counts and fails as Verify does.
func (s *Service) Decide(ctx context.Context, r Request) Decision { return s.verify(ctx, &r) }

// verify decides, and counts the decision.
func (s *Service) verify(ctx context.Context, r *Request) Decision {
	if err := ctx.Err(); err != nil {
		return Decision{err: err}
	}
	if err := checkConcrete(r.Scopes); err != nil {
		return Decision{err: err}
	}
	var limit time.Time
	if s.waitForUse {
		limit = time.Now().Add(s.opts.VerifyTimeout)
	}
	now := s.clock.Read()
	key, err := s.decide(ctx, r, now)
	outcome := OutcomeAllowed
	if err != nil {
		if cause := ctx.Err(); cause != nil && errors.Is(err, cause) {
			return Decision{err: cause} // not a decision, so it is not counted
		}
		if outcome = OutcomeOf(err); outcome == OutcomeUnavailable {
			s.reportOutage(ctx, now, err)
		}
	}
	stored, ok := s.recorder.record(key, &observation{
		at: now.Wall, outcome: outcome, ip: r.IP, route: r.Route, requestID: r.RequestID, userAgent: r.UserAgent,
	})
	if !ok {
		err := &unavailable{cause: ErrClosed}
		s.reportOutage(ctx, now, err)
		return Decision{err: err}
	}
	if stored != nil && s.waitForUse {
		if err := stored.wait(ctx, limit); err != nil {
			s.reportOutage(ctx, now, err)
			return Decision{err: err}
		}
	}
	if err != nil && !isForbidden(err) {
		return Decision{err: err}
	}
	return Decision{Identity{key}, err}
}

// decide returns the key if the secret is right, and the decision.
func (s *Service) decide(ctx context.Context, r *Request, now clock.Instant) (keycache.Key, error) {
	parts, ok := token.Split(r.Token)
	if !ok {
		return keycache.Key{}, notToken(r.Token)
	}
	key := s.remembered(parts, now)
	if key.IsZero() {
		var err error
		if key, err = s.identify(ctx, parts, now); err != nil {
			return keycache.Key{}, err
		}
	}
	if s.secrets.signID != "" {
		if move, ok := s.secrets.outdated(key, parts); ok {
			s.recorder.rehash(move)
		}
	}
	reason := key.Check(r.Scopes, r.IP, now.Wall)
	if reason == keycache.Idle && s.cache != nil {
		// The cached key does not have later uses: read it again before refusing.
		s.cache.Evict(parts.ID)
		var err error
		if key, err = s.lookUp(ctx, parts.ID, now); err != nil {
			return keycache.Key{}, err
		}
		reason = key.Check(r.Scopes, r.IP, now.Wall)
	}
	return key, refusalFor(reason)
}

// remembered returns the key of a token if the key is cached and the token is right,
// and otherwise the zero Key, which decides nothing. The hash covers the secret and
// the checksum, so the characters of a right token need no other check.
func (s *Service) remembered(parts token.Parts, now clock.Instant) keycache.Key {
	if s.cache == nil || !s.watcher.fresh(now, 0) {
		return keycache.Key{}
	}
	key := s.cache.Get(parts.ID, now.Wall)
	if key.IsZero() {
		return keycache.Key{}
	}
	if match, err := s.secrets.match(key, parts); err != nil || !match {
		return keycache.Key{}
	}
	if s.watcher.catchUp(now) {
		return s.remembered(parts, now)
	}
	return key
}

// identify returns the key that a token proves, cached or not.
func (s *Service) identify(ctx context.Context, parts token.Parts, now clock.Instant) (keycache.Key, error) {
	if !parts.IsToken() {
		return keycache.Key{}, errMalformed
	}
	key, err := s.lookUp(ctx, parts.ID, now)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			_ = compareInVain(parts)
			return keycache.Key{}, errUnknown
		}
		return keycache.Key{}, err
	}
	match, err := s.secrets.match(key, parts)
	if err != nil {
		return keycache.Key{}, err
	}
	if !match {
		return keycache.Key{}, errWrongSecret
	}
	return key, nil
}

// lookUp returns the key that a verify decides on: the cached one, while this
// process follows the change feed, or the one in the store.
func (s *Service) lookUp(ctx context.Context, id string, now clock.Instant) (keycache.Key, error) {
	s.background.start()
	if s.cache == nil {
		bounded, cancel := context.WithTimeout(ctx, s.opts.VerifyTimeout)
		defer cancel()
		return s.read(bounded, id)
	}
	s.watcher.catchUp(now)
	wait := s.opts.VerifyTimeout
	if s.watcher.fresh(now, 0) {
		if key := s.cache.Get(id, now.Wall); !key.IsZero() {
			return key, nil
		}
	} else if _, heard := s.watcher.behind(now); heard {
		wait = min(wait, staleWait)
	}
	key, err := s.cache.Load(ctx, id, wait, func(ctx context.Context) (keycache.Key, error) { return s.read(ctx, id) })
	if err == nil {
		return key, nil
	}
	err = storeError(ctx, err)
	if s.opts.StaleGrace > 0 && errors.Is(err, ErrUnavailable) && s.watcher.fresh(now, s.opts.StaleGrace) {
		if old := s.cache.Peek(id); !old.IsZero() {
			return old, nil
		}
	}
	return keycache.Key{}, err
}

// staleWait bounds the wait for the store while the change feed cannot be read.
const staleWait = 250 * time.Millisecond

// read reads a key from the store, if the check of the database has passed.
func (s *Service) read(ctx context.Context, id string) (keycache.Key, error) {
	if err := s.check.mayDecide(ctx); err != nil {
		return keycache.Key{}, storeError(context.WithoutCancel(ctx), err)
	}
	staleAt := int64(0)
	if s.cache != nil {
		staleAt = s.cache.StaleAt(s.clock.Read().Wall)
	}
	r, err := s.store.VerifyKey(ctx, id)
	if err != nil {
		return keycache.Key{}, storeError(context.WithoutCancel(ctx), err)
	}
	key, err := keycache.NewKey(&keycache.Record{
		ID: r.KeyID, Head: token.Head(r.Prefix, r.Environment), Environment: r.Environment,
		Name: r.Name, OwnerID: r.OwnerID, Tenant: r.Tenant, UserID: r.UserID,
		Scopes: r.Scopes, Networks: r.Networks, Metadata: r.Metadata,
		Algorithm: r.Secret.Alg, PepperID: r.Secret.PepperID, Sum: r.Secret.Sum,
		ExpiresAt: r.ExpiresAt, IdleTimeout: r.IdleTimeout, ActiveAt: max(r.ActiveAt, r.LastUsedAt),
		Revoked: r.Revoked, Disabled: r.Disabled, UserDisabled: r.UserDisabled,
	}, staleAt)
	if err != nil {
		return keycache.Key{}, &unavailable{cause: err}
	}
	return key, nil
}

// refusalFor returns the error for a reason, nil for keycache.Allowed.
func refusalFor(reason keycache.Reason) error {
	switch reason {
	case keycache.Allowed:
		return nil
	case keycache.Revoked:
		return errRevoked
	case keycache.Disabled:
		return errDisabled
	case keycache.UserDisabled:
		return errUserOff
	case keycache.Expired:
		return errExpired
	case keycache.Idle:
		return errIdle
	case keycache.Network:
		return errIP
	case keycache.Scope:
		return errScope
	}
	return &unavailable{cause: fmt.Errorf("keyfold: unknown reason %d to refuse a key", reason)}
}

// reportOutage logs why a verify is refused with an [ErrUnavailable], unless its
// caller gave up or a line was logged a moment ago. A middleware answers such a
// request with a bare 503, so without the log an administrator would not learn the
// reason.
func (s *Service) reportOutage(ctx context.Context, now clock.Instant, err error) {
	if ctx.Err() != nil {
		return
	}
	if omitted, ok := s.outageLog.Take(now.Wall); ok {
		s.opts.Logger.Warn("keyfold: a request was refused because its key could not be checked",
			slog.Any("error", err), slog.Int64("omitted", omitted))
	}
}

// CheckScopes returns an [InvalidError] for the first of the scopes that a
// request cannot ask for, because it is malformed or holds a wildcard, or
// because no key can hold it under Options.Scopes. A route that needs such a
// scope would refuse every key: call CheckScopes at start. Middleware from
// package httpadapter does so by itself.
func (s *Service) CheckScopes(scopes ...string) error {
	if err := checkConcrete(scopes); err != nil {
		return err
	}
	for i, wanted := range scopes {
		if s.opts.Scopes != nil && !scope.Join(s.opts.Scopes).Covers(wanted) {
			return invalid(fmt.Sprintf("scopes[%d]", i), "must be covered by "+scopeList(s.opts.Scopes))
		}
	}
	return nil
}

// checkConcrete refuses scopes that a request cannot ask for.
func checkConcrete(scopes []string) error {
	for i := range scopes {
		if !scope.IsConcrete(scopes[i]) {
			return invalid(fmt.Sprintf("scopes[%d]", i), scope.ConcreteRule)
		}
	}
	return nil
}

// Identity is the key that a request was verified with. It is immutable and may be
// kept, copied and shared. The zero Identity has no scopes, and its methods return
// zero values.
type Identity struct{ key keycache.Key }

// IsZero reports whether this is the zero Identity.
func (id Identity) IsZero() bool { return id.key.IsZero() }

// KeyID returns the id of the key.
func (id Identity) KeyID() string {
	if id.IsZero() {
		return ""
	}
	return id.key.ID()
}

// Name returns the key's name.
func (id Identity) Name() string { return id.text(keycache.Key.Name) }

// OwnerID returns the host's own id of the owner of the key.
func (id Identity) OwnerID() string { return id.text(keycache.Key.OwnerID) }

// UserID returns the id of the [User] that the key belongs to, or "".
func (id Identity) UserID() string { return id.text(keycache.Key.UserID) }

// Tenant returns the key's tenant label.
func (id Identity) Tenant() string { return id.text(keycache.Key.Tenant) }

// Environment returns the environment in the key's token: "live", or empty.
func (id Identity) Environment() string { return id.text(keycache.Key.Environment) }

// HasScope reports whether the key holds the scope, itself or by a wildcard. It
// is false for a scope that is malformed or holds a wildcard of its own.
func (id Identity) HasScope(wanted string) bool {
	return scope.IsConcrete(wanted) && id.scopes().Covers(wanted)
}

// Scopes yields the key's scopes in the order given at its creation.
func (id Identity) Scopes() iter.Seq[string] { return id.scopes().All }

// Metadata returns the value kept under that name, or "".
func (id Identity) Metadata(name string) string {
	if id.IsZero() {
		return ""
	}
	return id.key.Metadata(name)
}

// ExpiresAt returns the key's deadline, exclusive; zero when it has none.
func (id Identity) ExpiresAt() time.Time {
	if id.IsZero() || id.key.ExpiresAt() == NoDeadline {
		return time.Time{}
	}
	return time.UnixMilli(id.key.ExpiresAt()).UTC()
}

// String names the key and its owner, for logs.
func (id Identity) String() string {
	if id.IsZero() {
		return "no identity"
	}
	return "key " + id.KeyID()
}

// Format writes String for every verb and flag.
func (id Identity) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, id.String()) }

// LogValue is String, for log/slog.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.String()) }

// text returns a text of the key, empty for the zero Identity.
func (id Identity) text(of func(keycache.Key) string) string {
	if id.IsZero() {
		return ""
	}
	return of(id.key)
}

func (id Identity) scopes() scope.Set {
	if id.IsZero() {
		return ""
	}
	return id.key.Scopes()
}

var _ redact.Redacted = Request{}

// shown has the id of the key in place of the token where the token has its shape.
func (r Request) shown() redact.Fields {
	fields := redact.Of(r, "Token")
	if token, err := ParseToken(r.Token); err == nil {
		fields.Set("Token", token.String())
	}
	return fields
}

// Format writes the fields that are set, without the secret of the token, for
// every verb and flag.
func (r Request) Format(state fmt.State, verb rune) { r.shown().Format(state, verb) }

// LogValue is a group of what Format writes.
func (r Request) LogValue() slog.Value { return r.shown().LogValue() }

// MarshalJSON is an object of what Format writes.
func (r Request) MarshalJSON() ([]byte, error) { return r.shown().MarshalJSON() }

// MarshalText is what Format writes.
func (r Request) MarshalText() ([]byte, error) { return r.shown().MarshalText() }

// GobEncode returns an error: a token must not be stored.
func (r Request) GobEncode() ([]byte, error) { return nil, redact.ErrGob }
