package keyfold_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// desk is a Service for one-time tokens with a clock that the test controls.
type desk struct {
	*keyfold.Service
	t     *testing.T
	clock *fakeClock
	store keyfold.Store
}

// onEveryDesk runs a test on each store, with a Service and one user, "ann".
func onEveryDesk(t *testing.T, test func(*desk, keyfold.User), without ...string) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		clock := newClock()
		d := &desk{newService(t, store, &keyfold.Options{Now: clock.now}), t, clock, store}
		test(d, join(t, d.Service, keyfold.NewUser{Username: "ann", Email: "ann@example.com"}))
	}, without...)
}

const moved = "ann@example.org"

// token creates a token for a user. For ChangeEmail, the token is for the address moved.
func (d *desk) token(purpose keyfold.OneTimePurpose, userID string) string {
	d.t.Helper()
	to := ""
	if purpose == keyfold.PurposeChangeEmail {
		to = moved
	}
	mail, err := d.CreateOneTimeToken(d.t.Context(), purpose, userID, to)
	must(d.t, err)
	return mail.Token.Reveal()
}

// use uses a token for a purpose.
func (d *desk) use(purpose keyfold.OneTimePurpose, token string) (keyfold.User, error) {
	switch purpose {
	case keyfold.PurposeVerifyEmail:
		return d.VerifyEmail(d.t.Context(), token, netip.Addr{})
	case keyfold.PurposeChangeEmail:
		return d.ConfirmEmailChange(d.t.Context(), token, netip.Addr{})
	}
	return d.ResetPassword(d.t.Context(), token, another, keyfold.ResetOptions{})
}

// noGood checks that a token is refused in the same way as an unknown token.
func (d *desk) noGood(what string, purpose keyfold.OneTimePurpose, token string) {
	d.t.Helper()
	_, err := d.use(purpose, token)
	wantErr(d.t, fmt.Sprintf("%v, %s", purpose, what), err, keyfold.ErrUnauthenticated)
	_, none := d.use(purpose, "kf1t_")
	if err != nil && err.Error() != none.Error() {
		d.t.Errorf("%v, %s: %q, want what garbage gets: %q", purpose, what, err, none)
	}
}

func purposes() []keyfold.OneTimePurpose {
	return []keyfold.OneTimePurpose{keyfold.PurposeVerifyEmail, keyfold.PurposeResetPassword, keyfold.PurposeChangeEmail}
}

func TestOneTimeTokenDoesWhatItsPurposeSaysOnce(t *testing.T) {
	onEveryDesk(t, func(d *desk, user keyfold.User) {
		for _, purpose := range purposes() {
			token := d.token(purpose, user.ID)
			d.clock.add(time.Minute)
			got, err := d.use(purpose, token)
			must(d.t, err)
			user.EmailVerifiedAt, user.UpdatedAt, user.Version = d.clock.now(), d.clock.now(), user.Version+1
			switch purpose {
			case keyfold.PurposeResetPassword:
				user.HasPassword, user.PasswordChangedAt = true, d.clock.now()
			case keyfold.PurposeChangeEmail:
				user.Email = moved
			}
			if got != user {
				d.t.Errorf("%v: %+v, want %+v", purpose, got, user)
			}
			wantUser(d.t, d.Service, purpose.String(), user)
			for range 2 {
				d.noGood("used", purpose, token)
			}
			wantUser(d.t, d.Service, purpose.String()+" again", user)
		}
		door := &door{d.Service, d.t, d.clock}
		if err := door.try(moved, another, ""); err != nil {
			d.t.Errorf("the new password by the new address: %v", err)
		}
	})
}

