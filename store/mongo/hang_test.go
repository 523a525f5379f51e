package mongo

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/faulttest"
	"github.com/keyfold/keyfold/internal/testdb"
)

// wantEnd fails the test if fn runs for much longer than any time limit.
func wantEnd(t *testing.T, name string, fn func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- fn() }()
	select {
	case err := <-result:
		return err
	case <-time.After(time.Minute):
		t.Fatalf("%s never returns", name)
		return nil
	}
}

// The contexts of this test have no deadline.
func TestServerThatDoesNotAnswerIsUnavailable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	key, user := r.addKey(""), r.addUser()
	wire, far := faulttest.Through(t, testdb.Mongo(t))
	s, err := Open(t.Context(), far)
	r.must(err)
	t.Cleanup(func() { _ = s.Close() })
	r.must(s.Ping(t.Context()))
	s.limit = 500 * time.Millisecond
	svc, err := keyfold.New(s, nil)
	r.must(err)
	t.Cleanup(func() { _ = svc.Close(context.WithoutCancel(t.Context())) })
	calls := map[string]func(context.Context) error{
		"Ping":    s.Ping,
		"Key":     func(ctx context.Context) error { _, err := s.Key(ctx, key.ID); return err },
		"User":    func(ctx context.Context) error { _, err := s.User(ctx, user.ID); return err },
		"Changes": func(ctx context.Context) error { _, _, err := s.Changes(ctx, ""); return err },
		"UsageEvents": func(ctx context.Context) error {
			_, err := s.UsageEvents(ctx, keyfold.UsageScan{KeyID: key.ID, To: time.Now(), Limit: 1})
			return err
		},
		"CreateKey": func(ctx context.Context) error {
			next := r.key("")
			return s.CreateKey(ctx, next, r.mutation("key.create", next.ID))
		},
		"RecordUsage": func(ctx context.Context) error {
			_, err := s.RecordUsage(ctx, keyfold.UsageBatch{RecorderID: r.id("recorder"), Number: 1, At: time.Now()})
			return err
		},
		"PruneChanges": func(ctx context.Context) error { _, _, err := s.PruneChanges(ctx, time.Now(), 1); return err },
	}
	wire.Hold(true)
	for name, call := range calls {
		if err := wantEnd(t, name, func() error { return call(t.Context()) }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want context.DeadlineExceeded", name, err)
		}
	}
	err = wantEnd(t, "Service.Key", func() error { _, err := svc.Key(t.Context(), "0123456789abcdef"); return err })
	if !errors.Is(err, keyfold.ErrUnavailable) {
		t.Errorf("Service.Key: %v, want ErrUnavailable", err)
	}
	wire.Hold(false)
	_ = wantEnd(t, "a server that answers again", func() error {
		for s.Ping(t.Context()) != nil {
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	})
}

func TestOpenOfServerThatNeverAnswersFails(t *testing.T) {
	t.Parallel()
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts connections that are never read
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	err = wantEnd(t, "Open", func() error {
		_, err := Open(ctx, "mongodb://"+deaf.Addr().String()+"/d?serverSelectionTimeoutMS=300")
		return err
	})
	if err == nil {
		t.Error("Open of a server that does not answer: no error")
	}
}

func TestMutationWaitsForALimitedTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Store
		s.locks.init()
		unlock, err := s.locks.lock(t.Context(), "key")
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		err = s.write(t.Context(), "update key", []string{"key"}, func(context.Context) error { return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a mutation that never gets the lock: got %v, want context.DeadlineExceeded", err)
		}
	})
}
