package storetest

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

func limitCases() []testCase {
	return []testCase{
		{name: "the longest values of a key survive byte for byte", run: longestKey},
		{name: "the longest values of an edit survive byte for byte", run: longestEdit},
		{name: "the longest reasons survive byte for byte", run: longestReasons},
		{name: "the longest values of a user and a one-time token survive byte for byte", run: longestUser},
		{name: "the longest values of an event survive byte for byte", run: longestEvent},
		{name: "the longest values of a mutation survive byte for byte", run: longestMutation},
		{name: "the largest counts are returned exactly", run: largestCounts},
		{name: "a page of two hundred of the largest keys is returned", run: largestPage},
	}
}

// fill returns a text with the given number of bytes, of the longest possible characters.
func fill(bytes int) string {
	return strings.Repeat("\U0001f5dd", bytes/4) + "....."[:bytes%4]
}

// longest returns a key with the longest values that a Service accepts.
func (t *trial) longest() keyfold.KeyRecord {
	key := live(t.full())
	key.Prefix, key.Environment = strings.Repeat("p", 16), strings.Repeat("e", 16)
	key.Name = strings.Repeat("\U0001f511", 128) // 128 code points of 4 bytes
	key.Notes = fill(2048)
	key.OwnerID, key.Tenant = key.ID+fill(111)+"o", key.ID+fill(111)+"t"
	key.Hint = "kf_" + strings.Repeat("h", 50) + "…"
	key.Secret.PepperID = strings.Repeat("i", 32)
	key.Scopes, key.Networks = nil, nil
	for n := range 64 {
		key.Scopes = append(key.Scopes, fmt.Sprintf("%03d:%s", n, strings.Repeat("s", 124)))
		address := netip.MustParseAddr(fmt.Sprintf("2001:1db8:ffff:ffff:ffff:ffff:ffff:ff%02x", n))
		key.Networks = append(key.Networks, netip.PrefixFrom(address, 128))
	}
	key.Metadata = map[string]string{}
	for n := range 32 {
		key.Metadata[fmt.Sprintf("%04d", n)] = fill(117)
	}
	key.Metadata["0000"] = fill(148) // 4 KiB as JSON in all
	return key
}

func longestKey(t *trial) {
	key := t.longest()
	t.wantNoError("CreateKey", t.store.CreateKey(t.ctx, key, t.mutation("key.create", key.ID)))
	t.wantEqual("Key", t.wantKey(key.ID), key)
	t.wantVerifyRecord(key)
	for index, value := range map[keyfold.KeyIndex]string{keyfold.KeysByOwner: key.OwnerID, keyfold.KeysByTenant: key.Tenant} {
		keys, err := t.store.Keys(t.ctx, keyfold.KeyScan{Index: index, Value: value, Limit: 10})
		t.wantNoError("Keys", err)
		t.wantEqual(fmt.Sprintf("Keys by index %d", index), keys, []keyfold.KeyRecord{key})
		keys, err = t.store.Keys(t.ctx, keyfold.KeyScan{Index: index, Value: value[:len(value)-1], Limit: 10})
		t.wantNoError("Keys", err)
		if len(keys) != 0 {
			t.Errorf("index %d of a value one byte shorter returned %d keys, want none", index, len(keys))
		}
	}
}

func longestEdit(t *trial) {
	key, edit := t.create(), t.longest()
	edit.ID, edit.Version = key.ID, key.Version
	t.wantNoError("UpdateKey", t.store.UpdateKey(t.ctx, edit, t.mutation("key.update", key.ID)))
	key.Name, key.Notes, key.OwnerID, key.Tenant = edit.Name, edit.Notes, edit.OwnerID, edit.Tenant
	key.Scopes, key.Networks, key.Metadata = edit.Scopes, edit.Networks, edit.Metadata
	key.IdleTimeout, key.UpdatedAt = edit.IdleTimeout, edit.UpdatedAt
	key.Version++
	t.wantEqual("Key", t.wantKey(key.ID), key)
}

func longestReasons(t *trial) {
	key, reason := t.create(), strings.Repeat("\U0001f6ab", 256) // 256 code points of 4 bytes
	ids := []string{key.ID}
	t.change(ids, keyfold.DisableChange, reason, t.mutation("key.disable", key.ID))
	t.change(ids, keyfold.RevokeChange, reason, t.mutation("key.revoke", key.ID))
	if got := t.wantKey(key.ID); got.DisabledReason != reason || got.RevokedReason != reason {
		t.Errorf("reasons of %d bytes came back with %d and %d", len(reason), len(got.DisabledReason), len(got.RevokedReason))
	}
}

