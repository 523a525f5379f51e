package httpadapter_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

// slow is a handler whose requests stay in progress until the test releases their key.
type slow struct {
	entered chan struct{}
	leave   sync.Map // by token
}

func newSlow() *slow { return &slow{entered: make(chan struct{})} }

func (s *slow) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	leave, _ := s.leave.Load(r.Header.Get("X-API-Key"))
	s.entered <- struct{}{}
	<-leave.(chan struct{})
}

// start sends requests that stay in progress. It returns a function that releases the
// requests of the token and waits for them.
func (s *slow) start(t *testing.T, h http.Handler, token string, requests int) (end func()) {
	t.Helper()
	leave := make(chan struct{})
	s.leave.Store(token, leave)
	var done sync.WaitGroup
	for range requests {
		done.Go(func() { send(h, "GET", "/", "X-API-Key", token) })
		<-s.entered
	}
	return func() {
		close(leave)
		done.Wait()
	}
}

// Mutations tried: a finished request that still counts; one count for all keys.
func TestInFlightLimitsTheRequestsOfOneKey(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	_, busy := newKey(t, svc, keyfold.NewKey{})
	_, other := newKey(t, svc, keyfold.NewKey{})
	handler := newSlow()
	h := httpadapter.RequireKey(svc, httpadapter.InFlight(3))(handler)
	for range 2 { // the second time, the first requests are over
		end := handler.start(t, h, busy, 3)
		w := send(h, "GET", "/", "X-API-Key", busy)
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
			t.Errorf("a fourth request: %d with Retry-After %q, want 429 and 1", w.Code, w.Header().Get("Retry-After"))
		}
		handler.start(t, h, other, 1)()
		end()
	}
}

func TestInFlightOfAGuardCountsAllItsMiddlewares(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	_, token := newKey(t, svc, keyfold.NewKey{})
	first, second := newSlow(), newSlow()
	guard := httpadapter.NewGuard(svc, httpadapter.InFlight(2))
	here, there := guard.RequireKey()(first), guard.OptionalKey()(second)
	defer first.start(t, here, token, 1)()
	defer second.start(t, there, token, 1)()
	for name, h := range map[string]http.Handler{"RequireKey": here, "OptionalKey": there} {
		if w := send(h, "GET", "/", "X-API-Key", token); w.Code != http.StatusTooManyRequests {
			t.Errorf("%s: a third request of the Guard: %d, want 429", name, w.Code)
		}
	}
	third := newSlow()
	third.start(t, guard.RequireKey(httpadapter.InFlight(1))(third), token, 1)() // has its own count
}

// Mutation tried: each middleware counts.
func TestNestedMiddlewaresCountARequestOnce(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	_, token := newKey(t, svc, keyfold.NewKey{})
	guard := httpadapter.NewGuard(svc, httpadapter.InFlight(1))
	h := guard.RequireKey()(guard.RequireKey()(whose))
	for range 2 {
		if w := send(h, "GET", "/", "X-API-Key", token); w.Code != http.StatusOK {
			t.Fatalf("a request through two middlewares: %d, want 200", w.Code)
		}
	}
}

// Mutation tried: leave without defer.
func TestPanicEndsARequestInProgress(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	_, token := newKey(t, svc, keyfold.NewKey{})
	var calls atomic.Int64
	h := httpadapter.RequireKey(svc, httpadapter.InFlight(1))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if calls.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
	}))
	func() {
		defer func() { _ = recover() }()
		send(h, "GET", "/", "X-API-Key", token)
	}()
	if w := send(h, "GET", "/", "X-API-Key", token); w.Code != http.StatusOK {
		t.Errorf("after a panic: %d, want 200", w.Code)
	}
}

func TestInFlightBelowOnePanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("InFlight(0) is accepted")
		}
	}()
	httpadapter.InFlight(0)
}

func ExampleInFlight() {
	svc, token := exampleService("exports:create")
	export := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "exported") })
	// A key may run two exports at the same time in each process.
	h := httpadapter.RequireKey(svc, httpadapter.InFlight(2))(export)
	get(h, "/export", token)
	// Output: 200 exported
}
