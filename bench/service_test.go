package bench_test

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/bench/keyset"
	"github.com/keyfold/keyfold/store/memory"
)

// synthetic is a store whose keys are computed and whose usage is only counted,
// so that what is measured is Keyfold itself.
type synthetic struct {
	keyfold.Store
	keys   *keyset.Set
	reads  atomic.Int64
	calls  atomic.Int64 // of RecordUsage
	uses   atomic.Int64
	events atomic.Int64
	wait   func() // before each read, to play a database; nil does nothing
}

func newSynthetic(keys *keyset.Set) *synthetic {
	return &synthetic{Store: memory.New(), keys: keys}
}

func (s *synthetic) VerifyKey(_ context.Context, id string) (keyfold.VerifyRecord, error) {
	s.reads.Add(1)
	if s.wait != nil {
		s.wait()
	}
	i := keyset.Index(id)
	if i >= s.keys.Len() || i < 0 {
		return keyfold.VerifyRecord{}, keyfold.ErrNotFound
	}
	return s.keys.VerifyRecord(i), nil
}

func (s *synthetic) RecordUsage(_ context.Context, batch keyfold.UsageBatch) (keyfold.UsageResult, error) {
	s.calls.Add(1)
	for i := range batch.Keys {
		s.uses.Add(batch.Keys[i].Uses)
	}
	s.events.Add(int64(len(batch.Events)))
	return keyfold.UsageResult{}, nil
}

// chunk is how many verifies are made between two flushes: fewer than wake the
// recorder, so that no flush runs inside a measurement.
const chunk = 8192

// quietOptions remember every key for the length of a benchmark and flush only
// when told.
func quietOptions(keys int) *keyfold.Options {
	return &keyfold.Options{
		CacheEntries:  keys + keys/4 + 10_000, // shards are not filled evenly
		CacheBytes:    4 << 30,
		CacheMaxAge:   time.Hour,
		FlushInterval: time.Minute,
		Logger:        quiet,
	}
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func newService(b testing.TB, store keyfold.Store, opts *keyfold.Options) *keyfold.Service {
	b.Helper()
	svc, err := keyfold.New(store, opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = svc.Close(context.Background()) })
	return svc
}

// warm makes the Service remember every key.
func warm(b testing.TB, svc *keyfold.Service, keys *keyset.Set) {
	b.Helper()
	// The first verify starts the change feed, whose first reading empties the cache.
	verify(b, svc, keys.Token(0))
	for svc.Staleness() == 0 {
		time.Sleep(time.Millisecond)
	}
	for i := range keys.Len() {
		verify(b, svc, keys.Token(i))
	}
	flush(b, svc)
}

func verify(b testing.TB, svc *keyfold.Service, token string) {
	if _, err := svc.Verify(context.Background(), request(token)); err != nil {
		b.Fatal(err)
	}
}

func flush(b testing.TB, svc *keyfold.Service) {
	if err := svc.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
}

var client = netip.MustParseAddr("192.0.2.17")

// request is one as the middleware makes it.
func request(token string) keyfold.Request {
	return keyfold.Request{Token: token, IP: client, Route: "GET /reports/{id}"}
}

// serverContext is one that can be cancelled, as those of net/http can.
func serverContext(b *testing.B) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	return ctx
}
