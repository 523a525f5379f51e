package keyfold

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/keyfold/keyfold/internal/identifier"
	"github.com/keyfold/keyfold/internal/token"
)

// NewUser describes a user to create. A username or an e-mail address is required.
// Printing, logging or encoding a NewUser hides the password, except in an unexported
// field of another struct, because fmt calls no methods there.
type NewUser struct {
	// Username has 1 to 64 letters, digits, ".", "_" and "-" of any script, or of one
	// script with [Options.SingleScriptUsernames]. Names that differ only in case or
	// width are the same name: they are compared in NFKC with full case folding. The
	// case is kept for display (RFC 8265, UsernameCasePreserved).
	Username string
	// Email is an address of at most 254 bytes (RFC 5321 section 4.5.3.1.3, without the
	// angle brackets). It is not verified.
	Email string
	// Password must pass Options.PasswordPolicy. If it is empty, the user cannot log in
	// until a password is set.
	Password string
	// HashedPassword replaces Password inside a transaction: see [Service.HashPassword].
	// The zero value means none.
	HashedPassword HashedPassword
}

// CreateUser creates a user. Usernames and e-mail addresses are unique: of
// concurrent calls with the same name, one succeeds. A Service that is bound to a
// transaction accepts only a HashedPassword, not a Password. Errors:
// [InvalidError], [ErrConflict] if the username or the address is taken,
// [ErrRateLimited] if too many passwords are being hashed, [ErrUnavailable].
func (s *Service) CreateUser(ctx context.Context, n NewUser) (User, error) {
	record := UserRecord{User: User{ID: token.Random(token.IDLen), Version: 1}}
	if n.Username == "" && n.Email == "" {
		return User{}, invalid("username", "must be set if email is empty")
	}
	if err := record.setUsername(n.Username); err != nil {
		return User{}, err
	}
	if err := s.checkScript(&record.User); err != nil {
		return User{}, err
	}
	if err := record.setEmail(n.Email); err != nil {
		return User{}, err
	}
	var err error
	switch hashed := !n.HashedPassword.IsZero(); {
	case hashed && n.Password != "":
		err = invalid("password", "must be given once, as Password or as HashedPassword")
	case hashed:
		record.PasswordHash, err = n.HashedPassword.phcFor(&s.opts.PasswordPolicy, &record.User)
	case n.Password != "":
		record.PasswordHash, err = s.newPassword(ctx, n.Password, &record.User)
	}
	if err != nil {
		return User{}, err
	}
	now := s.now()
	record.CreatedAt, record.UpdatedAt = now, now
	if record.PasswordHash != "" {
		record.HasPassword, record.PasswordChangedAt, record.PasswordVersion = true, now, 1
	}
	m := newMutation(ctx, now, "user.create", record.ID, nil, userFields(&record.User))
	if err := s.store.CreateUser(ctx, record, m); err != nil {
		return User{}, s.taken(ctx, &record, err)
	}
	return record.User, nil
}

// setUsername sets the name and its comparison key.
func (u *UserRecord) setUsername(name string) error {
	u.Username, u.UsernameKey = "", "-"+u.ID
	if name != "" {
		var ok bool
		if u.Username, u.UsernameKey, ok = identifier.Username(name); !ok {
			return invalid("username", identifier.UsernameRule)
		}
	}
	return nil
}

// checkedEmail returns the display form and the comparison key of an address.
func checkedEmail(address string) (display, key string, err error) {
	display, key, ok := identifier.Email(address)
	if !ok {
		err = invalid("email", identifier.EmailRule)
	}
	return display, key, err
}

// checkScript refuses a new username that mixes scripts, if SingleScriptUsernames is
// set. Existing names are not checked, so that their users can still log in.
func (s *Service) checkScript(u *User) error {
	if s.opts.SingleScriptUsernames && !identifier.HasOneScript(u.Username) {
		return invalid("username", identifier.OneScriptRule)
	}
	return nil
}

