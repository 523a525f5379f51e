package keyfold_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// lock is a memory store that can block one of its methods.
type lock struct {
	keyfold.Store

	mu    sync.Mutex
	on    string // the method that waits
	open  chan struct{}
	calls []string // of the methods below: "UserByUsername ann"
}

func newLock() *lock { return &lock{Store: memory.New()} }

// close blocks a method until the test calls the returned function.
func (l *lock) close(method string) (open func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on, l.open, l.calls = method, make(chan struct{}), nil
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.on = ""
		close(l.open)
	}
}

func (l *lock) pass(ctx context.Context, method, of string) error {
	l.mu.Lock()
	l.calls = append(l.calls, strings.TrimSpace(method+" "+of))
	open, waits := l.open, l.on == method
	l.mu.Unlock()
	if !waits {
		return nil
	}
	select {
	case <-open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// called returns the calls of the methods whose names begin with method.
func (l *lock) called(method string) (calls []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, call := range l.calls {
		if strings.HasPrefix(call, method) {
			calls = append(calls, call)
		}
	}
	return calls
}

func (l *lock) DatabaseID(ctx context.Context) (string, error) {
	if err := l.pass(ctx, "DatabaseID", ""); err != nil {
		return "", err
	}
	return l.Store.DatabaseID(ctx)
}

func (l *lock) Throttle(ctx context.Context, name string) (keyfold.Throttle, error) {
	if err := l.pass(ctx, "Throttle", ""); err != nil {
		return keyfold.Throttle{}, err
	}
	return l.Store.Throttle(ctx, name)
}

func (l *lock) ReserveAttempt(ctx context.Context, names []keyfold.ThrottleReservation, at time.Time) (keyfold.Throttle, error) {
	if err := l.pass(ctx, "ReserveAttempt", ""); err != nil {
		return keyfold.Throttle{}, err
	}
	return l.Store.ReserveAttempt(ctx, names, at)
}

func (l *lock) RecordAttemptResult(ctx context.Context, settlement keyfold.AttemptResult) error {
	// The Service gives it up after two seconds; a store that hangs does not heed that.
	if err := l.pass(context.WithoutCancel(ctx), "RecordAttemptResult", ""); err != nil {
		return err
	}
	return l.Store.RecordAttemptResult(ctx, settlement)
}

func (l *lock) UserByUsername(ctx context.Context, name string) (keyfold.UserRecord, error) {
	if err := l.pass(ctx, "UserByUsername", name); err != nil {
		return keyfold.UserRecord{}, err
	}
	return l.Store.UserByUsername(ctx, name)
}

func (l *lock) OneTimeToken(ctx context.Context, sum [32]byte) (keyfold.OneTimeTokenRecord, error) {
	if err := l.pass(ctx, "OneTimeToken", ""); err != nil {
		return keyfold.OneTimeTokenRecord{}, err
	}
	return l.Store.OneTimeToken(ctx, sum)
}

func (l *lock) CreateOneTimeToken(ctx context.Context, record keyfold.OneTimeTokenRecord, m keyfold.Mutation) error {
	if err := l.pass(ctx, "CreateOneTimeToken", ""); err != nil {
		return err
	}
	return l.Store.CreateOneTimeToken(ctx, record, m)
}

func (l *lock) UseOneTimeToken(ctx context.Context, use keyfold.OneTimeTokenUse, m keyfold.Mutation) (keyfold.UserRecord, error) {
	if err := l.pass(ctx, "UseOneTimeToken", ""); err != nil {
		return keyfold.UserRecord{}, err
	}
	return l.Store.UseOneTimeToken(ctx, use, m)
}

func (l *lock) InTx(ctx context.Context, fn func(keyfold.Store) error) error {
	if err := l.pass(ctx, "InTx", ""); err != nil {
		return err
	}
	return l.Store.InTx(ctx, fn)
}

const places = 3

// guests is a Service with few places and a user for each of its requests. Every
// password is right, and hashing one takes no time.
type guests struct {
	*keyfold.Service
	t      *testing.T
	store  *lock
	box    *postbox
	clock  *fakeClock
	user   string // the first one's id
	tokens map[keyfold.OneTimePurpose][]string
}

func newGuests(t *testing.T) *guests {
	c := &guests{t: t, store: newLock(), box: &postbox{}, clock: newClock(), tokens: map[keyfold.OneTimePurpose][]string{}}
	c.Service = newService(t, c.store, &keyfold.Options{Mailer: c.box, Now: c.clock.now})
	keyfold.NarrowGate(c.Service, places, 1).Replace(func() any { return nil })
	for i := range 2 * places {
		user := join(t, c.Service, keyfold.NewUser{Username: fmt.Sprint("user", i), Email: fmt.Sprintf("user%d@example.com", i), Password: password})
		if i == 0 {
			c.user = user.ID
		}
		for purpose, email := range map[keyfold.OneTimePurpose]string{
			keyfold.PurposeVerifyEmail: "", keyfold.PurposeResetPassword: "", keyfold.PurposeChangeEmail: fmt.Sprintf("other%d@example.com", i),
		} {
			made, err := c.CreateOneTimeToken(t.Context(), purpose, user.ID, email)
			must(t, err)
			c.tokens[purpose] = append(c.tokens[purpose], made.Token.Reveal())
		}
	}
	return c
}

// requests returns all requests that an anonymous client can make, by user.
func (c *guests) requests() map[string]func(i int) error {
	ctx := c.t.Context()
	ip := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	return map[string]func(int) error{
		"Authenticate": func(i int) error {
			_, err := c.Authenticate(ctx, keyfold.Credentials{Identifier: fmt.Sprint("user", i), Password: password, IP: ip(i)})
			return err
		},
		"SendPasswordReset":     func(i int) error { return c.SendPasswordReset(ctx, fmt.Sprint("user", i), ip(i)) },
		"SendEmailVerification": func(i int) error { return c.SendEmailVerification(ctx, fmt.Sprint("user", i), ip(i)) },
		"VerifyEmail": func(i int) error {
			_, err := c.VerifyEmail(ctx, c.tokens[keyfold.PurposeVerifyEmail][i], netip.Addr{})
			return err
		},
		"ConfirmEmailChange": func(i int) error {
			_, err := c.ConfirmEmailChange(ctx, c.tokens[keyfold.PurposeChangeEmail][i], netip.Addr{})
			return err
		},
		"ResetPassword": func(i int) error {
			_, err := c.ResetPassword(ctx, c.tokens[keyfold.PurposeResetPassword][i], another, keyfold.ResetOptions{})
			return err
		},
	}
}

// fill makes as many requests as there are places, which must all come as far
// as the method. Leave lets them go on and waits for their end.
func (c *guests) fill(method string, request func(int) error) (leave func()) {
	c.t.Helper()
	open := c.store.close(method)
	var all sync.WaitGroup
	for i := range places {
		all.Go(func() {
			if err := request(i); err != nil {
				c.t.Errorf("request %d, which has a place: %v", i, err)
			}
		})
	}
	synctest.Wait()
	if got := len(c.store.called(method)); got != places {
		c.t.Errorf("%d requests came as far as %s, want %d", got, method, places)
	}
	return func() { open(); all.Wait() }
}

// A request that is turned away must have waited for two seconds, and must not
// have cost a store call. Every store call of a request counts: one that begins
// with the first and gives its place back before the last bounds nothing.
//
// Mutations tried: admit without enter; leave before the settlement; a mail
// whose place is given back when it is handed over.
func TestPlaceIsTakenBeforeTheFirstStoreCallAndHeldUntilTheLast(t *testing.T) {
	t.Parallel()
	for request, methods := range map[string][]string{
		"Authenticate":          {"DatabaseID", "Throttle", "ReserveAttempt", "UserByUsername", "RecordAttemptResult"},
		"SendPasswordReset":     {"DatabaseID", "ReserveAttempt", "UserByUsername", "CreateOneTimeToken"},
		"SendEmailVerification": {"DatabaseID", "ReserveAttempt", "UserByUsername", "CreateOneTimeToken"},
		"VerifyEmail":           {"OneTimeToken", "UseOneTimeToken"},
		"ConfirmEmailChange":    {"OneTimeToken", "UseOneTimeToken"},
		"ResetPassword":         {"OneTimeToken", "InTx"},
	} {
		for _, method := range methods {
			t.Run(request+" in "+method, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c := newGuests(t)
					leave := c.fill(method, c.requests()[request])
					before, began := len(c.store.called("")), time.Now()
					for name, other := range c.requests() {
						err := other(places)
						if !errors.Is(err, keyfold.ErrRateLimited) || !errors.Is(err, keyfold.ErrUnavailable) || keyfold.RetryAfter(err) <= 0 {
							t.Errorf("%s without a place: %v, want ErrRateLimited and ErrUnavailable, to be tried again", name, err)
						}
						if waited := time.Since(began); waited != 2*time.Second {
							t.Errorf("%s waited for %v, want 2 s", name, waited)
						}
						began = time.Now()
					}
					if calls := c.store.called("")[before:]; len(calls) > 0 {
						t.Errorf("requests without a place cost the store calls %q", calls)
					}
					leave()
					synctest.Wait() // for the mails
					if err := c.requests()[request](places); err != nil {
						t.Errorf("when the places are free: %v", err)
					}
				})
			})
		}
	}
}

func TestFreedPlaceGoesToTheNextAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newGuests(t)
		leave, began := c.fill("UserByUsername", c.requests()["Authenticate"]), time.Now()
		var all sync.WaitGroup
		for i := range places {
			all.Go(func() {
				if err := c.requests()["Authenticate"](places + i); err != nil {
					t.Errorf("log-in %d, which waited: %v", i, err)
				}
			})
		}
		synctest.Wait()
		time.Sleep(time.Second)
		leave()
		all.Wait()
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v, want 1 s", took)
		}
	})
}

// Mutation tried: a request that stops waiting without leaving the queue, so that its
// place is lost.
func TestCallerWhoGoesAwayTakesNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newGuests(t)
		leave := c.fill("UserByUsername", c.requests()["Authenticate"])
		gone, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 2 * places {
			_, err := c.Authenticate(gone, keyfold.Credentials{Identifier: "user5", Password: password})
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, keyfold.ErrRateLimited) {
				t.Errorf("got %v, want the caller's own context.DeadlineExceeded", err)
			}
		}
		leave()
		c.fill("UserByUsername", c.requests()["Authenticate"])() // there are as many as before
	})
}

// Malformed input is refused even if there is no free place.
func TestMalformedInputNeedsNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newGuests(t)
		defer c.fill("UserByUsername", c.requests()["Authenticate"])()
		ctx, began := t.Context(), time.Now()
		_, err := c.Authenticate(ctx, keyfold.Credentials{Identifier: "no\x00body", Password: password})
		_, more := c.VerifyEmail(ctx, "kf1t_short", netip.Addr{})
		_, most := c.ResetPassword(ctx, "", another, keyfold.ResetOptions{})
		for _, err := range []error{err, more, most} {
			if !errors.Is(err, keyfold.ErrUnauthenticated) {
				t.Errorf("got %v, want ErrUnauthenticated", err)
			}
		}
		if err := c.SendPasswordReset(ctx, "no\x00body", netip.Addr{}); err != nil {
			t.Errorf("a mail to a name that no user can have: %v", err)
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("malformed input waited for %v", waited)
		}
	})
}

