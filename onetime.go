package keyfold

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/keyfold/keyfold/internal/identifier"
	"github.com/keyfold/keyfold/internal/token"
)

const (
	verifyLife = 24 * time.Hour
	resetLife  = 15 * time.Minute // NIST SP 800-63B-4 section 3.1.3.2 allows 24 hours by mail; a reset is worth more

	oneTimePrefix = "kf1t_"
	oneTimeLen    = 43 // base62 of 256 bits
)

func (p OneTimePurpose) life() time.Duration {
	if p == PurposeResetPassword {
		return resetLife
	}
	return verifyLife
}

// oneTimeSum returns the stored hash of a token. It includes the purpose, so that a
// token for one purpose is invalid for another.
func oneTimeSum(purpose OneTimePurpose, text string) [sha256.Size]byte {
	return sha256.Sum256([]byte("kf1t\x00" + purpose.String() + "\x00" + text))
}

// isOneTime reports whether the text has the form of a one-time token.
func isOneTime(text string) bool {
	body, ok := strings.CutPrefix(text, oneTimePrefix)
	return ok && len(body) == oneTimeLen && token.IsBase62(body)
}

// CreateOneTimeToken creates a one-time token for a user. It replaces the token that the
// user may have for the same purpose. Give the token only to the user, by mail to
// IssuedOneTimeToken.To. email is the new address for [PurposeChangeEmail], and must be
// empty for other purposes.
//
// The token works once, until it expires or the user's password changes. It does not
// work while the user is disabled or has a different address. Errors: [InvalidError],
// also if the user has no address, [ErrNotFound], [ErrConflict] if the user is disabled
// or the new address is taken, which reveals that another user has it,
// [ErrUnavailable].
func (s *Service) CreateOneTimeToken(ctx context.Context, purpose OneTimePurpose, userID, email string) (IssuedOneTimeToken, error) {
	if purpose.life() == 0 || purpose < PurposeVerifyEmail || purpose > PurposeChangeEmail {
		return IssuedOneTimeToken{}, invalid("purpose", "must be one of verify_email, reset_password, change_email")
	}
	if (email != "") != (purpose == PurposeChangeEmail) {
		return IssuedOneTimeToken{}, invalid("email", "must be the new address for change_email, and empty for other purposes")
	}
	if _, _, err := checkedEmail(email); email != "" && err != nil {
		return IssuedOneTimeToken{}, err
	}
	user, err := s.user(ctx, userID)
	if err != nil {
		return IssuedOneTimeToken{}, err
	}
	return s.newOneTime(ctx, purpose, &user, email)
}

func (s *Service) newOneTime(ctx context.Context, purpose OneTimePurpose, user *UserRecord, email string) (IssuedOneTimeToken, error) {
	now := s.now()
	record := OneTimeTokenRecord{
		Purpose: purpose, UserID: user.ID, PasswordVersion: user.PasswordVersion, EmailKey: user.EmailKey,
		CreatedAt: now, ExpiresAt: now.Add(purpose.life()),
	}
	to := user.Email
	switch {
	case !user.DisabledAt.IsZero():
		return IssuedOneTimeToken{}, conflict("disabled_at", "user %s is disabled", user.ID)
	case purpose == PurposeChangeEmail:
		var err error
		if record.NewEmail, record.NewEmailKey, err = checkedEmail(email); err != nil {
			return IssuedOneTimeToken{}, err
		}
		other, err := s.store.UserByEmail(ctx, record.NewEmailKey)
		if err == nil && other.ID != user.ID {
			return IssuedOneTimeToken{}, conflict("email", "the e-mail address is taken")
		}
		if err != nil && !errors.Is(err, ErrNotFound) {
			return IssuedOneTimeToken{}, storeError(ctx, err)
		}
		to = record.NewEmail
	case user.Email == "":
		return IssuedOneTimeToken{}, invalid("email", "must be set for the user before a token can be sent to it")
	}
	text := oneTimePrefix + token.Random(oneTimeLen)
	token := OneTimeToken{text: &text}
	record.Sum = oneTimeSum(purpose, text)
	m := newMutation(ctx, now, "user.one_time", user.ID, nil, fieldsOf{"purpose": purpose.String(), "expires_at": record.ExpiresAt})
	if err := s.store.CreateOneTimeToken(ctx, record, m); err != nil {
		return IssuedOneTimeToken{}, storeError(ctx, err)
	}
	return IssuedOneTimeToken{Token: token, Purpose: purpose, User: user.User, To: to, ExpiresAt: record.ExpiresAt}, nil
}

