package bench_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/keyset"
	"github.com/keyfold/keyfold/store/memory"
)

const userPassword = "nine purple herons over the lake"

// BenchmarkLogin tries each kind of log-in in turns, so that their times can be
// compared: a client that measures the time of an answer must not learn whether there is such a
// user. Each operation is one round.
func BenchmarkLogin(b *testing.B) {
	var days atomic.Int64 // each attempt is made on another day, so that none has to wait
	svc := newService(b, memory.New(), &keyfold.Options{Logger: quiet, Now: func() time.Time {
		return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(days.Load()))
	}})
	ctx := context.Background()
	for _, n := range []keyfold.NewUser{{Username: "ann", Password: userPassword}, {Username: "off", Password: userPassword}, {Username: "without"}} {
		user, err := svc.CreateUser(ctx, n)
		must(b, err)
		if n.Username == "off" {
			must(b, svc.DisableUser(ctx, user.ID, ""))
		}
	}
	kinds := []struct{ name, login, password string }{
		{"wrong", "ann", "a wrong guess"},
		{"right", "ann", userPassword},
		{"unknown", "nobody", userPassword},
		{"disabled", "off", userPassword},
		{"no-password", "without", userPassword},
		{"absurd", "ann", strings.Repeat("x", 5000)},
	}
	took := make([]time.Duration, len(kinds))
	rounds := 0
	for b.Loop() {
		for i, kind := range kinds {
			days.Add(2)
			began := time.Now()
			_, err := svc.Authenticate(ctx, keyfold.Credentials{Identifier: kind.login, Password: kind.password})
			took[i] += time.Since(began)
			if (err == nil) != (kind.name == "right") {
				b.Fatalf("%s: %v", kind.name, err)
			}
		}
		rounds++
	}
	b.ReportMetric(float64(took[0].Microseconds())/1000/float64(rounds), "wrong-ms")
	for i, kind := range kinds[1:] {
		b.ReportMetric(float64(took[i+1])/float64(took[0]), kind.name+"-x-wrong")
	}
}

// BenchmarkLoginStorm has many log in at once: what memory that takes beyond
// what the process had, and how long a verify of a remembered key takes
// meanwhile. Each operation is one storm.
func BenchmarkLoginStorm(b *testing.B) {
	for _, n := range []int{64, 500} {
		b.Run(fmt.Sprint("at-once=", n), func(b *testing.B) {
			keys := keyset.New(1000)
			svc := newService(b, newSynthetic(keys), quietOptions(1000))
			warm(b, svc, keys)
			for i := range n {
				_, err := svc.CreateUser(context.Background(), keyfold.NewUser{Username: fmt.Sprint("user", i)})
				must(b, err)
			}
			var peak float64
			var checked, busy atomic.Int64
			var waits []time.Duration
			rounds := 0
			for b.Loop() {
				debug.FreeOSMemory()
				base := memoryInUse()
				stop := make(chan struct{})
				watched := make(chan float64)
				go func() { watched <- watchMemory(stop) }()
				verified := make(chan []time.Duration)
				go func() { verified <- verifyUntil(b, svc, keys, stop) }()
				var storm sync.WaitGroup
				for i := range n {
					storm.Go(func() {
						_, err := svc.Authenticate(context.Background(), keyfold.Credentials{Identifier: fmt.Sprint("user", i), Password: userPassword})
						if errors.Is(err, keyfold.ErrRateLimited) {
							busy.Add(1)
						} else {
							checked.Add(1)
						}
					})
				}
				storm.Wait()
				close(stop)
				peak = max(peak, <-watched-base)
				waits = append(waits, <-verified...)
				rounds++
			}
			slices.Sort(waits)
			slots := float64(max(1, runtime.GOMAXPROCS(0)-1))
			b.ReportMetric(peak/(19456<<10)/slots, "hashes-of-memory-per-slot")
			b.ReportMetric(peak/1e6, "over-base-MB")
			b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds())/1000, "verify-p99-ms")
			b.ReportMetric(float64(checked.Load())/float64(rounds), "checked")
			b.ReportMetric(float64(busy.Load())/float64(rounds), "refused-busy")
		})
	}
}

// memoryInUse is what the runtime has taken and not given back, in bytes.
func memoryInUse() float64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return float64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}

func watchMemory(stop <-chan struct{}) (peak float64) {
	for {
		peak = max(peak, memoryInUse())
		select {
		case <-stop:
			return peak
		case <-time.After(time.Millisecond):
		}
	}
}

// verifyUntil verifies a remembered key every millisecond.
func verifyUntil(b *testing.B, svc *keyfold.Service, keys *keyset.Set, stop <-chan struct{}) (took []time.Duration) {
	for i := 0; ; i++ {
		began := time.Now()
		verify(b, svc, keys.Token(i%keys.Len()))
		took = append(took, time.Since(began))
		select {
		case <-stop:
			return took
		case <-time.After(time.Millisecond):
		}
	}
}