// Mutation tried: run around the whole of authenticate.
func TestHashSlotIsFreeDuringStoreCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newGuests(t)
		defer c.fill("UserByUsername", c.requests()["Authenticate"])()
		began := time.Now()
		if _, err := c.CreateUser(t.Context(), keyfold.NewUser{Username: "late", Password: password}); err != nil {
			t.Errorf("a password that an administrator sets: %v", err)
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("it waited for %v", waited)
		}
	})
}

// Mutation tried: a place that is held until the Mailer has returned.
func TestMailerHoldsNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newGuests(t)
		release := make(chan struct{})
		c.box.deliver = func(context.Context, keyfold.IssuedOneTimeToken) error { <-release; return nil }
		for i := range 2 * places {
			if err := c.requests()["SendPasswordReset"](i); err != nil {
				t.Errorf("mail %d: %v", i, err)
			}
			synctest.Wait()
		}
		if err := c.requests()["Authenticate"](0); err != nil {
			t.Errorf("a log-in while mails are being delivered: %v", err)
		}
		close(release)
	})
}

// Mutation tried: the place in the outbox that is taken after the count.
func TestMailThatFindsNoRoomCostsNoStoreCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newGuests(t)
		release := make(chan struct{})
		c.box.deliver = func(context.Context, keyfold.IssuedOneTimeToken) error { <-release; return nil }
		defer close(release)
		send := func(i int) error {
			c.clock.add(24 * time.Hour) // so that none has to wait
			defer synctest.Wait()
			return c.SendPasswordReset(t.Context(), "user0", netip.MustParseAddr("192.0.2.9"))
		}
		for i := range 64 {
			if err := send(i); err != nil {
				t.Fatalf("mail %d: %v", i, err)
			}
		}
		before := len(c.store.called(""))
		if err := send(64); !errors.Is(err, keyfold.ErrRateLimited) || !errors.Is(err, keyfold.ErrUnavailable) {
			t.Errorf("the 65th mail: %v, want ErrRateLimited and ErrUnavailable", err)
		}
		if calls := c.store.called("")[before:]; len(calls) > 0 {
			t.Errorf("it cost the store calls %q", calls)
		}
	})
}

