package faulttest_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/faulttest"
)

// TestSilentServerDoesNotLeakGoroutines verifies thousands of times while the server does
// not respond. No other test of the package runs at the same time, so the test can count
// all goroutines. Mutation tried: a verify that leaves its read running after its timeout.
func TestSilentServerDoesNotLeakGoroutines(t *testing.T) {
	onlyWithEverything(t)
	const workers, limit = 20, 50 * time.Millisecond
	const silence = 20 * time.Second // longer than the timeouts of the drivers
	for _, e := range engines() {
		if e.name == "sqlite" {
			continue // SQLite has no connections
		}
		t.Run(e.name, func(t *testing.T) {
			wire, far := faulttest.Through(t, e.make(t))
			store, err := openStore(t.Context(), far)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = store.Close() })
			svc, err := keyfold.New(store, &keyfold.Options{DisableCache: true, VerifyTimeout: limit})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = svc.Close(context.Background()) })
			_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
			if err != nil {
				t.Fatal(err)
			}
			request := keyfold.Request{Token: token.Reveal()}
			await := func() (id keyfold.Identity, err error) {
				for began := time.Now(); time.Since(began) < patience; time.Sleep(10 * time.Millisecond) {
					if id, err = svc.Verify(t.Context(), request); err == nil {
						break
					}
				}
				return id, err
			}
			if _, err := await(); err != nil {
				t.Fatal(err)
			}
			before := runtime.NumGoroutine()
			wire.Hold(true)
			early, late, verifies := pileUp(t, svc, request, workers, silence)
			wire.Hold(false)
			if _, err := await(); err != nil {
				t.Errorf("after the silence: %v", err)
			}
			t.Logf("%d goroutines before, %d in the first half of %v, %d in the second; %d verifies", before, early, silence, late, verifies)
			if most := before + 500; early > most || late > most { // a leak in every verify would leave thousands
				t.Errorf("goroutines pile up, want at most %d", most)
			}
		})
	}
}

// pileUp verifies until the time is over. It returns the greatest number of goroutines in
// the first half and in the second half of this time.
func pileUp(t *testing.T, svc *keyfold.Service, request keyfold.Request, workers int, lasts time.Duration) (early, late, verifies int) {
	t.Helper()
	began := time.Now()
	var mu sync.Mutex
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for time.Since(began) < lasts {
				if _, err := svc.Verify(t.Context(), request); !errors.Is(err, keyfold.ErrUnavailable) {
					t.Errorf("while the server says nothing: %v", err)
					return
				}
				n := runtime.NumGoroutine()
				mu.Lock()
				verifies++
				if time.Since(began) < lasts/2 {
					early = max(early, n)
				} else {
					late = max(late, n)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return early, late, verifies
}
