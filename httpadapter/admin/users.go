package admin

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"github.com/keyfold/keyfold"
)

// The inputs and outputs of the routes on users. Bodies are read by decodeBody.
type (
	onUser struct {
		ID string `path:"id" doc:"The user's id: 16 letters and digits"`
	}

	userAnswer struct {
		ETag string `header:"ETag" doc:"The user's version, for If-Match"`
		Body keyfold.User
	}

	userPageAnswer struct{ Body keyfold.UserPage }

	newUserBody struct {
		Username string `json:"username" required:"false" doc:"1 to 64 letters, digits, . _ -; unique whatever its case"`
		Email    string `json:"email" required:"false" doc:"Unique; one of username and email is needed"`
		Password string `json:"password" required:"false" doc:"Without one the user cannot log in"`
	}

	usersInput struct {
		Username string `query:"username" doc:"Exact, whatever its case"`
		Email    string `query:"email" doc:"Exact, whatever its case"`
		State    string `query:"state" enum:"active,disabled" doc:"Users in this state only"`
		Cursor   string `query:"cursor" doc:"The next of the page before, with the same filters"`
		Limit    int    `query:"limit" minimum:"1" maximum:"200" doc:"Default 50"`
	}

	updateUserInput struct {
		ID      string `path:"id" doc:"The user's id: 16 letters and digits"`
		IfMatch string `header:"If-Match" doc:"The ETag that GET returned"`
	}

	updateUserBody struct {
		Version  *int64  `json:"version" required:"false" doc:"The version that was read, if not given by If-Match"`
		Username *string `json:"username" required:"false" nullable:"true"`
		Email    *string `json:"email" required:"false" nullable:"true" doc:"Counts as not verified"`
	}

	passwordBody struct {
		Password string `json:"password"`
	}

	loginBody struct {
		Login    string `json:"login" doc:"A username, or an e-mail address"`
		Password string `json:"password"`
		IP       string `json:"ip" required:"false" doc:"The IP address of the person who logs in; attempts are limited by account and by address"`
	}

	unlockBody struct {
		IP string `json:"ip" required:"false" doc:"The user's IP address, which becomes known for the user as after a log-in"`
	}
)

func (a *api) userRoutes(r *routes) {
	post := func(path, id, summary string, status int, body bodyRule) route {
		return route{http.MethodPost, path, id, summary, status, body}
	}
	add(r, post("/users", "create-user", "Create a user", http.StatusCreated, bodyRequired), "", a.createUser)
	addRead(r, "/users", "list-users", "List users", "Newest first.", a.listUsers)
	addRead(r, "/users/{id}", "get-user", "Read a user", "", a.getUser)
	add(r, route{http.MethodPatch, "/users/{id}", "update-user", "Change what a user is called", http.StatusOK, bodyRequired},
		"Needs If-Match or version: 428 without, 412 when the user was changed since. A field that is null is taken away, one that is not there stays.", a.updateUser)
	add(r, route{http.MethodDelete, "/users/{id}", "delete-user", "Remove a user and all their keys", http.StatusNoContent, noBody}, "", a.deleteUser)
	add(r, post("/users/{id}/password", "set-password", "Give a user another password", http.StatusNoContent, bodyRequired),
		"The old password is not needed. Existing one-time tokens stop working; keys continue to work. Lifts the waits that failed log-ins have put on the user.", a.setPassword)
	add(r, post("/users/{id}/disable", "disable-user", "Refuse a user's log-ins and keys for now", http.StatusOK, bodyOptional), "", a.disableUser)
	add(r, post("/users/{id}/enable", "enable-user", "Let a disabled user log in again", http.StatusOK, noBody), "", a.enableUser)
	add(r, post("/users/{id}/unlock", "unlock-user", "Lift the waits that failed log-ins have put on a user", http.StatusNoContent, bodyOptional),
		"Lifts them for the username and for the e-mail address. With an address, the right password also passes from there while others go on guessing. A new password and a used one-time token lift the waits as well.", a.unlockUser)
	add(r, post("/users/authenticate", "authenticate", "Check a user's name and password", http.StatusOK, bodyRequired),
		"422 with the code invalid_login for every reason to refuse; 429 with Retry-After after too many attempts on the account or from the address; from an address where the user logged in before, the right password may pass earlier.", a.authenticate)
}

func (a *api) createUser(ctx context.Context, _ *none, b *newUserBody) (*userAnswer, error) {
	user, err := a.svc.CreateUser(ctx, keyfold.NewUser{Username: b.Username, Email: b.Email, Password: b.Password})
	return answerUser(user, err)
}

func answerUser(user keyfold.User, err error) (*userAnswer, error) {
	if err != nil {
		return nil, err
	}
	return &userAnswer{ETag: etag(user.Version), Body: user}, nil
}

func (a *api) listUsers(ctx context.Context, in *usersInput) (*userPageAnswer, error) {
	page, err := a.svc.Users(ctx, keyfold.UserQuery{
		Username: onlyIf(in.Username), Email: onlyIf(in.Email), State: keyfold.UserState(in.State), Cursor: in.Cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return &userPageAnswer{Body: page}, nil
}

func (a *api) getUser(ctx context.Context, in *onUser) (*userAnswer, error) {
	return answerUser(a.svc.User(ctx, in.ID))
}

func (a *api) updateUser(ctx context.Context, in *updateUserInput, b *updateUserBody) (*userAnswer, error) {
	version, err := expectedVersion(in.IfMatch, b.Version)
	if err != nil {
		return nil, err
	}
	return answerUser(a.svc.UpdateUser(ctx, in.ID, keyfold.UserUpdate{Version: version, Username: b.Username, Email: b.Email}))
}

func (a *api) deleteUser(ctx context.Context, in *onUser, _ *none) (*none, error) {
	return &none{}, a.svc.DeleteUser(ctx, in.ID)
}

func (a *api) setPassword(ctx context.Context, in *onUser, b *passwordBody) (*none, error) {
	return &none{}, a.svc.SetPassword(ctx, in.ID, b.Password)
}

func (a *api) disableUser(ctx context.Context, in *onUser, b *reasonBody) (*userAnswer, error) {
	return a.changedUser(ctx, in.ID, a.svc.DisableUser(ctx, in.ID, b.Reason))
}

func (a *api) enableUser(ctx context.Context, in *onUser, _ *none) (*userAnswer, error) {
	return a.changedUser(ctx, in.ID, a.svc.EnableUser(ctx, in.ID))
}

func (a *api) unlockUser(ctx context.Context, in *onUser, b *unlockBody) (*none, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	return &none{}, a.svc.UnlockUser(ctx, in.ID, ip)
}

// changedUser reads the user back after a change that does not return it.
func (a *api) changedUser(ctx context.Context, id string, err error) (*userAnswer, error) {
	if err != nil {
		return nil, err
	}
	return answerUser(a.svc.User(ctx, id))
}

func (a *api) authenticate(ctx context.Context, _ *none, b *loginBody) (*userAnswer, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	user, err := a.svc.Authenticate(ctx, keyfold.Credentials{Identifier: b.Login, Password: b.Password, IP: ip})
	if errors.Is(err, keyfold.ErrUnauthenticated) {
		// Not a 401: that would say that the admin secret is wrong.
		return nil, newProblem(http.StatusUnprocessableEntity, "invalid_login", "The username or password is incorrect.")
	}
	return answerUser(user, err)
}

// parseIP reads an IP address; empty is the zero Addr.
func parseIP(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}, &keyfold.InvalidError{Field: "ip", Reason: `must be an IP address such as "192.0.2.7" or "2001:db8::7"`}
	}
	return ip, nil
}
