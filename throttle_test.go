package keyfold_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// newDoor returns a door with an in-memory store and cheap password hashes.
func newDoor(t *testing.T) (*door, *keyfold.KDFs) {
	t.Helper()
	clock := newClock()
	d := &door{newService(t, memory.New(), &keyfold.Options{Now: clock.now}), t, clock}
	return d, keyfold.CheapKDFs(d.Service)
}

// answer is the visible result of a log-in: the error without its code, which is only for
// the log, and the work.
func (d *door) answer(kdfs *keyfold.KDFs, login, secret, from string) string {
	before := kdfs.Computed.Load()
	err := d.try(login, secret, from)
	return fmt.Sprintf("limited %t, unauthenticated %t, unavailable %t, after %v, %d hashes", errors.Is(err, keyfold.ErrRateLimited),
		errors.Is(err, keyfold.ErrUnauthenticated), errors.Is(err, keyfold.ErrUnavailable), keyfold.RetryAfter(err), kdfs.Computed.Load()-before)
}

func TestAnswersDoNotTellWhetherAnAccountExists(t *testing.T) {
	// Two programs see the same attempts. In the first, the name that is attacked
	// has a user, who logs in now and then; in the second it has none, and another
	// user logs in at those times.
	//
	// Mutations tried: a known address whose attempts count on its own throttle
	// alone; success that forgets the count of the account; reserveBlocked that
	// computes a hash for known names alone.
	t.Parallel()
	const home, cafe = "192.0.2.1", "203.0.113.7"
	places := []string{home, "192.0.2.2", "198.51.100.1", "198.51.100.2", "198.18.1.1", "2001:db8::1", ""}
	waits := []time.Duration{time.Second, 30 * time.Second, 5 * time.Minute, time.Hour, 7 * time.Hour, 24 * time.Hour}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			with, kdfs := newDoor(t)
			without, kdfsWithout := newDoor(t)
			join(t, with.Service, keyfold.NewUser{Username: "ann", Email: "ann@example.com", Password: password})
			join(t, without.Service, keyfold.NewUser{Username: "bob", Password: password})
			with.opens("at home", "ann", home)
			without.opens("at home", "bob", home)
			random := rand.New(rand.NewPCG(seed, 0))
			var log []string
			limited := 0
			for range 400 {
				switch random.IntN(8) {
				case 0:
					wait := waits[random.IntN(len(waits))]
					with.clock.add(wait)
					without.clock.add(wait)
					log = append(log, fmt.Sprint("wait ", wait))
				case 1:
					place := []string{home, home, cafe}[random.IntN(3)]
					_, _ = with.try("ann", password, place), without.try("bob", password, place)
					log = append(log, "the user logs in from "+place)
				default:
					place := places[random.IntN(len(places))]
					kind := random.IntN(5)
					known := []string{"ann", "ann", "ann@example.com", "other1", "other2"}[kind]
					unknown := []string{"nobody", "nobody", "nobody@example.com", "other1", "other2"}[kind]
					got := with.answer(kdfs, known, another, place)
					want := without.answer(kdfsWithout, unknown, another, place)
					log = append(log, fmt.Sprintf("%s from %q: %s", known, place, want))
					if strings.HasPrefix(got, "limited true") {
						limited++
					}
					if got != want {
						t.Fatalf("%s is answered\n\t%s\nand %s\n\t%s\nafter\n\t%s", known, got, unknown, want, strings.Join(log, "\n\t"))
					}
				}
			}
			if limited < 50 {
				t.Errorf("%d answers were waits, want a test of more", limited)
			}
		})
	}
}

func TestSuccessDoesNotProlongTheCountOfFailures(t *testing.T) {
	// A stranger would learn that the user logged in. Mutation tried: throttles that
	// last from the latest attempt on.
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		d.hammers("ann")
		d.clock.add(23 * time.Hour)
		d.opens("from elsewhere", "ann", "203.0.113.9")
		d.clock.add(time.Hour)
		for range 4 {
			d.refuses("a day after the first guess", "ann", "")
		}
		d.refuses("the fifth", "ann", "")
		d.waits("the sixth", "ann", "", 30*time.Second)
	})
}

