package keyfold_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// spy is the memory store, watched and disturbed.
type spy struct {
	keyfold.Store
	reads   atomic.Int64 // VerifyKey
	calls   atomic.Int64 // everything else that tests disturb
	discard bool         // CreateKey keeps nothing

	// verify, record and check, when set, come before the real call and may replace it
	// by an error.
	verify atomic.Pointer[func(context.Context) error]
	record atomic.Pointer[func(context.Context) error]
	check  atomic.Pointer[func(context.Context) error]
}

func newSpy() *spy { return &spy{Store: memory.New()} }

func (s *spy) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	s.reads.Add(1)
	if err := disturb(ctx, &s.verify); err != nil {
		return keyfold.VerifyRecord{}, err
	}
	return s.Store.VerifyKey(ctx, id)
}

func (s *spy) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	s.calls.Add(1)
	if err := disturb(ctx, &s.record); err != nil {
		return keyfold.UsageResult{}, err
	}
	return s.Store.RecordUsage(ctx, batch)
}

func (s *spy) Check(ctx context.Context) error {
	if err := disturb(ctx, &s.check); err != nil {
		return err
	}
	return s.Store.Check(ctx)
}

func (s *spy) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	s.calls.Add(1)
	if s.discard {
		return nil
	}
	return s.Store.CreateKey(ctx, key, m)
}

func disturb(ctx context.Context, hook *atomic.Pointer[func(context.Context) error]) error {
	if f := hook.Load(); f != nil {
		return (*f)(ctx)
	}
	return nil
}

// on sets a hook; nil takes it away.
func on(hook *atomic.Pointer[func(context.Context) error], f func(context.Context) error) {
	if f == nil {
		hook.Store(nil)
		return
	}
	hook.Store(&f)
}

// hang waits for ctx, as a database does that does not answer.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// newService makes a quiet Service that is closed when the test ends.
func newService(t testing.TB, store keyfold.Store, opts *keyfold.Options) *keyfold.Service {
	t.Helper()
	if opts == nil {
		opts = &keyfold.Options{}
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	svc, err := keyfold.New(store, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// A Service that may not use its database tries for ten seconds to store its usage.
		ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
		defer cancel()
		_ = svc.Close(ctx)
	})
	return svc
}

// fakeClock is a clock that stands still until it is moved.
type fakeClock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *fakeClock {
	return &fakeClock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// create makes a key or ends the test.
func create(t testing.TB, svc *keyfold.Service, n keyfold.NewKey) (keyfold.Key, string) {
	t.Helper()
	key, token, err := svc.CreateKey(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	return key, token.Reveal()
}

// outcome is the code of one verify.
func outcome(svc *keyfold.Service, token string, scopes ...string) keyfold.Outcome {
	_, err := svc.Verify(context.Background(), keyfold.Request{Token: token, Scopes: scopes})
	return keyfold.OutcomeOf(err)
}

// lostAnswers keeps batches but loses the answer of some.
type lostAnswers struct {
	*spy
	fail atomic.Int64
}

func (l *lostAnswers) RecordUsage(ctx context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	result, err := l.spy.RecordUsage(ctx, batch)
	if err == nil && l.fail.Add(-1) >= 0 {
		return keyfold.UsageResult{}, errors.New("connection reset by peer")
	}
	return result, err
}
