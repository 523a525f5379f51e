package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/wire"
)

// CreatedOneTimeToken is the response to creating a one-time token. No other
// response contains the token.
type CreatedOneTimeToken struct {
	Token string `json:"token" doc:"The secret token. It is shown only once: send it to the user."`
	wire.OneTime
}

func newCreatedOneTimeToken(o keyfold.IssuedOneTimeToken) CreatedOneTimeToken {
	return CreatedOneTimeToken{Token: o.Token.Reveal(), OneTime: wire.OneTime{
		Purpose: o.Purpose.String(), UserID: o.User.ID, To: o.To, ExpiresAt: o.ExpiresAt.UTC(),
	}}
}

type (
	createOneTimeTokenBody struct {
		Purpose string `json:"purpose" enum:"verify_email,reset_password,change_email"`
		Email   string `json:"email" required:"false" doc:"The new e-mail address. Only for the purpose change_email."`
	}

	oneTimeTokenOutput struct{ Body CreatedOneTimeToken }

	useOneTimeTokenBody struct {
		Token string `json:"token"`
		IP    string `json:"ip" required:"false" doc:"The IP address of the user. It becomes a known address of the user, as after a log-in."`
	}

	resetPasswordBody struct {
		Token      string `json:"token"`
		Password   string `json:"password"`
		RevokeKeys bool   `json:"revoke_keys" required:"false" doc:"Whether to revoke all keys of the user as well."`
		IP         string `json:"ip" required:"false" doc:"The IP address of the user. It becomes a known address of the user, as after a log-in."`
	}

	sendOneTimeTokenBody struct {
		Purpose    string `json:"purpose" enum:"verify_email,reset_password"`
		Identifier string `json:"identifier" doc:"A username or an e-mail address."`
		IP         string `json:"ip" required:"false" doc:"The IP address of the user. The number of requests from one address is limited."`
	}
)

// sendOperation is the ID of the operation that requires a mailer.
const sendOperation = "send-one-time-token"

// useTokenRules describes the operations that use a one-time token.
const useTokenRules = "The token can be used once. If it is refused, the status is 422 with the code invalid_one_time_token, whatever the reason. " +
	"Clears the delays that failed log-ins imposed on the user."

func (a *api) oneTimeRoutes(r *routes) {
	post := func(path, id, summary string, status int) route {
		return route{http.MethodPost, path, id, summary, status, bodyRequired}
	}
	add(r, post("/users/{id}/one-time-tokens", "create-one-time-token", "Create a one-time token for a user", http.StatusCreated),
		"Replaces an existing token of the user for the same purpose. The response contains the token. It is shown only once: send it by mail, and only to the user.", a.createOneTime)
	add(r, post("/one-time-tokens/send", sendOperation, "Send a one-time token by mail", http.StatusAccepted),
		"The response is the same whether or not the user exists, and also if the user has been sent too many mails. Too many requests from one address are answered with 429. If the server does not send mail, the status is 501.", a.sendOneTime)
	add(r, post("/one-time-tokens/verify-email", "use-verify-email", "Verify an e-mail address with a one-time token", http.StatusOK),
		useTokenRules, a.useVerifyEmail)
	add(r, post("/one-time-tokens/change-email", "use-change-email", "Change an e-mail address with a one-time token", http.StatusOK),
		useTokenRules, a.useChangeEmail)
	add(r, post("/one-time-tokens/reset-password", "use-reset-password", "Reset a password with a one-time token", http.StatusOK),
		useTokenRules+" If the password is refused, the token remains valid.", a.useResetPassword)
}

func (a *api) createOneTime(ctx context.Context, in *userInput, b *createOneTimeTokenBody) (*oneTimeTokenOutput, error) {
	purpose, err := keyfold.ParseOneTimePurpose(b.Purpose)
	if err != nil {
		return nil, err
	}
	token, err := a.svc.CreateOneTimeToken(ctx, purpose, in.ID, b.Email)
	if err != nil {
		return nil, err
	}
	return &oneTimeTokenOutput{Body: newCreatedOneTimeToken(token)}, nil
}

func (a *api) sendOneTime(ctx context.Context, _ *empty, b *sendOneTimeTokenBody) (*empty, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	purpose, err := keyfold.ParseOneTimePurpose(b.Purpose)
	switch {
	case err != nil:
	case purpose == keyfold.PurposeResetPassword:
		err = a.svc.SendPasswordReset(ctx, b.Identifier, ip)
	case purpose == keyfold.PurposeVerifyEmail:
		err = a.svc.SendEmailVerification(ctx, b.Identifier, ip)
	default:
		err = &keyfold.InvalidError{Field: "purpose", Reason: "must be one of verify_email, reset_password"}
	}
	if refused, ok := errors.AsType[*keyfold.InvalidError](err); ok && refused.Field == "Options.Mailer" {
		return nil, noMailer()
	}
	return &empty{}, err
}

func (a *api) useVerifyEmail(ctx context.Context, _ *empty, b *useOneTimeTokenBody) (*userOutput, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	return useResult(a.svc.VerifyEmail(ctx, b.Token, ip))
}

func (a *api) useChangeEmail(ctx context.Context, _ *empty, b *useOneTimeTokenBody) (*userOutput, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	return useResult(a.svc.ConfirmEmailChange(ctx, b.Token, ip))
}

func (a *api) useResetPassword(ctx context.Context, _ *empty, b *resetPasswordBody) (*userOutput, error) {
	ip, err := parseIP(b.IP)
	if err != nil {
		return nil, err
	}
	return useResult(a.svc.ResetPassword(ctx, b.Token, b.Password, keyfold.ResetOptions{IP: ip, RevokeKeys: b.RevokeKeys}))
}

func useResult(user keyfold.User, err error) (*userOutput, error) {
	if errors.Is(err, keyfold.ErrUnauthenticated) {
		return nil, invalidOneTimeToken()
	}
	return userResult(user, err)
}
