package storetest

import (
	"time"

	"github.com/keyfold/keyfold"
)

// TB contains the methods of a test that a case uses.
type TB = tb

// Case is a rule, for tests of the suite.
type Case struct {
	Name string
	Run  func(t TB, newStore func() keyfold.Store)
}

// Cases returns all rules. Each must run on its own store.
func Cases() []Case {
	var cases []Case
	for _, g := range groups() {
		for _, c := range g.cases {
			cases = append(cases, Case{
				Name: g.name + "/" + c.name,
				Run: func(t TB, newStore func() keyfold.Store) {
					trial := newTrial(t, newStore(), newStore)
					trial.patience = 5 * time.Second // maximum time until a defect shows
					if c.skips(trial) == "" {
						c.run(trial)
					}
				},
			})
		}
	}
	return cases
}
