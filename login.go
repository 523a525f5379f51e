package keyfold

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Login is an attempt to log in.
type Login struct {
	// Login is a username, or an e-mail address: what holds an "@" is one.
	Login    string
	Password string
	// IP is the client's address, by which attempts are counted beside the
	// account. The zero Addr is "unknown": only the account counts.
	IP netip.Addr
}

// Attempts are free five times, then 30 seconds apart, doubling to an hour. A
// day without any forgets them.
var loginRule = ThrottleRule{Free: 5, First: 30 * time.Second, Longest: time.Hour, Forget: 24 * time.Hour}

// addressRule bounds the addresses that become known for a user in a day.
var addressRule = ThrottleRule{Free: 20, First: 24 * time.Hour, Longest: 24 * time.Hour, Forget: 24 * time.Hour}

// goodFor is how long an address from which somebody logged in keeps an
// allowance of its own.
const goodFor = 90 * 24 * time.Hour

// Authenticate returns the user that name and password belong to. It returns
//   - an [ErrUnauthenticated]: no such user, a wrong password, or a user who is
//     disabled; tell the caller no more than that ([CodeOf] is for the log). All
//     of them cost one hash of a password, but for names that nobody can have;
//   - an [ErrLimited]: too many attempts failed, on this account or from this
//     address; [RetryAfter] says how long to wait. The password was not looked at;
//   - an error that is both [ErrLimited] and [ErrUnavailable]: this process has
//     too many log-ins to do, and turned this one away without asking the store.
//     Addresses from which users logged in go first, and those of recent failures
//     last;
//   - an [ErrUnavailable]: the store could not answer.
//
// Attempts are counted in the store, for all processes, before the password is
// looked at, so that racing guesses count one by one. An address from which the
// user logged in before has an allowance of its own: strangers who fail on the
// account do not lock its user out. An attempt is counted by the name that was
// given: one count for both names of a user would tell who they belong to.
//
// A Service of [Service.InTx] or [Service.With] refuses with an [InvalidError]:
// attempts that a transaction takes back would not be counted.
func (s *Service) Authenticate(ctx context.Context, l Login) (User, error) {
	if s.bound {
		return User{}, errBound
	}
	_, key, ok := loginKey(l.Login)
	if !ok {
		return User{}, errUnknown // nobody can be called so
	}
	leave, err := s.admit(ctx, l.IP)
	if err != nil {
		return User{}, err
	}
	defer leave()
	user, err := s.authenticate(ctx, l, key)
	s.gate.learn(l.IP, err)
	return user, err
}

// authenticate is [Service.Authenticate] past the gate.
func (s *Service) authenticate(ctx context.Context, l Login, key string) (User, error) {
	attempt, err := s.newAttempt(ctx, key, l.IP)
	if err != nil {
		return User{}, err
	}
	if err := s.reserve(ctx, &attempt); err != nil {
		return User{}, err
	}
	user, err := s.userByLogin(ctx, l.Login)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, err
	}
	match, outdated, err := s.passwords.verify(ctx, l.Password, user.PasswordHash)
	switch {
	case err != nil: // nothing was decided, so it was no attempt
		s.settle(ctx, Settlement{Refund: attempt.reserved})
		return User{}, storeError(ctx, err)
	case user.ID == "":
		return User{}, s.refuseLogin(&attempt, errUnknown)
	case !match:
		return User{}, s.refuseLogin(&attempt, errWrongSecret)
	case !user.DisabledAt.IsZero():
		return User{}, s.refuseLogin(&attempt, errUserOff)
	}
	s.settle(ctx, s.success(ctx, &attempt, &user))
	if outdated {
		s.rehashPassword(ctx, &user, l.Password)
	}
	return user.User, nil
}

// errBound refuses what must not depend on whether a transaction is committed.
var errBound = invalid("Service", "one that is not bound to a transaction: attempts are counted whatever becomes of it")

// refuseLogin tells the log of a refusal, without the name: what is typed there
// may be a password. Whoever knows a name finds its hash.
func (s *Service) refuseLogin(a *attempt, reason error) error {
	if s.logins.mayLog(s.now()) {
		sum := sha256.Sum256([]byte(a.account))
		s.opts.Logger.Info("keyfold: a log-in was refused", slog.String("reason", CodeOf(reason).String()),
			slog.String("name_sha256", hex.EncodeToString(sum[:])), slog.String("network", a.from))
	}
	return reason
}

const loggedRefusals = 10 // a second

// logins is what log-ins have in common, whichever Service they come by.
type logins struct {
	secret atomic.Pointer[[]byte] // of the database

	mu     sync.Mutex
	second int64
	left   int // refusals that may be logged in it
}

func (l *logins) mayLog(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := now.Unix(); second != l.second {
		l.second, l.left = second, loggedRefusals
	}
	l.left--
	return l.left >= 0
}