func TestOneTimeTokenGoesToItsAddressAndTellsItsEnd(t *testing.T) {
	onEveryDesk(t, func(d *desk, user keyfold.User) {
		for purpose, want := range map[keyfold.OneTimePurpose]struct {
			to   string
			life time.Duration
		}{
			keyfold.PurposeVerifyEmail:   {"ann@example.com", 24 * time.Hour},
			keyfold.PurposeResetPassword: {"ann@example.com", 15 * time.Minute},
			keyfold.PurposeChangeEmail:   {moved, 24 * time.Hour},
		} {
			to := map[bool]string{true: moved}[purpose == keyfold.PurposeChangeEmail]
			mail, err := d.CreateOneTimeToken(d.t.Context(), purpose, user.ID, to)
			must(d.t, err)
			if mail.To != want.to || !mail.ExpiresAt.Equal(d.clock.now().Add(want.life)) || mail.User != user || mail.Purpose != purpose {
				d.t.Errorf("%v: %+v, want it sent to %s for %v", purpose, mail, want.to, want.life)
			}
			if text := mail.Token.Reveal(); len(text) != len("kf1t_")+43 || !strings.HasPrefix(text, "kf1t_") {
				d.t.Errorf("%v: a token of %d characters, want kf1t_ and 43", purpose, len(text))
			}
			d.clock.add(want.life - time.Millisecond)
			first := d.token(purpose, user.ID) // in place of the one that ends
			d.noGood("replaced", purpose, mail.Token.Reveal())
			d.clock.add(want.life)
			d.noGood("at its end", purpose, first)
			last := d.token(purpose, user.ID)
			d.clock.add(want.life - time.Millisecond)
			user, err = d.use(purpose, last)
			must(d.t, err)
			if purpose == keyfold.PurposeChangeEmail { // back to the first address, for the next
				mail, err := d.CreateOneTimeToken(d.t.Context(), purpose, user.ID, "ann@example.com")
				must(d.t, err)
				user, err = d.use(purpose, mail.Token.Reveal())
				must(d.t, err)
			}
		}
	})
}

func TestOneTimeTokenIsGoodForItsPurposeOnly(t *testing.T) {
	// Mutation tried: oneTimeSum without the purpose, and UseOneTimeToken without a
	// look at it, lets a token to verify an address reset the password. Either
	// alone is enough.
	onEveryDesk(t, func(d *desk, user keyfold.User) {
		for _, purpose := range purposes() {
			token := d.token(purpose, user.ID)
			before, err := d.User(d.t.Context(), user.ID)
			must(d.t, err)
			for _, other := range purposes() {
				if other != purpose {
					d.noGood("made to "+purpose.String(), other, token)
				}
			}
			for what, text := range map[string]string{
				"empty": "", "short": token[:len(token)-1], "long": token + "0", "folded": strings.ToUpper(token), "padded": token + " ",
				"another": token[:len(token)-1] + map[bool]string{true: "0", false: "1"}[token[len(token)-1] != '0'], "huge": strings.Repeat("k", 1<<20),
			} {
				d.noGood(what, purpose, text)
			}
			wantUser(d.t, d.Service, "after wrong uses", before)
			_, err = d.use(purpose, token)
			must(d.t, err)
		}
	})
}

func TestOneOfFiftyRacingUsesWins(t *testing.T) {
	onEveryDesk(t, func(d *desk, user keyfold.User) {
		for _, purpose := range []keyfold.OneTimePurpose{keyfold.PurposeVerifyEmail, keyfold.PurposeChangeEmail} {
			token := d.token(purpose, user.ID)
			errs := atOnce(50, func(int) error {
				_, err := d.use(purpose, token)
				return err
			})
			if countErrors(errs, nil) != 1 || countErrors(errs, keyfold.ErrUnauthenticated) != 49 {
				d.t.Errorf("%v: %v, want one to win and 49 refused", purpose, errs)
			}
		}
		keyfold.CountKDFs(d.Service).Replace(func() any { return nil }) // 50 hashes would take their time
		token := d.token(keyfold.PurposeResetPassword, user.ID)
		errs := atOnce(50, func(int) error {
			_, err := d.use(keyfold.PurposeResetPassword, token)
			return err
		})
		if busy := countErrors(errs, keyfold.ErrRateLimited); countErrors(errs, nil) != 1 || countErrors(errs, keyfold.ErrUnauthenticated)+busy != 49 {
			d.t.Errorf("%v: %v, want one to win and 49 refused", keyfold.PurposeResetPassword, errs)
		}
	})
}

