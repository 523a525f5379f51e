package keyfold_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// made makes records of random fields, with zero values among them.
type made struct{ *rand.Rand }

func (m made) text() string {
	return []string{"", "", "a", "Zoë <zoe@example.com> & \u2028", `"quoted\"`, "日本", strings.Repeat("x", 200)}[m.IntN(7)]
}

func (m made) time() time.Time {
	if m.IntN(3) == 0 {
		return time.Time{}
	}
	return time.UnixMilli(m.Int64N(253402300799999)).UTC() // up to the year 9999
}

func (m made) cursor() string { return []string{"", "cursor"}[m.IntN(2)] }

func (m made) key() keyfold.Key {
	key := keyfold.Key{
		ID: m.text(), Hint: m.text(), Prefix: m.text(), Environment: m.text(), Name: m.text(), Notes: m.text(), OwnerID: m.text(),
		UserID: m.text(), UserDisabled: m.IntN(2) == 0, Tenant: m.text(), CreatedAt: m.time(), UpdatedAt: m.time(), ExpiresAt: m.time(),
		IdleTimeout: time.Duration(m.IntN(3)) * time.Duration(m.IntN(1e9)) * time.Millisecond, DisabledAt: m.time(), RevokedAt: m.time(),
		LineageID: m.text(), RotatedFrom: m.text(), RotatedTo: m.text(), Version: m.Int64(), Uses: m.Int64(), LastUsedAt: m.time(),
	}
	for range m.IntN(3) {
		key.Scopes = append(key.Scopes, "reports:"+m.text())
		key.Networks = append(key.Networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(m.IntN(256)), 2, 3, 4}), m.IntN(33)))
	}
	if m.IntN(2) == 0 {
		key.Metadata = map[string]string{"plan": m.text(), m.text() + "!": "<b>"}
	}
	if !key.DisabledAt.IsZero() {
		key.DisabledReason = m.text()
	}
	if !key.RevokedAt.IsZero() {
		key.RevokedReason = m.text()
	}
	return key
}

func (m made) user() keyfold.User {
	user := keyfold.User{
		ID: m.text(), Username: m.text(), Email: m.text(), EmailVerifiedAt: m.time(), HasPassword: m.IntN(2) == 0,
		PasswordChangedAt: m.time(), CreatedAt: m.time(), UpdatedAt: m.time(), DisabledAt: m.time(), Version: m.Int64(),
	}
	if !user.DisabledAt.IsZero() {
		user.DisabledReason = m.text()
	}
	return user
}

func (m made) counts() map[keyfold.Outcome]int64 {
	counts := map[keyfold.Outcome]int64{}
	for code := keyfold.OutcomeAllowed; code <= keyfold.OutcomeUnavailable; code++ {
		if m.IntN(2) == 0 {
			counts[code] = m.Int64()
		}
	}
	return counts
}

func (m made) ip() netip.Addr {
	all := []netip.Addr{{}, netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}
	return all[m.IntN(len(all))]
}

func (m made) event() keyfold.UsageEvent {
	return keyfold.UsageEvent{
		At: m.time(), KeyID: m.text(), Outcome: keyfold.Outcome(m.IntN(15)), Route: m.text(), IP: m.ip(), RequestID: m.text(), UserAgent: m.text(),
	}
}

func (m made) interval() keyfold.UsageInterval {
	interval := keyfold.UsageInterval{StartAt: m.time(), Count: m.counts()}
	if len(interval.Count) == 0 {
		interval.Count = nil
	}
	return interval
}

func (m made) entry() keyfold.AuditEntry {
	documents := []string{"", `{"name":"a\u003cb"}`, `{}`}
	return keyfold.AuditEntry{Seq: m.Int64(), Mutation: keyfold.Mutation{
		At: m.time(), Actor: m.text(), IP: m.ip(), RequestID: m.text(), Action: m.text(), Target: m.text(),
		Before: documents[m.IntN(3)], After: documents[m.IntN(3)],
	}}
}

