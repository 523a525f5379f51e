package admin

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"github.com/keyfold/keyfold"
)

// The inputs and outputs of the operations on users. decodeBody reads the bodies.
type (
	userInput struct {
		ID string `path:"id" doc:"The ID of the user."`
	}

	userOutput struct {
		ETag string `header:"ETag" doc:"The version of the user, for If-Match."`
		Body keyfold.User
	}

	userPageOutput struct{ Body keyfold.UserPage }

	createUserBody struct {
		Username string `json:"username" required:"false" doc:"1 to 64 letters, digits, dots, underscores and hyphens. It must be unique, regardless of case. A user must have a username or an e-mail address."`
		Email    string `json:"email" required:"false" doc:"It must be unique. A user must have a username or an e-mail address."`
		Password string `json:"password" required:"false" doc:"A user without a password cannot log in."`
	}

	listUsersInput struct {
		Username string `query:"username" doc:"Only the user with this name, regardless of case."`
		Email    string `query:"email" doc:"Only the user with this name, regardless of case."`
		State    string `query:"state" enum:"active,disabled" doc:"Only users in this state."`
		Cursor   string `query:"cursor" doc:"The member next of the previous page. The other parameters must be the same."`
		Limit    int    `query:"limit" minimum:"1" maximum:"200" doc:"The maximum number of users. The default is 50."`
	}

	updateUserInput struct {
		ID      string `path:"id" doc:"The ID of the user."`
		IfMatch string `header:"If-Match" doc:"The ETag of the version that was read. Required without the member version."`
	}

	updateUserBody struct {
		Version  *int64  `json:"version" required:"false" doc:"The version that was read. Required without If-Match."`
		Username *string `json:"username" required:"false" nullable:"true" doc:"Null removes the username."`
		Email    *string `json:"email" required:"false" nullable:"true" doc:"The new address is not verified. Null removes the address."`
	}

	setPasswordBody struct {
		Password string `json:"password"`
	}

	authenticateBody struct {
		Identifier string `json:"identifier" doc:"A username or an e-mail address."`
		Password   string `json:"password"`
		IP         string `json:"ip" required:"false" doc:"The IP address of the user. The number of attempts is limited by account and by address."`
	}

	unlockUserBody struct {
		IP string `json:"ip" required:"false" doc:"The IP address of the user. It becomes a known address of the user, as after a log-in."`
	}
)

func (a *api) userRoutes(r *routes) {
	post := func(path, id, summary string, status int, body bodyRule) route {
		return route{http.MethodPost, path, id, summary, status, body}
	}
	add(r, post("/users", "create-user", "Create a user", http.StatusCreated, bodyRequired), "", a.createUser)
	addRead(r, "/users", "list-users", "List users", "The newest users come first.", a.listUsers)
	addRead(r, "/users/{id}", "get-user", "Get a user", "", a.getUser)
	add(r, route{http.MethodPatch, "/users/{id}", "update-user", "Update a user", http.StatusOK, bodyRequired},
		updateRules, a.updateUser)
	add(r, route{http.MethodDelete, "/users/{id}", "delete-user", "Delete a user and their keys", http.StatusNoContent, noBody}, "", a.deleteUser)
	add(r, post("/users/{id}/password", "set-password", "Set a user's password", http.StatusNoContent, bodyRequired),
		"The old password is not required. Existing one-time tokens stop working; keys continue to work. Clears the delays that failed log-ins imposed on the user.", a.setPassword)
	add(r, post("/users/{id}/disable", "disable-user", "Disable a user", http.StatusOK, bodyOptional), "The user's log-ins and keys are refused until the user is enabled. Disabling a user twice has no effect; the first reason is kept.", a.disableUser)
	add(r, post("/users/{id}/enable", "enable-user", "Enable a disabled user", http.StatusOK, noBody), "The user can log in again, and the user's keys work again.", a.enableUser)
	add(r, post("/users/{id}/unlock", "unlock-user", "Unlock a user", http.StatusNoContent, bodyOptional),
		"Clears the delays that failed log-ins imposed on the user. It does so for the username and for the e-mail address. If an address is given, the correct password is accepted from there even while others guess the password. Setting a password and using a one-time token clear the delays as well.", a.unlockUser)
	add(r, post("/users/authenticate", "authenticate", "Check a user's password", http.StatusOK, bodyRequired),
		"If the log-in is refused, the status is 422 with the code invalid_login, whatever the reason. Too many attempts on one account or from one address are answered with 429. From an address where the user has logged in before, the correct password may be accepted earlier.", a.authenticate)
}

