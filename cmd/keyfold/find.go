package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keyfold/keyfold"
)

// findUser returns the user with this ID, username or e-mail address. An ID takes
// precedence over a username of the same form. where names the flag or argument in
// errors, which never repeat a text that is not an ID: it may be a token or a
// password that was pasted by mistake.
func findUser(ctx context.Context, svc *keyfold.Service, where, text string) (keyfold.User, error) {
	if _, err := keyfold.ParseToken(text); err == nil {
		return keyfold.User{}, usage(`%s is a token; it must be the ID, the username or the e-mail address of a user`, where)
	}
	isID := idPattern.MatchString(text)
	if isID {
		if user, err := svc.User(ctx, text); !errors.Is(err, keyfold.ErrNotFound) {
			return user, err
		}
	}
	user, err := svc.UserByIdentifier(ctx, text)
	if !errors.Is(err, keyfold.ErrNotFound) {
		return user, err
	}
	if isID {
		return user, noUser("the user " + text + " does not exist")
	}
	return user, noUser(where + " is not the ID, username or e-mail address of a user")
}

// findUserFlag replaces the value of a flag by the ID of the user that it names. An
// empty value stays empty.
func findUserFlag(ctx context.Context, svc *keyfold.Service, where string, user *string) error {
	if *user == "" {
		return nil
	}
	found, err := findUser(ctx, svc, where, *user)
	*user = found.ID
	return err
}

func noUser(problem string) error {
	return &failure{exitNotFound, fmt.Errorf(`%s; "keyfold users list" lists the users`, problem)}
}
