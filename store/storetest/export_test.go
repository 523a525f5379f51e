package storetest

import (
	"time"

	"github.com/keyfold/keyfold"
)

// TB is what a case needs of its test.
type TB = tb

// Case is one rule, for tests of the suite itself.
type Case struct {
	Name string
	Run  func(t TB, newStore func() keyfold.Store)
}

// Cases returns every rule, each to be run on a store of its own.
func Cases() []Case {
	var cases []Case
	for _, g := range groups() {
		for _, c := range g.cases {
			cases = append(cases, Case{
				Name: g.name + "/" + c.name,
				Run: func(t TB, newStore func() keyfold.Store) {
					trial := newTrial(t, newStore(), newStore)
					trial.patience = 5 * time.Second // a defect is waited for as long
					if c.skips(trial) == "" {
						c.run(trial)
					}
				},
			})
		}
	}
	return cases
}
