package storetest

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keyfold/keyfold"
)

func stateCases() []testCase {
	return []testCase{
		{name: "a state change sets its time and reason, increments the version, and changes no other field", run: stateSetsFields},
		{name: "a state change applies only in the states that allow it", run: stateGuards},
		{name: "unknown IDs are skipped, and the changed IDs are returned in order", run: stateReturnsChanged},
		{name: "each changed key has a change row and an audit row", run: stateWritesRows},
		{name: "up to MaxFeedTargets every key has a change row", run: stateAtThreshold},
		{name: "above MaxFeedTargets one change row without a target is written", run: stateAboveThreshold},
		{name: "a revocation succeeds during a stream of updates and is never undone", run: revokeWins},
		{name: "concurrent state changes change each key once", run: racingStates},
		{name: "a state change of no keys writes nothing", run: stateOfNothing},
	}
}

// change makes one state change.
func (t *trial) change(ids []string, change keyfold.StateChange, reason string, m keyfold.Mutation) []string {
	t.Helper()
	changed, err := t.store.SetKeyState(t.ctx, ids, change, reason, m)
	t.wantNoError("SetKeyState", err)
	return changed
}

func stateSetsFields(t *trial) {
	want := live(t.full())
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, want, t.mutation("key.create", want.ID)))
	ids := []string{want.ID}

	m := t.mutation("key.disable", want.ID)
	t.change(ids, keyfold.DisableChange, "on holiday", m)
	want.DisabledAt, want.DisabledReason, want.UpdatedAt, want.Version = m.At, "on holiday", m.At, 2
	t.wantEqual("the disabled key", t.wantKey(want.ID), want)

	m = t.mutation("key.enable", want.ID)
	t.change(ids, keyfold.EnableChange, "", m)
	want.DisabledAt, want.DisabledReason, want.UpdatedAt, want.Version = time.Time{}, "", m.At, 3
	want.ActiveAt = m.At
	t.wantEqual("the enabled key", t.wantKey(want.ID), want)

	m = t.mutation("key.disable", want.ID)
	t.change(ids, keyfold.DisableChange, "", m)
	want.DisabledAt, want.UpdatedAt, want.Version = m.At, m.At, 4
	t.wantEqual("the key disabled without a reason", t.wantKey(want.ID), want)

	m = t.mutation("key.revoke", want.ID)
	t.change(ids, keyfold.RevokeChange, "leaked", m)
	want.RevokedAt, want.RevokedReason, want.UpdatedAt, want.Version = m.At, "leaked", m.At, 5
	t.wantEqual("the revoked key", t.wantKey(want.ID), want)
}

func stateGuards(t *trial) {
	const revoke, disable, enable = keyfold.RevokeChange, keyfold.DisableChange, keyfold.EnableChange
	for _, row := range []struct {
		state   string
		before  []keyfold.StateChange
		change  keyfold.StateChange
		applies bool
	}{
		{"active", nil, revoke, true},
		{"active", nil, disable, true},
		{"active", nil, enable, false},
		{"disabled", []keyfold.StateChange{disable}, revoke, true},
		{"disabled", []keyfold.StateChange{disable}, disable, false},
		{"disabled", []keyfold.StateChange{disable}, enable, true},
		{"enabled again", []keyfold.StateChange{disable, enable}, disable, true},
		{"revoked", []keyfold.StateChange{revoke}, revoke, false},
		{"revoked", []keyfold.StateChange{revoke}, disable, false},
		{"revoked", []keyfold.StateChange{revoke}, enable, false},
		{"disabled and revoked", []keyfold.StateChange{disable, revoke}, enable, false},
		{"disabled and revoked", []keyfold.StateChange{disable, revoke}, revoke, false},
	} {
		key := t.create()
		for _, change := range row.before {
			t.set(key.ID, change)
		}
		before := t.wantKey(key.ID)
		m := t.mutation(t.action(), key.ID)
		cursor := t.cursor()
		changed := t.change([]string{key.ID}, row.change, "another reason", m)
		if applied := slices.Equal(changed, []string{key.ID}); applied != row.applies {
			t.Errorf("change %d of a key that is %s returned %q, applies should be %t", row.change, row.state, changed, row.applies)
		}
		if !row.applies {
			t.wantEqual("the key that is "+row.state, t.wantKey(key.ID), before)
			t.wantNoRows(cursor, m)
		}
	}
}

func stateReturnsChanged(t *trial) {
	keys := t.createMany(4)
	t.set(keys[1].ID, keyfold.RevokeChange)
	ids := []string{keys[3].ID, t.id(), keys[1].ID, keys[0].ID, keys[3].ID, keys[2].ID, ""}
	got := t.change(ids, keyfold.RevokeChange, "", t.mutation("key.revoke", ""))
	want := []string{keys[3].ID, keys[0].ID, keys[2].ID}
	if !slices.Equal(got, want) {
		t.Errorf("SetKeyState returned %q, want %q: in the order given, each once", got, want)
	}
	for _, key := range keys {
		if got := t.wantKey(key.ID); got.RevokedAt.IsZero() || got.Version != 2 {
			t.Errorf("key %s has version %d, want 2 and revoked", key.ID, got.Version)
		}
	}
}

