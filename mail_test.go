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

// postbox is a Mailer that keeps the mails. If deliver is set, it is called first.
type postbox struct {
	deliver func(ctx context.Context, mail keyfold.IssuedOneTimeToken) error

	mu    sync.Mutex
	mails []keyfold.IssuedOneTimeToken
}

func (p *postbox) SendOneTimeToken(ctx context.Context, mail keyfold.IssuedOneTimeToken) error {
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

func (p *postbox) all() []keyfold.IssuedOneTimeToken {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mails
}

func TestMailIsSentOnlyToKnownUsersWithoutRevealingThem(t *testing.T) {
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
		verify, err := svc.CreateOneTimeToken(ctx, keyfold.PurposeVerifyEmail, bob.ID, "")
		must(t, err)
		_, err = svc.VerifyEmail(ctx, verify.Token.Reveal(), netip.Addr{})
		must(t, err)
		for i, login := range []string{"ann", "bob@example.com", "off", "bare", "nobody", "nobody@example.com", ""} {
			ip := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
			if err := svc.SendPasswordReset(ctx, login, ip); err != nil {
				t.Errorf("a reset for %q: %v, want no answer but nil", login, err)
			}
			if err := svc.SendEmailVerification(ctx, login, ip); err != nil {
				t.Errorf("verifying %q: %v, want no answer but nil", login, err)
			}
		}
		must(t, svc.Close(ctx)) // waits for what is on its way
		got := map[string]keyfold.IssuedOneTimeToken{}
		for _, mail := range box.all() {
			got[fmt.Sprint(mail.Purpose, " ", mail.To)] = mail
		}
		if len(got) != 3 || len(box.all()) != 3 {
			t.Errorf("mails %v, want a reset for ann and for bob, and one for ann to verify", got)
		}
		fresh := newService(t, store, nil)
		user, err := fresh.VerifyEmail(ctx, got["verify_email ann@example.com"].Token.Reveal(), netip.Addr{})
		if err != nil || user.ID != ann.ID {
			t.Errorf("ann's token: user %q, %v", user.ID, err)
		}
		user, err = fresh.ResetPassword(ctx, got["reset_password bob@example.com"].Token.Reveal(), another, keyfold.ResetOptions{})
		if err != nil || user.ID != bob.ID {
			t.Errorf("bob's token: user %q, %v", user.ID, err)
		}
	})
}

func TestOneUserIsSentFewMailsHoweverManyAreAskedFor(t *testing.T) {
	// Mutation tried: a count by the name that was typed sends twice as many.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		box := &postbox{}
		svc := crowd(t, 2, box)
		logins := []string{"user0", "USER0", "user0@example.com"}
		sends := 0
		send := func(purpose keyfold.OneTimePurpose, login string, from netip.Addr) {
			t.Helper()
			do := svc.SendPasswordReset
			if purpose == keyfold.PurposeVerifyEmail {
				do = svc.SendEmailVerification
			}
			must(t, do(t.Context(), login, from))
			synctest.Wait()
		}
		flood := func(span time.Duration) {
			t.Helper()
			for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(5 * time.Minute) {
				from := netip.AddrFrom4([4]byte{198, 51, byte(sends >> 8), byte(sends)})
				send(keyfold.PurposeResetPassword, logins[sends%3], from)
				send(keyfold.PurposeResetPassword, "nobody", from)
				send(keyfold.PurposeVerifyEmail, logins[sends%3], netip.Addr{})
				sends++
			}
		}
		var before int
		for day, most := range []int{5 + 8, 8, 8} {
			flood(24 * time.Hour)
			got := map[keyfold.OneTimePurpose]int{}
			for _, mail := range box.all()[before:] {
				got[mail.Purpose]++
			}
			before = len(box.all())
			if got[keyfold.PurposeResetPassword] > most || got[keyfold.PurposeVerifyEmail] > most || got[keyfold.PurposeResetPassword] < most-1 {
				t.Errorf("day %d: the mails to one user are %v, want at most %d for each purpose", day+1, got, most)
			}
		}

		// Another user is not concerned, nor is this one at an address where they
		// logged in before.
		send(keyfold.PurposeResetPassword, "user1", netip.Addr{})
		home := netip.MustParseAddr("192.0.2.1")
		user, err := svc.UserByIdentifier(t.Context(), "user0")
		must(t, err)
		must(t, svc.UnlockUser(t.Context(), user.ID, home))
		for range 7 {
			send(keyfold.PurposeResetPassword, "user0", home)
		}
		if got := len(box.all()) - before; got != 1+5 {
			t.Errorf("%d mails, want one to another user and five to an address that is known", got)
		}
	})
}

func TestMailThatFailedIsNotCounted(t *testing.T) {
	// Mutation tried: mailOneTime without the refund sends none.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := true
		box := &postbox{deliver: func(context.Context, keyfold.IssuedOneTimeToken) error {
			if down {
				return errors.New("421 come back later")
			}
			return nil
		}}
		svc := crowd(t, 1, box)
		for i := range 10 {
			down = i < 8
			must(t, svc.SendPasswordReset(t.Context(), "user0", netip.Addr{}))
			synctest.Wait()
		}
		if got := len(box.all()); got != 2 {
			t.Errorf("%d mails, want the two after the outage", got)
		}
	})
}

func TestHonestUsersBehindOneAddressAreAllServed(t *testing.T) {
	// Mutation tried: the rule of log-ins.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const people = 200
		box := &postbox{}
		svc := crowd(t, people, box)
		office := netip.MustParseAddr("192.0.2.1")
		for i := range people {
			must(t, svc.SendPasswordReset(t.Context(), fmt.Sprint("user", i), office))
			must(t, svc.SendEmailVerification(t.Context(), fmt.Sprint("user", i), office))
			time.Sleep(time.Hour / people)
		}
		synctest.Wait()
		if got := len(box.all()); got != 2*people {
			t.Errorf("%d mails, want one of each kind to each of %d people", got, people)
		}
	})
}