// setEmail sets the address and its comparison key. A different address is not verified.
func (u *UserRecord) setEmail(address string) (err error) {
	key := u.EmailKey
	u.Email, u.EmailKey = "", "-"+u.ID
	if address != "" {
		u.Email, u.EmailKey, err = checkedEmail(address)
	}
	if u.EmailKey != key {
		u.EmailVerifiedAt = time.Time{}
	}
	return err
}

// newPassword checks a password against the policy and hashes it.
func (s *Service) newPassword(ctx context.Context, password string, of *User) (string, error) {
	hashed, err := s.HashPassword(ctx, password, of.Username, of.Email)
	if err != nil {
		return "", err
	}
	return hashed.made.phc, nil
}

// CheckPassword checks a password against Options.PasswordPolicy. It returns an
// [InvalidError] with everything that is wrong with the password, or nil. names are the
// username and the e-mail address of the user, if any. CheckPassword stores and hashes
// nothing, so a form can call it while the user types.
func (s *Service) CheckPassword(password string, names ...string) error {
	return s.opts.PasswordPolicy.check(password, names...)
}

// HashPassword checks a password against Options.PasswordPolicy and hashes it,
// which takes tens of milliseconds and may first wait up to two seconds for other
// passwords. Call it before a transaction begins, so that nothing is locked during
// that time, and use the result inside:
//
//	hashed, err := svc.HashPassword(ctx, password, username, email)
//	…
//	err = svc.InTx(ctx, func(k *keyfold.Service) error {
//		user, err := k.CreateUser(ctx, keyfold.NewUser{Username: username, Email: email, HashedPassword: hashed})
//		…
//	})
//
// names are the username and the e-mail address of the user, if any, because the policy
// refuses passwords that contain them. Outside of a
// transaction, [Service.CreateUser] and [Service.SetPassword] do both steps.
//
// Errors: [InvalidError] with everything that is wrong with the password, or if the
// Service is bound to a transaction; [ErrRateLimited] when too many passwords are being
// hashed.
func (s *Service) HashPassword(ctx context.Context, chosen string, names ...string) (HashedPassword, error) {
	if s.bound {
		return HashedPassword{}, errHashFirst
	}
	names = identifier.WithStoredForms(names)
	if err := s.opts.PasswordPolicy.check(chosen, names...); err != nil {
		return HashedPassword{}, err
	}
	phc, err := s.passwords.Hash(ctx, chosen)
	if err != nil {
		return HashedPassword{}, storeError(ctx, passwordError(err))
	}
	return HashedPassword{&hashedPassword{phc, names}}, nil
}

// errHashFirst is the error of hashing a password while a transaction is open. On SQLite,
// every other write would wait for it.
var errHashFirst = invalid("password", "must be hashed before the transaction begins: call HashPassword on the Service that is not bound "+
	"to the transaction, then pass the result as NewUser.HashedPassword or to SetHashedPassword")

// errNotHashed is the error for a zero HashedPassword where a password is required.
var errNotHashed = invalid("password", "must be the result of Service.HashPassword")

// taken returns the error of a change. For an [ErrConflict], it finds out which name of
// the user is taken, if it can.
func (s *Service) taken(ctx context.Context, u *UserRecord, err error) error {
	if !errors.Is(err, ErrConflict) {
		return storeError(ctx, err)
	}
	if other, look := s.store.UserByUsername(ctx, u.UsernameKey); look == nil && other.ID != u.ID {
		return conflict("username", "the username is taken")
	}
	if other, look := s.store.UserByEmail(ctx, u.EmailKey); look == nil && other.ID != u.ID {
		return conflict("email", "the e-mail address is taken")
	}
	return err
}

// User returns the user with the given id. Errors: [InvalidError], [ErrNotFound],
// [ErrUnavailable].
func (s *Service) User(ctx context.Context, id string) (User, error) {
	record, err := s.user(ctx, id)
	return record.User, err
}