func TestOneTimeTokenIsInvalidatedByRelatedChanges(t *testing.T) {
	onEveryDesk(t, func(d *desk, _ keyfold.User) {
		ctx := d.t.Context()
		for i, row := range []struct {
			what  string
			spoil func(user keyfold.User)
			back  func(user keyfold.User) // after which it is good, or nil
		}{
			{"a new password", func(user keyfold.User) { must(d.t, d.SetPassword(ctx, user.ID, password)) }, nil},
			{"another address", func(user keyfold.User) {
				address := "new-" + user.Email
				_, err := d.UpdateUser(ctx, user.ID, keyfold.UserUpdate{Version: user.Version, Email: &address})
				must(d.t, err)
			}, nil},
			{"no address", func(user keyfold.User) {
				none := ""
				_, err := d.UpdateUser(ctx, user.ID, keyfold.UserUpdate{Version: user.Version, Email: &none})
				must(d.t, err)
			}, nil},
			{
				"the user disabled", func(user keyfold.User) { must(d.t, d.DisableUser(ctx, user.ID, "")) },
				func(user keyfold.User) { must(d.t, d.EnableUser(ctx, user.ID)) },
			},
			{"the user deleted", func(user keyfold.User) { must(d.t, d.DeleteUser(ctx, user.ID)) }, nil},
		} {
			for _, purpose := range purposes() {
				name := fmt.Sprintf("user%d.%v", i, purpose)
				user := join(d.t, d.Service, keyfold.NewUser{Username: name, Email: name + "@example.com"})
				mail, err := d.CreateOneTimeToken(ctx, purpose, user.ID, map[bool]string{true: "to-" + user.Email}[purpose == keyfold.PurposeChangeEmail])
				must(d.t, err)
				row.spoil(user)
				d.noGood(row.what, purpose, mail.Token.Reveal())
				if row.back != nil {
					row.back(user)
					if _, err := d.use(purpose, mail.Token.Reveal()); err != nil {
						d.t.Errorf("%v, %s and back: %v", purpose, row.what, err)
					}
				}
			}
		}
	})
}

func TestResetRevokesTheKeysOnlyWhenAsked(t *testing.T) {
	onEveryDesk(t, func(d *desk, user keyfold.User) {
		_, token := create(d.t, d.Service, keyfold.NewKey{UserID: user.ID})
		_, more := create(d.t, d.Service, keyfold.NewKey{UserID: user.ID})
		_, other := create(d.t, d.Service, keyfold.NewKey{})
		for _, text := range []string{token, more, other} {
			remembers(d.t, d.Service, text)
		}
		for _, revoke := range []bool{false, true} {
			reset := d.token(keyfold.PurposeResetPassword, user.ID)
			_, err := d.ResetPassword(d.t.Context(), reset, another, keyfold.ResetOptions{RevokeKeys: revoke})
			must(d.t, err)
			want := map[bool]keyfold.Outcome{false: keyfold.OutcomeAllowed, true: keyfold.OutcomeRevoked}[revoke]
			wants(d.t, d.Service, token, want, fmt.Sprint("revoke ", revoke))
			wants(d.t, d.Service, more, want, fmt.Sprint("revoke ", revoke))
			wants(d.t, d.Service, other, keyfold.OutcomeAllowed, "a key without a user")
		}
		// A refused reset does not revoke keys.
		_, fresh := create(d.t, d.Service, keyfold.NewKey{UserID: user.ID})
		_, err := d.ResetPassword(d.t.Context(), "kf1t_"+strings.Repeat("0", 43), another, keyfold.ResetOptions{RevokeKeys: true})
		wantErr(d.t, "a reset by garbage", err, keyfold.ErrUnauthenticated)
		wants(d.t, d.Service, fresh, keyfold.OutcomeAllowed, "after a reset by garbage")
	})
}

// halfReset is a store that cannot revoke keys.
type halfReset struct{ keyfold.Store }

var errHalf = errors.New("the disk is full")

func (s halfReset) SetKeyState(context.Context, []string, keyfold.StateChange, string, keyfold.Mutation) ([]string, error) {
	return nil, errHalf
}

func (s halfReset) InTx(ctx context.Context, fn func(keyfold.Store) error) error {
	return s.Store.InTx(ctx, func(tx keyfold.Store) error { return fn(halfReset{tx}) })
}

func TestResetAndItsRevocationsAreOneStep(t *testing.T) {
	// Mutation tried: ResetPassword without InTx changes the password, and uses
	// the token up.
	onEveryDesk(t, func(d *desk, user keyfold.User) {
		ctx := d.t.Context()
		must(d.t, d.SetPassword(ctx, user.ID, password))
		create(d.t, d.Service, keyfold.NewKey{UserID: user.ID})
		token := d.token(keyfold.PurposeResetPassword, user.ID)
		half := newService(d.t, halfReset{d.store}, &keyfold.Options{Now: d.clock.now})
		_, err := half.ResetPassword(ctx, token, another, keyfold.ResetOptions{RevokeKeys: true})
		wantErr(d.t, "a reset whose revocations fail", err, keyfold.ErrUnavailable)
		if _, err := d.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: password}); err != nil {
			d.t.Errorf("the old password after half a reset: %v", err)
		}
		_, err = d.ResetPassword(ctx, token, another, keyfold.ResetOptions{RevokeKeys: true})
		must(d.t, err)
	}, "mongodb") // it has no transactions
}