func (m made) token(t *testing.T, svc *keyfold.Service) keyfold.Token {
	t.Helper()
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// some are up to two records. None are nil, as a page of the Service has them.
func some[T any](m made, one func() T) (list []T) {
	for range m.IntN(3) {
		list = append(list, one())
	}
	return list
}

// roundTrips checks that a record that is written and read is the same record.
func roundTrips[T any](t *testing.T, record T) {
	t.Helper()
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	var got T
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%T: %v, of %s", record, err, text)
	}
	if !reflect.DeepEqual(got, record) {
		t.Errorf("%T:\n got %+v\nwant %+v\n of %s", record, got, record, text)
	}
	again, err := json.Marshal(got)
	if err != nil || string(again) != string(text) {
		t.Errorf("%T: written again it is %s, not %s: %v", record, again, text, err)
	}
}

// Mutations tried: readKey without UserID; Scopes [] read as an empty list;
// RevokedReason left out.
func TestRecordsSurviveJSON(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	for seed := range uint64(200) {
		m := made{rand.New(rand.NewPCG(seed, 1))}
		roundTrips(t, m.key())
		roundTrips(t, keyfold.KeyPage{Keys: some(m, m.key), Next: m.cursor()})
		roundTrips(t, m.user())
		roundTrips(t, keyfold.UserPage{Users: some(m, m.user), Next: m.cursor()})
		roundTrips(t, m.event())
		roundTrips(t, keyfold.UsagePage{Events: some(m, m.event), Next: m.cursor()})
		roundTrips(t, keyfold.UsageTotals{From: m.time(), To: m.time(), Count: m.counts()})
		roundTrips(t, keyfold.UsageReport{By: keyfold.UsageUnit(m.IntN(2)), Intervals: some(m, m.interval)})
		roundTrips(t, m.interval())
		roundTrips(t, m.entry())
		roundTrips(t, keyfold.AuditPage{Entries: some(m, m.entry), Next: m.cursor()})
		roundTrips(t, keyfold.UsageStats{PendingEvents: m.Int64(), LostUses: m.Int64()})
	}
	created := keyfold.CreatedKey{Key: made{rand.New(rand.NewPCG(1, 2))}.key(), Token: made{}.token(t, svc)}
	text, err := json.Marshal(created)
	if err != nil || !strings.HasPrefix(string(text), `{"token":"`+created.Token.Reveal()+`","key":{"id":`) {
		t.Fatalf("got %s, %v", text, err)
	}
	var got keyfold.CreatedKey
	if err := json.Unmarshal(text, &got); err != nil || !got.Token.Equal(created.Token) || !reflect.DeepEqual(got.Key, created.Key) {
		t.Errorf("got %+v, %v, want %+v", got, err, created)
	}
}

// The form is what the admin API documents, to the letter.
func TestJSONOfAKey(t *testing.T) {
	t.Parallel()
	const full = `{"id":"8fJ2kQ0aXw3mT7Zb","hint":"kf_live_8fJ2…","prefix":"kf","environment":"live","name":"ci <a@b>","notes":"","owner_id":"cust_42",` +
		`"user_id":null,"user_disabled":false,"tenant":"","scopes":["reports:read"],"networks":["192.0.2.0/24"],"metadata":{"plan":"gold"},"state":"expired",` +
		`"created_at":"2020-01-02T03:04:05.006Z","updated_at":"2020-01-02T03:04:05.006Z","expires_at":"2020-01-17T03:04:05.006Z","idle_timeout":"1d12h0m0s",` +
		`"disabled_at":null,"disabled_reason":null,"revoked_at":null,"revoked_reason":null,"lineage_id":"8fJ2kQ0aXw3mT7Zb","rotated_from":null,"rotated_to":null,` +
		`"version":1,"uses":0,"last_used_at":null}`
	at := time.Date(2020, 1, 2, 4, 4, 5, 6e6, time.FixedZone("CET", 3600))
	key := keyfold.Key{
		ID: "8fJ2kQ0aXw3mT7Zb", Hint: "kf_live_8fJ2…", Prefix: "kf", Environment: "live", Name: "ci <a@b>", OwnerID: "cust_42",
		Scopes: []string{"reports:read"}, Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Metadata: map[string]string{"plan": "gold"},
		CreatedAt: at, UpdatedAt: at, ExpiresAt: at.AddDate(0, 0, 15), IdleTimeout: 36 * time.Hour, LineageID: "8fJ2kQ0aXw3mT7Zb", Version: 1,
	}
	got, err := key.MarshalJSON()
	if err != nil || string(got) != full {
		t.Errorf("got  %s, %v\nwant %s", got, err, full)
	}
	empty, err := json.Marshal(keyfold.KeyPage{})
	if err != nil || string(empty) != `{"keys":[],"next":null}` {
		t.Errorf("an empty page: %s, %v", empty, err)
	}
}

