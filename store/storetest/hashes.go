package storetest

import (
	"time"

	"github.com/keyfold/keyfold"
)

func hashCases() []testCase {
	return []testCase{
		{name: "a rehash replaces the hash if it is the old one, and no other field", run: rehashReplaces},
		{name: "a rehash of another hash changes nothing and returns no error", run: rehashComparesWhole},
		{name: "a rehash of an unknown key returns no error", run: rehashOfUnknown},
		{name: "a rehash writes neither a change row nor an audit row", run: rehashWritesNoRows},
	}
}

func rehashReplaces(t *trial) {
	key := t.full()
	key.Uses, key.LastUsedAt = 0, time.Time{}
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
	secret := keyfold.SecretHash{Alg: "kf2", Sum: [32]byte{0, 255, 0, 10, 39, 92}}
	t.wantNoError("RehashKey", t.store.RehashKey(t.ctx, key.ID, key.Secret, secret))
	key.Secret = secret
	t.wantEqual("the key", t.wantKey(key.ID), key)
}

func rehashComparesWhole(t *trial) {
	key := live(t.full())
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
	for _, edit := range []func(*keyfold.SecretHash){
		func(old *keyfold.SecretHash) { old.Alg = "kf2" },
		func(old *keyfold.SecretHash) { old.PepperID = "PEPPER-1" },
		func(old *keyfold.SecretHash) { old.Sum[31]++ },
	} {
		old := key.Secret
		edit(&old)
		t.wantNoError("RehashKey", t.store.RehashKey(t.ctx, key.ID, old, keyfold.SecretHash{Alg: "kf2"}))
		t.wantEqual("the key", t.wantKey(key.ID), key)
	}
}

func rehashOfUnknown(t *trial) {
	id := t.id()
	t.wantNoError("RehashKey", t.store.RehashKey(t.ctx, id, keyfold.SecretHash{Alg: "kf2"}, keyfold.SecretHash{Alg: "kf2h"}))
	t.wantNoKey(id)
}

func rehashWritesNoRows(t *trial) {
	key := t.create()
	before, err := t.store.Audit(t.ctx, keyfold.AuditScan{Target: key.ID, Limit: 10})
	t.wantNoError("Audit", err)
	_, cursor, err := t.store.Changes(t.ctx, t.cursor())
	t.wantNoError("Changes", err)
	t.wantNoError("RehashKey", t.store.RehashKey(t.ctx, key.ID, key.Secret, keyfold.SecretHash{Alg: "kf2h", PepperID: "p"}))
	after, err := t.store.Audit(t.ctx, keyfold.AuditScan{Target: key.ID, Limit: 10})
	t.wantNoError("Audit", err)
	if len(after) != len(before) {
		t.Errorf("the rehash wrote %d audit rows, want none", len(after)-len(before))
	}
	changes, _, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	for _, change := range changes {
		// Only the creation may be retried.
		if change.Target == key.ID && change.Action != "key.create" {
			t.Errorf("the rehash wrote a change row %q, want none", change.Action)
		}
	}
}
