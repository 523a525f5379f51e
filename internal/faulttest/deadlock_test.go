package faulttest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// TestDeadlocksAreRetried has two processes change two keys in opposite order,
// each after the other one has changed its first, so that the database must give
// up one of the two. Mutation tried: without the retries of the store this fails.
func TestDeadlocksAreRetried(t *testing.T) {
	t.Parallel()
	rounds := map[string]int{"postgres": 2, "mariadb": 20} // PostgreSQL looks for deadlocks after a second
	for _, e := range engines() {
		if rounds[e.name] == 0 {
			continue // one transaction at a time writes
		}
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			database := e.make(t)
			services := [2]*keyfold.Service{serviceOn(t, database), serviceOn(t, database)}
			for range rounds[e.name] {
				deadlock(t, services)
			}
		})
	}
}

// serviceOn returns a Service with a pool of its own.
func serviceOn(t *testing.T, database string) *keyfold.Service {
	t.Helper()
	store, err := openStore(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	svc, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = svc.Close(context.Background())
		_ = store.Close()
	})
	return svc
}

func deadlock(t *testing.T, services [2]*keyfold.Service) {
	t.Helper()
	var ids [2]string
	for i := range ids {
		made, _, err := services[0].CreateKey(t.Context(), keyfold.NewKey{})
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = made.ID
	}
	var met sync.WaitGroup
	met.Add(2)
	var tries [2]int
	var errs [2]error
	var group sync.WaitGroup
	for i, svc := range services {
		group.Go(func() {
			end := time.Now().Add(time.Duration(i+1) * 1000 * time.Hour).Truncate(time.Second)
			errs[i] = svc.InTx(t.Context(), func(k *keyfold.Service) error {
				tries[i]++
				if _, err := k.RenewKey(t.Context(), ids[i], keyfold.RenewOptions{ExpiresAt: end}); err != nil {
					return err
				}
				if tries[i] == 1 {
					met.Done()
					met.Wait()
				}
				_, err := k.RenewKey(t.Context(), ids[1-i], keyfold.RenewOptions{ExpiresAt: end})
				return err
			})
		})
	}
	group.Wait()
	if errs[0] != nil || errs[1] != nil {
		t.Fatalf("%v, %v; want both changes made", errs[0], errs[1])
	}
	if tries[0]+tries[1] < 3 {
		t.Errorf("%d and %d tries; there was no deadlock", tries[0], tries[1])
	}
	var ends [2]time.Time
	for i, id := range ids {
		key, err := services[0].Key(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = key.ExpiresAt
		if key.Version != 3 {
			t.Errorf("version %d, want 3: each of the two changes made once", key.Version)
		}
	}
	if !ends[0].Equal(ends[1]) {
		t.Errorf("the keys end at %v and %v; want both as one of the two changes left them", ends[0], ends[1])
	}
}
