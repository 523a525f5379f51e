package storetest

import (
	"time"

	"github.com/keyfold/keyfold"
)

func renewalCases() []testCase {
	return []testCase{
		{name: "a renewal sets the expiry and the start of the idle time, and no other field", run: renewalSetsDeadline},
		{name: "a renewal may remove the expiry or set it in the past", run: renewalToAnyTime},
		{name: "an expired key can be renewed", run: renewalOfExpired},
		{name: "a disabled key can be renewed and stays disabled", run: renewalOfDisabled},
		{name: "a renewal needs the version that was read", run: renewalIsVersioned},
		{name: "a renewal of an unknown key returns ErrNotFound", run: renewalOfUnknown},
		{name: "a renewal of a revoked key is a conflict for any version", run: renewalOfRevoked},
		{name: "a renewal of a key with a successor is a conflict for any version", run: renewalOfRotated},
		{name: "of eight concurrent renewals one succeeds", run: racingRenewals},
	}
}

// wantRenewal renews a key and checks the result.
func (t *trial) wantRenewal(want keyfold.KeyRecord, expiresAt time.Time) {
	t.Helper()
	m := t.mutation("key.renew", want.ID)
	t.wantNoError("RenewKey", t.store.RenewKey(t.ctx, want.ID, want.Version, expiresAt, m))
	want.ExpiresAt, want.ActiveAt, want.UpdatedAt = expiresAt, m.At, m.At
	want.Version++
	t.wantEqual("the renewed key", t.wantKey(want.ID), want)
}

// wantRenewalRefused checks that a renewal fails and changes nothing.
func (t *trial) wantRenewalRefused(id string, version int64, reason error) {
	t.Helper()
	before := t.wantKey(id)
	m := t.mutation(t.action(), id)
	cursor := t.cursor()
	t.wantError("RenewKey", t.store.RenewKey(t.ctx, id, version, t.now().Add(time.Hour), m), reason)
	t.wantNoRows(cursor, m)
	t.wantEqual("the key that was not renewed", t.wantKey(id), before)
}

func renewalSetsDeadline(t *trial) {
	key := live(t.full())
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
	t.wantRenewal(key, t.now().Add(time.Hour))
}

func renewalToAnyTime(t *trial) {
	t.wantRenewal(t.create(), time.Time{})
	t.wantRenewal(t.create(), time.UnixMilli(0).UTC())
	t.wantRenewal(t.create(), t.now().Add(-time.Hour))
}

func renewalOfExpired(t *trial) {
	key := t.create(func(key *keyfold.KeyRecord) { key.ExpiresAt = key.CreatedAt.Add(-time.Hour) })
	t.wantRenewal(key, t.now().Add(time.Hour))
}

func renewalOfDisabled(t *trial) {
	key := t.create()
	t.set(key.ID, keyfold.DisableChange)
	t.wantRenewal(t.wantKey(key.ID), t.now().Add(time.Hour))
}

func renewalIsVersioned(t *trial) {
	key := t.create()
	for _, version := range []int64{0, 2, -1} {
		t.wantRenewalRefused(key.ID, version, keyfold.ErrStale)
	}
}

func renewalOfUnknown(t *trial) {
	id := t.id()
	err := t.store.RenewKey(t.ctx, id, 1, t.now(), t.mutation("key.renew", id))
	t.wantError("RenewKey", err, keyfold.ErrNotFound)
}

func renewalOfRevoked(t *trial) {
	key := t.create()
	t.set(key.ID, keyfold.RevokeChange)
	for _, version := range []int64{1, 2, 3} {
		t.wantRenewalRefused(key.ID, version, keyfold.ErrConflict)
	}
}

func renewalOfRotated(t *trial) {
	key := t.create()
	t.rotate(key)
	for _, version := range []int64{1, 2, 3} {
		t.wantRenewalRefused(key.ID, version, keyfold.ErrConflict)
	}
}

func racingRenewals(t *trial) {
	const racers = 8
	key := t.create()
	m := t.mutation(t.action(), key.ID)
	cursor := t.cursor()
	errs := race(racers, func(i int) error {
		return again(func() error {
			return t.store.RenewKey(t.ctx, key.ID, 1, m.At.Add(time.Duration(i)*time.Hour), m)
		})
	})
	if count(errs, nil) != 1 || count(errs, keyfold.ErrStale) != racers-1 {
		t.Errorf("racing renewals: got %v, want one nil and %d stale versions", errs, racers-1)
	}
	if got := t.wantKey(key.ID).Version; got != 2 {
		t.Errorf("after one renewal the version is %d, want 2", got)
	}
	t.wantRows(cursor, m, key.ID)
}
