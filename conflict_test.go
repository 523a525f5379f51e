package keyfold_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

func TestConflictsNameTheirField(t *testing.T) {
	l := newLifecycle(t)
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		l.must(err)
	}
	ann, err := l.CreateUser(ctx, keyfold.NewUser{Username: "ann", Email: "ann@example.com"})
	must(err)
	bob, err := l.CreateUser(ctx, keyfold.NewUser{Username: "bob", Email: "bob@example.com"})
	must(err)
	change, err := l.CreateOneTimeToken(ctx, keyfold.PurposeChangeEmail, bob.ID, "new@example.com")
	must(err)
	_, err = l.CreateUser(ctx, keyfold.NewUser{Email: "new@example.com"})
	must(err)

	revoked, _ := l.create(keyfold.NewKey{})
	must(l.RevokeKey(ctx, revoked.ID, ""))
	disabled, _ := l.create(keyfold.NewKey{})
	must(l.DisableKey(ctx, disabled.ID, ""))
	rotated, _ := l.create(keyfold.NewKey{})
	_, _, err = l.RotateKey(ctx, rotated.ID, keyfold.RotateOptions{})
	must(err)
	rotate := func(id string) error { _, _, err := l.RotateKey(ctx, id, keyfold.RotateOptions{}); return err }
	renew := func(id string) error { _, err := l.RenewKey(ctx, id, keyfold.RenewOptions{}); return err }
	create := func(n keyfold.NewUser) error { _, err := l.CreateUser(ctx, n); return err }
	oneTime := func(id, email string) error {
		_, err := l.CreateOneTimeToken(ctx, keyfold.PurposeChangeEmail, id, email)
		return err
	}
	_, used := l.ConfirmEmailChange(ctx, change.Token.Reveal(), netip.Addr{})
	must(l.DisableUser(ctx, ann.ID, ""))

	for name, row := range map[string]struct {
		field string
		err   error
	}{
		"a username that is taken":           {"username", create(keyfold.NewUser{Username: "ANN"})},
		"an e-mail address that is taken":    {"email", create(keyfold.NewUser{Email: "ann@example.com"})},
		"a new address that is taken":        {"email", oneTime(bob.ID, "ann@example.com")},
		"a new address that was taken since": {"email", used},
		"a token for a disabled user":        {"disabled_at", oneTime(ann.ID, "other@example.com")},
		"renew a revoked key":                {"revoked_at", renew(revoked.ID)},
		"renew a rotated key":                {"rotated_to", renew(rotated.ID)},
		"enable a revoked key":               {"revoked_at", l.EnableKey(ctx, revoked.ID)},
		"rotate a revoked key":               {"revoked_at", rotate(revoked.ID)},
		"rotate a disabled key":              {"disabled_at", rotate(disabled.ID)},
		"rotate a rotated key":               {"rotated_to", rotate(rotated.ID)},
	} {
		t.Run(name, func(t *testing.T) {
			inTheWay, ok := errors.AsType[*keyfold.ConflictError](row.err)
			if !ok || inTheWay.Field != row.field || !errors.Is(row.err, keyfold.ErrConflict) {
				t.Errorf("%s: got %v, want a ConflictError for %s", name, row.err, row.field)
			}
		})
	}
}

func TestLogInAndOneTimeTokenHaveErrorsOfTheirOwn(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	if _, err := svc.CreateUser(t.Context(), keyfold.NewUser{Username: "ann", Password: "correct horse battery"}); err != nil {
		t.Fatal(err)
	}
	for _, login := range []string{"ann", "bob", "not a name"} {
		t.Run(login, func(t *testing.T) {
			_, err := svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: login, Password: "wrong horse battery"})
			if !errors.Is(err, keyfold.ErrInvalidCredentials) || !errors.Is(err, keyfold.ErrUnauthenticated) {
				t.Errorf("%q with a wrong password: got %v, want ErrInvalidCredentials", login, err)
			}
		})
	}
	_, err := svc.VerifyEmail(t.Context(), "kf1t_nonsense", netip.Addr{})
	if !errors.Is(err, keyfold.ErrInvalidOneTimeToken) || !errors.Is(err, keyfold.ErrUnauthenticated) {
		t.Errorf("a bad one-time token: got %v, want ErrInvalidOneTimeToken", err)
	}
	_, err = svc.Verify(t.Context(), keyfold.Request{Token: "kf_nonsense"})
	if errors.Is(err, keyfold.ErrInvalidCredentials) || !errors.Is(err, keyfold.ErrUnauthenticated) {
		t.Errorf("a bad key: got %v", err)
	}
}
