package storetest

import (
	"errors"
	"slices"
	"strings"

	"github.com/keyfold/keyfold"
)

func settingCases() []testCase {
	return []testCase{
		{name: "an unknown setting returns ErrNotFound", run: unknownSetting},
		{name: "an added setting is returned byte for byte, also in a transaction", run: addedSetting},
		{name: "adding an existing setting changes nothing and returns its value", run: settingIsKept},
		{name: "of concurrent additions one succeeds, and all return its value", run: racingAdditions},
		{name: "adding a setting writes neither change rows nor audit rows", run: addedSettingWritesNoRows, alone: true},
		{name: "setting a value replaces it, and writes a change row and an audit row", run: settingIsReplaced},
		{name: "concurrent replacements of a new setting all succeed, and one value is kept", run: racingReplacements},
		{name: "names of settings are compared byte by byte", run: settingsAreOpaque},
	}
}

func checkCases() []testCase {
	return []testCase{
		{name: "a store with the current schema passes the check, also in a transaction", run: checkPasses},
		{name: "a check writes nothing", run: checkWritesNothing, alone: true},
	}
}

// wantSetting returns a setting, which must exist.
func (t *trial) wantSetting(name string) string {
	t.Helper()
	value, err := t.store.Setting(t.ctx, name)
	t.wantNoError("Setting", err)
	return value
}

func (t *trial) wantNoSetting(name string) {
	t.Helper()
	_, err := t.store.Setting(t.ctx, name)
	t.wantError("Setting", err, keyfold.ErrNotFound)
}

func (t *trial) addSetting(name, value string) (stored string) {
	t.Helper()
	stored, err := t.store.AddSetting(t.ctx, name, value)
	t.wantNoError("AddSetting", err)
	return stored
}

func unknownSetting(t *trial) { t.wantNoSetting(t.id()) }

func addedSetting(t *trial) {
	for _, value := range []string{"plain", "", "é e\u0301 'quoted' \\ \x01 中", strings.Repeat("\x01", 100_000)} {
		name := t.id()
		t.wantEqual("the value that AddSetting returned", t.addSetting(name, value), value)
		t.wantEqual("the value", t.wantSetting(name), value)
		t.wantNoError("a transaction", t.inTx(func(tx keyfold.Store) error {
			got, err := tx.Setting(t.ctx, name)
			t.wantEqual("the value within a transaction", got, value)
			return err
		}))
	}
}

func settingIsKept(t *trial) {
	name := t.id()
	t.addSetting(name, "first")
	t.wantEqual("AddSetting of a second value", t.addSetting(name, "second"), "first")
	t.wantEqual("the value", t.wantSetting(name), "first")
	t.wantNoError("a transaction", t.inTx(func(tx keyfold.Store) error {
		got, err := tx.AddSetting(t.ctx, name, "third")
		t.wantEqual("AddSetting within a transaction", got, "first")
		return err
	}))
}

func racingAdditions(t *trial) {
	for range t.scale(20) {
		name := t.id()
		values := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
		stored := make([]string, len(values))
		errs := race(len(values), func(i int) (err error) {
			stored[i], err = t.store.AddSetting(t.ctx, name, values[i])
			return err
		})
		t.wantNoError("racing AddSetting", errors.Join(errs...))
		won := t.wantSetting(name)
		for i := range stored {
			t.wantEqual("the answer to "+values[i], stored[i], won)
		}
	}
}

func addedSettingWritesNoRows(t *trial) {
	cursor := t.cursor()
	t.addSetting("a", "value")
	changes, _, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	if entries := t.entries(keyfold.AuditScan{Limit: 10}, nil); len(changes) != 0 || len(entries) != 0 {
		t.Errorf("AddSetting wrote %d change rows and %d audit rows, want none", len(changes), len(entries))
	}
}

func settingIsReplaced(t *trial) {
	name := t.id()
	for _, value := range []string{"first", "second", "second"} {
		m := t.mutation(t.action(), name)
		cursor := t.cursor()
		t.wantNoError("SetSetting", t.store.SetSetting(t.ctx, name, value, m))
		t.wantEqual("the value", t.wantSetting(name), value)
		t.wantRows(cursor, m, name)
	}
}

func racingReplacements(t *trial) {
	for range t.scale(10) {
		name := t.id()
		var mutations [8]keyfold.Mutation
		for i := range mutations {
			mutations[i] = t.mutation(t.action(), name)
		}
		values := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
		errs := race(len(mutations), func(i int) error {
			return again(func() error { return t.store.SetSetting(t.ctx, name, values[i], mutations[i]) })
		})
		t.wantNoError("racing SetSetting", errors.Join(errs...))
		if got := t.wantSetting(name); !slices.Contains(values, got) {
			t.Errorf("the value is %q, want one of %q", got, values)
		}
	}
}

func settingsAreOpaque(t *trial) {
	base := t.id() + "x"
	names := []string{base, base + " ", base + "X", base + "é", base + "e\u0301"}
	for _, name := range names {
		t.wantEqual("AddSetting", t.addSetting(name, "of "+name), "of "+name)
	}
	for _, name := range names {
		t.wantEqual("the value", t.wantSetting(name), "of "+name)
	}
}

func checkPasses(t *trial) {
	for range 2 {
		t.wantNoError("Check", t.store.Check(t.ctx))
	}
	t.create()
	t.wantNoError("Check after a change", t.store.Check(t.ctx))
	t.wantNoError("Check within a transaction", t.inTx(func(tx keyfold.Store) error { return tx.Check(t.ctx) }))
}

func checkWritesNothing(t *trial) {
	cursor := t.cursor()
	t.wantNoError("Check", t.store.Check(t.ctx))
	changes, _, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	if entries := t.entries(keyfold.AuditScan{Limit: 10}, nil); len(changes) != 0 || len(entries) != 0 {
		t.Errorf("Check wrote %d change rows and %d audit rows, want none", len(changes), len(entries))
	}
}
