// Package storetest is the conformance suite for implementations of [keyfold.Store]. It
// has one case for each rule of the contract.
//
// The author of a store calls [Run] from a test:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) keyfold.Store {
//			store, err := mystore.Open(t.Context(), newDatabase(t))
//			if err != nil {
//				t.Fatal(err)
//			}
//			t.Cleanup(func() { store.Close() })
//			return store
//		})
//	}
//
// A store that passes can be used with a keyfold.Service. Each case is named after the
// rule that it checks. Cases check only results, and accept everything that the contract
// allows: a feed that repeats changes, writers that wait for locks, and
// [keyfold.ErrRetry].
package storetest

import (
	"testing"

	"github.com/keyfold/keyfold"
)

// Run runs all cases on stores that newStore returns, each case in its own subtest.
//
// Every call of newStore must return a new, empty store that shares no data with other
// stores. After Close, every call of that store must fail. Run calls newStore about fifty
// times, from several goroutines. The suite does not close the stores; newStore must
// register a t.Cleanup that does. newStore may skip the test if there is no server.
func Run(t *testing.T, newStore func(t *testing.T) keyfold.Store, options ...Option) {
	for _, g := range groups() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			shared := newStore(t) // before the subtests, so that it can skip all of them
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) {
					another := func() keyfold.Store { return newStore(t) }
					store := shared
					if c.alone {
						store = another()
					}
					trial := newTrial(t, store, another)
					for _, option := range options {
						option(trial)
					}
					if reason := c.skips(trial); reason != "" {
						t.Skip(reason)
					}
					c.run(trial)
				})
			}
		})
	}
}

// Option changes how [Run] runs the cases. It never changes the rules.
type Option func(*trial)

// Slow is meant for stores whose calls take milliseconds. Cases run fewer concurrent
// rounds, and lists and batches have a fifth of the length.
func Slow() Option { return func(t *trial) { t.slow = true } }

// group is a list of cases that run one after the other on the same store. Each case
// uses its own IDs, owners and actions.
type group struct {
	name  string
	cases []testCase
}

// testCase is one rule of the contract.
type testCase struct {
	name string
	run  func(*trial)
	// alone gives the case its own store. It is set for rules about all data of a store,
	// and for cases that make the store unusable.
	alone bool
	// tx marks a rule about transactions. It is skipped if the store has none.
	tx bool
	// probe marks a rule about [keyfold.ProbingStore]. It is skipped if the store does
	// not implement that interface.
	probe bool
	// merge marks a rule about [keyfold.UsageMerger]. It is skipped if the store does not
	// implement that interface.
	merge bool
}

// skips returns the reason why the rule does not apply to the store, or "".
func (c testCase) skips(t *trial) string {
	t.Helper()
	if _, ok := t.store.(keyfold.ProbingStore); c.probe && !ok {
		return "the store is not a keyfold.ProbingStore"
	}
	if _, ok := t.store.(keyfold.UsageMerger); c.merge && !ok {
		return "the store is not a keyfold.UsageMerger"
	}
	if c.tx && !t.hasTx() {
		return "the store has no transactions"
	}
	return ""
}

func groups() []group {
	return []group{
		{"strings", stringCases()},
		{"keys", keyCases()},
		{"updates", updateCases()},
		{"renewals", renewalCases()},
		{"rotations", rotationCases()},
		{"states", stateCases()},
		{"deletions", deletionCases()},
		{"hashes", hashCases()},
		{"verifying", verifyCases()},
		{"users", userCases()},
		{"passwords", passwordCases()},
		{"keys of users", userKeyCases()},
		{"one-time tokens", oneTimeCases()},
		{"throttles", throttleCases()},
		{"settings", settingCases()},
		{"checks", checkCases()},
		{"probes", probeCases()},
		{"mutations", mutationCases()},
		{"lists", listCases()},
		{"usage", usageCases()},
		{"usage lists", usageListCases()},
		{"pruning", pruningCases()},
		{"merging", mergingCases()},
		{"feed", feedCases()},
		{"audit", auditCases()},
		{"transactions", transactionCases()},
		{"contexts", contextCases()},
		{"limits", limitCases()},
	}
}
