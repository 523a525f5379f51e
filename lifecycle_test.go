package keyfold_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

const day = 24 * time.Hour

// lifecycle is a Service on an empty store with a clock that tests move.
type lifecycle struct {
	*keyfold.Service
	t     *testing.T
	store *memory.Store
	clock *fakeClock
}

func newLifecycle(t *testing.T) *lifecycle {
	t.Helper()
	t.Parallel()
	store, clock := memory.New(), newClock()
	return &lifecycle{Service: newService(t, store, &keyfold.Options{Now: clock.now}), t: t, store: store, clock: clock}
}

func (l *lifecycle) create(n keyfold.NewKey) (keyfold.Key, string) { return create(l.t, l.Service, n) }

func (l *lifecycle) key(id string) keyfold.Key {
	l.t.Helper()
	key, err := l.Key(l.t.Context(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	return key
}

// must ends the test on an error of a step that only prepares.
func (l *lifecycle) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lifecycle) wants(token string, want keyfold.Outcome) {
	l.t.Helper()
	if got := outcome(l.Service, token); got != want {
		l.t.Errorf("verify: %v, want %v", got, want)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestCreateLives15DaysByDefault(t *testing.T) {
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{})
	if want := l.clock.now().Add(15 * day); !key.ExpiresAt.Equal(want) {
		t.Errorf("ExpiresAt = %v, want %v", key.ExpiresAt, want)
	}
	l.clock.add(15*day - time.Millisecond)
	l.wants(token, keyfold.OutcomeAllowed)
	l.clock.add(time.Millisecond)
	l.wants(token, keyfold.OutcomeExpired)
}

func TestCreateNeverIsExplicitAndStoredAsNoDeadline(t *testing.T) {
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{TTL: keyfold.Never})
	if stored := l.key(key.ID); !stored.ExpiresAt.IsZero() {
		t.Errorf("ExpiresAt = %v, want none", stored.ExpiresAt)
	}
	l.clock.add(100 * 365 * day)
	l.wants(token, keyfold.OutcomeAllowed)
}

func TestNewKeyEndsAtATimeToCome(t *testing.T) {
	l := newLifecycle(t)
	old, token := l.create(keyfold.NewKey{ExpiresAt: l.clock.now().Add(time.Millisecond)})
	l.wants(token, keyfold.OutcomeAllowed)
	for name, at := range map[string]time.Time{
		"now": l.clock.now(), "past": l.clock.now().Add(-time.Hour), "1970": time.Unix(0, 0), "less than a millisecond from now": l.clock.now().Add(time.Microsecond),
	} {
		_, _, err := l.CreateKey(t.Context(), keyfold.NewKey{ExpiresAt: at})
		wantInvalid(t, "create, "+name, err, "expires_at")
		_, _, err = l.RotateKey(t.Context(), old.ID, keyfold.RotateOptions{ExpiresAt: at})
		wantInvalid(t, "rotate, "+name, err, "expires_at")
	}
	_, err := l.RenewKey(t.Context(), old.ID, keyfold.RenewOptions{ExpiresAt: l.clock.now().Add(-time.Hour)})
	l.must(err)
	l.wants(token, keyfold.OutcomeExpired)
}

// The final state is the one to report: a user who has to create another key
// gains nothing from knowing that this one was rotated first.
func TestRotateOfAKeyThatWasRotatedAndRevokedSaysRevoked(t *testing.T) {
	l := newLifecycle(t)
	key, _ := l.create(keyfold.NewKey{})
	_, _, err := l.RotateKey(t.Context(), key.ID, keyfold.RotateOptions{})
	l.must(err)
	_, _, err = l.RotateKey(t.Context(), key.ID, keyfold.RotateOptions{})
	if !errors.Is(err, keyfold.ErrConflict) || !strings.Contains(err.Error(), "was rotated to") {
		t.Errorf("rotated: %v", err)
	}
	l.must(l.RevokeKey(t.Context(), key.ID, ""))
	_, _, err = l.RotateKey(t.Context(), key.ID, keyfold.RotateOptions{})
	if !errors.Is(err, keyfold.ErrConflict) || !strings.Contains(err.Error(), "is revoked") {
		t.Errorf("rotated and revoked: %v", err)
	}
}

func TestClockThatGoesBackRevivesNothing(t *testing.T) {
	// Mutation tried: clock.read returning the clock as it is allows the key again.
	l := newLifecycle(t)
	_, token := l.create(keyfold.NewKey{TTL: time.Hour})
	l.clock.add(time.Hour)
	l.wants(token, keyfold.OutcomeExpired)
	l.clock.add(-30 * time.Minute)
	l.wants(token, keyfold.OutcomeExpired)
}

func TestRenewCountsFromNow(t *testing.T) {
	l := newLifecycle(t)
	key, _ := l.create(keyfold.NewKey{})
	l.clock.add(10 * day)
	renewed, err := l.RenewKey(t.Context(), key.ID, keyfold.RenewOptions{})
	l.must(err)
	if want := l.clock.now().Add(15 * day); !renewed.ExpiresAt.Equal(want) || !l.key(key.ID).ExpiresAt.Equal(want) {
		t.Errorf("ExpiresAt = %v, want %v", renewed.ExpiresAt, want)
	}
	if renewed.Version != 2 || l.key(key.ID).Version != 2 {
		t.Errorf("Version = %d, want 2", renewed.Version)
	}
}

func TestRenewRevivesExpiredKey(t *testing.T) {
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{TTL: time.Hour})
	l.clock.add(2 * time.Hour)
	l.wants(token, keyfold.OutcomeExpired)
	_, err := l.RenewKey(t.Context(), key.ID, keyfold.RenewOptions{TTL: time.Hour})
	l.must(err)
	l.wants(token, keyfold.OutcomeAllowed)
}

