package keyfold_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

type (
	adapterKey      struct{}
	otherAdapterKey struct{}
)

// Mutations tried: a state for each call; one for all keys; a map in the Service
// itself, which With copies.
func TestAdapterStateIsMadeOnceForEachServiceAndKey(t *testing.T) {
	t.Parallel()
	store := memory.New()
	svc, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keyfold.New(store, nil)
	if err != nil {
		t.Fatal(err)
	}
	create := func() any { return new(int) }
	bound := svc.With(keyfold.Tx{Store: store}) // before the first call, so that a copied map would be another
	state := svc.AdapterState(adapterKey{}, create)
	if got := svc.AdapterState(adapterKey{}, create); got != state {
		t.Error("a second call returned another state")
	}
	if got := bound.AdapterState(adapterKey{}, create); got != state {
		t.Error("a Service from With has another state")
	}
	err = svc.InTx(t.Context(), func(tx *keyfold.Service) error {
		if got := tx.AdapterState(adapterKey{}, create); got != state {
			t.Error("a Service from InTx has another state")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := svc.AdapterState(otherAdapterKey{}, create); got == state {
		t.Error("two keys have the same state")
	}
	if got := other.AdapterState(adapterKey{}, create); got == state {
		t.Error("two Services have the same state")
	}
}

func TestAdapterStateIsMadeOnceByConcurrentCalls(t *testing.T) {
	t.Parallel()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { svc.AdapterState(adapterKey{}, func() any { return made.Add(1) }) })
	}
	wg.Wait()
	if got := made.Load(); got != 1 {
		t.Errorf("create ran %d times, want 1", got)
	}
}

// This adapter counts the requests of all its handlers together.
func ExampleService_AdapterState() {
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		panic(err)
	}
	type requestsKey struct{} // of the adapter alone
	requests := func() *atomic.Int64 {
		return svc.AdapterState(requestsKey{}, func() any { return new(atomic.Int64) }).(*atomic.Int64)
	}
	requests().Add(1)
	requests().Add(1)
	fmt.Println(requests().Load())
	// Output: 2
}
