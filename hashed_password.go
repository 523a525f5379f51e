package keyfold

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/keyfold/keyfold/internal/identifier"
	"github.com/keyfold/keyfold/internal/password"
)

// HashedPassword is a password that passed Options.PasswordPolicy and was hashed,
// for a change of a user inside a transaction. [Service.HashPassword] makes one.
// The zero HashedPassword is none. It hides its hash from formatting, logging
// and encoding.
type HashedPassword struct{ made *hashedPassword } // a pointer for the reason that Token has

type hashedPassword struct {
	phc   string
	names []string // that the policy was told of
}

var (
	_ fmt.Formatter          = HashedPassword{}
	_ slog.LogValuer         = HashedPassword{}
	_ json.Marshaler         = HashedPassword{}
	_ encoding.TextMarshaler = HashedPassword{}
)

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
// names are the username and the e-mail address of the user, where there are any,
// because the policy refuses passwords that contain them. Outside of a
// transaction, [Service.CreateUser] and [Service.SetPassword] do both steps.
//
// Errors: [InvalidError] with everything that is wrong with the password, or if the
// Service is bound to a transaction; [ErrRateLimited] when too many passwords are being
// hashed.
func (s *Service) HashPassword(ctx context.Context, chosen string, names ...string) (HashedPassword, error) {
	if s.bound {
		return HashedPassword{}, errHashFirst
	}
	names = withStoredForms(names)
	if err := s.opts.PasswordPolicy.check(chosen, names...); err != nil {
		return HashedPassword{}, err
	}
	phc, err := s.passwords.Hash(ctx, chosen)
	if err != nil {
		return HashedPassword{}, storeError(ctx, passwordError(err))
	}
	return HashedPassword{&hashedPassword{phc, names}}, nil
}

// withStoredForms adds the forms in which names are kept, where they are names:
// the domain of an address in ASCII, for example.
func withStoredForms(names []string) []string {
	all := slices.Clone(names)
	for _, name := range names {
		if stored, _, ok := identifier.Username(name); ok {
			all = append(all, stored)
		}
		if stored, _, ok := identifier.Email(name); ok {
			all = append(all, stored)
		}
	}
	return all
}

// errHashFirst refuses to wait for a slot and to hash while a transaction is open:
// on SQLite every other write would wait as well.
var errHashFirst = invalid("password", "hashed before the transaction begins: call HashPassword on the Service that is not bound "+
	"to the transaction, then pass the result as NewUser.HashedPassword or to SetHashedPassword")

// IsZero reports whether there is no password.
func (h HashedPassword) IsZero() bool { return h.made == nil }

// errNotHashed refuses the zero HashedPassword where a password is needed.
var errNotHashed = invalid("password", "the result of Service.HashPassword")

// phcFor returns the hash for a user with these names, which the policy must have
// been told of. The HashedPassword must not be zero.
func (h HashedPassword) phcFor(policy *PasswordPolicy, u *User) (string, error) {
	for _, name := range []string{u.Username, u.Email} {
		told := func(other string) bool { return password.SameName(other, name) }
		if name != "" && !policy.AllowOwnName && !slices.ContainsFunc(h.made.names, told) {
			return "", invalid("password", "checked against the names of the user: pass the username and the e-mail address to Service.HashPassword")
		}
	}
	return h.made.phc, nil
}

const hiddenHash = "[hashed password]"

// String does not show the hash.
func (h HashedPassword) String() string {
	if h.IsZero() {
		return ""
	}
	return hiddenHash
}

// Format does not show the hash, whatever the verb.
func (h HashedPassword) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, h.String()) }

// LogValue does not show the hash.
func (h HashedPassword) LogValue() slog.Value { return slog.StringValue(h.String()) }

// MarshalText does not show the hash.
func (h HashedPassword) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// MarshalJSON does not show the hash.
func (h HashedPassword) MarshalJSON() ([]byte, error) { return json.Marshal(h.String()) }
