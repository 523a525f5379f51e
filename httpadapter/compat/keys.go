package compat

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

// The texts of the predecessor, letter by letter.
const (
	keyNotFound   = "API key not found"
	badDate       = "The expiration date could not be parsed. Please use ISO 8601."
	reactivated   = "This API key was revoked and has been reactivated. "
	newDeadline   = "The new expiration date for the API key is "
	userExists    = "This user already exists in the database. Please choose another username or password."
	badEmail      = "This is not a valid email address. Please input a valid email address."
	badPassword   = "This password cannot be used"
	revokedReason = "revoked over the routes of the predecessor"
)

// create creates a key. With an e-mail address and a password, it also creates the user
// that the key belongs to, and answers with an object, as the predecessor does.
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

// name returns the name of a key and of its user, which may be empty, and the name of its
// parameter: "username", or else "name".
func (p params) name() (name, param string) {
	if username, _ := p.get("username"); username != "" {
		return username, "username"
	}
	name, _ = p.get("name")
	return name, "name"
}

// createWithUser creates the user and the key, or neither. The password was hashed before,
// because hashing is slow and a transaction must not stay open during it.
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
	// The store has no transactions: if the key fails, delete the user again.
	user = keyfold.User{}
	if err = create(h.svc); err != nil && user.ID != "" {
		err = errors.Join(err, h.svc.DeleteUser(context.WithoutCancel(ctx), user.ID))
	}
	return token, err
}

func forbidden(detail string) *refusal {
	return &refusal{status: http.StatusForbidden, detail: detail}
}

// refuseUser answers with 403, as the predecessor does, for a name that is taken, an
// invalid e-mail address, and a refused password.
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
		return forbidden(badPassword + needs(bad.Reason))
	case "name", "username":
		return faulty(bad.Reason, "value_error", "query", nameParam)
	}
	return err
}

// needs returns the end of the answer to a refused password. The contract lists the missing
// parts: ". It needs: at least 9 characters; a digit". A reason that is not about missing
// parts comes from another policy than [PasswordPolicy], and becomes a sentence.
func needs(reason string) string {
	parts := strings.Split(reason, "; ")
	for i, part := range parts {
		missing, ok := strings.CutPrefix(strings.Replace(part, "must contain ", "must have ", 1), "must have ")
		if !ok {
			return ": it " + reason
		}
		parts[i] = missing
	}
	return ". It needs: " + strings.Join(parts, "; ")
}

// publicPart returns the ID of a key that is presented as a whole, or as the
// beginning that /logs shows. It returns any other text unchanged: it may be an ID.
func publicPart(presented string) string {
	if token, err := keyfold.ParseToken(presented); err == nil {
		return token.ID()
	}
	if at := strings.LastIndexByte(presented, '_'); at > 0 {
		return presented[at+1:]
	}
	return presented
}

// beginning returns the public part of a key as its holder knows it: everything
// before the secret.
func beginning(key *keyfold.Key) string {
	if key.Environment == "" {
		return key.Prefix + "_" + key.ID
	}
	return key.Prefix + "_" + key.Environment + "_" + key.ID
}

// revoke disables a key. The answer does not tell whether the key exists.
func (h *handler) revoke(w http.ResponseWriter, r *http.Request, p params) error {
	presented, given := p.get("api-key")
	if !given {
		return missing("api-key")
	}
	err := h.svc.DisableKey(r.Context(), publicPart(presented), revokedReason)
	for _, none := range [...]error{keyfold.ErrNotFound, keyfold.ErrInvalid, keyfold.ErrConflict} { // conflict: the key has been revoked permanently
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

// renew sets the expiry time of a key and enables the key, or does neither.
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
		return &refusal{status: http.StatusNotFound, detail: keyNotFound} // conflict: the key has been revoked permanently, or was rotated
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
	// Renew first: if the store has no transactions and the second call fails, the effect
	// of the first stays, and a key that cannot be renewed must stay disabled.
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

// deadline returns the options to renew a key. The new expiry time is exactly the date,
// even if the key now expires later. A date in the past ends the key, except if the key
// never expires: for such a key, the predecessor ignored the date.
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
