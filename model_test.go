package keyfold_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// modelKey is a simple model of a key. The test compares random histories with it.
type modelKey struct {
	id, token string
	scopes    []string
	expires   time.Time // zero = never
	revoked   bool
	disabled  bool
	rotated   bool
	deleted   bool
	version   int64
	uses      int64
}

func (m *modelKey) expired(now time.Time) bool { return !m.expires.IsZero() && !now.Before(m.expires) }

// outcome returns the outcome that a verify must have.
func (m *modelKey) outcome(now time.Time, want string) keyfold.Outcome {
	switch {
	case m.deleted:
		return keyfold.OutcomeUnknown
	case m.revoked:
		return keyfold.OutcomeRevoked
	case m.disabled:
		return keyfold.OutcomeDisabled
	case m.expired(now):
		return keyfold.OutcomeExpired
	case want != "" && !slices.Contains(m.scopes, want):
		return keyfold.OutcomeScope
	}
	return keyfold.OutcomeAllowed
}

// history applies random steps to a Service and to the model.
type history struct {
	t     *testing.T
	svc   *keyfold.Service
	clock *fakeClock
	rng   *rand.Rand
	keys  []*modelKey
	trace []string
}

var modelScopes = []string{"a:b", "c:d"}

// TestRandomHistoriesMatchTheModel runs on every store. Mutations tried: renew
// without its guard on revoked keys, rotate that keeps the old deadline, enable
// that clears a revocation; each fails within the first histories.
func TestRandomHistoriesMatchTheModel(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		clock := newClock()
		svc := newService(t, store, &keyfold.Options{Now: clock.now, FlushInterval: time.Minute})
		for seed := range uint64(few(store, 12)) {
			h := &history{t: t, svc: svc, clock: clock, rng: rand.New(rand.NewPCG(seed, 1))}
			for range 120 {
				h.step()
			}
			h.compare()
			if t.Failed() {
				t.Logf("seed %d:", seed)
				for _, line := range h.trace {
					t.Log(line)
				}
				return
			}
		}
	})
}

func (h *history) note(format string, args ...any) {
	h.trace = append(h.trace, fmt.Sprintf(format, args...))
}

// wants compares the error of a step on key m with what the model allows.
func (h *history) wants(step string, m *modelKey, got, want error) {
	h.t.Helper()
	h.note("%s %s: %v", step, m.id, got)
	if want == nil && got != nil || want != nil && !errors.Is(got, want) {
		h.t.Errorf("%s %s: %v, want %v", step, m.id, got, want)
	}
}

func (h *history) step() {
	ctx, now := h.t.Context(), h.clock.now()
	if len(h.keys) == 0 || h.rng.IntN(12) == 0 {
		h.create()
		return
	}
	m := h.keys[h.rng.IntN(len(h.keys))]
	switch h.rng.IntN(14) {
	case 0, 1, 2, 3:
		want := []string{"", "a:b", "c:d"}[h.rng.IntN(3)]
		var scopes []string
		if want != "" {
			scopes = []string{want}
		}
		got, expected := outcome(h.svc, m.token, scopes...), m.outcome(now, want)
		h.note("verify %s for %q: %v", m.id, want, got)
		if got != expected {
			h.t.Errorf("verify %s for %q: %v, want %v", m.id, want, got, expected)
		}
		if got == keyfold.OutcomeAllowed {
			m.uses++
		}
	case 4:
		h.renew(m, now)
	case 5:
		h.rotate(m, now)
	case 6:
		err := h.svc.RevokeKey(ctx, m.id, "")
		h.wants("revoke", m, err, m.gone())
		if err == nil && !m.revoked {
			m.revoked = true
			m.version++
		}
	case 7, 8:
		err := h.svc.DisableKey(ctx, m.id, "")
		h.wants("disable", m, err, m.goneOrRevoked())
		if err == nil && !m.disabled {
			m.disabled = true
			m.version++
		}
	case 9, 10:
		err := h.svc.EnableKey(ctx, m.id)
		h.wants("enable", m, err, m.goneOrRevoked())
		if err == nil && m.disabled {
			m.disabled = false
			m.version++
		}
	case 11:
		h.update(m)
	case 12:
		if h.rng.IntN(3) == 0 {
			err := h.svc.DeleteKey(ctx, m.id)
			h.wants("delete", m, err, m.gone())
			m.deleted = true
		}
	case 13:
		h.clock.add(time.Duration(h.rng.IntN(int(8 * time.Hour))).Truncate(time.Millisecond))
		h.note("clock to %v", h.clock.now())
	}
}