func TestRenewDoesNotReviveRevokedKey(t *testing.T) {
	// Mutation tried: without the check here and the guard in the store the key works again.
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{})
	l.must(l.RevokeKey(t.Context(), key.ID, ""))
	_, err := l.RenewKey(t.Context(), key.ID, keyfold.RenewOptions{})
	wantErr(t, "renew", err, keyfold.ErrConflict)
	l.wants(token, keyfold.OutcomeRevoked)
}

func TestRenewLeavesDisabledKeyDisabled(t *testing.T) {
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{})
	l.must(l.DisableKey(t.Context(), key.ID, ""))
	_, err := l.RenewKey(t.Context(), key.ID, keyfold.RenewOptions{})
	l.must(err)
	l.wants(token, keyfold.OutcomeDisabled)
}

func TestRenewShortensOnlyByAnExactTime(t *testing.T) {
	l := newLifecycle(t)
	key, _ := l.create(keyfold.NewKey{TTL: 30 * day})
	never, _ := l.create(keyfold.NewKey{TTL: keyfold.Never})
	for _, id := range []string{key.ID, never.ID} {
		before := l.key(id).ExpiresAt
		_, err := l.RenewKey(t.Context(), id, keyfold.RenewOptions{TTL: day})
		l.must(err)
		if got := l.key(id).ExpiresAt; !got.Equal(before) {
			t.Errorf("a shorter time to live moved ExpiresAt from %v to %v", before, got)
		}
		sooner := l.clock.now().Add(day)
		_, err = l.RenewKey(t.Context(), id, keyfold.RenewOptions{ExpiresAt: sooner})
		l.must(err)
		if got := l.key(id).ExpiresAt; !got.Equal(sooner) {
			t.Errorf("ExpiresAt = %v after an exact time, want %v", got, sooner)
		}
	}
}

func TestRenewToNeverTakesTheDeadlineAway(t *testing.T) {
	l := newLifecycle(t)
	key, _ := l.create(keyfold.NewKey{})
	_, err := l.RenewKey(t.Context(), key.ID, keyfold.RenewOptions{TTL: keyfold.Never})
	l.must(err)
	if got := l.key(key.ID).ExpiresAt; !got.IsZero() {
		t.Errorf("ExpiresAt = %v, want none", got)
	}
}