// A transaction of the caller holds a connection, for which other requests may wait.
func TestOneTimeTokenInATransactionNeedsNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newGuests(t)
		defer c.fill("UserByUsername", c.requests()["Authenticate"])()
		began := time.Now()
		err := c.InTx(t.Context(), func(tx *keyfold.Service) error {
			_, err := tx.VerifyEmail(t.Context(), c.tokens[keyfold.PurposeVerifyEmail][0], netip.Addr{})
			return err
		})
		if waited := time.Since(began); err != nil || waited > 0 {
			t.Errorf("got %v after %v, want neither an error nor a wait", err, waited)
		}
	})
}

// queueAtGate is a Service with one place, for which requests wait in a queue.
type queueAtGate struct{ *guests }

func newQueueAtGate(t *testing.T) *queueAtGate {
	l := &queueAtGate{guests: newGuests(t)}
	keyfold.NarrowGate(l.Service, 1, 1).Replace(func() any { return nil })
	return l
}

// proves logs a user in from the address.
func (l *queueAtGate) proves(from string) {
	l.t.Helper()
	if _, err := l.Authenticate(l.t.Context(), keyfold.Credentials{Identifier: "user0", Password: password, IP: netip.MustParseAddr(from)}); err != nil {
		l.t.Errorf("a log-in from %s: %v", from, err)
	}
}

// tries logs in with a username that does not exist.
func (l *queueAtGate) tries(name, from string) {
	login := keyfold.Credentials{Identifier: name, Password: password}
	if from != "" {
		login.IP = netip.MustParseAddr(from)
	}
	_, _ = l.Authenticate(l.t.Context(), login)
}

// fails makes failed attempts from the address, each with another username.
func (l *queueAtGate) fails(from string, times int) {
	for i := range times {
		l.tries(fmt.Sprint("failed-", i, strings.NewReplacer(".", "-", ":", "-").Replace(from)), from)
	}
}

// order has log-ins stand in line in the order given, as "name from" each, and
// returns the names in the order in which they got their place.
func (l *queueAtGate) order(requests ...string) []string {
	l.t.Helper()
	open := l.store.close("UserByUsername")
	var all sync.WaitGroup
	all.Go(func() { l.tries("first", "203.0.113.254") })
	synctest.Wait()
	for _, request := range requests {
		name, from, _ := strings.Cut(request, " ")
		all.Go(func() { l.tries(name, from) })
		synctest.Wait()
	}
	open()
	all.Wait()
	var names []string
	for _, call := range l.store.called("UserByUsername")[1:] {
		names = append(names, strings.TrimPrefix(call, "UserByUsername "))
	}
	return names
}

func (l *queueAtGate) wants(what string, got []string, want ...string) {
	l.t.Helper()
	if !slices.Equal(got, want) {
		l.t.Errorf("%s: log-ins got their places in the order %q, want %q", what, got, want)
	}
}

// Mutations tried: one rank for all; the ranks the other way round.
func TestAddressesThatSucceededGoFirstAndThoseThatFailedLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newQueueAtGate(t)
		l.proves("192.0.2.1")
		l.proves("2001:db8:0:1::1")
		l.fails("192.0.2.66", 1)
		l.wants("by address", l.order("failed 192.0.2.66", "clean 192.0.2.2", "unknown", "proved 192.0.2.1", "clean2 192.0.2.3", "proved2 2001:db8:0:1::2"),
			"proved", "proved2", "clean", "unknown", "clean2", "failed")
	})
}

func TestFailureIsForgottenAfterTenMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newQueueAtGate(t)
		l.fails("192.0.2.66", 1)
		l.clock.add(10*time.Minute - time.Millisecond)
		l.wants("a millisecond early", l.order("failed 192.0.2.66", "a 192.0.2.2"), "a", "failed")
		l.clock.add(10 * time.Minute)
		l.wants("in time", l.order("failed 192.0.2.66", "b 192.0.2.3"), "failed", "b")
	})
}

// A user who mistypes a password is not sent back; a client that guesses is,
// though it has an account of its own.
func TestAddressThatSucceededMayFailFiveTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newQueueAtGate(t)
		l.proves("192.0.2.1")
		l.fails("192.0.2.1", 5)
		l.clock.add(time.Minute)                                                                  // or the throttle would refuse the next
		l.wants("after five failures", l.order("a 192.0.2.2", "proved 192.0.2.1"), "proved", "a") // whose failure is the sixth
		l.clock.add(time.Minute)
		l.wants("after six", l.order("proved 192.0.2.1", "b 192.0.2.3"), "b", "proved")
		l.clock.add(time.Hour)
		l.proves("192.0.2.1")
		l.wants("after another success", l.order("c 192.0.2.4", "proved 192.0.2.1"), "proved", "c")
		l.clock.add(24 * time.Hour) // so that the throttle begins anew
		l.fails("192.0.2.1", 4)
		l.clock.add(10 * time.Minute)
		l.fails("192.0.2.1", 1)
		l.clock.add(time.Minute)
		l.wants("when the five before are forgotten", l.order("d 192.0.2.5", "proved 192.0.2.1"), "proved", "d")
	})
}

