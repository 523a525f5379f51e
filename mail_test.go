package keyfold_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// postbox keeps what is mailed. Deliver, when set, comes before.
type postbox struct {
	deliver func(ctx context.Context, mail keyfold.OneTime) error

	mu    sync.Mutex
	mails []keyfold.OneTime
}

func (p *postbox) Mail(ctx context.Context, mail keyfold.OneTime) error {
	if p.deliver != nil {
		if err := p.deliver(ctx, mail); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mails = append(p.mails, mail)
	return nil
}

func (p *postbox) all() []keyfold.OneTime {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mails
}

func TestMailIsSentToKnownUsersOnlyAndTheAnswerTellsNobody(t *testing.T) {
	// Mutation tried: mailOneTime without a look at EmailVerifiedAt mails bob twice.
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		ctx, box := t.Context(), &postbox{}
		svc := newService(t, store, &keyfold.Options{Mailer: box})
		ann := join(t, svc, keyfold.NewUser{Username: "ann", Email: "ann@example.com"})
		bob := join(t, svc, keyfold.NewUser{Username: "bob", Email: "bob@example.com"})
		off := join(t, svc, keyfold.NewUser{Username: "off", Email: "off@example.com"})
		join(t, svc, keyfold.NewUser{Username: "bare"})
		must(t, svc.DisableUser(ctx, off.ID, ""))
		verify, err := svc.NewOneTime(ctx, keyfold.VerifyEmail, bob.ID, "")
		must(t, err)
		_, err = svc.UseVerifyEmail(ctx, verify.Token.Reveal())
		must(t, err)
		for i, login := range []string{"ann", "bob@example.com", "off", "bare", "nobody", "nobody@example.com", ""} {
			ip := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
			if err := svc.SendResetPassword(ctx, login, ip); err != nil {
				t.Errorf("a reset for %q: %v, want no answer but nil", login, err)
			}
			if err := svc.SendVerifyEmail(ctx, login, ip); err != nil {
				t.Errorf("verifying %q: %v, want no answer but nil", login, err)
			}
		}
		must(t, svc.Close(ctx)) // waits for what is on its way
		got := map[string]keyfold.OneTime{}
		for _, mail := range box.all() {
			got[fmt.Sprint(mail.Purpose, " ", mail.To)] = mail
		}
		if len(got) != 3 || len(box.all()) != 3 {
			t.Errorf("mails %v, want a reset for ann and for bob, and one for ann to verify", got)
		}
		fresh := newService(t, store, nil)
		user, err := fresh.UseVerifyEmail(ctx, got["verify_email ann@example.com"].Token.Reveal())
		if err != nil || user.ID != ann.ID {
			t.Errorf("ann's token: user %q, %v", user.ID, err)
		}
		user, err = fresh.UseResetPassword(ctx, got["reset_password bob@example.com"].Token.Reveal(), another, keyfold.ResetOptions{})
		if err != nil || user.ID != bob.ID {
			t.Errorf("bob's token: user %q, %v", user.ID, err)
		}
	})
}

func TestMailsAreThrottledByAccountAndByAddressWhoeverIsThere(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		ctx, box, clock := t.Context(), &postbox{}, newClock()
		svc := newService(t, store, &keyfold.Options{Mailer: box, Now: clock.now})
		join(t, svc, keyfold.NewUser{Username: "ann", Email: "ann@example.com", Password: password})
		limited := func(what string, err error) {
			t.Helper()
			if got := keyfold.RetryAfter(err); !errors.Is(err, keyfold.ErrLimited) || got != 30*time.Second {
				t.Errorf("%s: %v, to be tried again in %v; want a wait of 30 s", what, err, got)
			}
		}
		none := netip.Addr{}
		for _, login := range []string{"ann", "nobody"} {
			for range 5 {
				must(t, svc.SendResetPassword(ctx, login, none))
			}
			limited("the sixth for "+login, svc.SendResetPassword(ctx, login, none))
			must(t, svc.SendVerifyEmail(ctx, login, none)) // counts apart
		}
		ip := netip.MustParseAddr("192.0.2.1")
		for i := range 5 {
			must(t, svc.SendResetPassword(ctx, fmt.Sprint("user", i), ip))
		}
		limited("the sixth from one address", svc.SendResetPassword(ctx, "user5", ip))
		_, err := svc.Authenticate(ctx, keyfold.Login{Login: "ann", Password: password, IP: ip})
		if err != nil {
			t.Errorf("a log-in to an account and from an address that asked for mail: %v; want them counted apart", err)
		}
		clock.add(30 * time.Second)
		must(t, svc.SendResetPassword(ctx, "ann", none))
		must(t, svc.Close(ctx))
		if got := len(box.all()); got != 7 {
			t.Errorf("%d mails, want six resets and one to verify", got)
		}
	})
}

func TestSendNeedsAMailer(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	wantField(t, "a reset", svc.SendResetPassword(t.Context(), "ann", netip.Addr{}), "Options.Mailer")
	wantField(t, "verifying", svc.SendVerifyEmail(t.Context(), "ann", netip.Addr{}), "Options.Mailer")
	svc = newService(t, memory.New(), &keyfold.Options{Mailer: &postbox{}})
	wantField(t, "within a transaction", svc.InTx(t.Context(), func(k *keyfold.Service) error {
		return k.SendResetPassword(t.Context(), "ann", netip.Addr{})
	}), "Service")
}

