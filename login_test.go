package keyfold_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// door is a Service whose log-ins are tried, with a clock that tests move.
type door struct {
	*keyfold.Service
	t     *testing.T
	clock *fakeClock
}

// onEveryDoor runs a test on a Service on each store, with one user, "ann".
func onEveryDoor(t *testing.T, test func(*door, keyfold.User), without ...string) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		clock := newClock()
		d := &door{newService(t, store, &keyfold.Options{Now: clock.now}), t, clock}
		keyfold.CheapKDFs(d.Service)
		test(d, join(t, d.Service, keyfold.NewUser{Username: "ann", Email: "ann@example.com", Password: password}))
	}, without...)
}

func (d *door) try(login, secret, from string) error {
	l := keyfold.Credentials{Identifier: login, Password: secret}
	if from != "" {
		l.IP = netip.MustParseAddr(from)
	}
	_, err := d.Authenticate(d.t.Context(), l)
	return err
}

// opens logs in with the right password, which must succeed.
func (d *door) opens(what, login, from string) {
	d.t.Helper()
	if err := d.try(login, password, from); err != nil {
		d.t.Errorf("%s: %v, want the right password to be let in", what, err)
	}
}

// refuses tries a wrong password, which must be looked at.
func (d *door) refuses(what, login, from string) {
	d.t.Helper()
	if err := d.try(login, another, from); keyfold.OutcomeOf(err) != keyfold.OutcomeWrongSecret || !errors.Is(err, keyfold.ErrUnauthenticated) {
		d.t.Errorf("%s: %v, want %v", what, err, keyfold.OutcomeWrongSecret)
	}
}

// waits tries the right password, which must not be looked at for so long.
func (d *door) waits(what, login, from string, want time.Duration) {
	d.t.Helper()
	err := d.try(login, password, from)
	if got := keyfold.RetryAfter(err); got != want || !errors.Is(err, keyfold.ErrRateLimited) || errors.Is(err, keyfold.ErrUnavailable) {
		d.t.Errorf("%s: %v, to be tried again in %v; want a wait of %v", what, err, got, want)
	}
}

// slips tries a wrong password, which must be answered with a wait of so long.
func (d *door) slips(what, login, from string, want time.Duration) {
	d.t.Helper()
	err := d.try(login, another, from)
	if got := keyfold.RetryAfter(err); got != want || !errors.Is(err, keyfold.ErrRateLimited) || errors.Is(err, keyfold.ErrUnavailable) {
		d.t.Errorf("%s: %v, to be tried again in %v; want a wait of %v", what, err, got, want)
	}
}

// hammers makes the attempts on an account that are free to a few strangers.
func (d *door) hammers(login string) {
	d.t.Helper()
	for i := range 5 {
		d.refuses(fmt.Sprint("guess ", i+1), login, fmt.Sprintf("198.51.100.%d", i+1))
	}
}

// besieges makes the attempts on an account that are free to many strangers.
func (d *door) besieges(login string) {
	d.t.Helper()
	d.hammers(login)
	for i := range 5 {
		d.refuses(fmt.Sprint("guess ", i+1, " from a network of its own"), login, fmt.Sprintf("198.18.%d.1", i))
	}
}

