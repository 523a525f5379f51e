package keyfold_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// refuseCheck is a check that refuses the database for this process.
func refuseCheck(context.Context) error {
	return fmt.Errorf("%w: of another planet", keyfold.ErrCheckFailed)
}

func failCheck(context.Context) error { return errors.New("connection reset by peer") }

// mustFail checks that err is the error of refuseCheck.
func mustFail(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, keyfold.ErrUnavailable) || !errors.Is(err, keyfold.ErrCheckFailed) ||
		!strings.Contains(err.Error(), "of another planet") {
		t.Errorf("%s: got %v, want an ErrUnavailable that is an ErrCheckFailed and names the reason", what, err)
	}
}

// Mutation tried: a read of a key that does not ask for the check first.
func TestNothingIsDecidedBeforeTheCheckHasPassed(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]keyfold.Options{"with a cache": {}, "without a cache": {DisableCache: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newSpy()
			_, token := create(t, newService(t, store, nil), keyfold.NewKey{Name: "n"})
			on(&store.check, refuseCheck)
			svc := newService(t, store, &opts)
			_, err := svc.Verify(t.Context(), keyfold.Request{Token: token})
			mustFail(t, "Verify", err)
			if reads := store.reads.Load(); reads != 0 {
				t.Errorf("the key was read %d times before the check had passed", reads)
			}
			_, _, err = svc.CreateKey(t.Context(), keyfold.NewKey{Name: "n"})
			mustFail(t, "CreateKey", err)
			_, err = svc.Authenticate(t.Context(), keyfold.Credentials{Identifier: "somebody", Password: "correct horse battery"})
			mustFail(t, "Authenticate", err)
			mustFail(t, "InTx", svc.InTx(t.Context(), func(*keyfold.Service) error { t.Error("fn ran"); return nil }))
			mustFail(t, "Ping", svc.Ping(t.Context()))
			on(&store.check, nil)
			if err := svc.Ping(t.Context()); err != nil {
				t.Errorf("Ping once the check passes: %v", err)
			}
			if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
				t.Errorf("Verify once the check passes: %v", got)
			}
		})
	}
}

// Mutations tried: a failed check that leaves the time of the last poll as it
// was; a stale key that is served although the check failed.
func TestFailedCheckStopsRememberedKeysWithinOnePoll(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]keyfold.Options{
		"with a cache":          {},
		"with a grace":          {StaleGrace: time.Hour},
		"without a cache":       {DisableCache: true},
		"with a slow poll":      {PollInterval: 30 * time.Second, MaxStaleness: time.Minute},
		"slow without a cache":  {PollInterval: 30 * time.Second, MaxStaleness: time.Minute, DisableCache: true},
		"synchronous, no cache": {Usage: keyfold.UsageSync, DisableCache: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := newSpy()
				var log bytes.Buffer
				opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
				svc := newService(t, store, &opts)
				interval := max(opts.PollInterval, time.Second)
				_, token := create(t, svc, keyfold.NewKey{Name: "n"})
				for range 3 {
					if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
						t.Fatalf("before: %v", got)
					}
					time.Sleep(interval)
				}
				on(&store.check, refuseCheck)
				time.Sleep(interval)
				synctest.Wait()
				for range 20 {
					_, err := svc.Verify(t.Context(), keyfold.Request{Token: token})
					mustFail(t, "Verify", err)
					time.Sleep(interval)
				}
				on(&store.check, nil)
				time.Sleep(interval + time.Second)
				synctest.Wait()
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Errorf("once the check passes again: %v", got)
				}
				if err := svc.Close(t.Context()); err != nil {
					t.Error(err)
				}
				checkLog(t, log.String())
			})
		})
	}
}

// checkLog checks that a failure and its end were logged once each.
func checkLog(t *testing.T, log string) {
	t.Helper()
	var about []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, "the check of the database passes") {
			about = append(about, line)
		}
	}
	if len(about) != 2 || !strings.Contains(about[0], "of another planet") || !strings.Contains(about[1], "passes again") {
		t.Errorf("the log says %q, want one line for the failure and one for its end, in\n%s", about, log)
	}
	if strings.Contains(log, "verifies will go to the store") {
		t.Errorf("the log says that verifies go to the store, which they do not:\n%s", log)
	}
}

// If the database does not respond, the last result of the check is used for as long as
// cached keys are. Mutation tried: a result that is used forever.
func TestCheckWithoutAnAnswerIsLikeAFeedThatIsNotHeard(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]keyfold.Options{
		"with a cache":    {},
		"without a cache": {DisableCache: true},
		"with a grace":    {StaleGrace: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := newSpy()
				svc := newService(t, store, &opts)
				_, token := create(t, svc, keyfold.NewKey{Name: "n"})
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Fatalf("before: %v", got)
				}
				time.Sleep(2 * time.Second)
				on(&store.check, failCheck)
				time.Sleep(3 * time.Second)
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Errorf("while the last answer is young enough: %v", got)
				}
				time.Sleep(3*time.Second + opts.StaleGrace)
				if got := outcome(svc, token); got != keyfold.OutcomeUnavailable {
					t.Errorf("once the last answer is too old: %v", got)
				}
				on(&store.check, nil)
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Errorf("as soon as the check is answered: %v", got)
				}
			})
		})
	}
}

