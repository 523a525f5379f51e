package storetest

import (
	"fmt"
	"net/netip"
	"reflect"
	"time"

	"github.com/keyfold/keyfold"
)

func keyCases() []testCase {
	return []testCase{
		{name: "a value in every column is returned", run: everyColumnComesBack},
		{name: "times are exact to the millisecond, at the epoch, before 1970 and in the far future", run: timesAreExact},
		{name: "times that are zero stay zero", run: zeroTimesStayZero},
		{name: "slices and maps may be nil or empty", run: emptyIsNil},
		{name: "a new key has no uses, even if the record contains some", run: newKeyHasNoUses},
		{name: "an existing ID is a conflict, and nothing of the second key is stored", run: duplicateIsConflict},
		{name: "of eight concurrent creations of an ID one succeeds", run: racingCreations},
		{name: "an unknown ID returns ErrNotFound", run: unknownIsNotFound},
		{name: "a store shares no memory with its arguments and results", run: memoryIsNotShared},
	}
}

// full returns a key with a distinct value in every field. It stores the user of the key,
// because a key needs an existing user.
func (t *trial) full() keyfold.KeyRecord {
	t.Helper()
	id, at := t.id(), t.now()
	day := func(n int) time.Time { return at.AddDate(0, 0, n).Add(time.Duration(n) * time.Millisecond) }
	key := keyfold.KeyRecord{
		Key: keyfold.Key{
			ID: id, Hint: "hint " + id, Prefix: "prefix", Environment: "environment", Name: "name " + id,
			Notes: "notes " + id, OwnerID: "owner " + id, UserID: t.addUser().ID, Tenant: "tenant " + id,
			Scopes: []string{"z:last", "a:first", "m:*"},
			Networks: []netip.Prefix{
				netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("10.1.2.3/32"),
			},
			Metadata:  map[string]string{"plan": "gold", "région": "zürich \"west\" <&>", "empty": ""},
			CreatedAt: day(1), UpdatedAt: day(2), ExpiresAt: day(3), IdleTimeout: 4*time.Hour + 5*time.Millisecond,
			DisabledAt: day(6), DisabledReason: "disabled " + id, RevokedAt: day(7), RevokedReason: "revoked " + id,
			LineageID: newID(16), RotatedFrom: newID(16), RotatedTo: newID(16),
			Version: 1, Uses: 8, LastUsedAt: day(9),
		},
		Secret:   keyfold.SecretHash{Alg: "kf2h", PepperID: "pepper-1"},
		ActiveAt: day(10),
	}
	for i := range key.Secret.Sum {
		key.Secret.Sum[i] = byte(255 - 7*i)
	}
	return key
}

// live clears the fields of a full key that end its life or contain its usage.
func live(key keyfold.KeyRecord) keyfold.KeyRecord {
	key.DisabledAt, key.DisabledReason = time.Time{}, ""
	key.RevokedAt, key.RevokedReason = time.Time{}, ""
	key.RotatedTo = ""
	key.Uses, key.LastUsedAt = 0, time.Time{}
	return key
}

func everyColumnComesBack(t *trial) {
	key := t.full()
	checked := key
	checked.UserDisabled = true // not a column: see keysReturnUserState
	for _, field := range zeroFields("KeyRecord", reflect.ValueOf(checked)) {
		t.Errorf("the suite's own key has nothing in %s: give it a value in full", field)
	}
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
	_, err := t.store.RecordUsage(t.ctx, keyfold.UsageBatch{
		RecorderID: t.id(), Number: 1, At: t.now(),
		Keys: []keyfold.KeyUses{{KeyID: key.ID, Uses: key.Uses, LastUsedAt: key.LastUsedAt}},
	})
	t.wantNoError("RecordUsage", err)

	t.wantEqual("Key", t.wantKey(key.ID), key)
	for _, scan := range []keyfold.KeyScan{
		{Index: keyfold.KeysByOwner, Value: key.OwnerID},
		{Index: keyfold.KeysByTenant, Value: key.Tenant},
		{Index: keyfold.KeysByUser, Value: key.UserID},
		{Index: keyfold.KeysExpiring, From: key.ExpiresAt, To: key.ExpiresAt.Add(time.Millisecond)},
	} {
		scan.Limit = 10
		keys, err := t.store.Keys(t.ctx, scan)
		t.wantNoError("Keys", err)
		t.wantEqual(fmt.Sprintf("Keys by index %d", scan.Index), keys, []keyfold.KeyRecord{key})
	}
	t.wantVerifyRecord(key)
}

// wantVerifyRecord checks the result of VerifyKey for a key.
func (t *trial) wantVerifyRecord(key keyfold.KeyRecord) {
	t.Helper()
	got, err := t.store.VerifyKey(t.ctx, key.ID)
	t.wantNoError("VerifyKey", err)
	want := verifyRecord(key)
	gotMetadata, wantMetadata := decode(t, got.Metadata), decode(t, want.Metadata)
	t.wantEqual("VerifyKey: Metadata", gotMetadata, wantMetadata)
	got.Metadata, want.Metadata = "", ""
	t.wantEqual("VerifyKey", got, want)
}

// zeroFields returns the names of the fields that are zero.
func zeroFields(path string, value reflect.Value) []string {
	isField := value.Kind() != reflect.Struct
	switch value.Interface().(type) {
	case time.Time, netip.Addr:
		isField = true
	}
	if isField {
		if value.IsZero() {
			return []string{path}
		}
		return nil
	}
	var names []string
	for i := range value.NumField() {
		names = append(names, zeroFields(path+"."+value.Type().Field(i).Name, value.Field(i))...)
	}
	return names
}

