package storetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

func listCases() []testCase {
	return []testCase{
		{name: "keys are listed newest first, by time and then ID, page by page", run: listsAreOrdered},
		{name: "keys of the same millisecond are ordered by the bytes of their IDs", run: listsOrderByBytes},
		{name: "a list of all keys contains every key", run: listOfAll, alone: true},
		{name: "a list by owner or tenant contains only their keys", run: listsByLabel},
		{name: "a list of expiring keys has an inclusive start and an exclusive end", run: listOfExpiring},
		{name: "a list without matches is empty", run: listOfNothing},
		{name: "a walk returns every remaining key exactly once while other keys are created and deleted", run: walkIsStable},
	}
}

// walk reads all pages of a scan.
func (t *trial) walk(scan keyfold.KeyScan, between func()) []keyfold.KeyRecord {
	t.Helper()
	var all []keyfold.KeyRecord
	for range 1000 {
		page, err := t.store.Keys(t.ctx, scan)
		t.wantNoError("Keys", err)
		if len(page) > scan.Limit {
			t.Fatalf("Keys returned %d keys, want at most %d", len(page), scan.Limit)
		}
		all = append(all, page...)
		if len(page) < scan.Limit {
			return all
		}
		last := page[len(page)-1]
		scan.After = keyfold.Position{At: last.CreatedAt, ID: last.ID}
		if scan.Index == keyfold.KeysExpiring {
			scan.After.At = last.ExpiresAt
		}
		if between != nil {
			between()
		}
	}
	t.Fatalf("a walk over %d keys does not end", len(all))
	return nil
}

// newestFirst orders keys like most scans.
func newestFirst(a, b keyfold.KeyRecord) int {
	if order := b.CreatedAt.Compare(a.CreatedAt); order != 0 {
		return order
	}
	return strings.Compare(b.ID, a.ID)
}

func listsAreOrdered(t *trial) {
	owner, begin := t.id(), t.now()
	keys := t.createMany(13, func(key *keyfold.KeyRecord) {
		// Three keys share each millisecond, and their IDs are random.
		key.OwnerID, key.Tenant = owner, owner
		key.CreatedAt = begin.Add(time.Duration(key.ID[0]%4) * time.Millisecond)
	})
	slices.SortFunc(keys, newestFirst)
	for _, index := range []keyfold.KeyIndex{keyfold.KeysByOwner, keyfold.KeysByTenant} {
		for _, limit := range []int{1, 2, 5, 13, 200} {
			got := t.walk(keyfold.KeyScan{Index: index, Value: owner, Limit: limit}, nil)
			t.wantEqual(fmt.Sprintf("index %d in pages of %d", index, limit), got, keys)
		}
	}
}

func listsOrderByBytes(t *trial) {
	owner, base, at := t.id(), newID(8), t.now()
	// In byte order, which differs from every collation.
	ids := []string{"", " x", "-a", "0", "B1", "Zb", "_c", "aa", "é", "鍵"}
	for i := range ids {
		ids[i] = base + ids[i]
	}
	for _, i := range []int{3, 9, 0, 7, 5, 2, 8, 1, 4, 6} {
		t.create(func(key *keyfold.KeyRecord) { key.ID, key.OwnerID, key.CreatedAt = ids[i], owner, at })
	}
	slices.Reverse(ids)
	for _, limit := range []int{1, 3, 50} {
		got := t.ids(t.walk(keyfold.KeyScan{Index: keyfold.KeysByOwner, Value: owner, Limit: limit}, nil))
		if !slices.Equal(got, ids) {
			t.Errorf("in pages of %d: got %q, want %q", limit, got, ids)
		}
	}
}

func listOfAll(t *trial) {
	keys := t.createMany(7, func(key *keyfold.KeyRecord) { key.OwnerID = key.ID[:1] })
	t.set(keys[2].ID, keyfold.RevokeChange)
	t.set(keys[3].ID, keyfold.DisableChange)
	for i := range keys {
		keys[i] = t.wantKey(keys[i].ID)
	}
	slices.SortFunc(keys, newestFirst)
	for _, limit := range []int{1, 3, 7, 8} {
		got := t.walk(keyfold.KeyScan{Index: keyfold.KeysAll, Limit: limit}, nil)
		t.wantEqual(fmt.Sprintf("all keys in pages of %d", limit), got, keys)
	}
}

