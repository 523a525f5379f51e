package keyfold

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/keyfold/keyfold/internal/identifier"
	"github.com/keyfold/keyfold/internal/ipblock"
)

// Credentials are the identifier and the password of a log-in. Printing, logging or
// encoding them hides the password, except in an unexported field of another struct,
// because fmt calls no methods there.
type Credentials struct {
	// Identifier is a username or an e-mail address: a text that contains an "@"
	// is an address.
	Identifier string
	Password   string
	// IP is the address of the client. Attempts are counted by account and by address.
	// The zero Addr means that the address is unknown; attempts are then counted by
	// account only.
	IP netip.Addr
}

// Authenticate checks the credentials and returns the user. Errors:
//   - [ErrInvalidCredentials]: the user does not exist, the password is incorrect, or
//     the user is disabled. Do not tell the client which; [OutcomeOf] is for the log.
//     All three take the time of hashing one password, except for names that no user can
//     have.
//   - [ErrRateLimited]: too many attempts failed for this account or from this address.
//     [RetryAfter] returns how long to wait. From a known address of the user, the
//     correct password may be accepted earlier.
//   - both [ErrRateLimited] and [ErrUnavailable]: this process is overloaded with
//     log-ins, and refused this one without reading the store. Addresses with successful
//     log-ins have priority, and addresses with recent failures come last.
//   - [ErrUnavailable]: the store did not respond.
//
// Attempts are counted in the store, for all processes, before the password is checked,
// so that concurrent guesses are all counted. Failed attempts of strangers do not lock
// out the user: the correct password is accepted from a known address of the user, and
// every network has a few attempts for each account. Attempts are counted by the
// identifier that was given. A common count for the username and the address of a user
// would reveal that they belong together.
//
// On a Service from [Service.InTx] or [Service.With], Authenticate returns an
// [InvalidError], because a rollback would undo the count.
func (s *Service) Authenticate(ctx context.Context, l Credentials) (User, error) {
	if s.bound {
		return User{}, errBound
	}
	_, key, ok := identifier.Key(l.Identifier)
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

// authenticate is [Service.Authenticate] behind the gate.
func (s *Service) authenticate(ctx context.Context, l Credentials, key string) (User, error) {
	attempt, err := s.newAttempt(ctx, key, l.IP)
	if err != nil {
		return User{}, err
	}
	if err := s.reserve(ctx, &attempt); err != nil {
		return User{}, err
	}
	user, err := s.userByIdentifier(ctx, l.Identifier)
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

// refuseLogin logs a refusal. The log contains a hash of the name, because users
// sometimes type a password there. Administrators can compute the hash of a name.
func (s *Service) refuseLogin(a *attempt, reason error) error {
	if s.loginLog.Take(s.now()) {
		sum := sha256.Sum256([]byte(a.account))
		s.opts.Logger.Info("keyfold: a log-in was refused", slog.String("reason", OutcomeOf(reason).String()),
			slog.String("name_sha256", hex.EncodeToString(sum[:])), slog.String("network", a.from))
	}
	if a.blocked != nil {
		return a.blocked
	}
	return reason
}

// rehashPassword hashes a correct password again with the current parameters, unless it
// has been changed. The log-in succeeds even if this fails.
func (s *Service) rehashPassword(ctx context.Context, user *UserRecord, password string) {
	rehash := func() error {
		hash, err := s.passwords.Hash(ctx, password)
		if err != nil {
			return err
		}
		return s.store.RehashPassword(ctx, user.ID, user.PasswordHash, hash)
	}
	if err := rehash(); err != nil && ctx.Err() == nil {
		s.opts.Logger.Warn("keyfold: a password keeps its old hash; the next log-in tries again", slog.String("user", user.ID), slog.Any("error", err))
	}
}

// The rules of the throttles. docs/security-model.md says how many guesses a day
// they allow; TestGuessesADayAreAsDocumented counts them.
var (
	// loginRule holds for an account and for an address: five attempts are free,
	// the next ones wait 30 seconds, doubling to an hour.
	loginRule = ThrottleRule{Burst: 5, InitialDelay: 30 * time.Second, MaxDelay: time.Hour, ResetAfter: 24 * time.Hour}

	// freshRule bounds the attempts on an account that must wait, from networks
	// that made fewer than networkRule.Burst such attempts on it in a day. With it,
	// a stranger who keeps an account waiting slows its user down at a new address
	// and does not lock them out.
	freshRule   = ThrottleRule{Burst: 5, RefillInterval: 30 * time.Minute}
	networkRule = ThrottleRule{Burst: 3, InitialDelay: 24 * time.Hour, MaxDelay: 24 * time.Hour, ResetAfter: 24 * time.Hour}

	// addressRule bounds the addresses that become known for a user in a day.
	addressRule = ThrottleRule{Burst: 20, InitialDelay: 24 * time.Hour, MaxDelay: 24 * time.Hour, ResetAfter: 24 * time.Hour}

	// mailFromRule bounds the mails that one address may ask for, for each purpose.
	// It serves an office or a mobile network, where many people share an address.
	mailFromRule = ThrottleRule{Burst: 100, RefillInterval: 15 * time.Second}

	// mailToRule bounds the mails to one user, for each purpose.
	mailToRule = ThrottleRule{Burst: 5, RefillInterval: 3 * time.Hour}
)

const (
	// knownFor is how long an address stays known after a log-in from it.
	knownFor = 90 * 24 * time.Hour
	// knownAnew is the age at which a log-in writes a known address anew.
	knownAnew = 24 * time.Hour

	// clockSkew is how far the clocks of processes may be apart before a throttle
	// is taken to be the work of a wrong clock.
	clockSkew = time.Minute

	// anonymousBytes bounds the throttles that clients without an account can make: three bytes of a
	// hash are 16 million names of each kind, of which a day's worth is kept.
	anonymousBytes = 3
	userBytes      = 16 // of throttles that need an account
)

// attempt identifies one log-in or one request for mail to the throttles.
type attempt struct {
	secret  []byte // of the database
	account string // the name as it is compared
	from    string // the prefix of the address: /32 or /64; empty when unknown
	network string // the network around it: /24 or /48

	reserved []ThrottleReservation // the throttles that the attempt counts on
	// blocked is the refusal of the shared throttles, or nil. If it is set, only the
	// correct password from a known address is accepted.
	blocked error
	known   bool
}

func (s *Service) newAttempt(ctx context.Context, account string, ip netip.Addr) (attempt, error) {
	secret, err := s.databaseSecret(ctx)
	if err != nil {
		return attempt{}, err
	}
	a := attempt{secret: secret, account: account}
	if from := ipblock.Of(ip); from.IsValid() {
		site := 48 // what one customer may have at most
		if from.Addr().Is4() {
			site = 24
		}
		a.from = from.String()
		a.network = netip.PrefixFrom(from.Addr(), site).Masked().String()
	}
	return a, nil
}

// name returns the name of a throttle. The hash is keyed, so that strangers cannot choose
// an account name with the same throttle as another account and clear it by logging in.
func (a *attempt) name(kind, of string, bytes int) string {
	mac := hmac.New(sha256.New, a.secret)
	mac.Write([]byte(kind + "\x00" + of))
	return kind + "." + hex.EncodeToString(mac.Sum(nil)[:bytes])
}

func (a *attempt) accountName(account string) string {
	return a.name("account", account, anonymousBytes)
}

func (a *attempt) freshName(account string) string { return a.name("fresh", account, anonymousBytes) }

// knownName and ownName are the names for an account at the address: the mark that its
// user logged in from there, and the count of the attempts that the mark permits.
func (a *attempt) knownName(account string) string {
	return a.name("known", account+"\x00"+a.from, userBytes)
}

func (a *attempt) ownName(account string) string {
	return a.name("own", account+"\x00"+a.from, userBytes)
}

// oldPasswordName counts attempts to change a password with the old one.
func (a *attempt) oldPasswordName(user *UserRecord) string {
	return a.name("change", user.ID, userBytes)
}

// usedName is the mark that any user logged in from the address.
func (a *attempt) usedName() string { return a.name("used", a.from, userBytes) }

// shared returns the throttles that count the attempts of all clients.
func (a *attempt) shared() []ThrottleReservation {
	names := []ThrottleReservation{{a.accountName(a.account), loginRule}}
	if a.from != "" {
		names = append(names, a.address())
	}
	return names
}

func (a *attempt) address() ThrottleReservation {
	return ThrottleReservation{a.name("address", a.from, anonymousBytes), loginRule}
}

// fresh returns the throttles for a network from which few attempts were made on the
// account.
func (a *attempt) fresh() []ThrottleReservation {
	return []ThrottleReservation{
		{a.freshName(a.account), freshRule},
		{a.name("network", a.account+"\x00"+a.network, anonymousBytes), networkRule},
		a.address(),
	}
}

// reserve counts the attempt before it is made, or refuses it.
//
// The result for a client without the correct password depends only on throttles that
// treat all names alike, so that it does not reveal whether an account exists. An attempt
// from a known address therefore also counts on the shared throttles and, if they block,
// gets their refusal. A name that is not known at the address takes the same steps.
func (s *Service) reserve(ctx context.Context, a *attempt) error {
	now := s.now()
	shared := a.shared()
	wait, blocking, err := s.reserveAll(ctx, a, shared, now)
	if err != nil || wait == 0 {
		a.reserved = shared
		return err
	}
	if a.from == "" {
		return &limited{wait: wait}
	}
	if blocking == shared[0].Name {
		fresh := a.fresh()
		sooner, _, err := s.reserveAll(ctx, a, fresh, now)
		if err != nil || sooner == 0 {
			a.reserved = fresh
			return err
		}
		wait = min(wait, sooner)
	}
	return s.reserveBlocked(ctx, a, &limited{wait: wait}, now)
}

// reserveBlocked counts an attempt that the shared throttles refuse.
func (s *Service) reserveBlocked(ctx context.Context, a *attempt, refusal error, now time.Time) (err error) {
	if a.known, err = s.marked(ctx, a.knownName(a.account), now); err != nil {
		return err
	}
	own := a.ownName(a.account)
	if !a.known {
		used, err := s.marked(ctx, a.usedName(), now)
		if err != nil {
			return err
		}
		if !used {
			return refusal // no account is known here, so there is nothing to hide
		}
		own = a.name("other", a.account+"\x00"+a.from, anonymousBytes)
	}
	reserved := []ThrottleReservation{{own, loginRule}}
	wait, _, err := s.reserveAll(ctx, a, reserved, now)
	switch {
	case err != nil:
		return err
	case wait > 0:
		return refusal
	}
	a.reserved, a.blocked = reserved, refusal
	return nil
}

// marked reports whether a mark exists and has not expired.
func (s *Service) marked(ctx context.Context, name string, now time.Time) (bool, error) {
	mark, err := s.store.Throttle(ctx, name)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return mark.ExpiresAt.After(now), storeError(ctx, err)
}

// reserveAll counts one attempt on all throttles. If one of them blocks, it counts on none,
// and returns the wait and the name of that throttle.
func (s *Service) reserveAll(ctx context.Context, a *attempt, names []ThrottleReservation, now time.Time) (wait time.Duration, name string, err error) {
	for range 2 {
		var blocking Throttle
		blocking, err = s.store.ReserveAttempt(ctx, names, now)
		if err != nil || !blocking.blocks(now) {
			return 0, "", storeError(ctx, err)
		}
		at := slices.IndexFunc(names, func(r ThrottleReservation) bool { return r.Name == blocking.Name })
		rule := names[at].Rule
		wait = min(blocking.BlockedUntil.Sub(now), rule.longest())
		if blocking.BlockedUntil.Sub(now) <= rule.longest()+clockSkew && blocking.ExpiresAt.Sub(now) <= rule.life()+clockSkew {
			return wait, blocking.Name, nil
		}
		left, err := s.outwait(ctx, a, &blocking, rule, now)
		if err != nil || left > 0 {
			return min(wait, left), blocking.Name, err
		}
	}
	return wait, names[0].Name, nil
}

// outwait removes a throttle that a process with a correct clock cannot have written. It
// is unknown which clock is wrong: that of the writer or that of this process. The throttle
// is therefore respected for the longest wait of its rule, counted from when it was first
// seen, so that a process with a slow clock removes throttles of others only once an hour.
// outwait returns how long the throttle is still respected.
func (s *Service) outwait(ctx context.Context, a *attempt, wrong *Throttle, rule ThrottleRule, now time.Time) (time.Duration, error) {
	seen := a.name("seen", fmt.Sprint(wrong.Name, wrong.BlockedUntil.UnixMilli(), wrong.ExpiresAt.UnixMilli()), userBytes)
	mark, err := s.store.Throttle(ctx, seen)
	switch {
	case errors.Is(err, ErrNotFound):
		s.opts.Logger.Warn("keyfold: a log-in throttle was written by a process whose clock is wrong, or the clock of this process is",
			slog.Time("expires", wrong.ExpiresAt), slog.Time("now", now))
		// The mark outlives its end, for the process that looks at it next.
		err = s.store.RecordAttemptResult(ctx, AttemptResult{Trusted: []string{seen}, TrustedUntil: now.Add(2 * rule.longest())})
		return rule.longest(), storeError(ctx, err)
	case err != nil:
		return 0, storeError(ctx, err)
	}
	if left := mark.ExpiresAt.Add(-rule.longest()).Sub(now); left > 0 {
		return left, nil
	}
	return 0, storeError(ctx, s.store.RecordAttemptResult(ctx, AttemptResult{Clear: []string{wrong.Name, seen}}))
}

// success returns the changes of the throttles after a correct password. Only this attempt
// is refunded. Clearing all attempts would show strangers that the user logged in, and
// would let a stranger with an account clear the count of their address. Without an
// address, clients cannot be distinguished, so the count of the account is cleared.
func (s *Service) success(ctx context.Context, a *attempt, user *UserRecord) AttemptResult {
	if a.from == "" {
		return AttemptResult{Clear: []string{a.reserved[0].Name}}
	}
	result := AttemptResult{Refund: a.reserved}
	now := s.now()
	mark, err := s.store.Throttle(ctx, a.knownName(a.account))
	if err == nil {
		if age := now.Add(knownFor).Sub(mark.ExpiresAt).Abs(); age < knownAnew {
			return result
		}
	}
	if mark.ExpiresAt.After(now) || s.mayKnow(ctx, a, user, now) {
		result.Trusted, result.TrustedUntil = a.marks(user), now.Add(knownFor)
	}
	return result
}

// mayKnow reports whether one more address may become known for the user.
func (s *Service) mayKnow(ctx context.Context, a *attempt, user *UserRecord, now time.Time) bool {
	addresses := []ThrottleReservation{{a.name("addresses", user.ID, userBytes), addressRule}}
	wait, _, err := s.reserveAll(ctx, a, addresses, now)
	return err == nil && wait == 0
}

// marks returns the marks that make the address known, by both names of the user.
func (a *attempt) marks(user *UserRecord) []string {
	return []string{a.knownName(user.UsernameKey), a.knownName(user.EmailKey), a.usedName()}
}

// cleared returns the result that clears the throttles of a user, for both names. If the
// address is set, the result also makes it known.
func (a *attempt) cleared(user *UserRecord, now time.Time) AttemptResult {
	result := AttemptResult{Clear: []string{a.oldPasswordName(user)}}
	for _, account := range []string{user.UsernameKey, user.EmailKey} {
		result.Clear = append(result.Clear, a.accountName(account), a.freshName(account))
		if a.from != "" {
			result.Clear = append(result.Clear, a.ownName(account))
		}
	}
	slices.Sort(result.Clear)
	result.Clear = slices.Compact(result.Clear)
	if a.from != "" {
		result.Trusted, result.TrustedUntil = a.marks(user), now.Add(knownFor)
	}
	return result
}

// proved clears the throttles of a user who has proved their identity, or who has been
// unlocked by an administrator. It returns an error only if the changes of a
// transaction would be lost with it: otherwise the proof is already stored.
func (s *Service) proved(ctx context.Context, user *UserRecord, ip netip.Addr) error {
	s.gate.learn(ip, nil)
	result, err := s.proof(ctx, user, ip)
	switch {
	case err != nil && s.bound:
		return err
	case err != nil:
		s.opts.Logger.Warn("keyfold: the throttles of a user could not be cleared", slog.String("user", user.ID), slog.Any("error", err))
		return nil
	case s.bound:
		return storeError(ctx, s.store.RecordAttemptResult(ctx, result))
	}
	s.settle(ctx, result)
	return nil
}

// proof returns the changes of the throttles of a user who has proved their identity.
func (s *Service) proof(ctx context.Context, user *UserRecord, ip netip.Addr) (AttemptResult, error) {
	now := s.now()
	a, err := s.newAttempt(ctx, "", ip)
	if err != nil {
		return AttemptResult{}, err
	}
	result := a.cleared(user, now)
	if a.from != "" && !s.mayKnow(ctx, &a, user, now) {
		result.Trusted = nil
	}
	return result, nil
}

// checkOldPassword counts an attempt for the user before it checks the password.
func (s *Service) checkOldPassword(ctx context.Context, user *UserRecord, old string) error {
	leave, err := s.gate.admit(ctx, netip.Addr{})
	if err != nil {
		return err
	}
	defer leave()
	a, err := s.newAttempt(ctx, "", netip.Addr{})
	if err != nil {
		return err
	}
	reserved := []ThrottleReservation{{a.oldPasswordName(user), loginRule}}
	wait, _, err := s.reserveAll(ctx, &a, reserved, s.now())
	switch {
	case err != nil:
		return err
	case wait > 0:
		return &limited{wait: wait}
	}
	match, _, err := s.passwords.Verify(ctx, old, user.PasswordHash)
	switch {
	case err != nil: // nothing was decided, so it was no attempt
		s.settle(ctx, AttemptResult{Refund: reserved})
		return storeError(ctx, passwordError(err))
	case !match:
		return errWrongPassword
	case !user.DisabledAt.IsZero():
		return errDisabledLogin
	}
	s.settle(ctx, AttemptResult{Clear: []string{a.oldPasswordName(user)}})
	return nil
}

// settle records the result of an attempt. If that fails, the attempt stays counted, which
// does not lock out the user, because several attempts are permitted.
func (s *Service) settle(ctx context.Context, result AttemptResult) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := s.store.RecordAttemptResult(ctx, result); err != nil {
		s.opts.Logger.Warn("keyfold: a log-in attempt stays counted", slog.Any("error", err))
	}
}

const settleTimeout = 2 * time.Second
