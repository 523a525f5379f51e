package storetest

import (
	"time"

	"github.com/keyfold/keyfold"
)

func mutationCases() []testCase {
	return []testCase{
		{name: "a creation commits the key, a change row and an audit row together", run: creationWritesRows},
		{name: "every change of a key writes one change row and one audit row with every field", run: changesWriteRows},
		{name: "fields of a mutation may be empty", run: mutationMayBeEmpty},
		{name: "a refused change writes no rows", run: refusalsWriteNoRows},
	}
}

func creationWritesRows(t *trial) {
	key := t.record()
	m := t.mutation(t.action(), key.ID)
	cursor := t.cursor()
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, m))
	t.wantRows(cursor, m, key.ID)
}

// verb is a method that changes a key.
type verb struct {
	name string
	do   func(t *trial, key keyfold.KeyRecord, m keyfold.Mutation) error
}

func verbs() []verb {
	state := func(change keyfold.StateChange) func(*trial, keyfold.KeyRecord, keyfold.Mutation) error {
		return func(t *trial, key keyfold.KeyRecord, m keyfold.Mutation) error {
			_, err := t.store.SetKeyState(t.ctx, []string{key.ID}, change, "reason", m)
			return err
		}
	}
	return []verb{
		{"UpdateKey", func(t *trial, key keyfold.KeyRecord, m keyfold.Mutation) error {
			key.Name = "updated"
			return t.store.UpdateKey(t.ctx, key, m)
		}},
		{"RenewKey", func(t *trial, key keyfold.KeyRecord, m keyfold.Mutation) error {
			return t.store.RenewKey(t.ctx, key.ID, key.Version, m.At.Add(time.Hour), m)
		}},
		{"SetKeyState to disabled", state(keyfold.DisableChange)},
		{"SetKeyState to revoked", state(keyfold.RevokeChange)},
		{"DeleteKey", func(t *trial, key keyfold.KeyRecord, m keyfold.Mutation) error {
			return t.store.DeleteKey(t.ctx, key.ID, m)
		}},
	}
}

func changesWriteRows(t *trial) {
	for _, verb := range verbs() {
		key := t.create()
		m := t.mutation(t.action(), key.ID)
		cursor := t.cursor()
		t.wantNoError(verb.name, verb.do(t, key, m))
		t.wantRows(cursor, m, key.ID)
	}
}

func mutationMayBeEmpty(t *trial) {
	key := t.create()
	m := keyfold.Mutation{At: t.now(), Action: t.action(), Target: key.ID}
	cursor := t.cursor()
	t.wantNoError("RenewKey", t.store.RenewKey(t.ctx, key.ID, key.Version, time.Time{}, m))
	t.wantRows(cursor, m, key.ID)
}

func refusalsWriteNoRows(t *trial) {
	for _, verb := range verbs() {
		key := t.record()
		m := t.mutation(t.action(), key.ID)
		cursor := t.cursor()
		err := verb.do(t, key, m)
		if err == nil && verb.name != "SetKeyState to disabled" && verb.name != "SetKeyState to revoked" {
			t.Errorf("%s of an unknown key returned no error", verb.name)
		}
		t.wantNoRows(cursor, m)
	}
}