func TestRotateInheritsEverythingButIDAndSecret(t *testing.T) {
	l := newLifecycle(t)
	old, oldToken := l.create(keyfold.NewKey{
		Name: "n", Notes: "line\n2", OwnerID: "o", Tenant: "t", Scopes: []string{"a:b", "c:*"},
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Metadata: map[string]string{"k": "v"},
		IdleTimeout: time.Hour, TTL: 90 * day, Environment: "live",
	})
	key, token, err := l.RotateKey(t.Context(), old.ID, keyfold.RotateOptions{})
	l.must(err)
	if key.ID == old.ID || token.Reveal() == oldToken {
		t.Errorf("the new key has the old one's id or secret")
	}
	got, want := l.key(key.ID), old
	want.ID, want.Hint, want.RotatedFrom = got.ID, got.Hint, old.ID
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("successor\n%+v, want\n%+v", got, want)
	}
	if got := l.key(old.ID); got.RotatedTo != key.ID || got.LineageID != old.ID || got.Version != 2 {
		t.Errorf("old key: RotatedTo %q, LineageID %q, Version %d", got.RotatedTo, got.LineageID, got.Version)
	}
	second, _, err := l.RotateKey(t.Context(), key.ID, keyfold.RotateOptions{TTL: keyfold.Never})
	l.must(err)
	if second.LineageID != old.ID || !second.ExpiresAt.IsZero() {
		t.Errorf("third key: LineageID %q, ExpiresAt %v, want %q and never", second.LineageID, second.ExpiresAt, old.ID)
	}
}

func TestRotateEndsTheOldKeyExactlyAfterTheOverlap(t *testing.T) {
	for name, row := range map[string]struct {
		ttl, overlap, end time.Duration
	}{
		"default overlap":             {ttl: 30 * day, end: day},
		"given overlap":               {ttl: 30 * day, overlap: 3 * day, end: 3 * day},
		"own deadline comes first":    {ttl: time.Hour, overlap: 3 * day, end: time.Hour},
		"old key without a deadline":  {ttl: keyfold.Never, overlap: time.Hour, end: time.Hour},
		"longest overlap":             {ttl: 30 * day, overlap: 7 * day, end: 7 * day},
		"overlap of one millisecond":  {ttl: 30 * day, overlap: time.Millisecond, end: time.Millisecond},
		"no overlap: it ends at once": {ttl: 30 * day, overlap: keyfold.NoOverlap, end: 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLifecycle(t)
			old, oldToken := l.create(keyfold.NewKey{TTL: row.ttl})
			_, token, err := l.RotateKey(t.Context(), old.ID, keyfold.RotateOptions{Overlap: row.overlap, TTL: keyfold.Never})
			l.must(err)
			if row.end > 0 {
				l.clock.add(row.end - time.Millisecond)
				l.wants(oldToken, keyfold.OutcomeAllowed)
				l.clock.add(time.Millisecond)
			}
			ended := keyfold.OutcomeExpired
			if row.end == 0 {
				ended = keyfold.OutcomeRevoked
			}
			l.wants(oldToken, ended)
			l.wants(token.Reveal(), keyfold.OutcomeAllowed)
		})
	}
}