func (a *api) createUser(ctx context.Context, _ *empty, b *createUserBody) (*userOutput, error) {
	user, err := a.svc.CreateUser(ctx, keyfold.NewUser{Username: b.Username, Email: b.Email, Password: b.Password})
	return userResult(user, err)
}

func userResult(user keyfold.User, err error) (*userOutput, error) {
	if err != nil {
		return nil, err
	}
	return &userOutput{ETag: etag(user.Version), Body: user}, nil
}

func (a *api) listUsers(ctx context.Context, in *listUsersInput) (*userPageOutput, error) {
	page, err := a.svc.Users(ctx, keyfold.UserQuery{
		Username: filterOf(in.Username), Email: filterOf(in.Email), State: keyfold.UserState(in.State), Cursor: in.Cursor, Limit: in.Limit,
	})
	if err != nil {
		return nil, err
	}
	return &userPageOutput{Body: page}, nil
}

func (a *api) getUser(ctx context.Context, in *userInput) (*userOutput, error) {
	return userResult(a.svc.User(ctx, in.ID))
}

func (a *api) updateUser(ctx context.Context, in *updateUserInput, b *updateUserBody) (*userOutput, error) {
	version, err := expectedVersion(in.IfMatch, b.Version)
	if err != nil {
		return nil, err
	}
	return userResult(a.svc.UpdateUser(ctx, in.ID, keyfold.UserUpdate{Version: version, Username: b.Username, Email: b.Email}))
}

func (a *api) deleteUser(ctx context.Context, in *userInput, _ *empty) (*empty, error) {
	return &empty{}, a.svc.DeleteUser(ctx, in.ID)
}

func (a *api) setPassword(ctx context.Context, in *userInput, b *setPasswordBody) (*empty, error) {
	return &empty{}, a.svc.SetPassword(ctx, in.ID, b.Password)
}

func (a *api) disableUser(ctx context.Context, in *userInput, b *reasonBody) (*userOutput, error) {
	return a.changedUser(ctx, in.ID, a.svc.DisableUser(ctx, in.ID, b.Reason))
}

func (a *api) enableUser(ctx context.Context, in *userInput, _ *empty) (*userOutput, error) {
	return a.changedUser(ctx, in.ID, a.svc.EnableUser(ctx, in.ID))
}

func (a *api) unlockUser(ctx context.Context, in *userInput, b *unlockUserBody) (*empty, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	return &empty{}, a.svc.UnlockUser(ctx, in.ID, ip)
}

// changedUser returns the user after a change by a method that does not return it.
func (a *api) changedUser(ctx context.Context, id string, err error) (*userOutput, error) {
	if err != nil {
		return nil, err
	}
	return userResult(a.svc.User(ctx, id))
}

func (a *api) authenticate(ctx context.Context, _ *empty, b *authenticateBody) (*userOutput, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	user, err := a.svc.Authenticate(ctx, keyfold.Credentials{Identifier: b.Identifier, Password: b.Password, IP: ip})
	if errors.Is(err, keyfold.ErrUnauthenticated) {
		return nil, invalidLogin()
	}
	return userResult(user, err)
}

// parseIP parses an IP address. Empty text is the zero Addr.
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
