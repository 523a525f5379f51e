package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/keyfold/keyfold"
)

func auditCases() []testCase {
	return []testCase{
		{name: "entries are listed newest first, page by page, each once", run: auditIsOrdered},
		{name: "entries are filtered by target", run: auditByTarget},
		{name: "a walk over entries is not affected by newer entries", run: auditWalkIsStable},
		{name: "an empty log returns an empty page", run: emptyAudit, alone: true},
		{name: "the entries of a deleted key are kept", run: auditOutlivesKey},
	}
}

// entries returns the entries of all pages of a scan.
func (t *trial) entries(scan keyfold.AuditScan, between func()) []keyfold.AuditEntry {
	t.Helper()
	var all []keyfold.AuditEntry
	for range 1000 {
		page, err := t.store.Audit(t.ctx, scan)
		t.wantNoError("Audit", err)
		if len(page) > scan.Limit {
			t.Fatalf("Audit returned %d entries, want at most %d", len(page), scan.Limit)
		}
		all = append(all, page...)
		if len(page) < scan.Limit {
			return all
		}
		scan.AfterSeq = page[len(page)-1].Seq
		if between != nil {
			between()
		}
	}
	t.Fatalf("a walk over %d entries does not end", len(all))
	return nil
}

// actions returns the actions of the entries, which are unique in each case.
func actions(entries []keyfold.AuditEntry) []string {
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Action
	}
	return names
}

func auditIsOrdered(t *trial) {
	a, b := t.create(), t.create()
	want := []string{"key.create"}
	for n := range 9 {
		// Times run backwards, because entries are ordered by number.
		want = append(want, t.renew(a.ID, t.now().Add(-time.Duration(n)*time.Hour)))
		t.renew(b.ID, t.now())
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 3, 10, 200} {
		got := t.entries(keyfold.AuditScan{Target: a.ID, Limit: limit}, nil)
		if !slices.Equal(actions(got), want) {
			t.Errorf("in pages of %d: got %q, want %q", limit, actions(got), want)
		}
		for i := 1; i < len(got); i++ {
			if got[i].Seq >= got[i-1].Seq {
				t.Errorf("entry %d is followed by %d, want a smaller number", got[i-1].Seq, got[i].Seq)
			}
		}
	}
}

func auditByTarget(t *trial) {
	keys := t.createMany(3)
	for _, key := range keys {
		t.renew(key.ID, t.now())
	}
	for _, key := range keys {
		for _, entry := range t.entries(keyfold.AuditScan{Target: key.ID, Limit: 50}, nil) {
			if entry.Target != key.ID {
				t.Errorf("the log of key %s shows %s", key.ID, entry.Target)
			}
		}
	}
	newest, err := t.store.Audit(t.ctx, keyfold.AuditScan{Limit: 3})
	t.wantNoError("Audit", err)
	for i, entry := range newest {
		if want := keys[2-i].ID; entry.Target != want {
			t.Errorf("entry %d of the whole log is about %s, want %s", i, entry.Target, want)
		}
	}
	if unknown := t.entries(keyfold.AuditScan{Target: t.id(), Limit: 5}, nil); len(unknown) != 0 {
		t.Errorf("an unknown target has %d entries, want none", len(unknown))
	}
}

func auditWalkIsStable(t *trial) {
	key := t.create()
	var want []string
	for range 7 {
		want = append(want, t.renew(key.ID, t.now()))
	}
	want = append([]string{"key.create"}, want...)
	slices.Reverse(want)
	got := t.entries(keyfold.AuditScan{Target: key.ID, Limit: 3}, func() { t.renew(key.ID, t.now()) })
	if !slices.Equal(actions(got), want) {
		t.Errorf("the walk showed %q, want %q", actions(got), want)
	}
}

func emptyAudit(t *trial) {
	for _, scan := range []keyfold.AuditScan{{Limit: 10}, {Limit: 10, Target: "x"}, {Limit: 10, AfterSeq: 5}} {
		if got := t.entries(scan, nil); len(got) != 0 {
			t.Errorf("%+v: got %d entries, want none", scan, len(got))
		}
	}
}

func auditOutlivesKey(t *trial) {
	key := t.create()
	t.delete(key.ID)
	got := fmt.Sprint(actions(t.entries(keyfold.AuditScan{Target: key.ID, Limit: 10}, nil)))
	if want := "[key.delete key.create]"; got != want {
		t.Errorf("the log of a deleted key is %s, want %s", got, want)
	}
}