func TestInvalidOneTimeTokensAreRefused(t *testing.T) {
	l := newLifecycle(t)
	ctx := t.Context()
	user := join(t, l.Service, keyfold.NewUser{Username: "ann", Email: "ann@example.com"})
	bare := join(t, l.Service, keyfold.NewUser{Username: "bare"})
	bob := join(t, l.Service, keyfold.NewUser{Email: "bob@example.com"})
	for _, row := range []struct {
		what, field, userID, email string
		purpose                    keyfold.OneTimePurpose
	}{
		{"no purpose", "purpose", user.ID, "", 0},
		{"an unknown purpose", "purpose", user.ID, "", 4},
		{"an address to verify", "email", user.ID, "ann@example.com", keyfold.PurposeVerifyEmail},
		{"an address to reset", "email", user.ID, "ann@example.com", keyfold.PurposeResetPassword},
		{"no address to change to", "email", user.ID, "", keyfold.PurposeChangeEmail},
		{"no id", "id", "ann", "", keyfold.PurposeVerifyEmail},
		{"nobody's address", "email", bare.ID, "", keyfold.PurposeResetPassword},
	} {
		_, err := l.CreateOneTimeToken(ctx, row.purpose, row.userID, row.email)
		wantField(t, row.what, err, row.field)
	}
	_, err := l.CreateOneTimeToken(ctx, keyfold.PurposeVerifyEmail, strings.Repeat("0", 16), "")
	wantErr(t, "nobody", err, keyfold.ErrNotFound)
	_, err = l.CreateOneTimeToken(ctx, keyfold.PurposeChangeEmail, user.ID, bob.Email)
	wantErr(t, "an address that is taken", err, keyfold.ErrConflict)

	// One that is taken meanwhile leaves the token for when it is free.
	mail, err := l.CreateOneTimeToken(ctx, keyfold.PurposeChangeEmail, bare.ID, "wanted@example.com")
	l.must(err)
	squatter := join(t, l.Service, keyfold.NewUser{Email: "wanted@example.com"})
	_, err = l.ConfirmEmailChange(ctx, mail.Token.Reveal(), netip.Addr{})
	wantErr(t, "an address that was taken meanwhile", err, keyfold.ErrConflict)
	l.must(l.DeleteUser(ctx, squatter.ID))
	got, err := l.ConfirmEmailChange(ctx, mail.Token.Reveal(), netip.Addr{})
	if err != nil || got.Email != "wanted@example.com" || got.EmailVerifiedAt.IsZero() {
		t.Errorf("an address that is free again: %+v, %v", got, err)
	}

	l.must(l.DisableUser(ctx, user.ID, ""))
	_, err = l.CreateOneTimeToken(ctx, keyfold.PurposeResetPassword, user.ID, "")
	wantErr(t, "a disabled user", err, keyfold.ErrConflict)
}

func TestStoredOneTimeTokenIsNotACredential(t *testing.T) {
	l := newLifecycle(t)
	user := join(t, l.Service, keyfold.NewUser{Email: "ann@example.com"})
	mail, err := l.CreateOneTimeToken(t.Context(), keyfold.PurposeVerifyEmail, user.ID, "")
	l.must(err)
	second, err := l.CreateOneTimeToken(t.Context(), keyfold.PurposeResetPassword, user.ID, "")
	l.must(err)
	if mail.Token.Equal(second.Token) {
		t.Error("two tokens are one")
	}
	entries, err := l.store.Audit(t.Context(), keyfold.AuditScan{Limit: 10})
	l.must(err)
	if kept := fmt.Sprintf("%+v", entries); strings.Contains(kept, mail.Token.Reveal()) {
		t.Error("the audit log shows the token")
	}
}