func (s *Service) user(ctx context.Context, id string) (UserRecord, error) {
	if err := checkID(id); err != nil {
		return UserRecord{}, err
	}
	record, err := s.store.User(ctx, id)
	return record, storeError(ctx, err)
}

// UserByIdentifier returns the user who logs in with the given identifier: an
// e-mail address if it contains an "@", otherwise a username. Errors:
// [ErrNotFound], [ErrUnavailable].
func (s *Service) UserByIdentifier(ctx context.Context, identifier string) (User, error) {
	record, err := s.userByIdentifier(ctx, identifier)
	return record.User, err
}

func (s *Service) userByIdentifier(ctx context.Context, name string) (UserRecord, error) {
	byEmail, key, ok := identifier.Key(name)
	if !ok {
		return UserRecord{}, ErrNotFound
	}
	look := s.store.UserByUsername
	if byEmail {
		look = s.store.UserByEmail
	}
	record, err := look(ctx, key)
	return record, storeError(ctx, err)
}

// UserUpdate changes the username or the e-mail address of a user. A nil field is left
// unchanged. An empty value removes the old one.
type UserUpdate struct {
	Version  int64 // required: the User.Version that was read
	Username *string
	Email    *string // a different address is not verified; see [PurposeChangeEmail]
}

// UpdateUser changes a user, unless the user has been changed since u.Version was
// read. Errors: [InvalidError], also if the user would have neither a username nor an
// address, [ErrNotFound], [ErrStale], [ErrConflict] if a name is taken,
// [ErrUnavailable].
func (s *Service) UpdateUser(ctx context.Context, id string, u UserUpdate) (User, error) {
	if u.Version < 1 {
		return User{}, invalid("version", "must be the version of the user that was read, 1 or more")
	}
	if err := u.check(id); err != nil {
		return User{}, err
	}
	record, err := s.user(ctx, id)
	if err != nil {
		return User{}, err
	}
	if record.Version != u.Version {
		return User{}, fmt.Errorf("%w: user %s is at version %d", ErrStale, id, record.Version)
	}
	before := userFields(&record.User)
	if u.Username != nil {
		key := record.UsernameKey
		if err := record.setUsername(*u.Username); err != nil {
			return User{}, err
		}
		if record.UsernameKey != key { // otherwise the user has the name already
			if err := s.checkScript(&record.User); err != nil {
				return User{}, err
			}
		}
	}
	if u.Email != nil {
		if err := record.setEmail(*u.Email); err != nil {
			return User{}, err
		}
	}
	if record.Username == "" && record.Email == "" {
		return User{}, invalid("username", "must be set if email is empty")
	}
	record.UpdatedAt = s.now()
	m := newMutation(ctx, record.UpdatedAt, "user.update", id, before, userFields(&record.User))
	if err := s.store.UpdateUser(ctx, record, m); err != nil {
		return User{}, s.taken(ctx, &record, err)
	}
	record.Version++
	return record.User, nil
}

// check returns an [InvalidError] for names that no user can have, before the store is
// queried.
func (u *UserUpdate) check(id string) error {
	wanted := UserRecord{User: User{ID: id}}
	if u.Username != nil {
		if err := wanted.setUsername(*u.Username); err != nil {
			return err
		}
	}
	if u.Email != nil {
		return wanted.setEmail(*u.Email)
	}
	return nil
}

// SetPassword replaces the password of a user without the old one. It is for
// administrators; [Service.ChangePassword] requires the old password. The user's one-time
// tokens stop working, and keys continue to work. Waits caused by failed log-ins end. Errors: [InvalidError], also if the
// Service is bound to a transaction: use [Service.SetHashedPassword] there;
// [ErrNotFound], [ErrRateLimited] when too many passwords are being hashed,
// [ErrUnavailable].
func (s *Service) SetPassword(ctx context.Context, id, password string) error {
	if s.bound {
		return errHashFirst
	}
	if err := s.CheckPassword(password); err != nil {
		return err
	}
	record, err := s.user(ctx, id)
	if err != nil {
		return err
	}
	return s.setPassword(ctx, &record, password, AnyPassword)
}

