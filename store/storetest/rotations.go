package storetest

import (
	"time"

	"github.com/keyfold/keyfold"
)

func rotationCases() []testCase {
	return []testCase{
		{name: "a rotation ends the old key and inserts the new one", run: rotationReplaces},
		{name: "a rotation without an end revokes the old key in the same transaction", run: rotationRevokes},
		{name: "a rotation writes a change row for both keys and one audit row", run: rotationWritesRows},
		{name: "a rotation to an existing ID changes nothing", run: rotationIsWhole},
		{name: "a rotation needs the version that was read", run: rotationIsVersioned},
		{name: "a rotation of an unknown key returns ErrNotFound", run: rotationOfUnknown},
		{name: "a rotation of a revoked key is a conflict", run: rotationOfRevoked},
		{name: "a rotation of a disabled key is a conflict", run: rotationOfDisabled},
		{name: "a rotation of a key with a successor is a conflict for any version", run: rotationOfRotated},
		{name: "a rotation of an expired key is a conflict", run: rotationOfExpired},
		{name: "a key can be rotated until one millisecond before it expires", run: rotationBeforeDeadline},
		{name: "of eight concurrent rotations one succeeds", run: racingRotations},
	}
}

// wantRotationRefused checks that a rotation fails and changes nothing.
func (t *trial) wantRotationRefused(r keyfold.Rotation, m keyfold.Mutation, reason error) {
	t.Helper()
	before := t.wantKey(r.OldID)
	cursor := t.cursor()
	t.wantError("RotateKey", t.store.RotateKey(t.ctx, r, m), reason)
	t.wantEqual("the old key", t.wantKey(r.OldID), before)
	t.wantNoRows(cursor, m)
	_, err := t.store.Key(t.ctx, r.New.ID)
	t.wantError("Key of the successor that was refused", err, keyfold.ErrNotFound)
}

func rotationReplaces(t *trial) {
	old := live(t.full())
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, old, t.mutation("key.create", old.ID)))
	_, err := t.store.RecordUsage(t.ctx, keyfold.UsageBatch{
		RecorderID: t.id(), Number: 1, At: t.now(),
		Keys: []keyfold.KeyUses{{KeyID: old.ID, Uses: 3, LastUsedAt: t.now()}},
	})
	t.wantNoError("RecordUsage", err)
	old = t.wantKey(old.ID)

	successor := live(t.full())
	successor.RotatedFrom, successor.LineageID = old.ID, old.LineageID
	r := keyfold.Rotation{OldID: old.ID, OldVersion: old.Version, OldEnd: t.now().Add(time.Minute), New: successor}
	m := t.mutation("key.rotate", old.ID)
	t.wantNoError("RotateKey", t.store.RotateKey(t.ctx, r, m))

	old.ExpiresAt, old.RotatedTo, old.UpdatedAt = r.OldEnd, successor.ID, m.At
	old.Version++
	t.wantEqual("the old key", t.wantKey(old.ID), old)
	t.wantEqual("the new key", t.wantKey(successor.ID), successor)
	t.wantVerifyRecord(old)
	t.wantVerifyRecord(successor)
}

