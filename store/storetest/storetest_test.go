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

// TestEachDefectFailsItsOwnRule is the proof that the suite can fail: each
// store breaks one rule, and no case but that rule's may notice.
func TestEachDefectFailsItsOwnRule(t *testing.T) {
	t.Parallel()
	for _, defect := range []struct {
		name     string
		newStore func() keyfold.Store
		rules    []string // how the names of the cases that must fail begin
	}{
		{"none", func() keyfold.Store { return memory.New() }, nil},
		{"lost update", newLostUpdate, []string{"updates/no lost update:"}},
		{"stale read", newStaleRead, []string{"keys of users/no stale read of a user:", "verifying/no stale read:"}},
		{"wrong collation", newWrongCollation, []string{"strings/no wrong collation:"}},
		{"wrong collation of owners", newOwnerCollation, []string{"strings/owner ids are compared byte by byte:"}},
		{"key committed without its change row", newSilentCreation, []string{"mutations/no key committed without its change row:"}},
		{"half rotation", newHalfRotation, []string{"rotations/no half rotation:"}},
		{"newest change row pruned", newDeafFeed, []string{"pruning/no pruned newest change:"}},
		{"more to prune and not reported", newHastyPruning, []string{
			"one-time tokens/pruning tokens goes in small steps", "pruning/pruning the feed goes in small steps",
			"throttles/pruning throttles goes in small steps",
		}},
		{"batch counted twice", newDoubleCounting, []string{
			"usage/a batch that arrives twice at once is applied once", "usage/no batch counted twice:",
		}},
		{"revocation undone by an update", newUndoneRevocation, []string{
			"states/revoking wins against a stream of updates", "updates/an update of a revoked key is a conflict",
		}},
		{"one-time token used twice", newUsedTwice, []string{"one-time tokens/one of fifty racing uses wins"}},
		{"one-time token of a disabled user used", newTokenOfDisabled, []string{
			"one-time tokens/a token does not work for another purpose, or for a user who changed or is disabled",
		}},
		{"rehash without a compare", newBlindRehash, []string{
			"passwords/a rehash of a password never undoes", "passwords/a rehash of a password that was changed changes nothing",
		}},
		{"new password without a compare", newAnyPassword, []string{
			"passwords/a new password in place of another version", "passwords/of racing new passwords in place",
		}},
		{"new password compared before the write", newBlindPassword, []string{"passwords/of racing new passwords in place"}},
		{"attempts lost", newLostAttempts, []string{
			"throttles/no attempt lost:", "throttles/racing refunds", "throttles/racing reservations of several names",
		}},
		{"attempts counted where one is blocked", newHalfReservation, []string{"throttles/if one throttle blocks, none counts"}},
		{"settings added without a guard", newOverwritten, []string{
			"settings/adding a setting that has a value", "settings/adding a setting writes neither",
			"settings/of racing additions one wins",
		}},
		{"unlock without an audit row", newSilentUnlock, []string{
			"throttles/an unlock applies its result and is audited", "users/every change of a user writes",
		}},
		{"unlock of a user who does not exist", newForcefulUnlock, []string{"throttles/an unlock of an unknown user"}},
		{"keys left of a deleted user", newOrphans, []string{
			"keys of users/a key that races with the deletion", "keys of users/a user with hundreds of keys is deleted",
			"keys of users/ids of users are compared", "keys of users/no key left behind:",
		}},
		{"wrong collation of usernames", newUsernameCollation, []string{"users/usernames and addresses are compared byte by byte:"}},
		{"stale read of users", newStaleUser, []string{
			"keys of users/a key that races with the disabling", "keys of users/ids of users are compared",
			"keys of users/no stale read of a user: VerifyKey",
		}},
		{"lists without the users of keys", newActiveKeys, []string{"keys of users/no stale read of a user: Key"}},
		{"a key without its user", newStaleKey, []string{"keys of users/no stale read of a user: Key"}},
		{"written state of a key's user", newWrittenUserState, []string{"keys of users/whether the user of a key is disabled"}},
		{"none, with a probe", newProbing, nil},
		{"probe that is a change", newAuditedProbe, []string{"probes/a probe writes neither"}},
		{"probe that must be alone", newLonelyProbe, []string{"probes/a probe of a store that works"}},
		{"probe that fails without a reason", newGloomyProbe, []string{
			"probes/a probe of a store that works", "probes/a probe that waits for a transaction", "probes/a probe writes neither",
		}},
		{"probe without a context", newTimelessProbe, []string{"contexts/a method fails when its deadline", "contexts/every method returns an error"}},
		{"probe that waits without end", newPatientProbe, []string{"probes/a probe that waits for a transaction"}},
		{"change passed over", newLeakyFeed, []string{"feed/no change passed over,"}},
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
			if !slices.EqualFunc(failed, defect.rules, strings.HasPrefix) {
				t.Errorf("failing cases:\n\t%s\nwant those that begin with:\n\t%s",
					strings.Join(failed, "\n\t"), strings.Join(defect.rules, "\n\t"))
			}
		})
	}
}

// runAlone runs one case on a store of its own and returns what it reported.
func runAlone(ctx context.Context, c storetest.Case, newStore func() keyfold.Store) []string {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	report := &report{ctx: ctx}
	done := make(chan struct{})
	go func() { // of its own, because Fatalf ends it
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

// Mutation tried: making the store within the first case, where it ends another
// test than the one that runs, and panics.
func TestNewStoreMaySkip(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) keyfold.Store {
		t.Skip("no server")
		return nil
	})
}