func stateWritesRows(t *trial) {
	keys := t.createMany(3)
	t.set(keys[1].ID, keyfold.DisableChange)
	m := t.mutation(t.action(), "replaced")
	cursor := t.cursor()
	t.change([]string{keys[0].ID, keys[1].ID, t.id(), keys[2].ID}, keyfold.DisableChange, "", m)
	t.wantChanges(cursor, m, keys[0].ID, keys[2].ID)
	for i, want := range []int{1, 0, 1} {
		m.Target = keys[i].ID
		entries := t.audited(m)
		if len(entries) != want {
			t.Errorf("key %d of 3 has %d audit rows, want %d", i+1, len(entries), want)
		}
		for _, entry := range entries {
			t.wantEqual("audit row", entry.Mutation, m)
		}
	}
	m.Target = "replaced"
	if entries := t.audited(m); len(entries) != 0 {
		t.Errorf("%d audit rows keep the target of the mutation, want the id of each key instead", len(entries))
	}
}

func stateAtThreshold(t *trial) {
	ids := t.ids(t.createMany(keyfold.MaxFeedTargets))
	m := t.mutation(t.action(), "")
	cursor := t.cursor()
	t.change(ids, keyfold.DisableChange, "", m)
	t.wantChanges(cursor, m, ids...)
}

func stateAboveThreshold(t *trial) {
	ids := t.ids(t.createMany(keyfold.MaxFeedTargets + 1))
	m := t.mutation(t.action(), "")
	cursor := t.cursor()
	if changed := t.change(ids, keyfold.RevokeChange, "closed", m); !slices.Equal(changed, ids) {
		t.Errorf("SetKeyState returned %d ids, want all %d in order", len(changed), len(ids))
	}
	t.wantChanges(cursor, m, "")
	for _, id := range []string{ids[0], ids[len(ids)/2], ids[len(ids)-1]} {
		if key := t.wantKey(id); key.RevokedAt.IsZero() || key.RevokedReason != "closed" {
			t.Errorf("key %s is not revoked", id)
		}
		m.Target = id
		if entries := t.audited(m); len(entries) != 1 {
			t.Errorf("key %s has %d audit rows, want 1", id, len(entries))
		}
	}
}

func (t *trial) ids(keys []keyfold.KeyRecord) []string {
	ids := make([]string, len(keys))
	for i, key := range keys {
		ids[i] = key.ID
	}
	return ids
}

func revokeWins(t *trial) {
	const editors = 4
	key := t.create(func(key *keyfold.KeyRecord) { key.Metadata = map[string]string{"count": "0"} })
	edit, revoke := t.mutation(t.action(), key.ID), t.mutation(t.action(), key.ID)
	// The revocation starts after every editor has tried, and the editors continue until
	// they are refused. A store need not be fair: one editor may always succeed while the
	// others get ErrStale.
	var flowing atomic.Int32
	var revoked atomic.Bool
	flows := make(chan struct{})
	errs := race(editors+1, func(i int) error {
		if i == editors {
			<-flows
			defer revoked.Store(true)
			return t.revoke(key.ID, revoke)
		}
		for {
			afterRevocation := revoked.Load()
			err := t.increment(key.ID, edit)
			if flowing.Add(1) == editors {
				close(flows)
			}
			switch {
			case err != nil:
				return err
			case afterRevocation:
				return errors.New("an update was accepted after the revocation")
			}
		}
	})
	t.wantNoError("revoking", errs[editors])
	if got := count(errs[:editors], keyfold.ErrConflict); got != editors {
		t.Errorf("editors ended with %v, want a conflict for each", errs[:editors])
	}
	got := t.wantKey(key.ID)
	if !got.RevokedAt.Equal(revoke.At) || got.RevokedReason != "leaked" {
		t.Errorf("after the stream the key is revoked at %v for %q, want %v for %q",
			got.RevokedAt, got.RevokedReason, revoke.At, "leaked")
	}
}

// revoke revokes one key. The change must apply.
func (t *trial) revoke(id string, m keyfold.Mutation) error {
	return again(func() error {
		changed, err := t.store.SetKeyState(t.ctx, []string{id}, keyfold.RevokeChange, "leaked", m)
		if err == nil && len(changed) != 1 {
			err = errors.New("SetKeyState passed the key over")
		}
		return err
	})
}

func racingStates(t *trial) {
	const racers = 4
	ids := t.ids(t.createMany(20))
	backwards := slices.Clone(ids)
	slices.Reverse(backwards)
	m := t.mutation(t.action(), "")
	cursor := t.cursor()
	changed := make([][]string, racers)
	errs := race(racers, func(i int) error {
		order := ids
		if i%2 == 1 {
			order = backwards
		}
		return again(func() (err error) {
			changed[i], err = t.store.SetKeyState(t.ctx, order, keyfold.RevokeChange, "", m)
			return err
		})
	})
	t.wantNoError("racing state changes", errors.Join(errs...))
	all := slices.Sorted(slices.Values(slices.Concat(changed...)))
	if !slices.Equal(all, slices.Sorted(slices.Values(ids))) {
		t.Errorf("racing state changes returned %d ids in all, want each of %d once", len(all), len(ids))
	}
	t.wantChanges(cursor, m, ids...)
	for _, id := range ids {
		if got := t.wantKey(id).Version; got != 2 {
			t.Errorf("key %s has version %d, want 2", id, got)
		}
	}
}

func stateOfNothing(t *trial) {
	m := t.mutation(t.action(), "no key")
	cursor := t.cursor()
	for _, ids := range [][]string{nil, {}, {t.id()}} {
		if changed := t.change(ids, keyfold.RevokeChange, "", m); len(changed) != 0 {
			t.Errorf("SetKeyState of %q returned %q, want nothing", ids, changed)
		}
	}
	t.wantNoRows(cursor, m)
}