func longestUser(t *trial) {
	user := t.fullUser()
	// The texts differ only in the last byte or character. User IDs have the same
	// maximum length as key IDs.
	user.Username = strings.Repeat("\U0001f464", 64) // 64 code points of 4 bytes
	user.UsernameKey = strings.Repeat("\U0001f464", 63-len(user.ID)/4) + user.ID + "\U0001f511"
	user.Email, user.EmailKey = user.ID+fill(238), user.ID+fill(237)+"e"
	user.PasswordHash = user.ID + strings.Repeat("h", 184) // a PHC string of 200 bytes
	user.DisabledReason = strings.Repeat("\U0001f6ab", 256)
	user.Version, user.PasswordVersion = 1<<60, 1<<60+1
	t.wantNoError("CreateUser", t.store.CreateUser(t.ctx, user, t.mutation("user.create", user.ID)))
	t.wantUser("the longest user", user)
	t.wantNoName(user.UsernameKey[:len(user.UsernameKey)-4], user.EmailKey[:len(user.EmailKey)-1])

	t.setUser(user.ID, keyfold.EnableChange)
	m := t.mutation("user.disable", user.ID)
	_, err := t.store.SetUserState(t.ctx, user.ID, keyfold.DisableChange, user.DisabledReason, m)
	t.wantNoError("SetUserState", err)
	user.DisabledAt, user.UpdatedAt = m.At, m.At
	user.Version += 2
	t.wantUser("the longest user, disabled again", user)

	token := t.token(user, keyfold.PurposeChangeEmail)
	token.NewEmail, token.NewEmailKey = fill(254), fill(253)+"n"
	t.wantNoError("CreateOneTimeToken", t.store.CreateOneTimeToken(t.ctx, token, t.mutation("user.one_time", user.ID)))
	t.wantToken(token)

	name := "account." + strings.Repeat("f", 64)
	t.wantNoError("RecordAttemptResult", t.store.RecordAttemptResult(t.ctx, keyfold.AttemptResult{Trusted: []string{name}, TrustedUntil: m.At}))
	t.wantThrottles("the longest name", keyfold.Throttle{Name: name, ExpiresAt: m.At})
}

// longIP has the longest text form of an IP address.
var longIP = netip.MustParseAddr("2001:1db8:ffff:ffff:ffff:ffff:ffff:ffff")

func longestEvent(t *trial) {
	key, batch := t.create(), t.batch()
	for n := range 3 {
		batch.Events = append(batch.Events, keyfold.UsageEvent{
			At: t.now(), KeyID: key.ID, Outcome: 255, Route: fill(511) + fmt.Sprint(n), IP: longIP,
			RequestID: fill(128), UserAgent: fill(511) + fmt.Sprint(n),
		})
	}
	t.recordBatch(batch)
	got := t.events(keyfold.UsageScan{KeyID: key.ID, From: t.clock.Add(-time.Second), To: t.clock.Add(time.Second), Limit: 10}, nil)
	if len(got) != len(batch.Events) {
		t.Fatalf("UsageEvents returned %d events, want %d", len(got), len(batch.Events))
	}
	for i, want := range batch.Events {
		event := got[len(got)-1-i]
		event.Seq = 0
		t.wantEqual(fmt.Sprint("event ", i), event, want)
	}
}

func longestMutation(t *trial) {
	key := t.create()
	m := t.mutation(t.action(), key.ID)
	m.Actor, m.RequestID = fill(128), fill(128)
	m.IP = longIP
	// The states of an edit of every field of the longest key, with escaped JSON.
	m.Before, m.After = fill(40_000), fill(39_999)
	cursor := t.cursor()
	t.wantNoError("RenewKey", t.store.RenewKey(t.ctx, key.ID, key.Version, time.Time{}, m))
	t.wantRows(cursor, m, key.ID)
}

func largestCounts(t *trial) {
	const large = 1 << 60
	key, batch := t.create(), t.batch()
	hour := time.UnixMilli(3_600_000).UTC()
	batch.Keys = []keyfold.KeyUses{{KeyID: key.ID, Uses: large, LastUsedAt: t.now()}}
	batch.Hours = []keyfold.UsageHour{{KeyID: key.ID, HourAt: hour, Outcome: 255, Count: large}, {HourAt: hour, Outcome: 254, Count: large}}
	t.recordBatch(batch)
	if got := t.wantKey(key.ID).Uses; got != large {
		t.Errorf("key has %d uses, want %d", got, int64(large))
	}
	hours, err := t.store.UsageHours(t.ctx, keyfold.UsageScan{KeyID: key.ID, From: hour, To: hour.Add(time.Hour)})
	t.wantNoError("UsageHours", err)
	t.wantEqual("UsageHours", hours, []keyfold.UsageHour{{HourAt: hour, Outcome: 255, Count: large}})
	t.wantRefusals([]keyfold.UsageHour{{HourAt: hour, Outcome: 254, Count: large}})
}

func largestPage(t *trial) {
	model, n := t.longest(), t.scale(200)
	keys := t.createMany(n, func(key *keyfold.KeyRecord) {
		id, lineage := key.ID, key.LineageID
		*key = model
		key.ID, key.LineageID = id, lineage
	})
	got, err := t.store.Keys(t.ctx, keyfold.KeyScan{Index: keyfold.KeysByTenant, Value: model.Tenant, Limit: n})
	t.wantNoError("Keys", err)
	if len(got) != len(keys) {
		t.Fatalf("Keys returned %d keys, want %d", len(got), len(keys))
	}
	for _, key := range got {
		if len(key.Notes) != len(model.Notes) || len(key.Scopes) != len(model.Scopes) {
			t.Fatalf("key %s came back with %d bytes of notes and %d scopes", key.ID, len(key.Notes), len(key.Scopes))
		}
	}
}
