package compat

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/keyfold/keyfold"
)

// What the predecessor answers, to the letter.
const (
	keyNotFound   = "API key not found"
	badDate       = "The expiration date could not be parsed. Please use ISO 8601."
	reactivated   = "This API key was revoked and has been reactivated. "
	newDeadline   = "The new expiration date for the API key is "
	userExists    = "This user already exists in the database. Please choose another username or password."
	badEmail      = "This is not a valid email address. Please input a valid email address."
	badPassword   = "This password cannot be used: it "
	revokedReason = "revoked over the routes of the predecessor"
)

// create makes a key. With an e-mail address and a password it also makes the user
// that the key belongs to, and answers an object, as the predecessor does.
func (h *handler) create(w http.ResponseWriter, r *http.Request, p params) error {
	never, err := p.flag("never_expires")
	if err != nil {
		return err
	}
	n := keyfold.NewKey{TTL: h.keyTTL}
	if never {
		n.TTL = keyfold.Never
	}
	name, nameParam := p.name()
	n.Name = name
	email, hasEmail := p.get("email")
	password, hasPassword := p.get("password")

	var token keyfold.Token
	switch {
	case !hasEmail && !hasPassword:
		_, token, err = h.svc.CreateKey(r.Context(), n)
	case !hasEmail:
		return missing("email")
	case !hasPassword:
		return missing("password")
	case email == "":
		return forbidden(badEmail)
	default:
		user := keyfold.NewUser{Username: name, Email: email}
		if user.HashedPassword, err = h.svc.HashPassword(r.Context(), password, name, email); err == nil {
			token, err = h.createWithUser(r.Context(), user, n)
		}
	}
	if err != nil {
		return refuseUser(err, nameParam)
	}
	if hasEmail {
		writeJSON(w, http.StatusOK, struct {
			APIKey string `json:"api-key"`
		}{token.Reveal()})
		return nil
	}
	writeJSON(w, http.StatusOK, token.Reveal())
	return nil
}

// name returns the name of a key and of its user, which may be empty, and the
// parameter that gave it: "username", or else "name".
func (p params) name() (name, param string) {
	if username, _ := p.get("username"); username != "" {
		return username, "username"
	}
	name, _ = p.get("name")
	return name, "name"
}

// createWithUser makes user and key, or neither. The password is hashed already,
// because nothing may wait for that with a transaction open.
func (h *handler) createWithUser(ctx context.Context, u keyfold.NewUser, n keyfold.NewKey) (token keyfold.Token, err error) {
	var user keyfold.User
	create := func(k *keyfold.Service) error {
		if user, err = k.CreateUser(ctx, u); err != nil {
			return err
		}
		n.UserID = user.ID
		_, token, err = k.CreateKey(ctx, n)
		return err
	}
	if err = h.svc.InTx(ctx, create); !errors.Is(err, errors.ErrUnsupported) {
		return token, err
	}
	// A store without transactions: what is there already goes again.
	user = keyfold.User{}
	if err = create(h.svc); err != nil && user.ID != "" {
		err = errors.Join(err, h.svc.DeleteUser(context.WithoutCancel(ctx), user.ID))
	}
	return token, err
}

func forbidden(detail string) *refusal {
	return &refusal{status: http.StatusForbidden, detail: detail}
}

// refuseUser answers as the predecessor does, with 403, for what it looked at
// itself: taken names, the address, the password.
func refuseUser(err error, nameParam string) error {
	if errors.Is(err, keyfold.ErrConflict) {
		return forbidden(userExists)
	}
	bad, ok := errors.AsType[*keyfold.InvalidError](err)
	if !ok {
		return err
	}
	switch bad.Field {
	case "email":
		return forbidden(badEmail)
	case "password":
		return forbidden(badPassword + bad.Reason)
	case "name", "username":
		return faulty(bad.Reason, "value_error", "query", nameParam)
	}
	return err
}

// publicPart returns the id that a whole key or a public part stands for, and ""
// for what is neither.
func publicPart(presented string) string {
	if token, err := keyfold.ParseToken(presented); err == nil {
		return token.ID()
	}
	return presented
}

// revoke disables a key. Whether there is one, it does not tell.
func (h *handler) revoke(w http.ResponseWriter, r *http.Request, p params) error {
	presented, given := p.get("api-key")
	if !given {
		return missing("api-key")
	}
	err := h.svc.DisableKey(r.Context(), publicPart(presented), revokedReason)
	for _, none := range [...]error{keyfold.ErrNotFound, keyfold.ErrInvalid, keyfold.ErrConflict} { // conflict: it is revoked for good
		if errors.Is(err, none) {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, nil)
	return nil
}

// renew gives a key a new deadline and enables it, both or neither.
func (h *handler) renew(w http.ResponseWriter, r *http.Request, p params) error {
	presented, given := p.get("api-key")
	if !given {
		return missing("api-key")
	}
	date, _ := p.get("expiration-date")
	var answer string
	renew := func(k *keyfold.Service) (err error) {
		answer, err = h.renewIn(r.Context(), k, publicPart(presented), date)
		return err
	}
	err := h.svc.InTx(r.Context(), renew)
	if errors.Is(err, errors.ErrUnsupported) { // a store without transactions
		err = renew(h.svc)
	}
	switch {
	case errors.Is(err, keyfold.ErrNotFound), errors.Is(err, keyfold.ErrInvalid), errors.Is(err, keyfold.ErrConflict):
		return &refusal{status: http.StatusNotFound, detail: keyNotFound} // conflict: it is revoked for good, or was rotated
	case err != nil:
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// renewIn looks the key up before it reads the date, as the predecessor does.
func (h *handler) renewIn(ctx context.Context, k *keyfold.Service, id, date string) (answer string, err error) {
	key, err := k.Key(ctx, id)
	if err != nil {
		return "", err
	}
	wanted, err := h.deadline(&key, date)
	if err != nil {
		return "", err
	}
	// In this order, because a store without transactions keeps what the first call
	// did where the second fails: a key that cannot be renewed must stay disabled.
	renewed, err := k.RenewKey(ctx, id, wanted)
	if err != nil {
		return "", err
	}
	if !key.DisabledAt.IsZero() {
		if err := k.EnableKey(ctx, id); err != nil {
			return "", err
		}
		answer = reactivated
	}
	return answer + newDeadline + formatDate(renewed.ExpiresAt), nil
}

// deadline is what a key is renewed to. It is exact, also where that is sooner. A
// date in the past ends a key, except one that never expires: the predecessor
// kept its flag and never looked at the date.
func (h *handler) deadline(key *keyfold.Key, date string) (keyfold.RenewOptions, error) {
	switch {
	case date != "":
		at, ok := parseDate(date)
		if !ok {
			return keyfold.RenewOptions{}, &refusal{status: http.StatusUnprocessableEntity, detail: badDate}
		}
		if key.ExpiresAt.IsZero() && !at.After(h.gate.Now()) {
			return keyfold.RenewOptions{TTL: keyfold.Never}, nil
		}
		return keyfold.RenewOptions{ExpiresAt: at}, nil
	case key.ExpiresAt.IsZero(), h.keyTTL == keyfold.Never:
		return keyfold.RenewOptions{TTL: keyfold.Never}, nil
	}
	return keyfold.RenewOptions{ExpiresAt: h.gate.Now().Add(h.keyTTL).Truncate(time.Second)}, nil
}
