package keyfold

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold/internal/identifier"
)

// Credentials is an attempt to log in. Printing, logging or encoding it hides the
// password, except in an unexported field of another struct, where fmt calls no
// methods.
type Credentials struct {
	// Identifier is a username or an e-mail address: a text that contains an "@"
	// is an address.
	Identifier string
	Password   string
	// IP is the client's address. Attempts are counted by account and by address.
	// The zero Addr means that the address is unknown: only the account counts.
	IP netip.Addr
}

// Authenticate returns the user that name and password belong to. It returns
//   - an [ErrUnauthenticated]: no such user, a wrong password, or a user who is
//     disabled; tell the caller no more than that ([OutcomeOf] is for the log). All
//     of them cost one hash of a password, but for names that nobody can have;
//   - an [ErrRateLimited]: too many attempts failed, on this account or from this
//     address; [RetryAfter] says how long to wait. The right password may pass
//     earlier, from an address where the user logged in before;
//   - an error that is both [ErrRateLimited] and [ErrUnavailable]: this process has
//     too many log-ins to do, and turned this one away without asking the store.
//     Addresses from which users logged in go first, and those of recent failures
//     last;
//   - an [ErrUnavailable]: the store could not answer.
//
// Attempts are counted in the store, for all processes, before the password is
// looked at, so that racing guesses count one by one. Strangers who fail on the
// account do not lock its user out: from an address where the user logged in
// before the right password passes, and a network that did not try the account
// yet has a few attempts. An attempt is counted by the name that was given: one
// count for both names of a user would tell that they belong together.
//
// A Service of [Service.InTx] or [Service.With] refuses with an [InvalidError]:
// attempts that a transaction takes back would not be counted.
func (s *Service) Authenticate(ctx context.Context, l Credentials) (User, error) {
	if s.bound {
		return User{}, errBound
	}
	_, key, ok := identifier.LoginKey(l.Identifier)
	if !ok {
		return User{}, errUnknownLogin // no user can have this name
	}
	leave, err := s.gate.admit(ctx, l.IP)
	if err != nil {
		return User{}, err
	}
	defer leave()
	user, err := s.authenticate(ctx, l, key)
	s.gate.learn(l.IP, err)
	return user, err
}

// authenticate is [Service.Authenticate] past the gate.
func (s *Service) authenticate(ctx context.Context, l Credentials, key string) (User, error) {
	attempt, err := s.newAttempt(ctx, key, l.IP)
	if err != nil {
		return User{}, err
	}
	if err := s.reserve(ctx, &attempt); err != nil {
		return User{}, err
	}
	user, err := s.userByLogin(ctx, l.Identifier)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, err
	}
	match, outdated, err := s.passwords.Verify(ctx, l.Password, user.PasswordHash)
	if err != nil { // nothing was decided, so it was no attempt
		s.settle(ctx, AttemptResult{Refund: attempt.reserved})
		return User{}, storeError(ctx, passwordError(err))
	}
	switch {
	case user.ID == "":
		return User{}, s.refuseLogin(&attempt, errUnknownLogin)
	case !match:
		return User{}, s.refuseLogin(&attempt, errWrongPassword)
	case !user.DisabledAt.IsZero():
		return User{}, s.refuseLogin(&attempt, errDisabledLogin)
	case attempt.blocked != nil && !attempt.known:
		return User{}, attempt.blocked
	}
	s.settle(ctx, s.success(ctx, &attempt, &user))
	if outdated {
		s.rehashPassword(ctx, &user, l.Password)
	}
	return user.User, nil
}

// errBound refuses what must not depend on whether a transaction is committed.
var errBound = invalid("Service", "must not be bound to a transaction, because a rollback would take back the count of attempts")

// refuseLogin logs a refusal, without the name: what is typed there may be a
// password. An administrator who knows a name finds it by its hash.
func (s *Service) refuseLogin(a *attempt, reason error) error {
	if s.logins.mayLog(s.now()) {
		sum := sha256.Sum256([]byte(a.account))
		s.opts.Logger.Info("keyfold: a log-in was refused", slog.String("reason", OutcomeOf(reason).String()),
			slog.String("name_sha256", hex.EncodeToString(sum[:])), slog.String("network", a.from))
	}
	if a.blocked != nil {
		return a.blocked
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
	hash, err := s.passwords.Hash(ctx, password)
	if err == nil {
		err = s.store.RehashPassword(ctx, user.ID, user.PasswordHash, hash)
	}
	if err != nil && ctx.Err() == nil {
		s.opts.Logger.Warn("keyfold: a password keeps its old hash; the next log-in tries again", slog.String("user", user.ID), slog.Any("error", err))
	}
}
