package storetest

import (
	"errors"
	"strconv"
	"time"

	"github.com/keyfold/keyfold"
)

func updateCases() []testCase {
	return []testCase{
		{name: "an update needs the version that was read", run: updatesAreNotLost},
		{name: "an update writes only the editable fields", run: updateWritesItsFields},
		{name: "an update that changes nothing still increments the version", run: updateWithoutChange},
		{name: "an update of an unknown key returns ErrNotFound", run: updateOfUnknown},
		{name: "an update of a revoked key is a conflict for any version", run: updateOfRevoked},
		{name: "a disabled key can be updated and stays disabled", run: updateOfDisabled},
	}
}

func updatesAreNotLost(t *trial) {
	const editors, edits = 8, 8
	key := t.create(func(key *keyfold.KeyRecord) { key.Metadata = map[string]string{"count": "0"} })
	m := t.mutation(t.action(), key.ID)
	errs := race(editors, func(int) error {
		for range edits {
			if err := t.increment(key.ID, m); err != nil {
				return err
			}
		}
		return nil
	})
	t.wantNoError("incrementing", errors.Join(errs...))
	got := t.wantKey(key.ID)
	if want := strconv.Itoa(editors * edits); got.Metadata["count"] != want {
		t.Errorf("after %s increments the count is %s", want, got.Metadata["count"])
	}
	if want := int64(1 + editors*edits); got.Version != want {
		t.Errorf("after %d updates the version is %d, want %d", editors*edits, got.Version, want)
	}

	stale := got
	stale.Name = "written without having read"
	for _, version := range []int64{got.Version - 1, got.Version + 1, 0} {
		stale.Version = version
		m := t.mutation(t.action(), key.ID)
		cursor := t.cursor()
		t.wantError("UpdateKey with another version", t.store.UpdateKey(t.ctx, stale, m), keyfold.ErrStale)
		t.wantNoRows(cursor, m)
	}
	t.wantEqual("after stale updates", t.wantKey(key.ID), got)
}

// increment increments the count of a key. It tries again if another writer comes first.
func (t *trial) increment(id string, m keyfold.Mutation) error {
	for {
		key, err := t.store.Key(t.ctx, id)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(key.Metadata["count"])
		if err != nil {
			return err
		}
		key.Metadata = map[string]string{"count": strconv.Itoa(n + 1)}
		err = again(func() error { return t.store.UpdateKey(t.ctx, key, m) })
		if !errors.Is(err, keyfold.ErrStale) {
			return err
		}
	}
}

func updateWritesItsFields(t *trial) {
	want := live(t.full())
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, want, t.mutation("key.create", want.ID)))
	edit := t.full() // differs in every field
	edit.ID, edit.Version = want.ID, want.Version
	edit.Scopes, edit.Networks = edit.Scopes[:2], edit.Networks[:1]
	edit.Metadata = map[string]string{"plan": "lead"}
	edit.IdleTimeout += time.Minute
	edit.Prefix, edit.Environment = "otherprefix", "otherenvironment"
	t.wantNoError("UpdateKey", t.store.UpdateKey(t.ctx, edit, t.mutation("key.update", want.ID)))

	want.Name, want.Notes, want.OwnerID, want.Tenant = edit.Name, edit.Notes, edit.OwnerID, edit.Tenant
	want.Scopes, want.Networks, want.Metadata = edit.Scopes, edit.Networks, edit.Metadata
	want.IdleTimeout, want.UpdatedAt = edit.IdleTimeout, edit.UpdatedAt
	want.Version++
	t.wantEqual("after the update", t.wantKey(want.ID), want)

	for _, owner := range []string{want.OwnerID, "owner " + want.ID} {
		keys, err := t.store.Keys(t.ctx, keyfold.KeyScan{Index: keyfold.KeysByOwner, Value: owner, Limit: 10})
		t.wantNoError("Keys", err)
		if found := len(keys) == 1; found != (owner == want.OwnerID) {
			t.Errorf("Keys of owner %q returned %d keys after the key's owner became %q", owner, len(keys), want.OwnerID)
		}
	}

	edit = want
	edit.Name, edit.Notes, edit.OwnerID, edit.Tenant = "", "", "", ""
	edit.Scopes, edit.Networks, edit.Metadata, edit.IdleTimeout = nil, nil, nil, 0
	edit.UpdatedAt = t.now()
	t.wantNoError("UpdateKey", t.store.UpdateKey(t.ctx, edit, t.mutation("key.update", want.ID)))
	edit.Version++
	t.wantEqual("after everything was emptied", t.wantKey(want.ID), edit)
}

func updateWithoutChange(t *trial) {
	key := t.create()
	m := t.mutation(t.action(), key.ID)
	cursor := t.cursor()
	t.wantNoError("UpdateKey", t.store.UpdateKey(t.ctx, key, m))
	key.Version++
	t.wantEqual("Key", t.wantKey(key.ID), key)
	t.wantRows(cursor, m, key.ID)
}

func updateOfUnknown(t *trial) {
	key := t.record()
	t.wantError("UpdateKey", t.store.UpdateKey(t.ctx, key, t.mutation("key.update", key.ID)), keyfold.ErrNotFound)
	t.wantNoKey(key.ID)
}

func updateOfRevoked(t *trial) {
	key := t.create()
	t.set(key.ID, keyfold.RevokeChange)
	want := t.wantKey(key.ID)
	for _, version := range []int64{want.Version, want.Version - 1, want.Version + 1} {
		edit := want
		edit.Name, edit.Version = "edited", version
		m := t.mutation(t.action(), key.ID)
		cursor := t.cursor()
		t.wantError("UpdateKey", t.store.UpdateKey(t.ctx, edit, m), keyfold.ErrConflict)
		t.wantNoRows(cursor, m)
	}
	t.wantEqual("the revoked key", t.wantKey(key.ID), want)
}

func updateOfDisabled(t *trial) {
	key := t.create()
	t.set(key.ID, keyfold.DisableChange)
	want := t.wantKey(key.ID)
	want.Name = "edited"
	t.wantNoError("UpdateKey", t.store.UpdateKey(t.ctx, want, t.mutation("key.update", key.ID)))
	want.Version++
	t.wantEqual("the disabled key", t.wantKey(key.ID), want)
}