func TestUnderAttackAFreshNetworkStillHasAttempts(t *testing.T) {
	// Mutation tried: reserve without the fresh throttles locks the user out.
	onEveryDoor(t, func(d *door, _ keyfold.User) {
		d.hammers("ann")
		d.waits("without an address", "ann", "", 30*time.Second)
		d.opens("from a new address", "ann", "203.0.113.9") // takes no attempt away

		// A network has three attempts, and all of them have five, of which one comes
		// back every half an hour.
		join(d.t, d.Service, keyfold.NewUser{Username: "bob", Password: password})
		d.hammers("bob")
		for i := range 3 {
			d.refuses(fmt.Sprint("slip ", i+1), "bob", fmt.Sprintf("203.0.113.%d", i))
		}
		d.waits("a fourth from that network", "bob", "203.0.113.9", 30*time.Second)
		for i := range 2 {
			d.refuses(fmt.Sprint("slip ", i+1, " from another network"), "bob", fmt.Sprintf("2001:db8:1:%d::1", i))
		}
		d.waits("a sixth", "bob", "2001:db8:2::1", 30*time.Second)
		for wait := 30 * time.Second; wait < time.Hour; wait *= 2 {
			d.clock.add(wait)
			d.refuses("a stranger keeps the account waiting", "bob", "")
		}
		d.waits("without an address", "bob", "", time.Hour)
		d.opens("from a new address, after more than half an hour", "bob", "2001:db8:2::1")
	})
}

func TestGuessesADayAreAsDocumented(t *testing.T) {
	// The figures of docs/security-model.md. An attacker tries every half a minute,
	// as often as the answer has no wait.
	t.Parallel()
	for _, row := range []struct {
		what  string
		login func(n int) string // of attempt n
		from  func(n int) string
		want  []int // of the first day and the next ones
	}{
		{"at one name, from any number of networks", func(int) string { return "ann" }, func(n int) string {
			return netip.AddrFrom4([4]byte{100, byte(n >> 8), byte(n), 1}).String()
		}, []int{86, 82, 82}},
		{"at one name, from one address", func(int) string { return "ann" }, func(int) string { return "192.0.2.1" }, []int{34, 34, 34}},
		{"at any number of names, from one address", func(n int) string { return fmt.Sprint("user", n) }, func(int) string { return "192.0.2.1" }, []int{34, 34, 34}},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			d, _ := newDoor(t)
			join(t, d.Service, keyfold.NewUser{Username: "ann", Password: password})
			var got []int
			tries := 0
			for range row.want {
				looked := 0
				for range 24 * 60 * 2 {
					for {
						tries++
						if errors.Is(d.try(row.login(tries), another, row.from(tries)), keyfold.ErrRateLimited) {
							break
						}
						looked++
					}
					d.clock.add(30 * time.Second)
				}
				got = append(got, looked)
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("guesses in a day: %v, want %v", got, row.want)
			}
		})
	}
}

// locked makes strangers fail to log in until the account has to wait under both of its
// names.
func (d *door) locked(afar string) {
	d.t.Helper()
	d.besieges("ann")
	d.besieges("ann@example.com")
	d.waits("from afar", "ann", afar, 30*time.Second)
	d.waits("from afar by address", "ann@example.com", afar, 30*time.Second)
}

func TestUsedOneTimeTokenLiftsTheWaitsAndMakesTheAddressKnown(t *testing.T) {
	// Mutation tried: cleared without the marks of the address.
	onEveryDoor(t, func(d *door, ann keyfold.User) {
		const afar, elsewhere = "203.0.113.9", "203.0.114.9"
		for i, purpose := range []keyfold.OneTimePurpose{keyfold.PurposeVerifyEmail, keyfold.PurposeChangeEmail, keyfold.PurposeResetPassword} {
			d.clock.add(24 * time.Hour)
			d.locked(fmt.Sprintf("203.0.115.%d", i))
			ip, email := netip.MustParseAddr(afar).Next(), ""
			for range i {
				ip = ip.Next()
			}
			if purpose == keyfold.PurposeChangeEmail {
				email = "Ann@example.com"
			}
			mail, err := d.CreateOneTimeToken(d.t.Context(), purpose, ann.ID, email)
			must(d.t, err)
			switch token := mail.Token.Reveal(); purpose {
			case keyfold.PurposeVerifyEmail:
				_, err = d.VerifyEmail(d.t.Context(), token, ip)
			case keyfold.PurposeChangeEmail:
				_, err = d.ConfirmEmailChange(d.t.Context(), token, ip)
			case keyfold.PurposeResetPassword:
				_, err = d.ResetPassword(d.t.Context(), token, password, keyfold.ResetOptions{IP: ip})
			}
			must(d.t, err)
			d.opens(purpose.String()+", from elsewhere", "ann", elsewhere)
			d.opens(purpose.String()+", from elsewhere by address", "ann@example.com", elsewhere)
			d.besieges("ann")
			d.waits(purpose.String()+", when strangers go on, next door", "ann", "203.0.113.200", 30*time.Second)
			d.opens(purpose.String()+", when strangers go on", "ann", ip.String())
			d.opens(purpose.String()+", when strangers go on, by address", "ann@example.com", ip.String())
		}
	})
}