// VerifyEmail uses a token for [PurposeVerifyEmail] and returns the user, whose
// address is now verified. ip is the address of the client; the zero Addr means
// that it is unknown.
//
// A one-time token proves the identity of the client. Like the other methods that
// use one, VerifyEmail therefore ends the delays caused by failed log-ins of the
// user, and remembers ip as a known address of the user, as a log-in does. Errors:
// [ErrInvalidOneTimeToken], [ErrUnavailable].
func (s *Service) VerifyEmail(ctx context.Context, token string, ip netip.Addr) (User, error) {
	return s.proveAddress(ctx, PurposeVerifyEmail, token, ip)
}

// ConfirmEmailChange uses a token for [PurposeChangeEmail] and returns the user
// with the new address, which is verified. For ip and errors see
// [Service.VerifyEmail]; the error is also an [ErrConflict] if another user has
// taken the address.
func (s *Service) ConfirmEmailChange(ctx context.Context, token string, ip netip.Addr) (User, error) {
	return s.proveAddress(ctx, PurposeChangeEmail, token, ip)
}

// ResetOptions are the options of [Service.ResetPassword].
type ResetOptions struct {
	// IP is the address of the client. It becomes a known address of the user, as after a
	// log-in: the correct password is accepted from there even while others guess. The
	// zero Addr means that the address is unknown.
	IP netip.Addr
	// RevokeKeys revokes all keys of the user in the same step. Use it if somebody else
	// may have had access to the account. A store without transactions revokes the keys
	// afterwards. If ResetPassword then returns a User and an error, some keys may not be
	// revoked: call [Service.RevokeKeys].
	RevokeKeys bool
}

// ResetPassword uses a token for [PurposeResetPassword], sets the password of its user,
// and returns the user. It also verifies the user's e-mail address, and ends waits as
// [Service.VerifyEmail] does. Errors: those of [Service.VerifyEmail]; [InvalidError] if
// the policy refuses the password, in which case the token remains valid, or if the
// Service is bound to a transaction, because hashing takes too long to keep one open;
// [ErrRateLimited] if too many passwords are being hashed.
func (s *Service) ResetPassword(ctx context.Context, token, password string, o ResetOptions) (User, error) {
	if s.bound {
		return User{}, errBoundReset
	}
	leave, err := s.admitOneTime(ctx, token, o.IP)
	if err != nil {
		return User{}, err
	}
	defer leave()
	record, user, err := s.oneTime(ctx, PurposeResetPassword, token)
	if err != nil {
		s.gate.learn(o.IP, err)
		return User{}, err
	}
	hash, err := s.newPassword(ctx, password, &user.User)
	if err != nil {
		return User{}, err
	}
	var changed UserRecord
	reset := func(k *Service) error {
		changed, err = k.useOneTime(ctx, &record, &user, hash)
		if err == nil && o.RevokeKeys {
			_, err = k.RevokeKeys(ctx, KeyFilter{UserID: Only(changed.ID)}, "password reset")
		}
		return err
	}
	err = s.InTx(ctx, reset)
	if errors.Is(err, errors.ErrUnsupported) {
		err = reset(s)
	}
	if err != nil {
		return changed.User, err
	}
	return changed.User, s.proved(ctx, &changed, o.IP)
}

var errBoundReset = invalid("Service", "must not be bound to a transaction, because a password is hashed before a transaction begins")