func TestJSONOfAnIdentity(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	key, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{
		Name: "ci", OwnerID: "cust_42", Scopes: []string{"reports:read"}, Metadata: map[string]string{"plan": "gold"}, TTL: keyfold.Never,
	})
	if err != nil {
		t.Fatal(err)
	}
	id, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"key_id":"` + key.ID + `","name":"ci","owner_id":"cust_42","user_id":null,"tenant":"","environment":"","scopes":["reports:read"],"expires_at":null}`
	if got, err := json.Marshal(id); err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	if got, err := json.Marshal(keyfold.Identity{}); err != nil || string(got) != "null" {
		t.Errorf("nobody: got %s, %v, want null", got, err)
	}
}

func TestWrongJSONNamesTheField(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		text, field string
		into        any
	}{
		{`{"networks":["192.0.2.0/24","here"]}`, "networks[1]", new(keyfold.Key)},
		{`{"idle_timeout":"-1h"}`, "idle_timeout", new(keyfold.Key)},
		{`{"keys":[{"networks":["here"]}]}`, "networks[0]", new(keyfold.KeyPage)},
		{`{"token":"kf_no","key":{}}`, "token", new(keyfold.CreatedKey)},
		{`{"outcome":"lost"}`, "outcome", new(keyfold.UsageEvent)},
		{`{"events":[{"outcome":"lost"}]}`, "outcome", new(keyfold.UsagePage)},
		{`{"counts":{"lost":1}}`, "outcome", new(keyfold.UsageTotals)},
		{`{"by":"week"}`, "by", new(keyfold.UsageReport)},
		{`{"by":"day","intervals":[{"counts":{"lost":1}}]}`, "outcome", new(keyfold.UsageReport)},
	} {
		t.Run(row.text, func(t *testing.T) {
			before := reflect.ValueOf(row.into).Elem().Interface()
			err := json.Unmarshal([]byte(row.text), row.into)
			var invalid *keyfold.InvalidError
			if !errors.As(err, &invalid) || invalid.Field != row.field {
				t.Errorf("%s: got %v, want an InvalidError for %s", row.text, err, row.field)
			}
			if !reflect.DeepEqual(reflect.ValueOf(row.into).Elem().Interface(), before) {
				t.Errorf("%s: the record changed in spite of the error", row.text)
			}
		})
	}
	for _, text := range []string{`{"id":7}`, `{"created_at":"yesterday"}`, `[]`} {
		t.Run(text, func(t *testing.T) {
			if err := json.Unmarshal([]byte(text), new(keyfold.Key)); err == nil {
				t.Errorf("%s was read as a key", text)
			}
		})
	}
	kept := keyfold.Key{Name: "kept"}
	if err := json.Unmarshal([]byte("null"), &kept); err != nil || kept.Name != "kept" {
		t.Errorf("null: got %+v, %v, want what was there", kept, err)
	}
}

// Without this a record would be read without its hash and taken for the whole:
// both records embed a type that can be read.
func TestRecordsOfAStoreAreNotReadFromJSON(t *testing.T) {
	t.Parallel()
	for _, record := range []any{new(keyfold.KeyRecord), new(keyfold.UserRecord), new(keyfold.IssuedOneTimeToken)} {
		text, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, record); err == nil {
			t.Errorf("%T was read from %s", record, text)
		}
	}
}

func TestUsageUnitNames(t *testing.T) {
	t.Parallel()
	for _, unit := range []keyfold.UsageUnit{keyfold.UsageByHour, keyfold.UsageByDay} {
		if got, err := keyfold.ParseUsageUnit(unit.String()); err != nil || got != unit {
			t.Errorf("%v: got %v, %v", unit, got, err)
		}
	}
	if !slices.Equal([]string{keyfold.UsageByHour.String(), keyfold.UsageByDay.String(), keyfold.UsageUnit(7).String()}, []string{"hour", "day", "unit_7"}) {
		t.Error("the names changed")
	}
}