func TestTokenUsedInATransactionLiftsTheWaitsWithIt(t *testing.T) {
	// Mutation tried: proved that does nothing on a Service that is bound.
	onEveryDoor(t, func(d *door, ann keyfold.User) {
		const afar = "203.0.113.9"
		ctx := d.t.Context()
		d.locked(afar)
		mail, err := d.CreateOneTimeToken(ctx, keyfold.PurposeVerifyEmail, ann.ID, "")
		must(d.t, err)
		refused := errors.New("refused")
		for _, end := range []error{refused, nil} {
			err := d.InTx(ctx, func(k *keyfold.Service) error {
				_, err := k.VerifyEmail(ctx, mail.Token.Reveal(), netip.Addr{})
				return errors.Join(err, end)
			})
			if !errors.Is(err, end) {
				d.t.Errorf("the transaction: %v, want %v", err, end)
			}
			if end != nil {
				d.waits("after a rollback", "ann", afar, 30*time.Second)
			}
		}
		d.opens("after a commit", "ann", afar)
	}, "mongodb") // it has no transactions
}

func TestAdministratorLiftsTheWaits(t *testing.T) {
	// Mutations tried: cleared with the username alone; without the marks.
	onEveryDoor(t, func(d *door, ann keyfold.User) {
		const afar, elsewhere = "203.0.113.9", "203.0.114.9"
		ctx := keyfold.WithActor(d.t.Context(), keyfold.Actor{Name: "root"})
		d.locked(afar)
		must(d.t, d.SetPassword(ctx, ann.ID, password))
		d.opens("after SetPassword", "ann", elsewhere)
		d.opens("after SetPassword, by address", "ann@example.com", elsewhere)

		d.clock.add(time.Hour)
		d.locked("203.0.115.1")
		must(d.t, d.UnlockUser(ctx, ann.ID, netip.Addr{}))
		d.opens("after UnlockUser", "ann", "203.0.116.1")
		d.opens("after UnlockUser, by address", "ann@example.com", "203.0.116.2")
		must(d.t, d.UnlockUser(ctx, ann.ID, netip.MustParseAddr(afar)))
		d.besieges("ann")
		d.opens("from the address that the administrator gave", "ann", afar)
		d.waits("from another", "ann", "203.0.117.1", 30*time.Second)

		if user, err := d.User(ctx, ann.ID); err != nil || user.Version != ann.Version+1 {
			d.t.Errorf("the user is at version %d, %v; want %d, from SetPassword alone", user.Version, err, ann.Version+1)
		}
		page, err := d.Audit(ctx, keyfold.AuditQuery{Target: keyfold.Only(ann.ID)})
		must(d.t, err)
		var unlocks []string
		for _, entry := range page.Entries {
			if entry.Action == "user.unlock" {
				unlocks = append(unlocks, entry.Actor+" "+entry.After)
			}
		}
		if want := []string{`root {"known_address":"203.0.113.9/32"}`, "root {}"}; !slices.Equal(unlocks, want) {
			d.t.Errorf("the audit log has the unlocks %q, want %q", unlocks, want)
		}
		wantErr(d.t, "an unknown user", d.UnlockUser(ctx, "0000000000000000", netip.Addr{}), keyfold.ErrNotFound)
		wantField(d.t, "no id", d.UnlockUser(ctx, "?", netip.Addr{}), "id")
	})
}

func TestWrongClockDoesNotLockUsersOutForLong(t *testing.T) {
	// Mutations tried: reserveAll without outwait; outwait that removes the throttle
	// at once.
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		right := newClock()
		d := &door{newService(t, store, &keyfold.Options{Now: right.now}), t, right}
		keyfold.CheapKDFs(d.Service)
		const year = 365 * 24 * time.Hour
		for name, ahead := range map[string]time.Duration{"ann": year, "bob": -year} {
			join(t, d.Service, keyfold.NewUser{Username: name, Password: password})
			wrong := newClock()
			wrong.add(ahead)
			other := &door{newService(t, store, &keyfold.Options{Now: wrong.now}), t, wrong}
			keyfold.CheapKDFs(other.Service)
			early, late := other, d // whose throttles the other reads
			if ahead < 0 {
				early, late = d, other
			}
			early.hammers(name)
			late.waits("at first", name, "", time.Hour)
			late.clock.add(40 * time.Minute)
			late.waits("40 minutes later", name, "", 20*time.Minute)
			late.clock.add(20 * time.Minute)
			late.opens("after the longest wait", name, "")
		}
	})
}
