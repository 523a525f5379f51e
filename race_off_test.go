//go:build !race

package keyfold_test

const raceEnabled = false