// setPassword hashes and stores a password, if the current one has the given version.
func (s *Service) setPassword(ctx context.Context, user *UserRecord, password string, version int64) error {
	hash, err := s.newPassword(ctx, password, &user.User)
	if err != nil {
		return err
	}
	return s.storePassword(ctx, user, hash, version)
}

// SetHashedPassword is [Service.SetPassword] inside a transaction, with a password
// that was hashed before it began. The names that [Service.HashPassword] was given
// must include those of the user. Errors: [InvalidError], [ErrNotFound],
// [ErrUnavailable].
func (s *Service) SetHashedPassword(ctx context.Context, id string, hashed HashedPassword) error {
	if hashed.IsZero() {
		return errNotHashed
	}
	record, err := s.user(ctx, id)
	if err != nil {
		return err
	}
	hash, err := hashed.phcFor(&s.opts.PasswordPolicy, &record.User)
	if err != nil {
		return err
	}
	return s.storePassword(ctx, &record, hash, AnyPassword)
}

// storePassword stores a hashed password, if the current one has the given version.
func (s *Service) storePassword(ctx context.Context, user *UserRecord, hash string, version int64) error {
	m := newMutation(ctx, s.now(), "user.set_password", user.ID, fieldsOf{}, fieldsOf{})
	if err := s.store.SetPassword(ctx, user.ID, hash, version, m); err != nil {
		return storeError(ctx, err)
	}
	return s.proved(ctx, user, netip.Addr{})
}

// ChangePassword replaces the password of a user if the old one is correct. It is for
// a form that logged-in users fill in. Attempts are limited as log-ins are, so that the
// old password cannot be guessed. They are counted separately from log-ins, so that
// failed log-ins of strangers do not prevent a user from changing the password. Of
// concurrent calls with the same old password, one succeeds. The others return
// [ErrInvalidCredentials], as does a call during which [Service.SetPassword] replaces
// the password.
//
// Errors: [InvalidError] for the new password, [ErrNotFound], [ErrInvalidCredentials] when the old password is
// incorrect or the user is disabled, [ErrRateLimited] after too many attempts, and
// [ErrUnavailable]. On a Service that is bound to a transaction it is an
// InvalidError, as [Service.Authenticate] is.
func (s *Service) ChangePassword(ctx context.Context, id, old, password string) error {
	if s.bound {
		return errBound
	}
	record, err := s.user(ctx, id)
	if err != nil {
		return err
	}
	if err := s.opts.PasswordPolicy.check(password, record.Username, record.Email); err != nil {
		return err
	}
	if err := s.checkOldPassword(ctx, &record, old); err != nil {
		return err
	}
	err = s.setPassword(ctx, &record, password, record.PasswordVersion)
	if errors.Is(err, ErrStale) {
		return errWrongPassword // the old password was replaced after it was checked
	}
	return err
}

// userFields holds the fields of a user that the audit log records, in the form of
// its JSON. None of them is secret.
func userFields(u *User) fieldsOf {
	shown := u.wire()
	return fieldsOf{
		"username": shown.Username, "email": shown.Email, "email_verified_at": shown.EmailVerifiedAt, "has_password": shown.HasPassword,
	}
}

// UserQuery asks for a page of users, newest first. Every field that is set
// must match.
type UserQuery struct {
	Username Filter    // one name, compared as [NewUser] describes
	Email    Filter    // one address, compared in the same way
	State    UserState // empty = any
	Cursor   string    // UserPage.Next of the previous page; empty = the first page
	Limit    int       // 1 to 200; zero = 50
}