func TestMailsFromOneAddressAreLimitedWhoeverTheyAreFor(t *testing.T) {
	// Mutation tried: reserveMailFrom that counts by the account.
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		ctx, box, clock := t.Context(), &postbox{}, newClock()
		svc := newService(t, store, &keyfold.Options{Mailer: box, Now: clock.now})
		join(t, svc, keyfold.NewUser{Username: "ann", Email: "ann@example.com", Password: password})
		ip := netip.MustParseAddr("192.0.2.1")
		for i := range 100 {
			must(t, svc.SendPasswordReset(ctx, fmt.Sprint("nobody", i), ip))
		}
		for _, login := range []string{"ann", "ann@example.com", "nobody"} {
			err := svc.SendPasswordReset(ctx, login, ip)
			if got := keyfold.RetryAfter(err); !errors.Is(err, keyfold.ErrRateLimited) || errors.Is(err, keyfold.ErrUnavailable) || got != 15*time.Second {
				t.Errorf("one more for %q: %v, to be tried again in %v; want a wait of 15 s", login, err, got)
			}
		}
		must(t, svc.SendEmailVerification(ctx, "ann", ip)) // counted apart
		_, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: password, IP: ip})
		if err != nil {
			t.Errorf("a log-in from an address that asked for mail: %v; want them counted apart", err)
		}
		clock.add(15 * time.Second)
		must(t, svc.SendPasswordReset(ctx, "ann", ip))
		wantErr(t, "one more", svc.SendPasswordReset(ctx, "ann", ip), keyfold.ErrRateLimited)
	})
}

func TestSendNeedsAMailer(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	wantField(t, "a reset", svc.SendPasswordReset(t.Context(), "ann", netip.Addr{}), "Options.Mailer")
	wantField(t, "verifying", svc.SendEmailVerification(t.Context(), "ann", netip.Addr{}), "Options.Mailer")
	svc = newService(t, memory.New(), &keyfold.Options{Mailer: &postbox{}})
	wantField(t, "within a transaction", svc.InTx(t.Context(), func(k *keyfold.Service) error {
		return k.SendPasswordReset(t.Context(), "ann", netip.Addr{})
	}), "Service")
}

// Mutations tried: close that waits for the Mailer; that waits before usage is
// written; a panic that is not recovered from.
func TestCloseWritesUsageEvenIfTheMailerHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		var log strings.Builder
		store := memory.New()
		box := &postbox{deliver: func(_ context.Context, mail keyfold.IssuedOneTimeToken) error {
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
			must(t, svc.SendPasswordReset(t.Context(), fmt.Sprint("user", i), netip.Addr{}))
		}
		key, token := create(t, svc, keyfold.NewKey{})
		wants(t, svc, token, keyfold.OutcomeAllowed, "a use")
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

// crowd returns a Service with the users "user0", "user1", …, who have an email address.
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
		box := &postbox{deliver: func(context.Context, keyfold.IssuedOneTimeToken) error {
			<-goOn
			return nil
		}}
		svc := crowd(t, 66, box)
		send := func(i int) error { return svc.SendPasswordReset(t.Context(), fmt.Sprint("user", i), netip.Addr{}) }
		for i := range 64 {
			must(t, send(i))
		}
		synctest.Wait()
		err := send(64)
		if !errors.Is(err, keyfold.ErrRateLimited) || !errors.Is(err, keyfold.ErrUnavailable) || keyfold.RetryAfter(err) != time.Second {
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
		box := &postbox{deliver: func(ctx context.Context, mail keyfold.IssuedOneTimeToken) error {
			if mail.User.Username == "user0" {
				return wait(ctx, time.Second)
			}
			return hang(ctx)
		}}
		svc := crowd(t, 2, box)
		must(t, svc.SendPasswordReset(t.Context(), "user0", netip.Addr{}))
		must(t, svc.SendPasswordReset(t.Context(), "user1", netip.Addr{}))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		_ = svc.Close(ctx)
		if took := time.Since(began); took != 5*time.Second || len(box.all()) != 1 {
			t.Errorf("Close took %v and %d mails went, want 5 s and the one that was quick", took, len(box.all()))
		}
		err := svc.SendPasswordReset(t.Context(), "user0", netip.Addr{})
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
		box := &postbox{deliver: func(ctx context.Context, _ keyfold.IssuedOneTimeToken) error {
			err := hang(ctx)
			gaveUp <- time.Since(began)
			return err
		}}
		svc := crowd(t, 1, box)
		ctx, cancel := context.WithCancel(t.Context())
		must(t, svc.SendPasswordReset(ctx, "user0", netip.Addr{}))
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
		Mailer: &postbox{deliver: func(_ context.Context, mail keyfold.IssuedOneTimeToken) error {
			secret = mail.Token.Reveal()
			return fmt.Errorf("554 no such mailbox: %+v", mail)
		}},
	})
	join(t, svc, keyfold.NewUser{Username: "ann", Email: "ann@example.com"})
	must(t, svc.SendPasswordReset(t.Context(), "ann", netip.Addr{}))
	must(t, svc.Close(t.Context()))
	if out := log.String(); !strings.Contains(out, "554 no such mailbox") || !strings.Contains(out, "reset_password") || strings.Contains(out, secret) {
		t.Errorf("the log of a mail that failed: %q, want what failed and no token", out)
	}
}
