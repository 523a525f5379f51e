package storetest

import (
	"slices"

	"github.com/keyfold/keyfold"
)

// cursor returns a cursor for the current end of the feed.
func (t *trial) cursor() string {
	t.Helper()
	changes, cursor, err := t.store.Changes(t.ctx, "")
	t.wantNoError("Changes", err)
	if len(changes) != 0 {
		t.Errorf("Changes of an empty cursor returned %d changes, want none", len(changes))
	}
	return cursor
}

// changes returns the changes of one action since the cursor. It drops repetitions, which
// a feed may contain.
func (t *trial) changes(cursor, action string) []keyfold.Change {
	t.Helper()
	changes, _, err := t.store.Changes(t.ctx, cursor)
	t.wantNoError("Changes", err)
	var found []keyfold.Change
	for _, change := range changes {
		if change.Action == action && !slices.ContainsFunc(found, func(seen keyfold.Change) bool { return seen.Seq == change.Seq }) {
			found = append(found, change)
		}
	}
	return found
}

// audited returns the audit entries of one mutation, newest first.
func (t *trial) audited(m keyfold.Mutation) []keyfold.AuditEntry {
	t.Helper()
	page, err := t.store.Audit(t.ctx, keyfold.AuditScan{Target: m.Target, Limit: 200})
	t.wantNoError("Audit", err)
	return slices.DeleteFunc(page, func(entry keyfold.AuditEntry) bool { return entry.Action != m.Action })
}

// wantRows checks the change rows of a mutation as wantChanges does, and that it wrote one
// audit row with all its fields.
func (t *trial) wantRows(cursor string, m keyfold.Mutation, targets ...string) {
	t.Helper()
	t.wantChanges(cursor, m, targets...)
	entries := t.audited(m)
	if len(entries) != 1 {
		t.Errorf("%s wrote %d audit rows, want 1", m.Action, len(entries))
		return
	}
	t.wantEqual(m.Action+": audit row", entries[0].Mutation, m)
	if entries[0].Seq <= 0 {
		t.Errorf("%s: audit row has number %d, want one above 0", m.Action, entries[0].Seq)
	}
}

// wantChanges checks that a mutation wrote exactly one change row for each target. A
// store without transactions may write a row again, because a caller that completes the
// mutation of another one does not know whether the row was returned in time.
func (t *trial) wantChanges(cursor string, m keyfold.Mutation, targets ...string) {
	t.Helper()
	var got []string
	for _, change := range t.changes(cursor, m.Action) {
		got = append(got, change.Target)
		if !change.At.Equal(m.At) {
			t.Errorf("%s: change row has time %v, want %v", m.Action, change.At, m.At)
		}
	}
	slices.Sort(got)
	slices.Sort(targets)
	once := slices.Compact(slices.Clone(got))
	if len(once) < len(got) && !t.hasTx() {
		got = once
	}
	if !slices.Equal(got, targets) {
		t.Errorf("%s wrote change rows for %q, want %q", m.Action, got, targets)
	}
}

// wantNoRows checks that a failed mutation wrote no change row and no audit row.
func (t *trial) wantNoRows(cursor string, m keyfold.Mutation) {
	t.Helper()
	t.wantChanges(cursor, m)
	if entries := t.audited(m); len(entries) != 0 {
		t.Errorf("%s failed and wrote %d audit rows, want none", m.Action, len(entries))
	}
}

// action returns a unique action.
func (t *trial) action() string { return "test." + t.id() }
