package compat_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter/compat"
	"github.com/keyfold/keyfold/store/memory"
)

// failing is a store that begins to fail.
type failing struct {
	keyfold.Store
	broken   atomic.Bool  // everything
	goodKeys atomic.Int64 // how many pages of keys can still be read, less one; negative: all
}

var errDisk = errors.New("the disk is gone")

func (s *failing) err() error {
	if s.broken.Load() {
		return errDisk
	}
	return nil
}

func (s *failing) Keys(ctx context.Context, scan keyfold.KeyScan) ([]keyfold.KeyRecord, error) {
	if s.err() != nil || s.goodKeys.Load() >= 0 && s.goodKeys.Add(-1) < 0 {
		return nil, errDisk
	}
	return s.Store.Keys(ctx, scan)
}

func (s *failing) CreateKey(ctx context.Context, key keyfold.KeyRecord, m keyfold.Mutation) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.Store.CreateKey(ctx, key, m)
}

func (s *failing) SetKeyState(ctx context.Context, ids []string, change keyfold.StateChange, reason string, m keyfold.Mutation) ([]string, error) {
	if err := s.err(); err != nil {
		return nil, err
	}
	return s.Store.SetKeyState(ctx, ids, change, reason, m)
}

func (s *failing) VerifyKey(ctx context.Context, id string) (keyfold.VerifyRecord, error) {
	if err := s.err(); err != nil {
		return keyfold.VerifyRecord{}, err
	}
	return s.Store.VerifyKey(ctx, id)
}

func (s *failing) InTx(ctx context.Context, fn func(keyfold.Store) error) error {
	if err := s.err(); err != nil {
		return err
	}
	return s.Store.InTx(ctx, fn)
}

func newFailing(t *testing.T) (*server, *failing) {
	t.Helper()
	store := &failing{}
	store.goodKeys.Store(-1)
	return newServer(t, changes{
		service: []func(*keyfold.Options){func(o *keyfold.Options) { o.DisableCache = true }},
		store:   func(inner keyfold.Store) keyfold.Store { store.Store = inner; return store },
	}), store
}

func TestStoreThatFailsIs503AndTellsNothing(t *testing.T) {
	t.Parallel()
	s, store := newFailing(t)
	key, _ := s.newKey()
	store.broken.Store(true)
	for _, a := range []answer{
		s.admin("/new", "name", "ci"),
		s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password),
		s.admin("/revoke", "api-key", key),
		s.admin("/renew", "api-key", key),
		s.admin("/logs"),
		s.secure(key),
	} {
		a.wants(503, detail("Nothing was decided. Try again later."))
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	log := s.log.String()
	if !strings.Contains(log, errDisk.Error()) {
		t.Errorf("the log does not say why: %s", log)
	}
	if strings.Contains(log, key) || strings.Contains(log, secret) {
		t.Errorf("a secret is in the log: %s", log)
	}
}

// keyless is a store that takes users and no keys.
type keyless struct{ keyfold.Store }

func (*keyless) CreateKey(context.Context, keyfold.KeyRecord, keyfold.Mutation) error { return errDisk }

func (s *keyless) InTx(ctx context.Context, fn func(keyfold.Store) error) error {
	return s.Store.InTx(ctx, func(tx keyfold.Store) error { return fn(&keyless{tx}) })
}

// Mutation tried: createWithUser without InTx.
func TestUserAndKeyAreMadeTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	c := changes{store: func(inner keyfold.Store) keyfold.Store { return &keyless{inner} }}
	onEveryStore(t, c, func(t *testing.T, s *server) {
		s.admin("/new", "username", "jane", "email", "jane@example.com", "password", password).
			wants(503, detail("Nothing was decided. Try again later."))
		if keys, users := s.counts(); keys != 0 || users != 0 {
			t.Errorf("%d keys and %d users are left", keys, users)
		}
	})
}

// Mutation tried: the end of the list written in any case.
func TestLogsThatBreakOffCannotBeReadAsWhole(t *testing.T) {
	t.Parallel()
	s, store := newFailing(t)
	for i := range 201 {
		if _, _, err := s.svc.CreateKey(t.Context(), keyfold.NewKey{Name: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	store.goodKeys.Store(1)
	a := s.admin("/logs")
	if a.status != 200 || json.Valid([]byte(a.body)) {
		t.Errorf("got %d and %d bytes, want JSON without its end", a.status, len(a.body))
	}
	if !strings.Contains(s.log.String(), "half-way") {
		t.Errorf("the log says nothing: %s", s.log)
	}
}

func TestLogsListEveryKeyOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 199, 200, 201, 1000} {
		s := newServer(t, changes{})
		want := map[string]bool{}
		for i := range n {
			key, _, err := s.svc.CreateKey(t.Context(), keyfold.NewKey{Name: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			want[key.ID] = true
			if i%7 == 0 {
				s.clock.advance(time.Millisecond)
			}
		}
		got := s.logs()
		for _, line := range got {
			delete(want, strings.TrimPrefix(line.APIKey, "kf_"))
		}
		if len(got) != n || len(want) != 0 {
			t.Errorf("%d lines for %d keys, %d missing", len(got), n, len(want))
		}
	}
}

// The counts are what is stored; they are shown even if the store accepts no more.
func TestLogsAnswerWhereUsesCannotBeWritten(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	svc, err := keyfold.New(&noUsage{memory.New()}, &keyfold.Options{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = svc.Close(ctx)
	})
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()}); err != nil {
		t.Fatal(err)
	}
	handler, err := compat.Handler(svc, compat.Options{Secret: secret, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/logs", nil)
	r.Header.Set("secret-key", secret)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"total_queries":0`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

type noUsage struct{ keyfold.Store }

func (*noUsage) RecordUsage(context.Context, keyfold.UsageBatch) (keyfold.UsageResult, error) {
	return keyfold.UsageResult{}, errDisk
}