func listsByLabel(t *trial) {
	mine, yours := t.id(), t.id()
	a := t.create(func(key *keyfold.KeyRecord) { key.OwnerID, key.Tenant = mine, yours })
	b := t.create(func(key *keyfold.KeyRecord) { key.OwnerID, key.Tenant = yours, mine })
	for _, row := range []struct {
		index keyfold.KeyIndex
		value string
		want  string
	}{
		{keyfold.KeysByOwner, mine, a.ID},
		{keyfold.KeysByOwner, yours, b.ID},
		{keyfold.KeysByTenant, mine, b.ID},
		{keyfold.KeysByTenant, yours, a.ID},
	} {
		got := t.ids(t.walk(keyfold.KeyScan{Index: row.index, Value: row.value, Limit: 10}, nil))
		if !slices.Equal(got, []string{row.want}) {
			t.Errorf("index %d of %q: got %q, want only %q", row.index, row.value, got, row.want)
		}
	}
}

func listOfExpiring(t *trial) {
	// The window is far in the future, so that it contains no keys of other cases.
	from := time.UnixMilli(9_000_000_000_000).UTC()
	to := from.Add(10 * time.Millisecond)
	var want []keyfold.KeyRecord
	for i, after := range []time.Duration{-1, 0, 0, 1, 5, 5, 5, 9, 10, 11} {
		key := t.create(func(key *keyfold.KeyRecord) { key.ExpiresAt = from.Add(after * time.Millisecond) })
		switch i { // keys in every state are listed
		case 3:
			t.set(key.ID, keyfold.RevokeChange)
		case 4:
			t.set(key.ID, keyfold.DisableChange)
		}
		if 0 <= after && after < 10 {
			want = append(want, t.wantKey(key.ID))
		}
	}
	t.create(func(key *keyfold.KeyRecord) { key.ExpiresAt = time.Time{} })
	slices.SortFunc(want, func(a, b keyfold.KeyRecord) int {
		if order := a.ExpiresAt.Compare(b.ExpiresAt); order != 0 {
			return order
		}
		return strings.Compare(a.ID, b.ID)
	})
	for _, limit := range []int{1, 2, 7, 50} {
		got := t.walk(keyfold.KeyScan{Index: keyfold.KeysExpiring, From: from, To: to, Limit: limit}, nil)
		t.wantEqual(fmt.Sprintf("expiring keys in pages of %d", limit), got, want)
	}
}

func listOfNothing(t *trial) {
	t.create()
	for _, scan := range []keyfold.KeyScan{
		{Index: keyfold.KeysByOwner, Value: t.id(), Limit: 10},
		{Index: keyfold.KeysByTenant, Value: t.id(), Limit: 10},
		{Index: keyfold.KeysByUser, Value: t.id(), Limit: 10},
		{Index: keyfold.KeysExpiring, From: t.clock, To: t.clock, Limit: 10},
		{Index: keyfold.KeysAll, After: keyfold.Position{At: time.UnixMilli(-9_000_000_000_000), ID: "0"}, Limit: 10},
	} {
		if keys := t.walk(scan, nil); len(keys) != 0 {
			t.Errorf("index %d returned %d keys, want none", scan.Index, len(keys))
		}
	}
}

func walkIsStable(t *trial) {
	owner, begin := t.id(), t.now()
	mine := func(key *keyfold.KeyRecord) {
		key.OwnerID = owner
		key.CreatedAt = begin.Add(time.Duration(key.ID[1]%3) * time.Millisecond)
	}
	stays, goes := t.createMany(12, mine), t.createMany(12, mine)
	got := t.walk(keyfold.KeyScan{Index: keyfold.KeysByOwner, Value: owner, Limit: 2}, func() {
		// Between two pages one key is created and one is deleted.
		if len(goes) > 0 {
			t.create(mine)
			t.delete(goes[0].ID)
			goes = goes[1:]
		}
	})
	seen := map[string]int{}
	for _, key := range got {
		seen[key.ID]++
	}
	for _, key := range stays {
		if seen[key.ID] == 0 {
			t.Errorf("the walk passed over key %s, which existed throughout", key.ID)
		}
	}
	for id, n := range seen {
		if n > 1 {
			t.Errorf("the walk showed key %s %d times", id, n)
		}
	}
}
