package keyfold_test

import (
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// onEveryStore runs a test on a fresh store of each kind.
func onEveryStore(t *testing.T, test func(*testing.T, keyfold.Store)) {
	for name, open := range map[string]func(*testing.T) keyfold.Store{
		"memory": func(*testing.T) keyfold.Store { return memory.New() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}
