package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/keyfold/keyfold"
)

// failure is an error with an exit code.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...)}
}

// classify adds an exit code to an error of the library.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*failure](err); ok {
		return err
	}
	code := exitFailure
	switch {
	case errors.Is(err, keyfold.ErrInvalid):
		code = exitUsage
	case errors.Is(err, keyfold.ErrNotFound):
		code = exitNotFound
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	}
	return &failure{code, err}
}

// inFlags replaces the JSON name of a field in an error of the library by the name of
// the flag or argument.
func inFlags(err error) error {
	bad, ok := errors.AsType[*keyfold.InvalidError](err)
	if !ok {
		return err
	}
	field, rest, listed := strings.Cut(bad.Field, "[")
	var where string
	switch field {
	case "id":
		where = "key ID"
	case "owner_id":
		where = "--owner"
	case "user_id":
		where = "--user"
	case "password":
		where = "password"
	case "key_id":
		where = "--key"
	case "scopes", "networks":
		where = "--" + strings.TrimSuffix(field, "s")
	default:
		where = "--" + strings.ReplaceAll(field, "_", "-")
	}
	if index, err := strconv.Atoi(strings.TrimSuffix(rest, "]")); listed && err == nil {
		where += " (number " + strconv.Itoa(index+1) + ")"
	}
	return usage("%s %s", where, bad.Reason)
}

// aboutUser adds advice to an error about a user that was deleted after it was found.
func aboutUser(id string, err error) error {
	if !errors.Is(err, keyfold.ErrNotFound) {
		return err
	}
	return noUser("the user " + id + " does not exist")
}

// aboutKey adds advice to an error about a key.
func aboutKey(ctx context.Context, svc *keyfold.Service, id string, err error) error {
	switch {
	case errors.Is(err, keyfold.ErrNotFound):
		return &failure{exitNotFound, fmt.Errorf(`the key %s does not exist; "keyfold keys list" lists the keys`, id)}
	case errors.Is(err, keyfold.ErrStale):
		return &failure{exitFailure, fmt.Errorf(`%w; see "keyfold keys show %s" for the current version, and try again`, err, id)}
	case !errors.Is(err, keyfold.ErrConflict):
		return err
	}
	key, readErr := svc.Key(ctx, id)
	if readErr != nil || key.RotatedTo != "" && key.RevokedAt.IsZero() {
		return err // it names the key that replaced this one
	}
	advice := "renew it first"
	switch {
	case key.RotatedTo != "":
		advice = "this cannot be undone, and key " + key.RotatedTo + " has replaced it"
	case !key.RevokedAt.IsZero():
		advice = "this cannot be undone; create a new key instead"
	case !key.DisabledAt.IsZero():
		advice = "enable it first"
	}
	return &failure{exitFailure, fmt.Errorf("%w; %s", err, advice)}
}
