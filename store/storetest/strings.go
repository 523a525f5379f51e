package storetest

import (
	"fmt"
	"time"

	"github.com/keyfold/keyfold"
)

func stringCases() []testCase {
	return []testCase{
		{name: "key IDs are compared byte by byte", run: keyIDsAreOpaque},
		{name: "owner IDs are compared byte by byte: trailing space, case, normalization", run: ownersAreOpaque},
		{name: "tenants are compared byte by byte: trailing space, case, normalization", run: tenantsAreOpaque},
		{name: "recorder IDs are compared byte by byte: trailing space, case, normalization", run: recordersAreOpaque},
		{name: "texts are returned byte for byte", run: textsAreOpaque},
	}
}

// variants returns different strings that some collations treat as equal. They are as
// short as a key ID.
func variants() []string {
	base := newID(8)
	return []string{
		base + "kd", base + "kD", base + "KD", base + "kd ", base + "kd  ", base + "k", base + "kd\u200b",
		base + "k\u00e9", base + "ke\u0301", base + "ke", base + "ss", base + "\u00df", base + "\uff4b",
	}
}

func keyIDsAreOpaque(t *trial) {
	ids := variants()
	for i, id := range ids {
		t.create(func(key *keyfold.KeyRecord) { key.ID, key.Name = id, fmt.Sprint("key ", i) })
	}
	for i, id := range ids {
		want := fmt.Sprint("key ", i)
		key := t.wantKey(id)
		if key.ID != id || key.Name != want {
			t.Errorf("Key(%+q) returned %+q named %q, want the one named %q", id, key.ID, key.Name, want)
		}
		record, err := t.store.VerifyKey(t.ctx, id)
		t.wantNoError("VerifyKey", err)
		if record.KeyID != id || record.Name != want {
			t.Errorf("VerifyKey(%+q) returned %+q named %q, want the one named %q", id, record.KeyID, record.Name, want)
		}
		entries, err := t.store.Audit(t.ctx, keyfold.AuditScan{Target: id, Limit: 50})
		t.wantNoError("Audit", err)
		if len(entries) != 1 {
			t.Errorf("Audit of target %+q returned %d entries, want 1", id, len(entries))
		}
	}
	t.useEach(ids)
	for i, id := range ids {
		t.wantNoError("DeleteKey", t.store.DeleteKey(t.ctx, id, t.mutation("key.delete", id)))
		t.wantNoKey(id)
		for _, later := range ids[i+1:] {
			t.wantKey(later)
		}
	}
}

// useEach records a different number of uses for each key and checks the totals.
func (t *trial) useEach(ids []string) {
	t.Helper()
	batch := keyfold.UsageBatch{RecorderID: t.id(), Number: 1, At: t.now()}
	hour := t.now().Truncate(time.Hour)
	for i, id := range ids {
		batch.Keys = append(batch.Keys, keyfold.KeyUses{KeyID: id, Uses: int64(i + 1), LastUsedAt: t.now()})
		batch.Hours = append(batch.Hours, keyfold.UsageHour{KeyID: id, HourAt: hour, Count: int64(i + 1)})
		batch.Events = append(batch.Events, keyfold.UsageEvent{At: t.now(), KeyID: id})
	}
	_, err := t.store.RecordUsage(t.ctx, batch)
	t.wantNoError("RecordUsage", err)
	for i, id := range ids {
		if got := t.wantKey(id).Uses; got != int64(i+1) {
			t.Errorf("key %+q has %d uses, want %d", id, got, i+1)
		}
		scan := keyfold.UsageScan{KeyID: id, From: hour, To: t.clock.Add(time.Hour), Limit: 50}
		events, err := t.store.UsageEvents(t.ctx, scan)
		t.wantNoError("UsageEvents", err)
		if len(events) != 1 || events[0].KeyID != id {
			t.Errorf("UsageEvents of key %+q returned %v, want its one event", id, events)
		}
		hours, err := t.store.UsageHours(t.ctx, scan)
		t.wantNoError("UsageHours", err)
		if len(hours) != 1 || hours[0].Count != int64(i+1) {
			t.Errorf("UsageHours of key %+q returned %v, want a count of %d", id, hours, i+1)
		}
	}
}

func ownersAreOpaque(t *trial) {
	labelsAreOpaque(t, keyfold.KeysByOwner, func(key *keyfold.KeyRecord, owner string) { key.OwnerID = owner })
}

func tenantsAreOpaque(t *trial) {
	labelsAreOpaque(t, keyfold.KeysByTenant, func(key *keyfold.KeyRecord, tenant string) { key.Tenant = tenant })
}

func labelsAreOpaque(t *trial, index keyfold.KeyIndex, set func(*keyfold.KeyRecord, string)) {
	labels := variants()
	ids := make([]string, len(labels))
	for i, label := range labels {
		ids[i] = t.create(func(key *keyfold.KeyRecord) { set(key, label) }).ID
	}
	for i, label := range labels {
		keys, err := t.store.Keys(t.ctx, keyfold.KeyScan{Index: index, Value: label, Limit: 50})
		t.wantNoError("Keys", err)
		if len(keys) != 1 || keys[0].ID != ids[i] {
			t.Errorf("Keys of %+q returned %d keys, want the one that was created with it", label, len(keys))
		}
	}
}

func recordersAreOpaque(t *trial) {
	for _, recorder := range variants() {
		result, err := t.store.RecordUsage(t.ctx, keyfold.UsageBatch{RecorderID: recorder, Number: 1, At: t.now()})
		t.wantNoError("RecordUsage", err)
		if result.Duplicate {
			t.Errorf("the first batch of recorder %+q was taken for one of another", recorder)
		}
	}
}

// texts are texts that a store might misinterpret.
func texts() []string {
	return []string{
		" blanks around ", `quotes ' " ` + "`", `back\slash \n \0 \' %`, "%_?$1:name@name", "e\u0301 and \u00e9",
		"\U0001f511 \u202e \ufffd ", "NULL", "0", "{}", "[]", "тест 鍵 🗝️",
	}
}

func textsAreOpaque(t *trial) {
	for _, text := range texts() {
		key := t.create(func(key *keyfold.KeyRecord) {
			key.Name, key.Notes, key.OwnerID, key.Tenant = text, text, text, text
			key.Hint, key.RevokedReason, key.DisabledReason = text, text, text
			key.Metadata = map[string]string{text: text}
		})
		t.wantEqual(fmt.Sprintf("text %+q", text), t.wantKey(key.ID), key)
	}
}