// A rotation without an overlap is for a key that has leaked, and clocks differ.
// Mutation tried: a rotation that sets the old key's deadline to now.
func TestRotationWithoutOverlapEndsTheKeyDespiteClockSkew(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		clock := newClock()
		svc := newService(t, store, &keyfold.Options{Now: clock.now})
		slow := newService(t, store, &keyfold.Options{Now: func() time.Time { return clock.now().Add(-2 * time.Second) }, DisableCache: true})
		old, token := create(t, svc, keyfold.NewKey{Name: "n"})
		clock.add(10 * time.Second)
		for name, s := range map[string]*keyfold.Service{"this process": svc, "one whose clock is slow": slow} {
			if got := outcome(s, token); got != keyfold.OutcomeAllowed {
				t.Fatalf("%s, before: %v", name, got)
			}
		}
		next, _, err := svc.RotateKey(t.Context(), old.ID, keyfold.RotateOptions{Overlap: keyfold.NoOverlap})
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]*keyfold.Service{"this process": svc, "one whose clock is slow": slow} {
			if got := outcome(s, token); got != keyfold.OutcomeRevoked {
				t.Errorf("%s: %v, want revoked", name, got)
			}
		}
		got, err := svc.Key(t.Context(), old.ID)
		if err != nil || got.State(clock.now()) != keyfold.KeyRevoked || got.RevokedReason != keyfold.RotatedReason ||
			got.RotatedTo != next.ID || !got.ExpiresAt.Equal(old.ExpiresAt) {
			t.Errorf("the old key is %+v, %v", got, err)
		}
		for what, call := range map[string]func() error{
			"renew":  func() error { _, err := svc.RenewKey(t.Context(), old.ID, keyfold.RenewOptions{}); return err },
			"rotate": func() error { _, _, err := svc.RotateKey(t.Context(), old.ID, keyfold.RotateOptions{}); return err },
		} {
			if err := call(); !errors.Is(err, keyfold.ErrConflict) || !strings.Contains(err.Error(), next.ID) {
				t.Errorf("%s: %v, want a conflict that names the successor", what, err)
			}
		}
		page, err := svc.Audit(t.Context(), keyfold.AuditQuery{Target: keyfold.Only(old.ID), Limit: 1})
		if err != nil || len(page.Entries) != 1 || page.Entries[0].Action != "key.rotate" || !strings.Contains(page.Entries[0].After, `"revoked_reason":"rotated"`) {
			t.Errorf("the audit log says %+v, %v", page.Entries, err)
		}
	})
}

func TestRotateIsRefusedOnRevokedExpiredDisabledAndRotated(t *testing.T) {
	for name, prepare := range map[string]func(l *lifecycle, id string) error{
		"revoked":  func(l *lifecycle, id string) error { return l.RevokeKey(l.t.Context(), id, "") },
		"disabled": func(l *lifecycle, id string) error { return l.DisableKey(l.t.Context(), id, "") },
		"expired":  func(l *lifecycle, _ string) error { l.clock.add(15 * day); return nil },
		"rotated": func(l *lifecycle, id string) error {
			_, _, err := l.RotateKey(l.t.Context(), id, keyfold.RotateOptions{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLifecycle(t)
			key, _ := l.create(keyfold.NewKey{})
			l.must(prepare(l, key.ID))
			_, _, err := l.RotateKey(t.Context(), key.ID, keyfold.RotateOptions{})
			wantErr(t, "rotate", err, keyfold.ErrConflict)
		})
	}
}

func TestRotatedKeyCannotBeRenewedBeyondItsOverlap(t *testing.T) {
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{})
	_, _, err := l.RotateKey(t.Context(), key.ID, keyfold.RotateOptions{Overlap: time.Hour})
	l.must(err)
	_, err = l.RenewKey(t.Context(), key.ID, keyfold.RenewOptions{})
	wantErr(t, "renew", err, keyfold.ErrConflict)
	l.clock.add(time.Hour)
	l.wants(token, keyfold.OutcomeExpired)
}

func TestRotateNeverGainsScopeFromAnEditInBetween(t *testing.T) {
	// The store narrows the key between the read and the write of the rotation.
	t.Parallel()
	store := &narrowing{spy: newSpy()}
	svc := newService(t, store, nil)
	key, _ := create(t, svc, keyfold.NewKey{Scopes: []string{"a:b", "admin:*"}})
	store.narrow = func() {
		if _, err := svc.UpdateKey(context.Background(), key.ID, keyfold.KeyUpdate{Version: 1, Scopes: &[]string{"a:b"}}); err != nil {
			t.Error(err)
		}
	}
	next, _, err := svc.RotateKey(t.Context(), key.ID, keyfold.RotateOptions{})
	if err != nil || !slices.Equal(next.Scopes, []string{"a:b"}) {
		t.Errorf("rotated to scopes %v, %v, want [a:b]", next.Scopes, err)
	}
}

