package clock

import (
	"testing"
	"time"
)

// Mutations tried: the wall clock read once; read every time; resync compared
// with the time since the start; a reading that goes back.
func TestClockNoticesThatTheSystemsWasSet(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 24, 6, 45, 15, 0, time.UTC)
	var mono, set time.Duration // set is what was added to the wall clock alone
	syncs := 0
	c := newSystem(func() (time.Time, time.Duration) {
		syncs++
		return start.Add(mono + set), mono
	}, func() time.Duration { return mono })

	for _, step := range []struct {
		name      string
		pass, set time.Duration
		want      time.Duration // after start
		syncs     int
	}{
		{"at once", 0, 0, 0, 1},
		{"a moment later", 3*time.Millisecond + 700*time.Microsecond, 0, 3 * time.Millisecond, 1},
		{"the parts of milliseconds add up", 300 * time.Microsecond, 0, 4 * time.Millisecond, 1},
		{"set, and not noticed yet", resync - 5*time.Millisecond, time.Hour, resync - time.Millisecond, 1},
		{"noticed", time.Millisecond, 0, time.Hour + resync, 2},
		{"and kept", 5 * time.Millisecond, 0, time.Hour + resync + 5*time.Millisecond, 2},
		{"set back: it stands still", resync, -2 * time.Hour, time.Hour + resync + 5*time.Millisecond, 3},
		{"until that is over", 3 * time.Hour, 0, 3*time.Hour - time.Hour + 2*resync + 5*time.Millisecond, 4},
	} {
		t.Run(step.name, func(t *testing.T) {
			mono += step.pass
			set += step.set
			at := c.Read()
			if got := time.Duration(at.Wall-start.UnixMilli()) * time.Millisecond; got != step.want || at.Mono != mono || syncs != step.syncs {
				t.Errorf("%s: %v after the start and %v, read together %d times; want %v, %v, %d", step.name, got, at.Mono, syncs, step.want, mono, step.syncs)
			}
		})
	}
}

func TestAgeFollowsTheClockThatAdvancedFurther(t *testing.T) {
	t.Parallel()
	at := Instant{Wall: 1000, Mono: time.Second}
	for name, row := range map[string]struct {
		now  Instant
		want time.Duration
	}{
		"both advanced":           {Instant{Wall: 3000, Mono: 3 * time.Second}, 2 * time.Second},
		"the machine slept":       {Instant{Wall: 61_000, Mono: time.Second}, time.Minute},
		"the clock was set back":  {Instant{Wall: 0, Mono: 6 * time.Second}, 5 * time.Second},
		"the clock was set ahead": {Instant{Wall: 3_601_000, Mono: 2 * time.Second}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if got := at.Age(row.now); got != row.want {
				t.Errorf("%s: age %v, want %v", name, got, row.want)
			}
		})
	}
}

func TestReplacedClockIsReadEachTimeAndNeverGoesBack(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 999_999, time.FixedZone("", 3600))
	c := New(func() time.Time { return now })
	first := c.Now()
	if want := now.Truncate(time.Millisecond); !first.Equal(want) || first.Location() != time.UTC {
		t.Errorf("the time is %v, want %v in UTC", first, want)
	}
	now = now.Add(-time.Hour)
	if got := c.Now(); !got.Equal(first) {
		t.Errorf("after the clock was set back the time is %v, want %v", got, first)
	}
	now = now.Add(2 * time.Hour)
	if got := c.Now(); !got.Equal(first.Add(time.Hour)) {
		t.Errorf("an hour later the time is %v", got)
	}
}