// Mutation tried: leave without another look at the rank.
func TestManyGuessesAtOnceFromOneAddressAreNotAheadTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newQueueAtGate(t)
		l.wants("three at once", l.order("a 192.0.2.66", "b 192.0.2.66", "c 192.0.2.66", "other 192.0.2.2"), "a", "other", "b", "c")
	})
}

// Mutation tried: one table for successes and failures.
func TestManyFreshAddressesLeaveThoseThatSucceededInFront(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newQueueAtGate(t)
		l.proves("192.0.2.1")
		for i := range keyfold.GateAddresses + 1 {
			l.fails(fmt.Sprintf("10.%d.%d.1", i/250, i%250), 1)
		}
		l.wants("after a flood", l.order("late 10.250.250.1", "proved 192.0.2.1"), "proved", "late")
	})
}

// A request without a decision does not affect the rank of an address, and neither does a
// mail.
func TestOnlyDecisionsMoveAnAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newQueueAtGate(t)
		gone, cancel := context.WithCancel(t.Context())
		open := l.store.close("UserByUsername")
		go cancel()
		_, err := l.Authenticate(gone, keyfold.Credentials{Identifier: "user0", Password: password, IP: netip.MustParseAddr("192.0.2.5")})
		open()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
		hashing := make(chan struct{})
		kdfs := keyfold.NarrowGate(l.Service, 1, 1)
		kdfs.Replace(func() any { <-hashing; return nil })
		go func() { _ = l.SetPassword(t.Context(), l.user, another) }() // takes the hash slot
		synctest.Wait()
		_, err = l.Authenticate(t.Context(), keyfold.Credentials{Identifier: "user0", Password: password, IP: netip.MustParseAddr("192.0.2.5")})
		if !errors.Is(err, keyfold.ErrRateLimited) || !errors.Is(err, keyfold.ErrUnavailable) {
			t.Errorf("got %v, want ErrRateLimited and ErrUnavailable", err)
		}
		close(hashing)
		must(t, l.SendPasswordReset(t.Context(), "user1", netip.MustParseAddr("192.0.2.6")))
		synctest.Wait()
		l.wants("undecided, mailed", l.order("a 192.0.2.2", "undecided 192.0.2.5", "mailed 192.0.2.6"), "a", "undecided", "mailed")
		var limited error
		for i := 0; limited == nil && i < 1000; i++ {
			limited = l.SendPasswordReset(t.Context(), fmt.Sprint("nobody", i), netip.MustParseAddr("192.0.2.7"))
			synctest.Wait()
		}
		if !errors.Is(limited, keyfold.ErrRateLimited) {
			t.Errorf("a thousand mails from one address: %v, want ErrRateLimited", limited)
		}
		l.wants("throttled", l.order("throttled 192.0.2.7", "b 192.0.2.3"), "b", "throttled")
	})
}

// Mutations tried: each of the calls of learn left out.
func TestOneTimeTokensMoveAnAddress(t *testing.T) {
	t.Parallel()
	for purpose, use := range map[keyfold.OneTimePurpose]func(l *queueAtGate, token string, ip netip.Addr) error{
		keyfold.PurposeVerifyEmail: func(l *queueAtGate, token string, ip netip.Addr) error {
			_, err := l.VerifyEmail(l.t.Context(), token, ip)
			return err
		},
		keyfold.PurposeResetPassword: func(l *queueAtGate, token string, ip netip.Addr) error {
			_, err := l.ResetPassword(l.t.Context(), token, another, keyfold.ResetOptions{IP: ip})
			return err
		},
	} {
		t.Run(purpose.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newQueueAtGate(t)
				token := l.tokens[purpose][0]
				must(t, use(l, token, netip.MustParseAddr("192.0.2.1")))
				if err := use(l, token, netip.MustParseAddr("192.0.2.66")); !errors.Is(err, keyfold.ErrUnauthenticated) {
					t.Errorf("a token that was used: %v, want ErrUnauthenticated", err)
				}
				l.wants("by address", l.order("failed 192.0.2.66", "clean 192.0.2.2", "proved 192.0.2.1"), "proved", "clean", "failed")
			})
		})
	}
}
