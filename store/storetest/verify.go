package storetest

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

func verifyCases() []testCase {
	return []testCase{
		{name: "VerifyKey returns a change as soon as it is committed", run: verifyIsNotStale},
		{name: "the last use is returned only for keys with an idle timeout", run: lastUseForIdleTimeout},
	}
}

// verifyRecord returns the result that VerifyKey must have for a key.
func verifyRecord(key keyfold.KeyRecord) keyfold.VerifyRecord {
	record := keyfold.VerifyRecord{
		KeyID: key.ID, Secret: key.Secret, Prefix: key.Prefix, Environment: key.Environment, Name: key.Name,
		OwnerID: key.OwnerID, UserID: key.UserID, Tenant: key.Tenant, Scopes: strings.Join(key.Scopes, " "),
		ExpiresAt: keyfold.NoDeadline, IdleTimeout: key.IdleTimeout.Milliseconds(), ActiveAt: key.ActiveAt.UnixMilli(),
		Disabled: !key.DisabledAt.IsZero(), Revoked: !key.RevokedAt.IsZero(),
	}
	networks := make([]string, len(key.Networks))
	for i, network := range key.Networks {
		networks[i] = network.String()
	}
	record.Networks = strings.Join(networks, " ")
	if !key.ExpiresAt.IsZero() {
		record.ExpiresAt = key.ExpiresAt.UnixMilli()
	}
	if key.IdleTimeout > 0 && !key.LastUsedAt.IsZero() {
		record.LastUsedAt = key.LastUsedAt.UnixMilli()
	}
	if len(key.Metadata) > 0 {
		text, _ := json.Marshal(key.Metadata)
		record.Metadata = string(text)
	}
	return record
}

// decode decodes the metadata of a VerifyRecord, whose members may have any order.
func decode(t *trial, text string) map[string]string {
	t.Helper()
	metadata := map[string]string{}
	if text != "" {
		t.wantNoError("metadata as JSON", json.Unmarshal([]byte(text), &metadata))
		if len(metadata) == 0 {
			t.Errorf("metadata: got %q, want the empty string where there is none", text)
		}
	}
	return metadata
}

func verifyIsNotStale(t *trial) {
	key := live(t.full())
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
	t.wantVerifyRecord(key)

	key.Name, key.Scopes, key.OwnerID = "another name", []string{"other:scope"}, "another owner"
	t.wantNoError("UpdateKey", t.store.UpdateKey(t.ctx, key, t.mutation("key.update", key.ID)))
	t.wantVerifyRecord(key)

	m := t.mutation("key.renew", key.ID)
	key.ExpiresAt, key.ActiveAt = t.now().Add(time.Hour), m.At
	t.wantNoError("RenewKey", t.store.RenewKey(t.ctx, key.ID, 2, key.ExpiresAt, m))
	t.wantVerifyRecord(key)

	secret := keyfold.SecretHash{Alg: "kf2h", PepperID: "another", Sum: [32]byte{9}}
	t.wantNoError("RehashKey", t.store.RehashKey(t.ctx, key.ID, key.Secret, secret))
	key.Secret = secret
	t.wantVerifyRecord(key)

	key.LastUsedAt = t.now()
	_, err := t.store.RecordUsage(t.ctx, keyfold.UsageBatch{
		RecorderID: t.id(), Number: 1, At: t.now(),
		Keys: []keyfold.KeyUses{{KeyID: key.ID, Uses: 1, LastUsedAt: key.LastUsedAt}},
	})
	t.wantNoError("RecordUsage", err)
	t.wantVerifyRecord(key)

	t.set(key.ID, keyfold.DisableChange)
	key.DisabledAt = t.now()
	t.wantVerifyRecord(key)

	t.set(key.ID, keyfold.EnableChange)
	key.DisabledAt, key.ActiveAt = time.Time{}, t.wantKey(key.ID).ActiveAt
	t.wantVerifyRecord(key)

	rotation := t.rotation(t.wantKey(key.ID))
	t.wantNoError("RotateKey", t.store.RotateKey(t.ctx, rotation, t.mutation("key.rotate", key.ID)))
	key.ExpiresAt = rotation.OldEnd
	t.wantVerifyRecord(key)
	t.wantVerifyRecord(rotation.New)

	t.set(key.ID, keyfold.RevokeChange)
	key.RevokedAt = t.now()
	t.wantVerifyRecord(key)

	t.wantNoError("DeleteKey", t.store.DeleteKey(t.ctx, key.ID, t.mutation("key.delete", key.ID)))
	_, err = t.store.VerifyKey(t.ctx, key.ID)
	t.wantError("VerifyKey of a key that was deleted", err, keyfold.ErrNotFound)
}

func lastUseForIdleTimeout(t *trial) {
	idle := t.create(func(key *keyfold.KeyRecord) { key.IdleTimeout = time.Hour })
	other := t.create()
	used := t.now()
	_, err := t.store.RecordUsage(t.ctx, keyfold.UsageBatch{
		RecorderID: t.id(), Number: 1, At: t.now(),
		Keys: []keyfold.KeyUses{
			{KeyID: idle.ID, Uses: 1, LastUsedAt: used}, {KeyID: other.ID, Uses: 1, LastUsedAt: used},
		},
	})
	t.wantNoError("RecordUsage", err)
	idle.LastUsedAt, other.LastUsedAt = used, used
	t.wantVerifyRecord(idle)
	t.wantVerifyRecord(other)
}