// Mutations tried: close that waits for the Mailer; that waits before usage is
// written; a panic that is not recovered from.
func TestCloseWritesUsageAndReturnsWhateverTheMailerDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		var log strings.Builder
		store := memory.New()
		box := &postbox{deliver: func(_ context.Context, mail keyfold.OneTime) error {
			if mail.User.Username == "user1" {
				panic("no such host")
			}
			<-never // whatever its context says
			return nil
		}}
		svc, err := keyfold.New(store, &keyfold.Options{Mailer: box, Now: time.Now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		must(t, err)
		for i := range 2 {
			join(t, svc, keyfold.NewUser{Username: fmt.Sprint("user", i), Email: fmt.Sprintf("user%d@example.com", i)})
			must(t, svc.SendResetPassword(t.Context(), fmt.Sprint("user", i), netip.Addr{}))
		}
		key, token := create(t, svc, keyfold.NewKey{})
		wants(t, svc, token, keyfold.CodeAllowed, "a use")
		began := time.Now()
		must(t, svc.Close(context.Background()))
		if took := time.Since(began); took != 11*time.Second {
			t.Errorf("Close took %v, want the ten seconds that mails have and one for the Mailer to see that they are over", took)
		}
		if record, err := store.Key(t.Context(), key.ID); err != nil || record.Uses != 1 {
			t.Errorf("%d uses are stored, %v; want 1", record.Uses, err)
		}
		for _, want := range []string{"the Mailer panicked", "the Mailer did not return"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, &log)
			}
		}
		close(never)
	})
}

// crowd makes a Service with users "user0", "user1", … who have an address.
func crowd(t *testing.T, n int, box *postbox) *keyfold.Service {
	t.Helper()
	svc := newService(t, memory.New(), &keyfold.Options{Mailer: box, Now: time.Now})
	for i := range n {
		join(t, svc, keyfold.NewUser{Username: fmt.Sprint("user", i), Email: fmt.Sprintf("user%d@example.com", i)})
	}
	return svc
}

func TestMailsOnTheirWayAreBounded(t *testing.T) {
	// Mutation tried: an outbox without its limit takes the 65th.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		box := &postbox{deliver: func(context.Context, keyfold.OneTime) error {
			<-goOn
			return nil
		}}
		svc := crowd(t, 66, box)
		send := func(i int) error { return svc.SendResetPassword(t.Context(), fmt.Sprint("user", i), netip.Addr{}) }
		for i := range 64 {
			must(t, send(i))
		}
		synctest.Wait()
		err := send(64)
		if !errors.Is(err, keyfold.ErrLimited) || !errors.Is(err, keyfold.ErrUnavailable) || keyfold.RetryAfter(err) != time.Second {
			t.Errorf("the 65th at once: %v, to be tried again in %v; want it refused for a second", err, keyfold.RetryAfter(err))
		}
		close(goOn)
		synctest.Wait()
		must(t, send(65))
		must(t, svc.Close(t.Context()))
		if got := len(box.all()); got != 65 {
			t.Errorf("%d mails, want 65", got)
		}
	})
}

func TestCloseWaitsForMailsAndEndsThemWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		box := &postbox{deliver: func(ctx context.Context, mail keyfold.OneTime) error {
			if mail.User.Username == "user0" {
				return wait(ctx, time.Second)
			}
			return hang(ctx)
		}}
		svc := crowd(t, 2, box)
		must(t, svc.SendResetPassword(t.Context(), "user0", netip.Addr{}))
		must(t, svc.SendResetPassword(t.Context(), "user1", netip.Addr{}))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		_ = svc.Close(ctx)
		if took := time.Since(began); took != 5*time.Second || len(box.all()) != 1 {
			t.Errorf("Close took %v and %d mails went, want 5 s and the one that was quick", took, len(box.all()))
		}
		err := svc.SendResetPassword(t.Context(), "user0", netip.Addr{})
		wantErr(t, "after Close", err, keyfold.ErrUnavailable)
		if len(box.all()) != 1 {
			t.Error("a mail went after Close")
		}
	})
}

func TestMailThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		gaveUp := make(chan time.Duration, 1)
		began := time.Now()
		box := &postbox{deliver: func(ctx context.Context, _ keyfold.OneTime) error {
			err := hang(ctx)
			gaveUp <- time.Since(began)
			return err
		}}
		svc := crowd(t, 1, box)
		ctx, cancel := context.WithCancel(t.Context())
		must(t, svc.SendResetPassword(ctx, "user0", netip.Addr{}))
		cancel() // the caller's answer is out; the mail does not depend on it
		if took := <-gaveUp; took != 30*time.Second {
			t.Errorf("a mail was given up after %v, want 30 s", took)
		}
	})
}

func TestMailThatFailsIsLoggedWithoutItsToken(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var secret string
	svc := newService(t, memory.New(), &keyfold.Options{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Mailer: &postbox{deliver: func(_ context.Context, mail keyfold.OneTime) error {
			secret = mail.Token.Reveal()
			return fmt.Errorf("554 no such mailbox: %+v", mail)
		}},
	})
	join(t, svc, keyfold.NewUser{Username: "ann", Email: "ann@example.com"})
	must(t, svc.SendResetPassword(t.Context(), "ann", netip.Addr{}))
	must(t, svc.Close(t.Context()))
	if out := log.String(); !strings.Contains(out, "554 no such mailbox") || !strings.Contains(out, "reset_password") || strings.Contains(out, secret) {
		t.Errorf("the log of a mail that failed: %q, want what failed and no token", out)
	}
}
