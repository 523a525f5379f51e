package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/wire"
)

// IssuedOneTimeToken is the answer to making a one-time token: the only one that holds it.
type OneTime struct {
	Token string `json:"token" doc:"For the user alone; shown this once, and never again"`
	wire.OneTime
}

func newOneTime(o keyfold.IssuedOneTimeToken) OneTime {
	return OneTime{Token: o.Token.Reveal(), OneTime: wire.OneTime{
		Purpose: o.Purpose.String(), UserID: o.User.ID, To: o.To, ExpiresAt: o.ExpiresAt.UTC(),
	}}
}

type (
	newOneTimeBody struct {
		Purpose string `json:"purpose" enum:"verify_email,reset_password,change_email"`
		Email   string `json:"email" required:"false" doc:"The new address, for change_email alone"`
	}

	oneTimeAnswer struct{ Body OneTime }

	oneTimeBody struct {
		Token string `json:"token"`
		IP    string `json:"ip" required:"false" doc:"The user's IP address, which becomes known for the user as after a log-in"`
	}

	resetBody struct {
		Token      string `json:"token"`
		Password   string `json:"password"`
		RevokeKeys bool   `json:"revoke_keys" required:"false" doc:"Revoke all keys of the user in the same step"`
		IP         string `json:"ip" required:"false" doc:"The user's IP address, which becomes known for the user as after a log-in"`
	}

	sendBody struct {
		Purpose string `json:"purpose" enum:"verify_email,reset_password"`
		Login   string `json:"login" doc:"A username, or an e-mail address"`
		IP      string `json:"ip" required:"false" doc:"The IP address of the person who asks; requests are limited by it"`
	}
)

// sendRoute is the id of the one route that a program may not offer.
const sendRoute = "send-one-time-token"

func (a *api) oneTimeRoutes(r *routes) {
	post := func(path, id, summary string, status int) route {
		return route{http.MethodPost, path, id, summary, status, bodyRequired}
	}
	add(r, post("/users/{id}/one-time-tokens", "create-one-time-token", "Make a one-time token for a user", http.StatusCreated),
		"In place of the one that the user may have for the same purpose. The answer holds the token, which cannot be had again: hand it to the user alone, by mail.", a.createOneTime)
	add(r, post("/one-time-tokens/send", sendRoute, "Mail a one-time token to a user", http.StatusAccepted),
		"The answer is the same whether or not the user exists, and whether or not the user was already sent too many mails. 429 with Retry-After after too many requests from the address. 501 if the program sends no mail.", a.sendOneTime)
	add(r, post("/one-time-tokens/verify-email", "use-verify-email", "Use a token up that proves an address", http.StatusOK),
		"Lifts the waits that failed log-ins have put on the user. 422 with the code invalid_one_time_token for every reason to refuse the token.", a.useVerifyEmail)
	add(r, post("/one-time-tokens/change-email", "use-change-email", "Use a token up that changes an address", http.StatusOK),
		"Lifts the waits that failed log-ins have put on the user. 422 with the code invalid_one_time_token for every reason to refuse the token.", a.useChangeEmail)
	add(r, post("/one-time-tokens/reset-password", "use-reset-password", "Use a token up that sets a password", http.StatusOK),
		"Lifts the waits that failed log-ins have put on the user. 422 with the code invalid_one_time_token for every reason to refuse the token. A password that is refused leaves the token as it is.", a.useResetPassword)
}

func (a *api) createOneTime(ctx context.Context, in *onUser, b *newOneTimeBody) (*oneTimeAnswer, error) {
	purpose, err := keyfold.ParseOneTimePurpose(b.Purpose)
	if err != nil {
		return nil, err
	}
	token, err := a.svc.CreateOneTimeToken(ctx, purpose, in.ID, b.Email)
	if err != nil {
		return nil, err
	}
	return &oneTimeAnswer{Body: newOneTime(token)}, nil
}

func (a *api) sendOneTime(ctx context.Context, _ *none, b *sendBody) (*none, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	purpose, err := keyfold.ParseOneTimePurpose(b.Purpose)
	switch {
	case err != nil:
	case purpose == keyfold.PurposeResetPassword:
		err = a.svc.SendPasswordReset(ctx, b.Login, ip)
	case purpose == keyfold.PurposeVerifyEmail:
		err = a.svc.SendEmailVerification(ctx, b.Login, ip)
	default:
		err = &keyfold.InvalidError{Field: "purpose", Reason: "must be one of verify_email, reset_password"}
	}
	if refused, ok := errors.AsType[*keyfold.InvalidError](err); ok && refused.Field == "Options.Mailer" {
		return nil, newProblem(http.StatusNotImplemented, "no_mailer", "This program sends no mail; make a token and deliver it yourself.")
	}
	return &none{}, err
}

func (a *api) useVerifyEmail(ctx context.Context, _ *none, b *oneTimeBody) (*userAnswer, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	return usedOneTime(a.svc.VerifyEmail(ctx, b.Token, ip))
}

func (a *api) useChangeEmail(ctx context.Context, _ *none, b *oneTimeBody) (*userAnswer, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	return usedOneTime(a.svc.ConfirmEmailChange(ctx, b.Token, ip))
}

func (a *api) useResetPassword(ctx context.Context, _ *none, b *resetBody) (*userAnswer, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	return usedOneTime(a.svc.ResetPassword(ctx, b.Token, b.Password, keyfold.ResetOptions{IP: ip, RevokeKeys: b.RevokeKeys}))
}

func usedOneTime(user keyfold.User, err error) (*userAnswer, error) {
	if errors.Is(err, keyfold.ErrUnauthenticated) {
		// Not a 401: that would say that the admin secret is wrong.
		return nil, newProblem(http.StatusUnprocessableEntity, "invalid_one_time_token",
			"The token is invalid, has expired, or was already used.")
	}
	return answerUser(user, err)
}