func rotationRevokes(t *trial) {
	for _, expires := range []time.Time{t.now().Add(time.Hour), {}} {
		old := t.create(func(key *keyfold.KeyRecord) { key.ExpiresAt = expires })
		r, m := t.rotation(old), t.mutation(t.action(), old.ID)
		r.OldEnd = time.Time{}
		cursor := t.cursor()
		t.wantNoError("RotateKey", t.store.RotateKey(t.ctx, r, m))
		old.RevokedAt, old.RevokedReason = m.At, keyfold.RotatedReason
		old.RotatedTo, old.UpdatedAt = r.New.ID, m.At
		old.Version++
		t.wantEqual("the old key", t.wantKey(old.ID), old)
		t.wantEqual("the new key", t.wantKey(r.New.ID), r.New)
		t.wantVerifyRecord(old)
		t.wantVerifyRecord(r.New)
		t.wantRows(cursor, m, old.ID, r.New.ID)
		t.wantRotationRefused(t.rotation(old), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
	}
	unfit := t.create()
	t.set(unfit.ID, keyfold.DisableChange)
	r := t.rotation(t.wantKey(unfit.ID))
	r.OldEnd = time.Time{}
	t.wantRotationRefused(r, t.mutation(t.action(), unfit.ID), keyfold.ErrConflict)
	r.OldID, r.OldVersion = t.create().ID, 7
	t.wantRotationRefused(r, t.mutation(t.action(), r.OldID), keyfold.ErrStale)
}

func rotationWritesRows(t *trial) {
	old := t.create()
	r, m := t.rotation(old), t.mutation(t.action(), old.ID)
	cursor := t.cursor()
	t.wantNoError("RotateKey", t.store.RotateKey(t.ctx, r, m))
	t.wantRows(cursor, m, old.ID, r.New.ID)
	m.Target = r.New.ID
	if entries := t.audited(m); len(entries) != 0 {
		t.Errorf("the rotation wrote %d audit rows for the new key, want none", len(entries))
	}
}

func rotationIsWhole(t *trial) {
	old, taken := t.create(), t.create()
	r, m := t.rotation(old), t.mutation(t.action(), old.ID)
	r.New.ID = taken.ID
	cursor := t.cursor()
	t.wantError("RotateKey to an id that exists", t.store.RotateKey(t.ctx, r, m), keyfold.ErrConflict)
	t.wantEqual("the old key", t.wantKey(old.ID), old)
	t.wantEqual("the key whose id it is", t.wantKey(taken.ID), taken)
	t.wantNoRows(cursor, m)
	t.rotate(old)
}

func rotationIsVersioned(t *trial) {
	old := t.create()
	for _, version := range []int64{0, 2} {
		r := t.rotation(old)
		r.OldVersion = version
		t.wantRotationRefused(r, t.mutation(t.action(), old.ID), keyfold.ErrStale)
	}
}

func rotationOfUnknown(t *trial) {
	r := t.rotation(t.record())
	m := t.mutation(t.action(), r.OldID)
	cursor := t.cursor()
	t.wantError("RotateKey", t.store.RotateKey(t.ctx, r, m), keyfold.ErrNotFound)
	t.wantNoKey(r.OldID)
	t.wantNoKey(r.New.ID)
	t.wantNoRows(cursor, m)
}

func rotationOfRevoked(t *trial) {
	old := t.create()
	t.set(old.ID, keyfold.RevokeChange)
	t.wantRotationRefused(t.rotation(t.wantKey(old.ID)), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
	t.wantRotationRefused(t.rotation(old), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
}

func rotationOfDisabled(t *trial) {
	old := t.create()
	t.set(old.ID, keyfold.DisableChange)
	t.wantRotationRefused(t.rotation(t.wantKey(old.ID)), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
	t.set(old.ID, keyfold.EnableChange)
	t.rotate(t.wantKey(old.ID))
}

func rotationOfRotated(t *trial) {
	old := t.create()
	t.rotate(old)
	t.wantRotationRefused(t.rotation(t.wantKey(old.ID)), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
	t.wantRotationRefused(t.rotation(old), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
}

func rotationOfExpired(t *trial) {
	old := t.create()
	m := t.mutation(t.action(), old.ID)
	for _, delay := range []time.Duration{0, time.Millisecond, 1000 * time.Hour} {
		m.At = old.ExpiresAt.Add(delay)
		t.wantRotationRefused(t.rotation(old), m, keyfold.ErrConflict)
	}
}

func rotationBeforeDeadline(t *trial) {
	old := t.create()
	m := t.mutation(t.action(), old.ID)
	m.At = old.ExpiresAt.Add(-time.Millisecond)
	t.wantNoError("RotateKey", t.store.RotateKey(t.ctx, t.rotation(old), m))

	never := t.create(func(key *keyfold.KeyRecord) { key.ExpiresAt = time.Time{} })
	t.rotate(never)
}

func racingRotations(t *trial) {
	const racers = 8
	old := t.create()
	rotations := make([]keyfold.Rotation, racers)
	for i := range rotations {
		rotations[i] = t.rotation(old)
	}
	m := t.mutation(t.action(), old.ID)
	cursor := t.cursor()
	errs := race(racers, func(i int) error {
		return again(func() error { return t.store.RotateKey(t.ctx, rotations[i], m) })
	})
	if count(errs, nil) != 1 || count(errs, keyfold.ErrConflict) != racers-1 {
		t.Fatalf("racing rotations: got %v, want one nil and %d conflicts", errs, racers-1)
	}
	for i, err := range errs {
		if err != nil {
			t.wantNoKey(rotations[i].New.ID)
			continue
		}
		t.wantEqual("the successor", t.wantKey(rotations[i].New.ID), rotations[i].New)
		if got := t.wantKey(old.ID).RotatedTo; got != rotations[i].New.ID {
			t.Errorf("the old key was replaced by %q, want %q", got, rotations[i].New.ID)
		}
		t.wantRows(cursor, m, old.ID, rotations[i].New.ID)
	}
}