// UserPage is a page of users. It may contain fewer users than the limit, even none, and
// still have a Next, as a [KeyPage] may.
type UserPage struct {
	Users []User
	Next  string // cursor of the next page; empty on the last page
}

// Users returns a page of users. Errors: [InvalidError], [ErrUnavailable].
func (s *Service) Users(ctx context.Context, q UserQuery) (UserPage, error) {
	limit, err := checkLimit(q.Limit)
	if err != nil {
		return UserPage{}, err
	}
	if q.State != "" && q.State != UserActive && q.State != UserDisabled {
		return UserPage{}, invalid("state", "must be one of active, disabled")
	}
	filter := fmt.Sprintf("users|%q|%q|%s", q.Username.value, q.Email.value, q.State)
	after, err := s.readCursor(ctx, q.Cursor, filter)
	if err != nil {
		return UserPage{}, err
	}
	if q.Username.set || q.Email.set {
		return s.namedUser(ctx, q)
	}
	now, step := s.now(), limit
	if q.State != "" {
		step = maxPage
	}
	users, next, err := walk(after.position(), limit, step,
		func(after Position, limit int) ([]UserRecord, error) {
			return s.store.Users(ctx, UserScan{After: after, Limit: limit})
		},
		func(r *UserRecord) (User, Position, bool) {
			return r.User, Position{At: r.CreatedAt, ID: r.ID}, q.State == "" || q.State == r.State(now)
		})
	if err != nil {
		return UserPage{}, storeError(ctx, err)
	}
	page := UserPage{Users: users}
	page.Next, err = s.cursorAfter(ctx, next, filter)
	return page, err
}

// AllUsers yields every user that matches the query, as [Service.AllKeys] yields keys.
func (s *Service) AllUsers(ctx context.Context, q UserQuery) iter.Seq2[User, error] {
	return everyPage(q.Cursor, func(cursor string) ([]User, string, error) {
		q.Cursor, q.Limit = cursor, pageLength(q.Limit)
		page, err := s.Users(ctx, q)
		return page.Users, page.Next, err
	})
}

// namedUser returns the page with the one user who has those names, or an empty page.
func (s *Service) namedUser(ctx context.Context, q UserQuery) (UserPage, error) {
	var wanted UserRecord
	if err := q.Username.check("username", wanted.setUsername); err != nil {
		return UserPage{}, err
	}
	if err := q.Email.check("email", wanted.setEmail); err != nil {
		return UserPage{}, err
	}
	look, key := s.store.UserByEmail, wanted.EmailKey
	if q.Username.set {
		look, key = s.store.UserByUsername, wanted.UsernameKey
	}
	found, err := look(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return UserPage{}, nil
	case err != nil:
		return UserPage{}, storeError(ctx, err)
	case q.Email.set && found.EmailKey != wanted.EmailKey, q.State != "" && q.State != found.State(s.now()):
		return UserPage{}, nil
	}
	return UserPage{Users: []User{found.User}}, nil
}

// UnlockUser ends the waits that failed log-ins caused for a user, by username and by
// e-mail address. ip, if valid, becomes a known address of the user, as after a log-in:
// the correct password is accepted from there even while others guess. The user record
// does not change. Errors: [InvalidError],
// [ErrNotFound], [ErrUnavailable].
func (s *Service) UnlockUser(ctx context.Context, id string, ip netip.Addr) error {
	user, err := s.user(ctx, id)
	if err != nil {
		return err
	}
	a, err := s.newAttempt(ctx, "", ip)
	if err != nil {
		return err
	}
	now, after := s.now(), fieldsOf{}
	if a.from != "" {
		after["known_address"] = a.from
	}
	m := newMutation(ctx, now, "user.unlock", id, fieldsOf{}, after)
	return storeError(ctx, s.store.UnlockUser(ctx, id, a.cleared(&user, now), m))
}
