// Package storetest is the definition of [keyfold.Store] in code: one case for
// each sentence of the contract.
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
// A store that passes can be put under a keyfold.Service; one that fails a case
// breaks the rule that the case is named after. Cases compare what a store
// returns, never how it does it, and allow what the contract allows: a feed
// that repeats itself, locks that make a writer wait, [keyfold.ErrRetry].
package storetest

import (
	"testing"

	"github.com/keyfold/keyfold"
)

// Run holds the stores that newStore makes against the contract, each case in
// a sub-test of its own.
//
// Every call of newStore must return an empty store that shares nothing with
// any other, and Close of that store must end its use. It is called some fifty
// times, from several goroutines. The suite does not close what it is given:
// newStore registers that with t.Cleanup. It may skip where there is no server.
func Run(t *testing.T, newStore func(t *testing.T) keyfold.Store, options ...Option) {
	for _, g := range groups() {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			shared := newStore(t) // here, so that it may skip
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

// Option alters how [Run] goes about it, never what a store has to keep.
type Option func(*trial)

// Slow is for a store that takes milliseconds for a call: cases race fewer
// rounds, and lists and batches are a fifth as long.
func Slow() Option { return func(t *trial) { t.slow = true } }

// group is a list of cases that share a store, one after the other. They keep
// out of each other's way by using ids, owners and actions of their own.
type group struct {
	name  string
	cases []testCase
}

// testCase is one rule of the contract.
type testCase struct {
	name string
	run  func(*trial)
	// alone gives the case a store of its own: for rules about everything that
	// a store holds, and for those that harm the store.
	alone bool
	// tx marks a rule about transactions. It is skipped where a store has none.
	tx bool
	// probe marks a rule about [keyfold.ProbingStore]. It is skipped where a store
	// does not implement that.
	probe bool
}

// skips returns why the rule does not apply to the store; empty if it does.
func (c testCase) skips(t *trial) string {
	t.Helper()
	if _, ok := t.store.(keyfold.ProbingStore); c.probe && !ok {
		return "the store is not a keyfold.ProbingStore"
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
		{"feed", feedCases()},
		{"audit", auditCases()},
		{"transactions", transactionCases()},
		{"contexts", contextCases()},
		{"limits", limitCases()},
	}
}