// proveAddress uses a token that verifies an address.
func (s *Service) proveAddress(ctx context.Context, purpose OneTimePurpose, token string, ip netip.Addr) (User, error) {
	leave, err := s.admitOneTime(ctx, token, ip)
	if err != nil {
		return User{}, err
	}
	defer leave()
	record, user, err := s.oneTime(ctx, purpose, token)
	if err != nil {
		s.gate.learn(ip, err)
		return User{}, err
	}
	changed, err := s.useOneTime(ctx, &record, &user, "")
	if err != nil {
		return User{}, err
	}
	return changed.User, s.proved(ctx, &changed, ip)
}

// useOneTime uses a token that was read with its user. The store checks both again.
func (s *Service) useOneTime(ctx context.Context, record *OneTimeTokenRecord, user *UserRecord, passwordHash string) (UserRecord, error) {
	now, after := s.now(), user.User
	after.EmailVerifiedAt = now
	switch record.Purpose {
	case PurposeChangeEmail:
		after.Email = record.NewEmail
	case PurposeResetPassword:
		after.HasPassword = true
	}
	use := OneTimeTokenUse{Sum: record.Sum, Purpose: record.Purpose, PasswordHash: passwordHash}
	m := newMutation(ctx, now, "user."+record.Purpose.String(), user.ID, userFields(&user.User), userFields(&after))
	changed, err := s.store.UseOneTimeToken(ctx, use, m)
	if errors.Is(err, ErrConflict) {
		return UserRecord{}, conflict("email", "the e-mail address is taken")
	}
	if err != nil {
		return UserRecord{}, oneTimeError(ctx, err)
	}
	return changed, nil
}

// admitOneTime checks the form of a token and passes the gate for its use.
func (s *Service) admitOneTime(ctx context.Context, token string, ip netip.Addr) (leave func(), err error) {
	if !isOneTime(token) {
		return nil, ErrInvalidOneTimeToken
	}
	return s.gate.admit(ctx, ip)
}

// oneTime returns the stored token and its user.
func (s *Service) oneTime(ctx context.Context, purpose OneTimePurpose, token string) (OneTimeTokenRecord, UserRecord, error) {
	record, err := s.store.OneTimeToken(ctx, oneTimeSum(purpose, token))
	if err != nil {
		return OneTimeTokenRecord{}, UserRecord{}, oneTimeError(ctx, err)
	}
	user, err := s.store.User(ctx, record.UserID)
	return record, user, oneTimeError(ctx, err)
}

// oneTimeError hides the reason for which a token is invalid.
func oneTimeError(ctx context.Context, err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrInvalidOneTimeToken
	}
	return storeError(ctx, err)
}

// SendPasswordReset mails a token for [PurposeResetPassword] to the user with that
// username or address, through Options.Mailer. It returns before it looks up the user,
// so that neither its result nor its duration reveals whether the user exists. Later
// failures are logged. ip is the address of the client; the zero Addr means that it is
// unknown. Errors: [InvalidError] without an Options.Mailer or on a Service that is
// bound to a transaction, [ErrRateLimited] after too many requests from this address,
// [ErrUnavailable]. An error is both ErrRateLimited and ErrUnavailable if too many mails
// are being sent.
//
// A user receives at most five mails for one purpose at once, and one more every three
// hours, whichever client and name the requests come with. Further requests have the
// same result and send nothing. Requests from a known address of the user are counted
// separately, so that strangers cannot use up the mails of a user.
func (s *Service) SendPasswordReset(ctx context.Context, identifier string, ip netip.Addr) error {
	return s.sendOneTime(ctx, PurposeResetPassword, identifier, ip)
}

// SendEmailVerification mails a token for [PurposeVerifyEmail], as [Service.SendPasswordReset]
// does for its own. A user whose address is verified gets none.
func (s *Service) SendEmailVerification(ctx context.Context, identifier string, ip netip.Addr) error {
	return s.sendOneTime(ctx, PurposeVerifyEmail, identifier, ip)
}

