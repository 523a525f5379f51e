package loglimit

import (
	"testing"
	"time"
)

func TestIntervalLetsOnePassAndCountsTheOthers(t *testing.T) {
	t.Parallel()
	l := NewInterval(10 * time.Second)
	for i, step := range []struct {
		at, omitted int64
		ok          bool
	}{{1_000, 0, true}, {1_000, 0, false}, {10_999, 0, false}, {11_000, 2, true}, {11_001, 0, false}, {30_000, 1, true}} {
		if omitted, ok := l.Take(step.at); omitted != step.omitted || ok != step.ok {
			t.Errorf("message %d: %d, %v, want %d, %v", i, omitted, ok, step.omitted, step.ok)
		}
	}
}

func TestPerSecondLetsItsNumberPass(t *testing.T) {
	t.Parallel()
	l, start := NewPerSecond(3), time.Unix(100, 0)
	for second := range 2 {
		passed := 0
		for range 10 {
			if l.Take(start.Add(time.Duration(second) * time.Second)) {
				passed++
			}
		}
		if passed != 3 {
			t.Errorf("%d messages passed in second %d, want 3", passed, second)
		}
	}
}
