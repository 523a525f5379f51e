package admin_test

import (
	"math"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/admin"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"15d": 15 * 24 * time.Hour, "360h": 360 * time.Hour, "1d12h": 36 * time.Hour, "1d1h30m": 25*time.Hour + 30*time.Minute,
		"90m": 90 * time.Minute, "1.5h": 90 * time.Minute, "0s": 0, "0d": 0, "250ms": 250 * time.Millisecond, "36500d": 36500 * 24 * time.Hour,
		"1w": 7 * 24 * time.Hour, "1y": 365 * 24 * time.Hour, "1y1w1d1h": 373*24*time.Hour + time.Hour, "1w12h": 180 * time.Hour, "0y": 0,
	} {
		t.Run(text, func(t *testing.T) {
			if got, err := admin.ParseDuration(text); err != nil || got != want {
				t.Errorf("ParseDuration(%q) = %v, %v; want %v", text, got, err, want)
			}
		})
	}
	for _, text := range []string{
		"", "d", "15", "-1d", "-1ns", "+1d", "1d-1h", "1d+1h", "1h1d", "1.5d", "1d1d", "15 d", " 1d", "1d ", "106752d", "106751d24h", "99999999999d",
		"never", "1d.5h", "２d", "1.5w", "1d1w", "1w1y", "1y1y", "w", "-1w", "1w-1h", "293y", "1M",
		"292y400d",
	} {
		t.Run(text, func(t *testing.T) {
			if got, err := admin.ParseDuration(text); err == nil {
				t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
			}
		})
	}
}

func TestParseTTL(t *testing.T) {
	t.Parallel()
	if got, err := admin.ParseTTL("never"); err != nil || got != keyfold.Never {
		t.Errorf("ParseTTL(never) = %v, %v", got, err)
	}
	for _, text := range []string{"0s", "0d", "-1ns", "", "Never"} {
		t.Run(text, func(t *testing.T) {
			if got, err := admin.ParseTTL(text); err == nil {
				t.Errorf("ParseTTL(%q) = %v, want an error", text, got)
			}
		})
	}
}

func TestParseOverlap(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"0s": keyfold.NoOverlap, "0d": keyfold.NoOverlap, "1d": 24 * time.Hour} {
		t.Run(text, func(t *testing.T) {
			if got, err := admin.ParseOverlap(text); err != nil || got != want {
				t.Errorf("ParseOverlap(%q) = %v, %v; want %v", text, got, err, want)
			}
		})
	}
	for _, text := range []string{"", "-1ns", "none"} {
		t.Run(text, func(t *testing.T) {
			if got, err := admin.ParseOverlap(text); err == nil {
				t.Errorf("ParseOverlap(%q) = %v, want an error", text, got)
			}
		})
	}
}

func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"15d", "1d12h", "90m", "-1ns", "106751d23h47m16.854775807s"} {
		f.Add(seed, int64(time.Hour))
	}
	f.Add("", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, text string, n int64) {
		if d, err := admin.ParseDuration(text); err == nil && d < 0 {
			t.Errorf("ParseDuration(%q) = %v", text, d)
		}
		if n >= 0 {
			d := time.Duration(n)
			if got, err := admin.ParseDuration(admin.FormatDuration(d)); err != nil || got != d {
				t.Errorf("%v is written as %q and read as %v, %v", d, admin.FormatDuration(d), got, err)
			}
		}
	})
}
