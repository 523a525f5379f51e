package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/keyfold/keyfold"
)

// failure is the error of a command that was understood.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{exitUsage, fmt.Errorf(format, args...)}
}

// classify gives an error of the library its exit code.
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

// inFlags says which flag or argument the library found wrong: it names fields
// as they are in JSON.
func inFlags(err error) error {
	bad, ok := errors.AsType[*keyfold.InvalidError](err)
	if !ok {
		return err
	}
	field, rest, listed := strings.Cut(bad.Field, "[")
	var where string
	switch field {
	case "id":
		where = "id of a key"
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

// aboutUser adds to an error about one user what can be done.
func aboutUser(id string, err error) error {
	bad, isInvalid := errors.AsType[*keyfold.InvalidError](err)
	isUnknown := isInvalid && bad.Field == "user_id" // of a key that was to be created
	if !isUnknown && !errors.Is(err, keyfold.ErrNotFound) {
		return err
	}
	return &failure{exitNotFound, fmt.Errorf(`there is no user %s; "keyfold users list" shows those there are`, id)}
}

// aboutKey adds to an error about one key what can be done.
func aboutKey(ctx context.Context, svc *keyfold.Service, id string, err error) error {
	switch {
	case errors.Is(err, keyfold.ErrNotFound):
		return &failure{exitNotFound, fmt.Errorf(`there is no key %s; "keyfold keys list" shows those there are`, id)}
	case errors.Is(err, keyfold.ErrStale):
		return &failure{exitFailure, fmt.Errorf(`%w; somebody changed it: look at "keyfold keys show %s" and try again`, err, id)}
	case !errors.Is(err, keyfold.ErrConflict):
		return err
	}
	key, readErr := svc.Key(ctx, id)
	if readErr != nil || key.RotatedTo != "" && key.RevokedAt.IsZero() {
		return err // which names the key that took its place
	}
	advice := "renew it first"
	switch {
	case key.RotatedTo != "":
		advice = "that is for good, and key " + key.RotatedTo + " took its place"
	case !key.RevokedAt.IsZero():
		advice = "that is for good: create another key"
	case !key.DisabledAt.IsZero():
		advice = "enable it first"
	}
	return &failure{exitFailure, fmt.Errorf("%w; %s", err, advice)}
}