func TestOneTimeTokenHidesItself(t *testing.T) {
	// Mutation tried: OneTimeToken without Format prints its text for %d.
	l := newLifecycle(t)
	user := join(t, l.Service, keyfold.NewUser{Email: "ann@example.com"})
	mail, err := l.CreateOneTimeToken(t.Context(), keyfold.PurposeResetPassword, user.ID, "")
	l.must(err)
	token := mail.Token
	secret := strings.TrimPrefix(token.Reveal(), "kf1t_")
	shown := map[string]string{"String": token.String(), "GoString": token.GoString(), "error": fmt.Errorf("mailed %v", token).Error()}
	nested := struct {
		Token   keyfold.OneTimeToken
		Pointer *keyfold.OneTimeToken
		List    []keyfold.OneTimeToken
		Mail    keyfold.IssuedOneTimeToken
	}{token, &token, []keyfold.OneTimeToken{token}, mail}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10.3s"} {
		shown["token "+verb] = fmt.Sprintf(verb, token)
		shown["mail "+verb] = fmt.Sprintf(verb, mail)
		shown["nested "+verb] = fmt.Sprintf(verb, nested)
	}
	for name, value := range map[string]any{"JSON": nested, "JSON mail": mail} {
		text, err := json.Marshal(value)
		l.must(err)
		shown[name] = string(text)
	}
	type document struct{ T keyfold.OneTimeToken }
	text, err := xml.Marshal(document{token})
	l.must(err)
	shown["XML"] = string(text)
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var out bytes.Buffer
		slog.New(handler(&out)).Info("mailed", "token", token, "mail", mail, "nested", nested, slog.Group("g", "token", &token))
		shown[name] = out.String()
	}
	for how, out := range shown {
		t.Run(how, func(t *testing.T) {
			if strings.Contains(out, secret) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", secret)) {
				t.Errorf("%s shows the token: %s", how, out)
			}
			if how == "JSON mail" { // has the fields of the admin API, which are not for the token
				return
			}
			if !strings.Contains(out, "[one-time token]") {
				t.Errorf("%s shows nothing in place of the token: %s", how, out)
			}
		})
	}
}

// fmt calls no methods on unexported fields. Mutation tried: OneTimeToken with a
// string in place of its pointer.
func TestOneTimeTokenHidesItselfInUnexportedFields(t *testing.T) {
	l := newLifecycle(t)
	user := join(t, l.Service, keyfold.NewUser{Email: "ann@example.com"})
	mail, err := l.CreateOneTimeToken(t.Context(), keyfold.PurposeResetPassword, user.ID, "")
	l.must(err)
	type inner struct {
		token keyfold.OneTimeToken
		mail  keyfold.IssuedOneTimeToken
		list  []keyfold.OneTimeToken
	}
	wantsHidden(t, strings.TrimPrefix(mail.Token.Reveal(), "kf1t_"), inner{mail.Token, mail, []keyfold.OneTimeToken{mail.Token}})
}

func TestOneTimeTokensAreEqualByTheirText(t *testing.T) {
	l := newLifecycle(t)
	user := join(t, l.Service, keyfold.NewUser{Email: "ann@example.com"})
	first, err := l.CreateOneTimeToken(t.Context(), keyfold.PurposeResetPassword, user.ID, "")
	l.must(err)
	second, err := l.CreateOneTimeToken(t.Context(), keyfold.PurposeResetPassword, user.ID, "")
	l.must(err)
	switch none := (keyfold.OneTimeToken{}); {
	case !first.Token.Equal(first.Token), !none.Equal(keyfold.OneTimeToken{}):
		t.Error("a token is not equal to itself")
	case first.Token.Equal(second.Token), first.Token.Equal(none), none.Equal(first.Token):
		t.Error("two different tokens are equal")
	case none.Reveal() != "":
		t.Errorf("the zero token reveals %q, want nothing", none.Reveal())
	}
}

func TestPurposesHaveStableNames(t *testing.T) {
	t.Parallel()
	for number, name := range map[keyfold.OneTimePurpose]string{1: "verify_email", 2: "reset_password", 3: "change_email"} {
		parsed, err := keyfold.ParseOneTimePurpose(name)
		if number.String() != name || parsed != number || err != nil {
			t.Errorf("purpose %d is named %q, and %q is %d, %v", uint8(number), number, name, uint8(parsed), err)
		}
	}
	for _, name := range []string{"", "VERIFY_EMAIL", "purpose_4", "login"} {
		_, err := keyfold.ParseOneTimePurpose(name)
		wantField(t, name, err, "purpose")
	}
}