func TestAuthenticateLetsTheRightPasswordInByEitherName(t *testing.T) {
	onEveryDoor(t, func(d *door, ann keyfold.User) {
		ctx := d.t.Context()
		for _, login := range []string{"ann", "ANN", "ann@example.com"} {
			user, err := d.Authenticate(ctx, keyfold.Credentials{Identifier: login, Password: password})
			if err != nil || user != ann {
				d.t.Errorf("as %q: %+v, %v; want %+v", login, user, err, ann)
			}
		}
		join(d.t, d.Service, keyfold.NewUser{Username: "bare"})
		for _, row := range []struct {
			login, password string
			want            keyfold.Outcome
		}{
			{"ann", another, keyfold.OutcomeWrongSecret},
			{"ann", "", keyfold.OutcomeWrongSecret},
			{"ann", password + " ", keyfold.OutcomeWrongSecret},
			{"bare", "", keyfold.OutcomeWrongSecret}, // who has no password
			{"bare", password, keyfold.OutcomeWrongSecret},
			{"nobody", password, keyfold.OutcomeUnknown},
			{"nobody@example.com", password, keyfold.OutcomeUnknown},
			{"", password, keyfold.OutcomeUnknown},
		} {
			user, err := d.Authenticate(ctx, keyfold.Credentials{Identifier: row.login, Password: row.password})
			if keyfold.OutcomeOf(err) != row.want || !errors.Is(err, keyfold.ErrUnauthenticated) || user != (keyfold.User{}) {
				d.t.Errorf("%q with %q: user %q, %v; want %v", row.login, row.password, user.ID, err, row.want)
			}
		}
		d.clock.add(24 * time.Hour) // so that no attempt has to wait
		must(d.t, d.DisableUser(ctx, ann.ID, ""))
		if err := d.try("ann", password, ""); keyfold.OutcomeOf(err) != keyfold.OutcomeUserDisabled || !errors.Is(err, keyfold.ErrUnauthenticated) {
			d.t.Errorf("disabled: %v, want %v", err, keyfold.OutcomeUserDisabled)
		}
		d.refuses("a wrong password of one who is disabled", "ann", "")
		must(d.t, d.EnableUser(ctx, ann.ID))
		d.opens("enabled", "ann", "")
		must(d.t, d.SetPassword(ctx, ann.ID, another))
		if err := d.try("ann", password, ""); keyfold.OutcomeOf(err) != keyfold.OutcomeWrongSecret {
			d.t.Errorf("the old password: %v, want %v", err, keyfold.OutcomeWrongSecret)
		}
	})
}

func TestAttemptsAreFreeFiveTimesAndThenWait30SecondsDoublingToAnHour(t *testing.T) {
	// Mutation tried: Next without the limit waits for 64 minutes in the end.
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		for range 2 {
			for range 5 {
				d.refuses("a free attempt", "ann", "")
			}
			for _, wait := range []time.Duration{
				30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 16 * time.Minute,
				32 * time.Minute, time.Hour, time.Hour, time.Hour,
			} {
				d.waits("at once", "ann", "", wait)
				d.clock.add(wait - time.Millisecond)
				d.waits("a millisecond early", "ann", "", time.Millisecond)
				d.clock.add(time.Millisecond)
				d.refuses("when the wait is over", "ann", "")
			}
			d.waits("at last", "ann", "", time.Hour)
			d.clock.add(24 * time.Hour) // since the first attempt, and more
		}
		d.opens("after a day", "ann", "")
	})
}

func TestRightPasswordForgetsWhatTheAccountCounted(t *testing.T) {
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		for range 3 {
			for range 4 {
				d.refuses("a wrong password", "ann", "")
			}
			d.opens("the fifth attempt", "ann", "")
		}
		for range 5 {
			d.refuses("a wrong password", "ann", "")
		}
		d.waits("after five in a row", "ann", "", 30*time.Second)
	})
}

func TestUnknownAndDisabledAccountsWaitAsOthersDo(t *testing.T) {
	onEveryDoor(t, func(d *door, ann keyfold.User) {
		must(d.t, d.DisableUser(d.t.Context(), ann.ID, ""))
		for _, login := range []string{"nobody", "ann"} {
			for range 5 {
				if err := d.try(login, password, ""); !errors.Is(err, keyfold.ErrUnauthenticated) {
					d.t.Errorf("%s: %v, want %v", login, err, keyfold.ErrUnauthenticated)
				}
			}
			d.waits(login, login, "", 30*time.Second)
		}
	})
}

func TestStrangersDoNotLockAUserOutOfAnAddressTheyKnow(t *testing.T) {
	// Mutation tried: reserve that refuses whatever the shared throttles block locks
	// the user out.
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		const home, home6, neighbour, afar = "192.0.2.1", "2001:db8:1:2::1", "192.0.2.2", "203.0.113.9"
		d.opens("at home", "ann", home)
		d.opens("at home by IPv6", "ann@example.com", home6)
		d.besieges("ann")
		d.waits("from afar", "ann", afar, 30*time.Second)
		for _, address := range []string{home, "::ffff:192.0.2.1", home6, "2001:db8:1:2:ffff::9", home6 + "%eth0"} {
			d.opens("at home from "+address, "ann", address)
		}
		d.waits("next door", "ann", neighbour, 30*time.Second)
		d.waits("next door by IPv6", "ann", "2001:db8:1:3::1", 30*time.Second)
		d.waits("without an address", "ann", "", 30*time.Second)

		// The allowance at home has an end of its own. A slip is answered as it is
		// next door.
		for range 4 {
			d.slips("a slip at home", "ann", home, 30*time.Second)
		}
		d.opens("after four slips at home", "ann", home)
		d.slips("the fifth slip at home", "ann", home, 30*time.Second)
		d.waits("after five slips at home", "ann", home, 30*time.Second)
		d.opens("at home by IPv6", "ann", home6)
		d.clock.add(30 * time.Second)
		d.opens("half a minute later", "ann", home)
		d.clock.add(time.Hour)

		// It is known by both names of the user, and not for any other.
		join(d.t, d.Service, keyfold.NewUser{Username: "bob", Password: password})
		d.besieges("bob")
		d.waits("bob, who never was there", "bob", home, 30*time.Second)
	})
}