func (s *Service) sendOneTime(ctx context.Context, purpose OneTimePurpose, name string, ip netip.Addr) error {
	if s.opts.Mailer == nil {
		return invalid("Options.Mailer", "must be set to send mail")
	}
	if s.bound {
		return errBound
	}
	_, key, ok := identifier.Key(name)
	if !ok {
		return nil // no user can have this name, and the client must not learn that
	}
	leave, err := s.gate.admit(ctx, ip)
	if err != nil {
		return err
	}
	if !s.outbox.take() {
		leave()
		return errMailBusy
	}
	sent := false
	defer func() {
		if !sent {
			s.outbox.giveBack()
			leave()
		}
	}()
	a, err := s.newAttempt(ctx, key, ip)
	if err == nil {
		err = s.reserveMailFrom(ctx, purpose, &a)
	}
	if err != nil {
		s.gate.learn(ip, err)
		return err
	}
	sent = true
	s.outbox.send(func(ctx context.Context) {
		defer leave()
		if err := s.mailOneTime(ctx, purpose, name, &a, leave); err != nil {
			s.opts.Logger.Error("keyfold: a one-time token could not be mailed",
				slog.String("purpose", purpose.String()), slog.Any("error", err))
		}
	})
	return nil
}

// reserveMailFrom counts a mail for the address that requests it.
func (s *Service) reserveMailFrom(ctx context.Context, purpose OneTimePurpose, a *attempt) error {
	if a.from == "" {
		return nil
	}
	from := []ThrottleReservation{{a.name("mails", purpose.String()+"\x00"+a.from, anonymousBytes), mailFromRule}}
	wait, _, err := s.reserveAll(ctx, a, from, s.now())
	if err == nil && wait > 0 {
		err = &limited{wait: wait}
	}
	return err
}

const errMailBusy = busy("keyfold: too many mails are being sent")

// mailOneTime looks up the user, creates the token and mails it, unless the user has
// received too many. It calls leave before it calls the Mailer, which may be slow.
func (s *Service) mailOneTime(ctx context.Context, purpose OneTimePurpose, name string, a *attempt, leave func()) error {
	user, err := s.userByIdentifier(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case user.Email == "", !user.DisabledAt.IsZero(), purpose == PurposeVerifyEmail && !user.EmailVerifiedAt.IsZero():
		return nil
	}
	counted, err := s.reserveMailTo(ctx, purpose, &user, a)
	if err != nil || counted == nil {
		return err
	}
	mail, err := s.newOneTime(ctx, purpose, &user, "")
	if err != nil {
		s.settle(ctx, AttemptResult{Refund: counted})
		return err
	}
	leave()
	if err := s.opts.Mailer.SendOneTimeToken(ctx, mail); err != nil {
		s.settle(ctx, AttemptResult{Refund: counted})
		return err
	}
	return nil
}

// reserveMailTo counts a mail to a user. It returns nil if there were too many.
func (s *Service) reserveMailTo(ctx context.Context, purpose OneTimePurpose, user *UserRecord, a *attempt) ([]ThrottleReservation, error) {
	now, of := s.now(), purpose.String()+"\x00"+user.ID
	if a.from != "" {
		known, err := s.marked(ctx, a.knownName(a.account), now)
		if err != nil {
			return nil, err
		}
		if known {
			of += "\x00" + a.from
		}
	}
	mails := []ThrottleReservation{{a.name("mail", of, userBytes), mailToRule}}
	wait, _, err := s.reserveAll(ctx, a, mails, now)
	if err != nil {
		return nil, err
	}
	if wait > 0 {
		if s.loginLog.Take(now) {
			s.opts.Logger.Info("keyfold: a mail was not sent, because the user was already sent too many",
				slog.String("purpose", purpose.String()), slog.String("user", user.ID))
		}
		return nil, nil
	}
	return mails, nil
}
