package keyfold_test

import (
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

func TestClockOfAServiceIsThatOfTheSystem(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	for end := time.Now().Add(30 * time.Millisecond); time.Now().Before(end); {
		before := time.Now().Truncate(time.Millisecond)
		key, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
		if after := time.Now(); err != nil || key.CreatedAt.Before(before) || key.CreatedAt.After(after) {
			t.Fatalf("created at %v, %v; it was between %v and %v", key.CreatedAt, err, before, after)
		}
	}
}