// rehashPassword moves a password that was right to the current parameters,
// unless it was changed meanwhile. The log-in does not depend on it.
func (s *Service) rehashPassword(ctx context.Context, user *UserRecord, password string) {
	hash, err := s.passwords.hash(ctx, password)
	if err == nil {
		err = s.store.RehashPassword(ctx, user.ID, user.PasswordHash, hash)
	}
	if err != nil && ctx.Err() == nil {
		s.opts.Logger.Warn("keyfold: a password keeps its old hash; the next log-in tries again", slog.String("user", user.ID), slog.Any("error", err))
	}
}

// attempt is one log-in as the throttles see it.
type attempt struct {
	secret  []byte // of the database
	account string // the name as it is compared
	from    string // the prefix of the address; empty when unknown
	// reserved are the throttles that the attempt counts on.
	reserved []string
}

func (s *Service) newAttempt(ctx context.Context, account string, ip netip.Addr) (attempt, error) {
	secret, err := s.databaseSecret(ctx)
	if err != nil {
		return attempt{}, err
	}
	a := attempt{secret: secret, account: account}
	if network := networkOf(ip); network.IsValid() {
		a.from = network.String()
	}
	return a, nil
}

// databaseSecret is what throttles are named under and cursors are authenticated
// with. It asks the store once.
func (s *Service) databaseSecret(ctx context.Context) ([]byte, error) {
	if known := s.logins.secret.Load(); known != nil {
		return *known, nil
	}
	id, err := s.store.DatabaseID(ctx)
	if err != nil {
		return nil, storeError(ctx, err)
	}
	secret := []byte(id)
	s.logins.secret.Store(&secret)
	return secret, nil
}

// known is the throttle of an account at an address from which its user has
// logged in; empty when the address is unknown.
func (a *attempt) known(account string) string {
	if a.from == "" {
		return ""
	}
	return a.name("known", account+"\x00"+a.from, knownBytes)
}

// strange are the throttles of everybody else.
func (a *attempt) strange() []string {
	names := []string{a.name("account", a.account, throttleBytes)}
	if a.from != "" {
		names = append(names, a.name("address", a.from, throttleBytes))
	}
	return names
}

const (
	// throttleBytes bounds the rows that strangers can make: three bytes of a hash
	// are 16 million names of each kind, of which a day's worth is kept.
	throttleBytes = 3
	knownBytes    = 16 // of rows that only log-ins make
)

// name is what a throttle is called. The hash is keyed: whoever could find an
// account of their own that shares the row of another would start its count anew
// with every log-in.
func (a *attempt) name(kind, of string, bytes int) string {
	mac := hmac.New(sha256.New, a.secret)
	mac.Write([]byte(kind + "\x00" + of))
	return kind + "." + hex.EncodeToString(mac.Sum(nil)[:bytes])
}

// reserve counts the attempt before it is made.
func (s *Service) reserve(ctx context.Context, a *attempt) error {
	now := s.now()
	a.reserved = a.strange()
	if known := a.known(a.account); known != "" {
		row, err := s.store.Throttle(ctx, known)
		switch {
		case err == nil && now.Before(row.ExpiresAt):
			a.reserved = []string{known}
		case err != nil && !errors.Is(err, ErrNotFound):
			return storeError(ctx, err)
		}
	}
	return s.reserveAll(ctx, a.reserved, loginRule, now)
}

func (s *Service) reserveAll(ctx context.Context, names []string, rule ThrottleRule, now time.Time) error {
	until, err := s.store.ReserveAttempt(ctx, names, rule, now)
	if err != nil {
		return storeError(ctx, err)
	}
	if until.After(now) {
		return &limited{wait: until.Sub(now)}
	}
	return nil
}

// success is what becomes of the throttles. The account starts anew; the
// address only gets this attempt back, or whoever has one account could guess at
// others between log-ins of their own. The address is known from now on, by both
// of the user's names, unless it is one of very many.
func (s *Service) success(ctx context.Context, a *attempt, user *UserRecord) (settled Settlement) {
	now := s.now()
	strange := a.strange()
	isNew := a.reserved[0] == strange[0]
	if isNew {
		settled.Forget, settled.Refund = strange[:1], strange[1:]
	}
	if a.from == "" {
		return settled
	}
	if isNew && s.reserveAll(ctx, []string{a.name("addresses", user.ID, knownBytes)}, addressRule, now) != nil {
		return settled
	}
	for _, account := range []string{user.UsernameKey, user.EmailKey} {
		settled.Good = append(settled.Good, a.known(account))
	}
	settled.GoodUntil = now.Add(goodFor)
	return settled
}

// settle closes an attempt. Where that fails the attempt stays counted, which
// locks nobody out: it is one of several.
func (s *Service) settle(ctx context.Context, settlement Settlement) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := s.store.SettleAttempt(ctx, settlement, loginRule); err != nil {
		s.opts.Logger.Warn("keyfold: a log-in attempt stays counted", slog.Any("error", err))
	}
}

const settleTimeout = 2 * time.Second