func (m *modelKey) gone() error {
	if m.deleted {
		return keyfold.ErrNotFound
	}
	return nil
}

func (m *modelKey) goneOrRevoked() error {
	if !m.deleted && m.revoked {
		return keyfold.ErrConflict
	}
	return m.gone()
}

func (h *history) create() {
	n := keyfold.NewKey{Scopes: modelScopes[:h.rng.IntN(2)], TTL: time.Duration(1+h.rng.IntN(24)) * time.Hour}
	if h.rng.IntN(4) == 0 {
		n.TTL = keyfold.Never
	}
	key, token := create(h.t, h.svc, n)
	h.note("create %s %v until %v", key.ID, n.Scopes, key.ExpiresAt)
	h.keys = append(h.keys, &modelKey{id: key.ID, token: token, scopes: n.Scopes, expires: key.ExpiresAt, version: 1})
}

func (h *history) renew(m *modelKey, now time.Time) {
	ttl := time.Duration(1+h.rng.IntN(24)) * time.Hour
	o := keyfold.RenewOptions{TTL: ttl}
	exact := h.rng.IntN(2) == 0
	if exact {
		o = keyfold.RenewOptions{ExpiresAt: now.Add(ttl)}
	}
	_, err := h.svc.RenewKey(h.t.Context(), m.id, o)
	want := m.goneOrRevoked()
	if want == nil && m.rotated {
		want = keyfold.ErrConflict
	}
	h.wants("renew", m, err, want)
	if err == nil {
		if exact || !m.expires.IsZero() && now.Add(ttl).After(m.expires) {
			m.expires = now.Add(ttl)
		}
		m.version++
	}
}

func (h *history) rotate(m *modelKey, now time.Time) {
	overlap := time.Duration(h.rng.IntN(24)) * time.Hour
	if overlap == 0 {
		overlap = keyfold.NoOverlap
	}
	key, token, err := h.svc.RotateKey(h.t.Context(), m.id, keyfold.RotateOptions{Overlap: overlap})
	want := m.goneOrRevoked()
	if want == nil && (m.disabled || m.rotated || m.expired(now)) {
		want = keyfold.ErrConflict
	}
	h.wants("rotate", m, err, want)
	if err != nil {
		return
	}
	h.keys = append(h.keys, &modelKey{id: key.ID, token: token.Reveal(), scopes: m.scopes, expires: m.expires, version: 1})
	if end := now.Add(overlap); overlap == keyfold.NoOverlap {
		m.revoked = true
	} else if m.expires.IsZero() || end.Before(m.expires) {
		m.expires = end
	}
	m.rotated = true
	m.version++
}

func (h *history) update(m *modelKey) {
	scopes := modelScopes[h.rng.IntN(2):]
	version := m.version - int64(h.rng.IntN(2))
	_, err := h.svc.UpdateKey(h.t.Context(), m.id, keyfold.KeyUpdate{Version: version, Scopes: &scopes})
	var want error
	switch {
	case version < 1:
		want = keyfold.ErrInvalid
	case m.deleted || m.revoked:
		want = m.goneOrRevoked()
	case version != m.version:
		want = keyfold.ErrStale
	}
	h.wants("update", m, err, want)
	if err == nil {
		m.scopes = scopes
		m.version++
	}
}

// compare compares every stored key with the model.
func (h *history) compare() {
	if err := h.svc.Flush(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	for _, m := range h.keys {
		key, err := h.svc.Key(h.t.Context(), m.id)
		if m.deleted {
			if !errors.Is(err, keyfold.ErrNotFound) {
				h.t.Errorf("deleted key %s: %v", m.id, err)
			}
			continue
		}
		if err != nil {
			h.t.Errorf("key %s: %v", m.id, err)
			continue
		}
		got := fmt.Sprint(key.Scopes, key.ExpiresAt, !key.RevokedAt.IsZero(), !key.DisabledAt.IsZero(), key.RotatedTo != "", key.Version, key.Uses)
		want := fmt.Sprint(m.scopes, m.expires, m.revoked, m.disabled, m.rotated, m.version, m.uses)
		if got != want {
			h.t.Errorf("key %s is stored as %s, want %s", m.id, got, want)
		}
	}
}
