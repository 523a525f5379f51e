package keyfold

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/keyfold/keyfold/internal/token"
)

// OneTimePurpose is what a one-time token is good for. Its number is stored.
type OneTimePurpose uint8

// The purposes of one-time tokens.
const (
	PurposeVerifyEmail   OneTimePurpose = 1 // proves that the user reads mail to their address; 24 hours
	PurposeResetPassword OneTimePurpose = 2 // sets a password without the old one; 15 minutes
	PurposeChangeEmail   OneTimePurpose = 3 // proves another address and makes it the user's; 24 hours
)

const (
	verifyLife = 24 * time.Hour
	resetLife  = 15 * time.Minute // NIST SP 800-63B-4 section 3.1.3.2 allows 24 hours by mail; a reset is worth more

	oneTimePrefix = "kf1t_"
	oneTimeLen    = 43 // base62 of 256 bits
)

// String returns the stable text of the purpose: "verify_email".
func (p OneTimePurpose) String() string {
	switch p {
	case PurposeVerifyEmail:
		return "verify_email"
	case PurposeResetPassword:
		return "reset_password"
	case PurposeChangeEmail:
		return "change_email"
	}
	return fmt.Sprintf("purpose_%d", uint8(p))
}

// ParseOneTimePurpose returns the purpose of that text, or an [InvalidError]
// for the field "purpose".
func ParseOneTimePurpose(text string) (OneTimePurpose, error) {
	for _, p := range []OneTimePurpose{PurposeVerifyEmail, PurposeResetPassword, PurposeChangeEmail} {
		if p.String() == text {
			return p, nil
		}
	}
	return 0, invalid("purpose", "must be one of verify_email, reset_password, change_email")
}

func (p OneTimePurpose) life() time.Duration {
	if p == PurposeResetPassword {
		return resetLife
	}
	return verifyLife
}

// OneTimeToken is a secret of 256 random bits that works once, for one purpose
// and one user. It hides itself as [Token] does: only [OneTimeToken.Reveal]
// shows it. Only its hash is stored. Compare with [OneTimeToken.Equal]: the
// compiler refuses == and the use as a map key.
type OneTimeToken struct {
	_    [0]func() // not comparable
	text *string   // a pointer for the reason that Token has
}

var (
	_ fmt.Formatter          = OneTimeToken{}
	_ slog.LogValuer         = OneTimeToken{}
	_ json.Marshaler         = OneTimeToken{}
	_ encoding.TextMarshaler = OneTimeToken{}
)

// Reveal returns the token as its user must send it back. Put it into the
// fragment of a link or a form, not into a query: those are logged. A GET must
// not use it up: programs that look at mail follow links.
func (t OneTimeToken) Reveal() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// Equal reports whether both are the same token, in constant time for tokens of
// the same length. Two zero tokens are equal.
func (t OneTimeToken) Equal(other OneTimeToken) bool { return sameText(t.Reveal(), other.Reveal()) }

const hiddenOneTime = "[one-time token]"

// String does not show the token.
func (t OneTimeToken) String() string { return hiddenOneTime }

// GoString does not show the token.
func (t OneTimeToken) GoString() string { return hiddenOneTime }

// Format does not show the token, whatever the verb.
func (t OneTimeToken) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, hiddenOneTime) }

// LogValue does not show the token.
func (t OneTimeToken) LogValue() slog.Value { return slog.StringValue(hiddenOneTime) }

// MarshalText does not show the token.
func (t OneTimeToken) MarshalText() ([]byte, error) { return []byte(hiddenOneTime), nil }

// MarshalJSON does not show the token.
func (t OneTimeToken) MarshalJSON() ([]byte, error) { return json.Marshal(hiddenOneTime) }

// oneTimeSum is what is stored of a token. The purpose is part of it, so that a
// token for one is nothing for another.
func oneTimeSum(purpose OneTimePurpose, text string) [sha256.Size]byte {
	return sha256.Sum256([]byte("kf1t\x00" + purpose.String() + "\x00" + text))
}

// isOneTime reports whether the text has the shape of a token.
func isOneTime(text string) bool {
	body, ok := strings.CutPrefix(text, oneTimePrefix)
	return ok && len(body) == oneTimeLen && token.IsBase62(body)
}

// IssuedOneTimeToken is a one-time token with what to do with it.
type IssuedOneTimeToken struct {
	Token     OneTimeToken
	Purpose   OneTimePurpose
	User      User
	To        string    // the address to send it to, as it is shown
	ExpiresAt time.Time // exclusive
}

// Mailer delivers one-time tokens. It is called in the background and must return
// when ctx is done. Its error is logged, so it must not hold the token.
type Mailer interface {
	SendOneTimeToken(ctx context.Context, mail IssuedOneTimeToken) error
}

