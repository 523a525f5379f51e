package storetest_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/storetest"
)

func TestMemoryKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(*testing.T) keyfold.Store { return memory.New() })
}

func TestCaseNamesAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range storetest.Cases() {
		if seen[c.Name] {
			t.Errorf("two cases are named %q", c.Name)
		}
		seen[c.Name] = true
	}
}

// TestEachDefectFailsItsOwnRule proves that the suite can fail. Each store breaks one rule,
// and only the cases of that rule may fail.
func TestEachDefectFailsItsOwnRule(t *testing.T) {
	t.Parallel()
	for _, defect := range []struct {
		name     string
		newStore func() keyfold.Store
		rules    []string // prefixes of the names of the cases that must fail
	}{
		{"none", func() keyfold.Store { return memory.New() }, nil},
		{"lost update", newLostUpdate, []string{"updates/an update needs the version that was read"}},
		{"stale read", newStaleRead, []string{
			"keys of users/VerifyKey returns the state of the user",
			"verifying/VerifyKey returns a change as soon as it is committed",
		}},
		{"wrong collation", newWrongCollation, []string{"strings/key IDs are compared byte by byte"}},
		{"wrong collation of owners", newOwnerCollation, []string{"strings/owner IDs are compared byte by byte"}},
		{"key committed without its change row", newSilentCreation, []string{"mutations/a creation commits the key, a change row and an audit row together"}},
		{"half rotation", newHalfRotation, []string{"rotations/a rotation to an existing ID changes nothing"}},
		{"newest change row pruned", newDeafFeed, []string{"pruning/pruning the feed keeps the newest row"}},
		{"more to prune and not reported", newHastyPruning, []string{
			"one-time tokens/pruning tokens respects the limit and reports whether more remain", "pruning/pruning the feed respects the limit and reports whether more remain",
			"throttles/pruning throttles respects the limit and reports whether more remain",
		}},
		{"batch counted twice", newDoubleCounting, []string{
			"usage/a batch that arrives twice at once is applied once", "usage/no batch counted twice:",
		}},
		{"revocation undone by an update", newUndoneRevocation, []string{
			"states/a revocation succeeds during a stream of updates and is never undone", "updates/an update of a revoked key is a conflict for any version",
		}},
		{"one-time token used twice", newUsedTwice, []string{"one-time tokens/of fifty concurrent uses one succeeds"}},
		{"one-time token of a disabled user used", newTokenOfDisabled, []string{
			"one-time tokens/a token does not work for another purpose, or for a user who changed or is disabled",
		}},
		{"rehash without a compare", newBlindRehash, []string{
			"passwords/a rehash never overwrites a password that is set at the same time", "passwords/a rehash of an outdated password changes nothing and returns no error",
		}},
		{"new password without a compare", newAnyPassword, []string{
			"passwords/a new password for an outdated version returns ErrStale and changes nothing", "passwords/of concurrent new passwords for one version one succeeds",
		}},
		{"new password compared before the write", newBlindPassword, []string{"passwords/of concurrent new passwords for one version one succeeds"}},
		{"attempts lost", newLostAttempts, []string{
			"throttles/each of a hundred concurrent reservations is counted", "throttles/concurrent refunds are all counted", "throttles/concurrent reservations of several names in any order are all counted",
		}},
		{"attempts counted where one is blocked", newHalfReservation, []string{"throttles/if one throttle blocks, no attempt is counted, and the throttle that blocks longest is returned"}},
		{"settings added without a guard", newOverwritten, []string{
			"settings/adding an existing setting changes nothing and returns its value", "settings/adding a setting writes neither",
			"settings/of concurrent additions one succeeds, and all return its value",
		}},
		{"unlock without an audit row", newSilentUnlock, []string{
			"throttles/an unlock applies its result and is audited", "users/every change of a user writes",
		}},
		{"unlock of a user who does not exist", newForcefulUnlock, []string{"throttles/an unlock of an unknown user"}},
		{"keys left of a deleted user", newOrphans, []string{
			"keys of users/a key that is created during the deletion of its user does not verify", "keys of users/a user with hundreds of keys is deleted in one transaction",
			"keys of users/user IDs are compared byte by byte", "keys of users/the deletion of a user deletes all keys, totals and one-time tokens",
		}},
		{"wrong collation of usernames", newUsernameCollation, []string{"users/usernames and addresses are compared byte by byte"}},
		{"stale read of users", newStaleUser, []string{
			"keys of users/a key that is created while its user is disabled is refused like the others", "keys of users/user IDs are compared byte by byte",
			"keys of users/VerifyKey returns the state of the user as soon as it is committed",
		}},
		{"lists without the users of keys", newActiveKeys, []string{"keys of users/Key and every list return the state of the user as soon as it is committed"}},
		{"a key without its user", newStaleKey, []string{"keys of users/Key and every list return the state of the user as soon as it is committed"}},
		{"written state of a key's user", newWrittenUserState, []string{"keys of users/the field UserDisabled is read and never written"}},
		{"none, with a probe", newProbing, nil},
		{"probe that is a change", newAuditedProbe, []string{"probes/a probe writes neither"}},
		{"probe that must be alone", newLonelyProbe, []string{"probes/a probe of a working store succeeds, even during other probes"}},
		{"probe that fails without a reason", newGloomyProbe, []string{
			"probes/a probe of a working store succeeds, even during other probes", "probes/a probe that waits for a transaction returns when its context is done", "probes/a probe writes neither",
		}},
		{"probe without a context", newTimelessProbe, []string{"contexts/a method fails when its deadline", "contexts/every method returns an error"}},
		{"none, with merging", newMerging, nil},
		{"merge that loses an event", newForgetfulMerge, []string{
			"merging/merging keeps events", "merging/merging at the same time keeps each event once",
			"merging/events that arrive after a merge", "merging/a merge whose context ends keeps all events",
		}},
		{"merge that gives events new numbers", newRenumberedMerge, []string{
			"merging/merging keeps events", "merging/merging at the same time keeps each event once",
			"merging/events that arrive after a merge", "merging/a merge whose context ends keeps all events",
		}},
		{"probe that waits without end", newPatientProbe, []string{"probes/a probe that waits for a transaction returns when its context is done"}},
		{"change not returned", newLeakyFeed, []string{"feed/every change is returned, in whatever order transactions commit"}},
	} {
		t.Run(defect.name, func(t *testing.T) {
			t.Parallel()
			var failed []string
			for _, c := range storetest.Cases() {
				if lines := runAlone(t.Context(), c, defect.newStore); len(lines) > 0 {
					failed = append(failed, c.Name)
					t.Logf("%s\n\t%s", c.Name, lines[0])
				}
			}
			slices.Sort(failed)
			slices.Sort(defect.rules)
			if !slices.EqualFunc(failed, defect.rules, strings.HasPrefix) {
				t.Errorf("failing cases:\n\t%s\nwant those that begin with:\n\t%s",
					strings.Join(failed, "\n\t"), strings.Join(defect.rules, "\n\t"))
			}
		})
	}
}

// runAlone runs one case on its own store and returns the errors that it reported.
func runAlone(ctx context.Context, c storetest.Case, newStore func() keyfold.Store) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	report := &report{ctx: ctx}
	done := make(chan struct{})
	go func() { // in a goroutine, because Fatalf ends the goroutine
		defer close(done)
		defer report.cleanUp()
		defer func() {
			if value := recover(); value != nil {
				report.Errorf("panic: %v", value)
			}
		}()
		c.Run(report, newStore)
	}()
	<-done
	return report.lines
}

// report is a test whose failures are collected.
type report struct {
	ctx      context.Context
	mu       sync.Mutex
	lines    []string
	cleanups []func()
}

func (r *report) Helper()                  {}
func (r *report) Context() context.Context { return r.ctx }
func (r *report) Cleanup(fn func())        { r.cleanups = append(r.cleanups, fn) }

func (r *report) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *report) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *report) cleanUp() {
	for _, fn := range slices.Backward(r.cleanups) {
		fn()
	}
}

// Mutation tried: making the store in the first case, which then panics because it ends
// the wrong test.
func TestNewStoreMaySkip(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) keyfold.Store {
		t.Skip("no server")
		return nil
	})
}
