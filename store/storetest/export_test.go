package storetest

import "github.com/keyfold/keyfold"

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
				Run:  func(t TB, newStore func() keyfold.Store) { c.run(newTrial(t, newStore(), newStore)) },
			})
		}
	}
	return cases
}