// CreateOneTimeToken makes a one-time token for a user, in place of the one that the
// user may have for the same purpose; hand it to nobody but the user, by mail to
// IssuedOneTimeToken.To. email is the new address for [PurposeChangeEmail] and empty otherwise.
//
// The token ceases to work when it was used, when it expires, when the user's
// password changes, while the user's address is another, and while the user is
// disabled. Errors: [InvalidError], also when the user has no address,
// [ErrNotFound], [ErrConflict] when the user is disabled or the new address is
// taken, which tells a user that somebody has it, [ErrUnavailable].
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
	m := s.mutation(ctx, now, "user.one_time", user.ID, nil, fieldsOf{"purpose": purpose.String(), "expires_at": record.ExpiresAt})
	if err := s.store.CreateOneTimeToken(ctx, record, m); err != nil {
		return IssuedOneTimeToken{}, storeError(ctx, err)
	}
	return IssuedOneTimeToken{Token: token, Purpose: purpose, User: user.User, To: to, ExpiresAt: record.ExpiresAt}, nil
}

// VerifyEmail uses a token for [PurposeVerifyEmail] up and returns the user, whose
// address is verified from now on. ip is the client's address; the zero Addr means
// that it is unknown.
//
// A token proves who the client is. So each of the methods that use one also lifts
// the waits that failed log-ins have put on the user, and makes ip known for the
// user, as a log-in does. Errors: [ErrUnauthenticated] when the token is invalid,
// has expired, or was already used, [ErrUnavailable].
func (s *Service) VerifyEmail(ctx context.Context, token string, ip netip.Addr) (User, error) {
	return s.proveAddress(ctx, PurposeVerifyEmail, token, ip)
}

// ConfirmEmailChange uses a token for [PurposeChangeEmail] up and returns the user, with
// the new address, verified. ip and errors: as [Service.VerifyEmail], and
// [ErrConflict] when another user has taken the address.
func (s *Service) ConfirmEmailChange(ctx context.Context, token string, ip netip.Addr) (User, error) {
	return s.proveAddress(ctx, PurposeChangeEmail, token, ip)
}

// ResetOptions says what else happens when a password is reset.
type ResetOptions struct {
	// IP is the client's address. It becomes known for the user, as after a log-in,
	// so that the right password passes from there even while others guess. The
	// zero Addr means that the address is unknown.
	IP netip.Addr
	// RevokeKeys revokes all keys of the user in the same step, for an account
	// that may have been in the wrong hands. Where the store has no transactions
	// they are revoked after that, and an error with a User means that some may
	// not be: call [Service.RevokeKeys].
	RevokeKeys bool
}

// ResetPassword uses a token for [PurposeResetPassword] up, gives its user the
// password and returns the user. The user's e-mail address is verified by that, and
// waits are lifted as [Service.VerifyEmail] does. Errors: [InvalidError] for the
// password, which leaves the token as it is, and if the Service is bound to a
// transaction: hashing takes too long to keep one open; as
// [Service.VerifyEmail]; [ErrRateLimited] when too many passwords are being hashed.
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

var errBoundReset = invalid("Service", "one that is not bound to a transaction: a password is hashed before a transaction begins")

// proveAddress uses a token up that needs nothing but itself.
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

// useOneTime uses a token up that was read with its user. The store looks at both
// again.
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
	m := s.mutation(ctx, now, "user."+record.Purpose.String(), user.ID, userFields(&user.User), userFields(&after))
	changed, err := s.store.UseOneTimeToken(ctx, use, m)
	if errors.Is(err, ErrConflict) {
		return UserRecord{}, conflict("email", "the e-mail address is taken")
	}
	if err != nil {
		return UserRecord{}, oneTimeError(ctx, err)
	}
	return changed, nil
}

// admitOneTime takes a place for the use of a token that has the right shape.
func (s *Service) admitOneTime(ctx context.Context, token string, ip netip.Addr) (leave func(), err error) {
	if !isOneTime(token) {
		return nil, ErrInvalidOneTimeToken
	}
	return s.gate.admit(ctx, ip)
}

// oneTime returns what is stored of a token, and its user.
func (s *Service) oneTime(ctx context.Context, purpose OneTimePurpose, token string) (OneTimeTokenRecord, UserRecord, error) {
	record, err := s.store.OneTimeToken(ctx, oneTimeSum(purpose, token))
	if err != nil {
		return OneTimeTokenRecord{}, UserRecord{}, oneTimeError(ctx, err)
	}
	user, err := s.store.User(ctx, record.UserID)
	return record, user, oneTimeError(ctx, err)
}

// oneTimeError says no more of a token than that it is not good.
func oneTimeError(ctx context.Context, err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrInvalidOneTimeToken
	}
	return storeError(ctx, err)
}
