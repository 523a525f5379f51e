package storetest

import (
	"time"

	"github.com/keyfold/keyfold"
)

func rotationCases() []testCase {
	return []testCase{
		{name: "a rotation ends the old key and inserts the new one", run: rotationReplaces},
		{name: "a rotation without an end revokes the old key in the same step", run: rotationRevokes},
		{name: "a rotation writes a change row for both keys and one audit row", run: rotationWritesRows},
		{name: "no half rotation: when the new id exists nothing changes", run: rotationIsWhole},
		{name: "a rotation needs the version that was read", run: rotationIsVersioned},
		{name: "a rotation of an unknown key is not found", run: rotationOfUnknown},
		{name: "a rotation of a revoked key is a conflict", run: rotationOfRevoked},
		{name: "a rotation of a disabled key is a conflict", run: rotationOfDisabled},
		{name: "a rotation of a key with a successor is a conflict, whatever the version", run: rotationOfRotated},
		{name: "a rotation of a key that expired by then is a conflict", run: rotationOfExpired},
		{name: "a key can be rotated until one millisecond before its deadline", run: rotationBeforeDeadline},
		{name: "one of eight racing rotations wins", run: racingRotations},
	}
}

// refusesRotation checks that a rotation fails and changes nothing.
func (t *trial) refusesRotation(r keyfold.Rotation, m keyfold.Mutation, reason error) {
	t.Helper()
	before := t.key(r.OldID)
	cursor := t.cursor()
	t.fails("RotateKey", t.store.RotateKey(t.ctx, r, m), reason)
	t.same("the old key", t.key(r.OldID), before)
	t.wroteNothing(cursor, m)
	_, err := t.store.Key(t.ctx, r.New.ID)
	t.fails("Key of the successor that was refused", err, keyfold.ErrNotFound)
}

func rotationReplaces(t *trial) {
	old := live(t.full())
	t.ok("CreateKey", t.store.CreateKey(t.ctx, old, t.mutation("key.create", old.ID)))
	_, err := t.store.RecordUsage(t.ctx, keyfold.UsageBatch{
		RecorderID: t.id(), Number: 1, At: t.now(),
		Keys: []keyfold.KeyUses{{KeyID: old.ID, Uses: 3, LastUsedAt: t.now()}},
	})
	t.ok("RecordUsage", err)
	old = t.key(old.ID)

	successor := live(t.full())
	successor.RotatedFrom, successor.LineageID = old.ID, old.LineageID
	r := keyfold.Rotation{OldID: old.ID, OldVersion: old.Version, OldEnd: t.now().Add(time.Minute), New: successor}
	m := t.mutation("key.rotate", old.ID)
	t.ok("RotateKey", t.store.RotateKey(t.ctx, r, m))

	old.ExpiresAt, old.RotatedTo, old.UpdatedAt = r.OldEnd, successor.ID, m.At
	old.Version++
	t.same("the old key", t.key(old.ID), old)
	t.same("the new key", t.key(successor.ID), successor)
	t.verifies(old)
	t.verifies(successor)
}

func rotationRevokes(t *trial) {
	for _, expires := range []time.Time{t.now().Add(time.Hour), {}} {
		old := t.create(func(key *keyfold.KeyRecord) { key.ExpiresAt = expires })
		r, m := t.rotation(old), t.mutation(t.action(), old.ID)
		r.OldEnd = time.Time{}
		cursor := t.cursor()
		t.ok("RotateKey", t.store.RotateKey(t.ctx, r, m))
		old.RevokedAt, old.RevokedReason = m.At, keyfold.RotatedReason
		old.RotatedTo, old.UpdatedAt = r.New.ID, m.At
		old.Version++
		t.same("the old key", t.key(old.ID), old)
		t.same("the new key", t.key(r.New.ID), r.New)
		t.verifies(old)
		t.verifies(r.New)
		t.wrote(cursor, m, old.ID, r.New.ID)
		t.refusesRotation(t.rotation(old), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
	}
	unfit := t.create()
	t.set(unfit.ID, keyfold.DisableChange)
	r := t.rotation(t.key(unfit.ID))
	r.OldEnd = time.Time{}
	t.refusesRotation(r, t.mutation(t.action(), unfit.ID), keyfold.ErrConflict)
	r.OldID, r.OldVersion = t.create().ID, 7
	t.refusesRotation(r, t.mutation(t.action(), r.OldID), keyfold.ErrStale)
}

func rotationWritesRows(t *trial) {
	old := t.create()
	r, m := t.rotation(old), t.mutation(t.action(), old.ID)
	cursor := t.cursor()
	t.ok("RotateKey", t.store.RotateKey(t.ctx, r, m))
	t.wrote(cursor, m, old.ID, r.New.ID)
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
	t.fails("RotateKey to an id that exists", t.store.RotateKey(t.ctx, r, m), keyfold.ErrConflict)
	t.same("the old key", t.key(old.ID), old)
	t.same("the key whose id it is", t.key(taken.ID), taken)
	t.wroteNothing(cursor, m)
	t.rotate(old)
}

func rotationIsVersioned(t *trial) {
	old := t.create()
	for _, version := range []int64{0, 2} {
		r := t.rotation(old)
		r.OldVersion = version
		t.refusesRotation(r, t.mutation(t.action(), old.ID), keyfold.ErrStale)
	}
}

func rotationOfUnknown(t *trial) {
	r := t.rotation(t.record())
	m := t.mutation(t.action(), r.OldID)
	cursor := t.cursor()
	t.fails("RotateKey", t.store.RotateKey(t.ctx, r, m), keyfold.ErrNotFound)
	t.gone(r.OldID)
	t.gone(r.New.ID)
	t.wroteNothing(cursor, m)
}

func rotationOfRevoked(t *trial) {
	old := t.create()
	t.set(old.ID, keyfold.RevokeChange)
	t.refusesRotation(t.rotation(t.key(old.ID)), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
	t.refusesRotation(t.rotation(old), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
}

func rotationOfDisabled(t *trial) {
	old := t.create()
	t.set(old.ID, keyfold.DisableChange)
	t.refusesRotation(t.rotation(t.key(old.ID)), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
	t.set(old.ID, keyfold.EnableChange)
	t.rotate(t.key(old.ID))
}

func rotationOfRotated(t *trial) {
	old := t.create()
	t.rotate(old)
	t.refusesRotation(t.rotation(t.key(old.ID)), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
	t.refusesRotation(t.rotation(old), t.mutation(t.action(), old.ID), keyfold.ErrConflict)
}

func rotationOfExpired(t *trial) {
	old := t.create()
	m := t.mutation(t.action(), old.ID)
	for _, late := range []time.Duration{0, time.Millisecond, 1000 * time.Hour} {
		m.At = old.ExpiresAt.Add(late)
		t.refusesRotation(t.rotation(old), m, keyfold.ErrConflict)
	}
}

func rotationBeforeDeadline(t *trial) {
	old := t.create()
	m := t.mutation(t.action(), old.ID)
	m.At = old.ExpiresAt.Add(-time.Millisecond)
	t.ok("RotateKey", t.store.RotateKey(t.ctx, t.rotation(old), m))

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
			t.gone(rotations[i].New.ID)
			continue
		}
		t.same("the successor", t.key(rotations[i].New.ID), rotations[i].New)
		if got := t.key(old.ID).RotatedTo; got != rotations[i].New.ID {
			t.Errorf("the old key was replaced by %q, want %q", got, rotations[i].New.ID)
		}
		t.wrote(cursor, m, old.ID, rotations[i].New.ID)
	}
}