// narrowing runs narrow once, before the first rotation is written.
type narrowing struct {
	*spy
	narrow func()
}

func (n *narrowing) RotateKey(ctx context.Context, r keyfold.Rotation, m keyfold.Mutation) error {
	if f := n.narrow; f != nil {
		n.narrow = nil
		f()
	}
	return n.spy.RotateKey(ctx, r, m)
}

func TestRevokeIsFinalAndIdempotent(t *testing.T) {
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{})
	l.must(l.RevokeKey(t.Context(), key.ID, "leaked"))
	l.wants(token, keyfold.OutcomeRevoked)
	first := l.key(key.ID)
	l.clock.add(time.Hour)
	l.must(l.RevokeKey(t.Context(), key.ID, "again"))
	if got := l.key(key.ID); got.RevokedReason != "leaked" || !got.RevokedAt.Equal(first.RevokedAt) || got.Version != first.Version {
		t.Errorf("a second revoke changed the key: %+v", got)
	}
	name := "x"
	_, err := l.UpdateKey(t.Context(), key.ID, keyfold.KeyUpdate{Version: first.Version, Name: &name})
	wantErr(t, "update", err, keyfold.ErrConflict)
	wantErr(t, "enable", l.EnableKey(t.Context(), key.ID), keyfold.ErrConflict)
	wantErr(t, "disable", l.DisableKey(t.Context(), key.ID, ""), keyfold.ErrConflict)
	l.wants(token, keyfold.OutcomeRevoked)
}

func TestDisableAndEnableAreReversibleAndIdempotent(t *testing.T) {
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{})
	for range 2 {
		l.must(l.DisableKey(t.Context(), key.ID, "abuse"))
		l.wants(token, keyfold.OutcomeDisabled)
	}
	if got := l.key(key.ID); got.DisabledReason != "abuse" || got.Version != 2 {
		t.Errorf("reason %q version %d, want abuse and 2", got.DisabledReason, got.Version)
	}
	for range 2 {
		l.must(l.EnableKey(t.Context(), key.ID))
		l.wants(token, keyfold.OutcomeAllowed)
	}
	if got := l.key(key.ID); !got.DisabledAt.IsZero() || got.DisabledReason != "" || got.Version != 3 {
		t.Errorf("enabled key: %+v", got)
	}
}

func TestUpdateNeedsTheVersionThatWasRead(t *testing.T) {
	l := newLifecycle(t)
	key, _ := l.create(keyfold.NewKey{Name: "a", Scopes: []string{"x:y"}})
	name := "b"
	updated, err := l.UpdateKey(t.Context(), key.ID, keyfold.KeyUpdate{Version: 1, Name: &name})
	l.must(err)
	if got := l.key(key.ID); got.Name != "b" || !slices.Equal(got.Scopes, []string{"x:y"}) || updated.Version != 2 || got.Version != 2 {
		t.Errorf("updated key: %+v", got)
	}
	_, err = l.UpdateKey(t.Context(), key.ID, keyfold.KeyUpdate{Version: 1, Name: &name})
	wantErr(t, "update of version 1", err, keyfold.ErrStale)
	_, err = l.UpdateKey(t.Context(), key.ID, keyfold.KeyUpdate{Name: &name})
	wantErr(t, "update without a version", err, keyfold.ErrInvalid)
}

func TestDeleteRemovesTheKey(t *testing.T) {
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{})
	l.must(l.DeleteKey(t.Context(), key.ID))
	l.wants(token, keyfold.OutcomeUnknown)
	_, err := l.Key(t.Context(), key.ID)
	wantErr(t, "get", err, keyfold.ErrNotFound)
	wantErr(t, "delete again", l.DeleteKey(t.Context(), key.ID), keyfold.ErrNotFound)
}