func TestKnownAddressIsStrangeAgainAfter90Days(t *testing.T) {
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		const home = "192.0.2.1"
		d.opens("at home", "ann", home)
		d.clock.add(90*24*time.Hour - time.Millisecond)
		d.besieges("ann")
		d.opens("in the last millisecond, from when 90 more days count", "ann", home)
		d.clock.add(90 * 24 * time.Hour)
		d.besieges("ann")
		d.waits("after 90 days", "ann", home, 30*time.Second)
	})
}

func TestAddressCannotResetItsOwnCountWithAnAccountOfItsOwn(t *testing.T) {
	// Mutation tried: success that forgets the address, too, lets one address
	// guess for ever.
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		const den = "203.0.113.66"
		join(d.t, d.Service, keyfold.NewUser{Username: "mallory", Password: password})
		victim := 0
		guess := func() error {
			victim++
			return d.try(fmt.Sprint("victim", victim), another, den)
		}
		for range 4 {
			if err := guess(); keyfold.OutcomeOf(err) != keyfold.OutcomeUnknown {
				d.t.Errorf("guess %d: %v, want it looked at", victim, err)
			}
		}
		d.opens("an account of their own", "mallory", den)
		if err := guess(); keyfold.OutcomeOf(err) != keyfold.OutcomeUnknown {
			d.t.Errorf("the fifth guess: %v, want it looked at: the log-in got its attempt back", err)
		}
		for range 3 {
			if err := guess(); keyfold.RetryAfter(err) != 30*time.Second {
				d.t.Errorf("guess %d: %v, want a wait of 30 s", victim, err)
			}
			d.opens("an account of their own", "mallory", den)
		}
		d.opens("the user, from elsewhere", "ann", "192.0.2.1")
	})
}

func TestRacingGuessesAreAllCounted(t *testing.T) {
	// Mutation tried: a look at the throttles first and a count afterwards lets
	// many in.
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		errs := atOnce(40, func(i int) error { return d.try("ann", another, fmt.Sprintf("198.51.100.%d", i+1)) })
		looked, busy := 0, 0
		for _, err := range errs {
			switch {
			case keyfold.OutcomeOf(err) == keyfold.OutcomeWrongSecret:
				looked++
			case errors.Is(err, keyfold.ErrRateLimited) && errors.Is(err, keyfold.ErrUnavailable):
				busy++ // got its attempt back
			case !errors.Is(err, keyfold.ErrRateLimited):
				d.t.Errorf("a racing guess: %v, want it refused", err)
			}
		}
		const most = 5 + 3 // three more because their network did not try before
		if looked > most || busy == 0 && looked != most {
			d.t.Errorf("%d of 40 racing guesses were looked at, want %d", looked, most)
		}
	})
}

func TestProcessesCountTogether(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		clock := newClock()
		join(t, newService(t, store, &keyfold.Options{Now: clock.now}), keyfold.NewUser{Username: "ann", Password: password})
		for i := range 6 {
			d := &door{newService(t, store, &keyfold.Options{Now: clock.now}), t, clock}
			if i < 5 {
				d.refuses(fmt.Sprint("process ", i+1), "ann", "")
				continue
			}
			d.waits("one more process", "ann", "", 30*time.Second)
		}
	})
}

