package admin

import (
	"time"

	"github.com/keyfold/keyfold"
)

// User is a user as this API and the command's --json show it. There is nothing
// secret in it.
type User struct {
	ID                string            `json:"id" doc:"16 letters and digits; public"`
	Username          *string           `json:"username"`
	Email             *string           `json:"email"`
	EmailVerifiedAt   *time.Time        `json:"email_verified_at"`
	HasPassword       bool              `json:"has_password"`
	PasswordChangedAt *time.Time        `json:"password_changed_at"`
	State             keyfold.UserState `json:"state" enum:"active,disabled"`
	CreatedAt         time.Time         `json:"created_at"`
	UpdatedAt         time.Time         `json:"updated_at"`
	DisabledAt        *time.Time        `json:"disabled_at"`
	DisabledReason    *string           `json:"disabled_reason"`
	Version           int64             `json:"version" doc:"What PATCH needs; also the ETag"`
}

// NewUser shows a user.
func NewUser(u keyfold.User) User {
	shown := User{
		ID: u.ID, Username: textOrNil(u.Username), Email: textOrNil(u.Email), EmailVerifiedAt: timeOrNil(u.EmailVerifiedAt),
		HasPassword: u.HasPassword, PasswordChangedAt: timeOrNil(u.PasswordChangedAt), State: u.State(),
		CreatedAt: u.CreatedAt.UTC(), UpdatedAt: u.UpdatedAt.UTC(), DisabledAt: timeOrNil(u.DisabledAt), Version: u.Version,
	}
	if shown.DisabledAt != nil {
		shown.DisabledReason = textOrNil(u.DisabledReason)
	}
	return shown
}

// UserPage is a page of users. An empty one has the users [], never null.
type UserPage struct {
	Users []User  `json:"users" nullable:"false"`
	Next  *string `json:"next" doc:"Cursor of the next page, which may exist even when this one is short; null at the end"`
}

// NewUserPage shows a page of users.
func NewUserPage(p keyfold.UserPage) UserPage {
	shown := UserPage{Users: make([]User, 0, len(p.Users)), Next: textOrNil(p.Next)}
	for _, user := range p.Users {
		shown.Users = append(shown.Users, NewUser(user))
	}
	return shown
}

// OneTime is the answer to making a one-time token: the only one that holds it.
type OneTime struct {
	Token     string    `json:"token" doc:"For the user alone; shown this once, and never again"`
	Purpose   string    `json:"purpose" enum:"verify_email,reset_password,change_email"`
	UserID    string    `json:"user_id"`
	To        string    `json:"to" doc:"The address to send it to"`
	ExpiresAt time.Time `json:"expires_at"`
}

func newOneTime(o keyfold.OneTime) OneTime {
	return OneTime{
		Token: o.Token.Reveal(), Purpose: o.Purpose.String(), UserID: o.User.ID, To: o.To, ExpiresAt: o.ExpiresAt.UTC(),
	}
}
