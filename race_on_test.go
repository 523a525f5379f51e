//go:build race

package keyfold_test

// raceEnabled makes tests that only count smaller: the race detector makes
// them ten times slower and has nothing to find in them.
const raceEnabled = true
