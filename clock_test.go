package keyfold_test

import (
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// Mutations tried: the wall clock read once; read every time; resync compared
// with the time since the start; a reading that goes back.
func TestClockNoticesThatTheSystemsWasSet(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 24, 6, 45, 15, 0, time.UTC)
	var mono, set time.Duration // set is what was added to the wall clock alone
	syncs := 0
	read := keyfold.SystemClock(func() (time.Time, time.Duration) {
		syncs++
		return start.Add(mono + set), mono
	}, func() time.Duration { return mono })

	for _, step := range []struct {
		what      string
		pass, set time.Duration
		want      time.Duration // after start
		syncs     int
	}{
		{"at once", 0, 0, 0, 1},
		{"a moment later", 3*time.Millisecond + 700*time.Microsecond, 0, 3 * time.Millisecond, 1},
		{"the parts of milliseconds add up", 300 * time.Microsecond, 0, 4 * time.Millisecond, 1},
		{"set, and not noticed yet", keyfold.Resync - 5*time.Millisecond, time.Hour, keyfold.Resync - time.Millisecond, 1},
		{"noticed", time.Millisecond, 0, time.Hour + keyfold.Resync, 2},
		{"and kept", 5 * time.Millisecond, 0, time.Hour + keyfold.Resync + 5*time.Millisecond, 2},
		{"set back: it stands still", keyfold.Resync, -2 * time.Hour, time.Hour + keyfold.Resync + 5*time.Millisecond, 3},
		{"until that is over", 3 * time.Hour, 0, 3*time.Hour - time.Hour + 2*keyfold.Resync + 5*time.Millisecond, 4},
	} {
		mono += step.pass
		set += step.set
		wall, at := read()
		if got := time.Duration(wall-start.UnixMilli()) * time.Millisecond; got != step.want || at != mono || syncs != step.syncs {
			t.Errorf("%s: %v after the start and %v, read together %d times; want %v, %v, %d", step.what, got, at, syncs, step.want, mono, step.syncs)
		}
	}
}

func TestClockOfAServiceIsThatOfTheSystem(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	for end := time.Now().Add(3 * keyfold.Resync); time.Now().Before(end); {
		before := time.Now().Truncate(time.Millisecond)
		key, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
		if after := time.Now(); err != nil || key.CreatedAt.Before(before) || key.CreatedAt.After(after) {
			t.Fatalf("created at %v, %v; it was between %v and %v", key.CreatedAt, err, before, after)
		}
	}
}