func timesAreExact(t *trial) {
	for _, at := range []time.Time{
		time.UnixMilli(0), time.UnixMilli(1), time.UnixMilli(-1), time.UnixMilli(-2_208_988_800_001), time.UnixMilli(999),
		time.UnixMilli(1_767_225_599_999), time.UnixMilli(1<<31*1000 + 7), time.UnixMilli(1 << 41), time.UnixMilli(253_402_300_799_999),
	} {
		at = at.UTC()
		key := t.create(func(key *keyfold.KeyRecord) {
			key.CreatedAt, key.UpdatedAt, key.ExpiresAt, key.ActiveAt = at, at, at, at
			key.DisabledAt, key.RevokedAt = at, at
		})
		t.wantEqual(fmt.Sprint("key of ", at), t.wantKey(key.ID), key)
		t.wantVerifyRecord(key)
	}
	for _, idle := range []time.Duration{time.Millisecond, 90 * 24 * time.Hour, 100 * 365 * 24 * time.Hour} {
		key := t.create(func(key *keyfold.KeyRecord) { key.IdleTimeout = idle })
		t.wantEqual(fmt.Sprint("key with idle timeout ", idle), t.wantKey(key.ID), key)
	}
}

func zeroTimesStayZero(t *trial) {
	key := t.create(func(key *keyfold.KeyRecord) { key.ExpiresAt = time.Time{} })
	t.wantEqual("Key", t.wantKey(key.ID), key)
	t.wantVerifyRecord(key)
}

func emptyIsNil(t *trial) {
	unset := t.create()
	empty := t.create(func(key *keyfold.KeyRecord) {
		key.Scopes, key.Networks, key.Metadata = []string{}, []netip.Prefix{}, map[string]string{}
	})
	for _, key := range []keyfold.KeyRecord{unset, empty} {
		t.wantEqual("Key", t.wantKey(key.ID), key)
		t.wantVerifyRecord(key)
	}
}

func newKeyHasNoUses(t *trial) {
	key := t.create(func(key *keyfold.KeyRecord) { key.Uses, key.LastUsedAt = 12, key.CreatedAt })
	key.Uses, key.LastUsedAt = 0, time.Time{}
	t.wantEqual("Key", t.wantKey(key.ID), key)
}

func duplicateIsConflict(t *trial) {
	key := t.create()
	other := t.full()
	other.ID = key.ID
	m := t.mutation("test."+t.id(), key.ID)
	cursor := t.cursor()
	t.wantError("CreateKey of an id that exists", t.store.CreateKey(t.ctx, other, m), keyfold.ErrConflict)
	t.wantEqual("the first key", t.wantKey(key.ID), key)
	t.wantNoRows(cursor, m)
}

func racingCreations(t *trial) {
	const racers = 8
	for range t.scale(30) {
		id := t.id()
		keys := make([]keyfold.KeyRecord, racers)
		for i := range keys {
			keys[i] = t.record(func(key *keyfold.KeyRecord) { key.ID, key.Name = id, fmt.Sprint("racer ", i) })
		}
		m := t.mutation("test."+id, id)
		cursor := t.cursor()
		errs := race(racers, func(i int) error {
			return again(func() error { return t.store.CreateKey(t.ctx, keys[i], m) })
		})
		winner := -1
		for i, err := range errs {
			if err == nil {
				winner = i
			}
		}
		if lost := count(errs, keyfold.ErrConflict); lost != racers-1 || winner < 0 {
			t.Fatalf("racing creations: got %v, want one nil and %d conflicts", errs, racers-1)
		}
		t.wantEqual("the winner", t.wantKey(id), keys[winner])
		if got := len(t.audited(m)); got != 1 {
			t.Errorf("racing creations wrote %d audit rows, want 1", got)
		}
		if got := len(t.changes(cursor, m.Action)); got > 1 {
			t.Errorf("racing creations wrote %d change rows, want 1", got)
		}
	}
}

func unknownIsNotFound(t *trial) {
	for _, id := range []string{t.id(), "", " ", "%", "x' OR ''='"} {
		t.wantNoKey(id)
		_, err := t.store.VerifyKey(t.ctx, id)
		t.wantError(fmt.Sprintf("VerifyKey(%q)", id), err, keyfold.ErrNotFound)
	}
}

func memoryIsNotShared(t *trial) {
	spoil := func(key keyfold.KeyRecord) {
		key.Scopes[0], key.Networks[0] = "spoilt", netip.Prefix{}
		clear(key.Metadata)
	}
	given := live(t.full())
	want := live(t.full())
	want.Key = given.Key
	want.Secret, want.ActiveAt = given.Secret, given.ActiveAt
	want.Scopes = append([]string(nil), given.Scopes...)
	want.Networks = append([]netip.Prefix(nil), given.Networks...)
	want.Metadata = map[string]string{}
	for name, value := range given.Metadata {
		want.Metadata[name] = value
	}
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, given, t.mutation("key.create", given.ID)))
	spoil(given)
	t.wantEqual("after the caller wrote to what it gave", t.wantKey(given.ID), want)
	spoil(t.wantKey(given.ID))
	t.wantEqual("after the caller wrote to what it got", t.wantKey(given.ID), want)
}