// A machine that slept, or a process that was stopped, has not polled for long.
// Mutation tried: a result whose age is not checked.
func TestVerifyAfterASleepRunsTheCheckFirst(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]keyfold.Options{"with a cache": {}, "without a cache": {DisableCache: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, clock := newSpy(), newClock()
			opts.PollInterval, opts.MaxStaleness, opts.Now = time.Minute, time.Minute, clock.now
			svc := newService(t, store, &opts)
			_, token := create(t, svc, keyfold.NewKey{Name: "n"})
			if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
				t.Fatalf("before: %v", got)
			}
			on(&store.check, refuseCheck)
			clock.add(time.Hour)
			_, err := svc.Verify(t.Context(), keyfold.Request{Token: token})
			mustFail(t, "the first Verify after an hour", err)
		})
	}
}

// Mutation tried: a bound Service that does not look at the state of the other.
func TestServiceInATransactionObeysTheCheck(t *testing.T) {
	t.Parallel()
	store := newSpy()
	_, token := create(t, newService(t, store, nil), keyfold.NewKey{Name: "n"})
	inTx := func(svc *keyfold.Service, check func(context.Context) error, use func(bound *keyfold.Service)) {
		tx, err := store.Store.(*memory.Store).Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		bound := &spy{Store: tx.Tx().Store}
		on(&bound.check, check)
		use(svc.With(keyfold.Tx{Store: bound}))
	}
	t.Run("of a Service whose check failed", func(t *testing.T) {
		svc := newService(t, store, nil)
		on(&store.check, refuseCheck)
		defer on(&store.check, nil)
		mustFail(t, "Ping", svc.Ping(t.Context()))
		inTx(svc, nil, func(bound *keyfold.Service) {
			_, err := bound.Verify(t.Context(), keyfold.Request{Token: token})
			mustFail(t, "Verify", err)
			_, _, err = bound.CreateKey(t.Context(), keyfold.NewKey{Name: "n"})
			mustFail(t, "CreateKey", err)
			mustFail(t, "Ping in the transaction", bound.Ping(t.Context()))
		})
	})
	t.Run("of a Service that was never used", func(t *testing.T) {
		on(&store.check, func(context.Context) error {
			t.Error("the check went to another connection than the transaction's")
			return nil
		})
		defer on(&store.check, nil)
		svc := newService(t, store, nil)
		inTx(svc, refuseCheck, func(bound *keyfold.Service) {
			_, err := bound.Verify(t.Context(), keyfold.Request{Token: token})
			mustFail(t, "Verify", err)
		})
		inTx(svc, nil, func(bound *keyfold.Service) {
			if got := outcome(bound, token); got != keyfold.OutcomeAllowed {
				t.Errorf("Verify: %v", got)
			}
		})
	})
}

// reads are the methods of a Store that do not require a successful check. The read of a
// verify is one of them, because Verify requires the check itself.
var reads = []string{
	"Audit", "AddSetting", "Changes", "Check", "Close", "DatabaseID", "Key", "Keys", "OneTimeToken", "Ping", "Setting",
	"Throttle", "UsageEvents", "UsageHours", "User", "UserByEmail", "UserByUsername", "Users", "VerifyKey",
}

// Mutation tried: a method that is passed through to the store.
func TestEveryChangeWaitsForTheCheck(t *testing.T) {
	t.Parallel()
	store := keyfold.UncheckedStore(keyfold.Options{}, refuseCheck(t.Context()))
	value := reflect.ValueOf(store)
	for method := range reflect.TypeFor[keyfold.Store]().Methods() {
		if slices.Contains(reads, method.Name) {
			continue
		}
		t.Run(method.Name, func(t *testing.T) {
			defer func() {
				if recover() != nil { // the store behind it is missing
					t.Error("the call reached the store")
				}
			}()
			in := []reflect.Value{reflect.ValueOf(t.Context())}
			kind := value.MethodByName(method.Name).Type()
			for i := 1; i < kind.NumIn(); i++ {
				in = append(in, reflect.Zero(kind.In(i)))
			}
			out := value.MethodByName(method.Name).Call(in)
			if err, _ := out[len(out)-1].Interface().(error); !errors.Is(err, keyfold.ErrCheckFailed) {
				t.Errorf("got error %v, want that the check failed", err)
			}
		})
	}
}

// Usage waits until the check passes again, and none is lost.
// Mutation tried: a batch that counts a failed check as a refusal of the store.
func TestUsageIsKeptWhileTheCheckFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newSpy()
		svc := newService(t, store, &keyfold.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		key, token := create(t, svc, keyfold.NewKey{Name: "n"})
		if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
			t.Fatalf("before: %v", got)
		}
		on(&store.check, refuseCheck)
		time.Sleep(5 * time.Minute)
		if got := svc.UsageStats(); got.RejectedBatches != 0 {
			t.Errorf("while the check fails: %+v, want no batch aside", got)
		}
		on(&store.check, nil)
		time.Sleep(5 * time.Second)
		if err := svc.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := svc.Key(t.Context(), key.ID); err != nil || got.Uses != 1 {
			t.Errorf("the key has %d uses (%v), want 1", got.Uses, err)
		}
	})
}
