package mongo

import (
	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// userDoc is a stored user. It contains the one-time tokens of the user, one for each
// purpose, so that one update can use a token and change the user.
type userDoc struct {
	Head              head                `bson:",inline"`
	Username          string              `bson:"username"`
	UsernameKey       string              `bson:"username_key"`
	Email             string              `bson:"email"`
	EmailKey          string              `bson:"email_key"`
	EmailVerifiedAt   *int64              `bson:"email_verified_at"`
	PasswordHash      string              `bson:"password_hash"`
	PasswordVersion   int64               `bson:"password_version"`
	PasswordChangedAt *int64              `bson:"password_changed_at"`
	CreatedAt         int64               `bson:"created_at"`
	UpdatedAt         int64               `bson:"updated_at"`
	DisabledAt        *int64              `bson:"disabled_at"`
	DisabledReason    string              `bson:"disabled_reason"`
	Version           int64               `bson:"version"`
	Tokens            map[string]tokenDoc `bson:"tokens"` // by purpose
}

func (d *userDoc) head() *head { return &d.Head }

func newUserDoc(user *keyfold.UserRecord) *userDoc {
	doc := &userDoc{
		Head: head{ID: user.ID, Live: true}, PasswordHash: user.PasswordHash, PasswordVersion: user.PasswordVersion,
		PasswordChangedAt: column.Optional(user.PasswordChangedAt), CreatedAt: user.CreatedAt.UnixMilli(),
		DisabledAt: column.Optional(user.DisabledAt), DisabledReason: user.DisabledReason, Version: user.Version,
		Tokens: map[string]tokenDoc{},
	}
	doc.setEditable(user)
	return doc
}

// setEditable sets the fields that UpdateUser writes.
func (d *userDoc) setEditable(user *keyfold.UserRecord) {
	d.Username, d.UsernameKey, d.Email, d.EmailKey = user.Username, user.UsernameKey, user.Email, user.EmailKey
	d.EmailVerifiedAt, d.UpdatedAt = column.Optional(user.EmailVerifiedAt), user.UpdatedAt.UnixMilli()
}

func userRecord(d *userDoc) keyfold.UserRecord {
	return keyfold.UserRecord{
		User: keyfold.User{
			ID: d.Head.ID, Username: d.Username, Email: d.Email, EmailVerifiedAt: column.OptionalMoment(d.EmailVerifiedAt),
			HasPassword: d.PasswordHash != "", PasswordChangedAt: column.OptionalMoment(d.PasswordChangedAt),
			CreatedAt: column.Moment(d.CreatedAt), UpdatedAt: column.Moment(d.UpdatedAt),
			DisabledAt: column.OptionalMoment(d.DisabledAt), DisabledReason: d.DisabledReason, Version: d.Version,
		},
		UsernameKey: d.UsernameKey, EmailKey: d.EmailKey, PasswordHash: d.PasswordHash, PasswordVersion: d.PasswordVersion,
	}
}

// setPassword sets the fields that every change of the password changes.
func (d *userDoc) setPassword(hash string, at int64) {
	d.PasswordHash, d.PasswordChangedAt = hash, &at
	d.PasswordVersion++
}

// setUpdated sets the time and the version of a change other than UpdateUser.
func (d *userDoc) setUpdated(at int64) {
	d.UpdatedAt = at
	d.Version++
}