// Mutations tried: throttles named by the plain hash of an account; a log-in that
// forgets a row that it does not own.
func TestThrottlesAreNamedByASecretOfTheDatabase(t *testing.T) {
	t.Parallel()
	names := func(store keyfold.Store) string {
		spy := &namesOfThrottles{Store: store}
		svc := newService(t, spy, nil)
		_, err := svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: "nobody", Password: password, IP: netip.MustParseAddr("192.0.2.1")})
		wantErr(t, "nobody", err, keyfold.ErrUnauthenticated)
		return strings.Join(spy.names, " ")
	}
	first, second := memory.New(), memory.New()
	if here, again, there := names(first), names(first), names(second); here == "" || here != again || here == there {
		t.Errorf("the names of throttles are %q, %q in another process and %q in another database; want the first two alike", here, again, there)
	}
}

// namesOfThrottles records the throttles on which an attempt counts.
type namesOfThrottles struct {
	keyfold.Store
	names []string
}

func (s *namesOfThrottles) ReserveAttempt(ctx context.Context, names []keyfold.ThrottleReservation, at time.Time) (keyfold.Throttle, error) {
	for _, reserved := range names {
		s.names = append(s.names, reserved.Name)
	}
	return s.Store.ReserveAttempt(ctx, names, at)
}

func TestLogInsAreNotPartOfATransaction(t *testing.T) {
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		err := d.InTx(d.t.Context(), func(k *keyfold.Service) error {
			_, err := k.Authenticate(d.t.Context(), keyfold.Credentials{Identifier: "ann", Password: another})
			return err
		})
		wantField(d.t, "a log-in within a transaction", err, "Service")
	}, "mongodb") // it has no transactions
}

func TestKnownByOneNameIsKnownByTheOther(t *testing.T) {
	// Mutation tried: success that writes the row of the username alone.
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		const home = "192.0.2.1"
		d.opens("at home", "ann", home)
		d.besieges("ann@example.com")
		d.waits("from afar", "ann@example.com", "203.0.113.9", 30*time.Second)
		d.opens("at home by the other name", "ann@example.com", home)
	})
}

func TestTwentyAddressesADayBecomeKnown(t *testing.T) {
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		at := func(i int) string { return fmt.Sprintf("192.0.2.%d", i) }
		for i := range 25 {
			d.opens("a new address", "ann", at(i))
		}
		d.besieges("ann")
		for i := range 25 {
			if i < 20 {
				d.opens("a known address", "ann", at(i))
			} else {
				d.waits("one too many", "ann", at(i), 30*time.Second)
			}
		}
		d.clock.add(24 * time.Hour)
		d.opens("the next day", "ann", at(30))
		d.besieges("ann")
		d.opens("and it is known", "ann", at(30))
	})
}

// hangUp is a store whose caller cancels the request during the lookup of the user.
type hangUp struct {
	keyfold.Store
	cancel atomic.Pointer[context.CancelFunc]
}

func (s *hangUp) UserByUsername(ctx context.Context, key string) (keyfold.UserRecord, error) {
	user, err := s.Store.UserByUsername(ctx, key)
	if cancel := s.cancel.Load(); cancel != nil {
		(*cancel)()
	}
	return user, err
}

func TestAttemptOfACallerWhoHungUpIsTakenBack(t *testing.T) {
	// Mutation tried: settle with the context of the caller.
	t.Parallel()
	store := &hangUp{Store: memory.New()}
	svc := newService(t, store, nil)
	join(t, svc, keyfold.NewUser{Username: "ann", Password: password})
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		store.cancel.Store(&cancel)
		_, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: "ann", Password: password})
		if errors.Is(err, keyfold.ErrRateLimited) {
			t.Fatalf("a caller who hung up is counted: %v", err)
		}
	}
}

func TestRefusedLogInsAreLoggedWithoutTheName(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	clock := newClock()
	svc := newService(t, memory.New(), &keyfold.Options{Now: clock.now, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	join(t, svc, keyfold.NewUser{Username: "ann", Password: password})
	for i := range 30 {
		_, _ = svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: fmt.Sprint("secret", i), Password: another, IP: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})})
	}
	const canonical = "name_sha256=" // of "secret0"
	sum := sha256.Sum256([]byte("secret0"))
	if got := strings.Count(log.String(), "reason=unknown"); got != 10 || !strings.Contains(log.String(), canonical+hex.EncodeToString(sum[:])) {
		t.Errorf("%d refusals were logged, want 10 a second with the hash of the name:\n%s", got, &log)
	}
	if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), another) {
		t.Errorf("the log shows what was typed:\n%s", &log)
	}
}