func TestIdleKeyIsRefusedUntilItIsRenewedOrEnabled(t *testing.T) {
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{TTL: keyfold.Never, IdleTimeout: time.Hour})
	l.clock.add(59 * time.Minute)
	l.wants(token, keyfold.OutcomeAllowed)
	l.must(l.Flush(t.Context()))
	l.clock.add(59 * time.Minute)
	l.wants(token, keyfold.OutcomeAllowed)
	l.must(l.Flush(t.Context()))
	l.clock.add(time.Hour)
	l.wants(token, keyfold.OutcomeIdle)
	l.must(l.Flush(t.Context())) // a refused use does not count
	l.wants(token, keyfold.OutcomeIdle)
	_, err := l.RenewKey(t.Context(), key.ID, keyfold.RenewOptions{})
	l.must(err)
	l.wants(token, keyfold.OutcomeAllowed)
	l.clock.add(3 * time.Hour)
	l.must(l.DisableKey(t.Context(), key.ID, ""))
	l.must(l.EnableKey(t.Context(), key.ID))
	l.wants(token, keyfold.OutcomeAllowed)
}

func TestBulkChangesAffectOnlyMatchingKeys(t *testing.T) {
	l := newLifecycle(t)
	tokens := map[string]string{}
	ids := map[string]string{}
	for _, owner := range []string{"a", "b"} {
		for _, tenant := range []string{"x", "y"} {
			key, token := l.create(keyfold.NewKey{OwnerID: owner, Tenant: tenant})
			tokens[owner+tenant], ids[owner+tenant] = token, key.ID
		}
	}
	changed, err := l.RevokeKeys(t.Context(), keyfold.KeyFilter{OwnerID: keyfold.Only("a"), Tenant: keyfold.Only("x")}, "left")
	l.must(err)
	again, err := l.RevokeKeys(t.Context(), keyfold.KeyFilter{OwnerID: keyfold.Only("a"), Tenant: keyfold.Only("x")}, "left")
	l.must(err)
	disabled, err := l.DisableKeys(t.Context(), keyfold.KeyFilter{Tenant: keyfold.Only("x")}, "")
	l.must(err)
	one, err := l.DisableKeys(t.Context(), keyfold.KeyFilter{IDs: []string{ids["by"], "0000000000000000"}}, "")
	l.must(err)
	if changed != 1 || again != 0 || disabled != 1 || one != 1 {
		t.Errorf("changed %d, again %d, disabled %d, one %d; want 1 0 1 1", changed, again, disabled, one)
	}
	for which, want := range map[string]keyfold.Outcome{
		"ax": keyfold.OutcomeRevoked, "bx": keyfold.OutcomeDisabled, "by": keyfold.OutcomeDisabled, "ay": keyfold.OutcomeAllowed,
	} {
		t.Run(which, func(t *testing.T) {
			if got := outcome(l.Service, tokens[which]); got != want {
				t.Errorf("%s: %v, want %v", which, got, want)
			}
		})
	}
	_, err = l.RevokeKeys(t.Context(), keyfold.KeyFilter{}, "")
	wantErr(t, "an empty filter", err, keyfold.ErrInvalid)
}

func TestBulkRevokeOfManyKeysIsOneWordInTheFeed(t *testing.T) {
	l := newLifecycle(t)
	var some string
	for range 1200 {
		_, some = l.create(keyfold.NewKey{OwnerID: "many"})
	}
	_, cursor, err := l.store.Changes(t.Context(), "")
	l.must(err)
	changed, err := l.RevokeKeys(t.Context(), keyfold.KeyFilter{OwnerID: keyfold.Only("many")}, "")
	l.must(err)
	changes, _, err := l.store.Changes(t.Context(), cursor)
	l.must(err)
	if changed != 1200 || len(changes) != 6 || changes[0].Target != "" {
		t.Errorf("%d keys changed in %d feed rows, want 1200 in 6", changed, len(changes))
	}
	l.wants(some, keyfold.OutcomeRevoked)
}
