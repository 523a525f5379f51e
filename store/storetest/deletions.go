package storetest

import (
	"errors"
	"time"

	"github.com/keyfold/keyfold"
)

func deletionCases() []testCase {
	return []testCase{
		{name: "a deletion removes the key from every result", run: deletionRemovesKey},
		{name: "a deletion removes the totals", run: deletionRemovesTotals},
		{name: "usage events and hours of a deleted key are kept", run: deletionLeavesUsage},
		{name: "a second deletion returns ErrNotFound and writes nothing", run: deletionOfUnknown},
		{name: "of eight concurrent deletions one succeeds", run: racingDeletions},
		{name: "usage that is recorded during a deletion leaves no totals behind", run: deletionRacesUsage},
	}
}

func (t *trial) delete(id string) {
	t.Helper()
	t.wantNoError("DeleteKey", t.store.DeleteKey(t.ctx, id, t.mutation("key.delete", id)))
}

func deletionRemovesKey(t *trial) {
	key, other := t.create(), t.create()
	owned := t.create(func(key *keyfold.KeyRecord) { key.OwnerID, key.Tenant = "owner "+key.ID, "tenant "+key.ID })
	t.set(other.ID, keyfold.RevokeChange)
	for _, id := range []string{key.ID, other.ID, owned.ID} {
		t.delete(id)
		t.wantNoKey(id)
	}
	for _, scan := range []keyfold.KeyScan{
		{Index: keyfold.KeysByOwner, Value: owned.OwnerID},
		{Index: keyfold.KeysByTenant, Value: owned.Tenant},
		{Index: keyfold.KeysExpiring, From: owned.ExpiresAt, To: owned.ExpiresAt.Add(time.Millisecond)},
	} {
		scan.Limit = 50
		keys, err := t.store.Keys(t.ctx, scan)
		t.wantNoError("Keys", err)
		for _, key := range keys {
			if key.ID == owned.ID {
				t.Errorf("Keys by index %d shows a key that was deleted", scan.Index)
			}
		}
	}
}

func deletionRemovesTotals(t *trial) {
	key := t.create()
	t.useEach([]string{key.ID})
	t.delete(key.ID)
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
	t.wantEqual("a new key of the same id", t.wantKey(key.ID), key)
}

func deletionLeavesUsage(t *trial) {
	key := t.create(func(key *keyfold.KeyRecord) { key.OwnerID = "owner " + key.ID })
	t.useEach([]string{key.ID})
	t.delete(key.ID)
	scan := keyfold.UsageScan{KeyID: key.ID, From: t.clock.Add(-2 * time.Hour), To: t.clock.Add(time.Hour), Limit: 10}
	events, err := t.store.UsageEvents(t.ctx, scan)
	t.wantNoError("UsageEvents", err)
	hours, err := t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	if len(events) != 1 || len(hours) != 1 {
		t.Errorf("of a deleted key %d events and %d hours are left, want 1 and 1", len(events), len(hours))
	}
	// The usage of an owner is the usage of existing keys.
	scan.KeyID, scan.OwnerID = "", key.OwnerID
	events, err = t.store.UsageEvents(t.ctx, scan)
	t.wantNoError("UsageEvents", err)
	hours, err = t.store.UsageHours(t.ctx, scan)
	t.wantNoError("UsageHours", err)
	if len(events) != 0 || len(hours) != 0 {
		t.Errorf("of an owner without keys there are %d events and %d hours, want none", len(events), len(hours))
	}
}

func deletionOfUnknown(t *trial) {
	key := t.create()
	t.delete(key.ID)
	m := t.mutation(t.action(), key.ID)
	cursor := t.cursor()
	t.wantError("DeleteKey", t.store.DeleteKey(t.ctx, key.ID, m), keyfold.ErrNotFound)
	t.wantNoRows(cursor, m)
}

func racingDeletions(t *trial) {
	const racers = 8
	key := t.create()
	m := t.mutation(t.action(), key.ID)
	cursor := t.cursor()
	errs := race(racers, func(int) error {
		return again(func() error { return t.store.DeleteKey(t.ctx, key.ID, m) })
	})
	if count(errs, nil) != 1 || count(errs, keyfold.ErrNotFound) != racers-1 {
		t.Errorf("racing deletions: got %v, want one nil and %d not found", errs, racers-1)
	}
	t.wantRows(cursor, m, key.ID)
}

func deletionRacesUsage(t *trial) {
	for range t.scale(20) {
		key := t.create()
		batch, m := t.used(key.ID), t.mutation("key.delete", key.ID)
		var result keyfold.UsageResult
		errs := race(2, func(i int) error {
			return again(func() (err error) {
				if i == 0 {
					return t.store.DeleteKey(t.ctx, key.ID, m)
				}
				result, err = t.store.RecordUsage(t.ctx, batch)
				return err
			})
		})
		t.wantNoError("deleting and recording", errors.Join(errs...))
		if result.LostUses != 0 && result.LostUses != 1 {
			t.Errorf("RecordUsage lost %d uses of one", result.LostUses)
		}
		t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
		t.wantEqual("a new key of the same id", t.wantKey(key.ID), key)
	}
}
