package keyfold

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/keyfold/keyfold/internal/period"
	"github.com/keyfold/keyfold/internal/wire"
)

// The records that a host shows have one JSON form, which is that of the admin
// API: an answer of a host's own handler is json.Marshal of what the Service
// returned.
var (
	_ = []json.Marshaler{
		Key{},
		KeyPage{},
		CreatedKey{},
		Identity{},
		User{},
		UserPage{},
		IssuedOneTimeToken{},
		UsageEvent{},
		UsagePage{},
		UsageTotals{},
		UsageReport{},
		UsageInterval{},
		AuditEntry{},
		AuditPage{},
	}
	_ = []json.Unmarshaler{
		&Key{}, &KeyPage{}, &CreatedKey{}, &User{}, &UserPage{},
		&UsageEvent{}, &UsagePage{}, &UsageTotals{}, &UsageReport{}, &UsageInterval{}, &AuditEntry{}, &AuditPage{},
	}
)

// shape reads JSON by the shape W and replaces the record by what it stands
// for. By the convention of encoding/json, null leaves the record alone.
func shape[W, R any](text []byte, record *R, read func(*W) (R, error)) error {
	if string(text) == "null" {
		return nil
	}
	var shown W
	if err := json.Unmarshal(text, &shown); err != nil {
		return err
	}
	made, err := read(&shown)
	if err == nil {
		*record = made
	}
	return err
}

// encode does not escape "<"; the encoder that called MarshalJSON decides.
func encode(shown any) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(shown)
	return bytes.TrimSuffix(text.Bytes(), []byte{'\n'}), err
}

// each converts every element of a list. The result is never nil, so that an empty list
// is [] in JSON.
func each[From, To any](list []From, turn func(*From) To) []To {
	turned := make([]To, len(list))
	for i := range list {
		turned[i] = turn(&list[i])
	}
	return turned
}

// eachRead converts every element of a list that was read from JSON. It stops at the
// first error. The result for an empty list is nil, as the Service returns it.
func eachRead[From, To any](list []From, read func(*From) (To, error)) (made []To, err error) {
	for i := range list {
		one, err := read(&list[i])
		if err != nil {
			return nil, err
		}
		made = append(made, one)
	}
	return made, nil
}

// MarshalJSON returns the key as the admin API shows it: times in RFC 3339 and
// UTC, durations such as "30d", and null for absent values. It includes the
// state of the key at the time of the call. It contains no secrets.
func (k Key) MarshalJSON() ([]byte, error) { return encode(k.wire()) }

// UnmarshalJSON reads the form that MarshalJSON writes. The state is ignored, because it
// follows from the other fields. Errors: [InvalidError] for "networks[0]" and
// "idle_timeout", and those of encoding/json.
func (k *Key) UnmarshalJSON(text []byte) error { return shape(text, k, readKey) }

// wire returns the JSON form of the key, with its current state.
func (k *Key) wire() wire.Key {
	now := time.Now()
	shown := wire.Key{
		ID: k.ID, Hint: k.Hint, Prefix: k.Prefix, Environment: k.Environment,
		Name: k.Name, Notes: k.Notes, OwnerID: k.OwnerID, UserID: wire.Text(k.UserID), UserDisabled: k.UserDisabled, Tenant: k.Tenant,
		Scopes: append([]string{}, k.Scopes...), Networks: each(k.Networks, func(n *netip.Prefix) string { return n.String() }),
		Metadata: k.Metadata, State: string(k.State(now)),
		CreatedAt: k.CreatedAt.UTC(), UpdatedAt: k.UpdatedAt.UTC(), ExpiresAt: wire.Time(k.ExpiresAt),
		DisabledAt: wire.Time(k.DisabledAt), RevokedAt: wire.Time(k.RevokedAt),
		LineageID: k.LineageID, RotatedFrom: wire.Text(k.RotatedFrom), RotatedTo: wire.Text(k.RotatedTo),
		Version: k.Version, Uses: k.Uses, LastUsedAt: wire.Time(k.LastUsedAt),
	}
	if k.Metadata == nil {
		shown.Metadata = map[string]string{}
	}
	if k.IdleTimeout > 0 {
		shown.IdleTimeout = new(period.Format(k.IdleTimeout))
	}
	if shown.DisabledAt != nil {
		shown.DisabledReason = wire.Text(k.DisabledReason)
	}
	if shown.RevokedAt != nil {
		shown.RevokedReason = wire.Text(k.RevokedReason)
	}
	return shown
}

func readKey(shown *wire.Key) (Key, error) {
	key := Key{
		ID: shown.ID, Hint: shown.Hint, Prefix: shown.Prefix, Environment: shown.Environment,
		Name: shown.Name, Notes: shown.Notes, OwnerID: shown.OwnerID, UserID: wire.ValueOf(shown.UserID), UserDisabled: shown.UserDisabled, Tenant: shown.Tenant,
		CreatedAt: shown.CreatedAt.UTC(), UpdatedAt: shown.UpdatedAt.UTC(), ExpiresAt: wire.ValueOf(shown.ExpiresAt).UTC(),
		DisabledAt: wire.ValueOf(shown.DisabledAt).UTC(), DisabledReason: wire.ValueOf(shown.DisabledReason),
		RevokedAt: wire.ValueOf(shown.RevokedAt).UTC(), RevokedReason: wire.ValueOf(shown.RevokedReason),
		LineageID: shown.LineageID, RotatedFrom: wire.ValueOf(shown.RotatedFrom), RotatedTo: wire.ValueOf(shown.RotatedTo),
		Version: shown.Version, Uses: shown.Uses, LastUsedAt: wire.ValueOf(shown.LastUsedAt).UTC(),
	}
	if len(shown.Scopes) > 0 {
		key.Scopes = shown.Scopes
	}
	if len(shown.Metadata) > 0 {
		key.Metadata = shown.Metadata
	}
	for i, text := range shown.Networks {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return Key{}, invalid(fmt.Sprintf("networks[%d]", i), `must be a CIDR prefix such as "192.0.2.0/24" or "2001:db8::/32"`)
		}
		key.Networks = append(key.Networks, network)
	}
	if shown.IdleTimeout != nil {
		idle, err := period.Parse(*shown.IdleTimeout)
		if err != nil {
			return Key{}, invalid("idle_timeout", "must be "+period.Form)
		}
		key.IdleTimeout = idle
	}
	return key, nil
}

// MarshalJSON returns the page as the admin API shows it. An empty one has the
// keys [], never null.
func (p KeyPage) MarshalJSON() ([]byte, error) {
	return encode(wire.KeyPage{Keys: each(p.Keys, (*Key).wire), Next: wire.Text(p.Next)})
}

// UnmarshalJSON reads what MarshalJSON wrote, as [Key.UnmarshalJSON] does.
func (p *KeyPage) UnmarshalJSON(text []byte) error {
	return shape(text, p, func(shown *wire.KeyPage) (KeyPage, error) {
		keys, err := eachRead(shown.Keys, readKey)
		return KeyPage{Keys: keys, Next: wire.ValueOf(shown.Next)}, err
	})
}

// CreatedKey is the answer to a request that created or rotated a key. Its JSON,
// {"token": …, "key": …}, is the only one in this package that reveals a secret:
//
//	key, token, err := svc.CreateKey(ctx, …)
//	…
//	json.NewEncoder(w).Encode(keyfold.CreatedKey{Key: key, Token: token})
//
// Write it to the client that asked for the key, and nowhere else. fmt hides the
// token, and so does log/slog, except in a struct or a slice, which the JSON
// handler of slog encodes as encoding/json does.
type CreatedKey struct {
	Key   Key
	Token Token
}

var _ slog.LogValuer = CreatedKey{}

// LogValue is a group of the key and the id of the token.
func (c CreatedKey) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("Key", c.Key), slog.Any("Token", c.Token))
}

// MarshalJSON reveals the token. The key is as in [Key.MarshalJSON].
func (c CreatedKey) MarshalJSON() ([]byte, error) {
	return encode(wire.CreatedKey{Token: c.Token.Reveal(), Key: c.Key.wire()})
}

// UnmarshalJSON reads the form that MarshalJSON writes. Errors: [InvalidError] for "token",
// and those of [Key.UnmarshalJSON].
func (c *CreatedKey) UnmarshalJSON(text []byte) error {
	return shape(text, c, func(shown *wire.CreatedKey) (created CreatedKey, err error) {
		if created.Token, err = ParseToken(shown.Token); err != nil {
			return CreatedKey{}, invalid("token", "must be the token of a key")
		}
		created.Key, err = readKey(&shown.Key)
		return created, err
	})
}

// MarshalJSON returns what the methods of the Identity tell, but for the
// metadata, which may be meant for the host alone: {"key_id": …, "name": …,
// "owner_id": …, "user_id": …, "tenant": …, "environment": …, "scopes": […],
// "expires_at": …}. The zero Identity is null. An Identity cannot be read from
// JSON: only a verify makes one.
func (id Identity) MarshalJSON() ([]byte, error) {
	if id.IsZero() {
		return []byte("null"), nil
	}
	return encode(wire.Identity{
		KeyID: id.KeyID(), Name: id.Name(), OwnerID: id.OwnerID(), UserID: wire.Text(id.UserID()), Tenant: id.Tenant(),
		Environment: id.Environment(), Scopes: slices.AppendSeq([]string{}, id.Scopes()), ExpiresAt: wire.Time(id.ExpiresAt()),
	})
}

// MarshalJSON returns the user as the admin API shows it: times in RFC 3339 and
// UTC, and null for absent values. It contains no secrets.
func (u User) MarshalJSON() ([]byte, error) { return encode(u.wire()) }

// UnmarshalJSON reads the form that MarshalJSON writes. The state is ignored, because it
// follows from the other fields.
func (u *User) UnmarshalJSON(text []byte) error { return shape(text, u, readUser) }

func (u *User) wire() wire.User {
	shown := wire.User{
		ID: u.ID, Username: wire.Text(u.Username), Email: wire.Text(u.Email), EmailVerifiedAt: wire.Time(u.EmailVerifiedAt),
		HasPassword: u.HasPassword, PasswordChangedAt: wire.Time(u.PasswordChangedAt), State: string(u.State(time.Now())),
		CreatedAt: u.CreatedAt.UTC(), UpdatedAt: u.UpdatedAt.UTC(), DisabledAt: wire.Time(u.DisabledAt), Version: u.Version,
	}
	if shown.DisabledAt != nil {
		shown.DisabledReason = wire.Text(u.DisabledReason)
	}
	return shown
}

func readUser(shown *wire.User) (User, error) {
	return User{
		ID: shown.ID, Username: wire.ValueOf(shown.Username), Email: wire.ValueOf(shown.Email),
		EmailVerifiedAt: wire.ValueOf(shown.EmailVerifiedAt).UTC(),
		HasPassword:     shown.HasPassword, PasswordChangedAt: wire.ValueOf(shown.PasswordChangedAt).UTC(),
		CreatedAt: shown.CreatedAt.UTC(), UpdatedAt: shown.UpdatedAt.UTC(),
		DisabledAt: wire.ValueOf(shown.DisabledAt).UTC(), DisabledReason: wire.ValueOf(shown.DisabledReason), Version: shown.Version,
	}, nil
}

// MarshalJSON returns the page as the admin API shows it. An empty one has the
// users [], never null.
func (p UserPage) MarshalJSON() ([]byte, error) {
	return encode(wire.UserPage{Users: each(p.Users, (*User).wire), Next: wire.Text(p.Next)})
}

// UnmarshalJSON reads what MarshalJSON wrote, as [User.UnmarshalJSON] does.
func (p *UserPage) UnmarshalJSON(text []byte) error {
	return shape(text, p, func(shown *wire.UserPage) (UserPage, error) {
		users, err := eachRead(shown.Users, readUser)
		return UserPage{Users: users, Next: wire.ValueOf(shown.Next)}, err
	})
}

// MarshalJSON returns {"purpose": …, "user_id": …, "to": …, "expires_at": …}: no
// token, which [OneTimeToken.Reveal] alone shows. An IssuedOneTimeToken cannot be read
// from JSON.
func (o IssuedOneTimeToken) MarshalJSON() ([]byte, error) {
	return encode(wire.OneTime{Purpose: o.Purpose.String(), UserID: o.User.ID, To: o.To, ExpiresAt: o.ExpiresAt.UTC()})
}

// UnmarshalJSON returns an error: the token is not in the JSON.
func (o *IssuedOneTimeToken) UnmarshalJSON([]byte) error { return errNotInJSON }

// errNotInJSON keeps a caller from reading a record without its secret and taking
// it for the whole.
var errNotInJSON = errors.New("keyfold: this type cannot be read from JSON: its secret is not written there")

// UnmarshalJSON returns an error: the hash of the secret is not in the JSON.
func (k *KeyRecord) UnmarshalJSON([]byte) error { return errNotInJSON }

// UnmarshalJSON returns an error: the hash of the password is not in the JSON.
func (u *UserRecord) UnmarshalJSON([]byte) error { return errNotInJSON }

// MarshalJSON returns the event as the admin API shows it, with null for absent
// values. Seq is not part of it.
func (e UsageEvent) MarshalJSON() ([]byte, error) { return encode(e.wire()) }

// UnmarshalJSON reads what MarshalJSON wrote; Seq is zero. Errors: [InvalidError]
// for an "outcome" that this version does not know or an "ip" that is not an IP
// address, and those of encoding/json.
func (e *UsageEvent) UnmarshalJSON(text []byte) error { return shape(text, e, readUsageEvent) }

func (e *UsageEvent) wire() wire.UsageEvent {
	return wire.UsageEvent{
		At: e.At.UTC(), KeyID: wire.Text(e.KeyID), Outcome: e.Outcome.String(), Route: wire.Text(e.Route),
		IP: ipText(e.IP), RequestID: wire.Text(e.RequestID), UserAgent: wire.Text(e.UserAgent),
	}
}

func readUsageEvent(shown *wire.UsageEvent) (UsageEvent, error) {
	outcome, err := ParseOutcome(shown.Outcome)
	if err != nil {
		return UsageEvent{}, err
	}
	ip, err := readIP(shown.IP)
	return UsageEvent{
		At: shown.At.UTC(), KeyID: wire.ValueOf(shown.KeyID), Outcome: outcome, Route: wire.ValueOf(shown.Route),
		IP: ip, RequestID: wire.ValueOf(shown.RequestID), UserAgent: wire.ValueOf(shown.UserAgent),
	}, err
}

// ipText is nil for the zero Addr.
func ipText(ip netip.Addr) *string {
	if !ip.IsValid() {
		return nil
	}
	return wire.Text(ip.String())
}

func readIP(text *string) (netip.Addr, error) {
	if text == nil {
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(*text)
	if err != nil {
		return netip.Addr{}, invalid("ip", "must be an IP address")
	}
	return ip, nil
}

// MarshalJSON returns the page as the admin API shows it. An empty one has the
// events [], never null.
func (p UsagePage) MarshalJSON() ([]byte, error) {
	return encode(wire.UsagePage{Events: each(p.Events, (*UsageEvent).wire), Next: wire.Text(p.Next)})
}

// UnmarshalJSON reads what MarshalJSON wrote, as [UsageEvent.UnmarshalJSON] does.
func (p *UsagePage) UnmarshalJSON(text []byte) error {
	return shape(text, p, func(shown *wire.UsagePage) (UsagePage, error) {
		events, err := eachRead(shown.Events, readUsageEvent)
		return UsagePage{Events: events, Next: wire.ValueOf(shown.Next)}, err
	})
}

// MarshalJSON returns the totals as the admin API shows them: {"from": …, "to":
// …, "counts": {"allowed": 3}}.
func (t UsageTotals) MarshalJSON() ([]byte, error) {
	return encode(wire.UsageTotals{From: t.From.UTC(), To: t.To.UTC(), Counts: countsByName(t.Count)})
}

// UnmarshalJSON reads the form that MarshalJSON writes. Errors: [InvalidError] for an
// "outcome" that this version does not know, and those of encoding/json.
func (t *UsageTotals) UnmarshalJSON(text []byte) error {
	return shape(text, t, func(shown *wire.UsageTotals) (UsageTotals, error) {
		counts, err := countsByCode(shown.Counts)
		if counts == nil {
			counts = map[Outcome]int64{}
		}
		return UsageTotals{From: shown.From.UTC(), To: shown.To.UTC(), Count: counts}, err
	})
}

func countsByName(counts map[Outcome]int64) map[string]int64 {
	named := make(map[string]int64, len(counts))
	for code, count := range counts {
		named[code.String()] = count
	}
	return named
}

// countsByCode returns nil for no counts, as an interval of a report has them.
func countsByCode(named map[string]int64) (map[Outcome]int64, error) {
	if len(named) == 0 {
		return nil, nil
	}
	counts := make(map[Outcome]int64, len(named))
	for name, count := range named {
		code, err := ParseOutcome(name)
		if err != nil {
			return nil, err
		}
		counts[code] = count
	}
	return counts, nil
}

// MarshalJSON returns the report as the admin API shows it: {"by": "day",
// "intervals": [{"start_at": …, "counts": {"allowed": 3}}]}.
func (r UsageReport) MarshalJSON() ([]byte, error) {
	return encode(wire.UsageReport{By: r.By.String(), Intervals: each(r.Intervals, (*UsageInterval).wire)})
}

// UnmarshalJSON reads the form that MarshalJSON writes. Errors: [InvalidError] for "by" and
// for an "outcome" that this version does not know or an "ip" that is not an IP
// address, and those of encoding/json.
func (r *UsageReport) UnmarshalJSON(text []byte) error {
	return shape(text, r, func(shown *wire.UsageReport) (report UsageReport, err error) {
		if report.By, err = ParseUsageUnit(shown.By); err != nil {
			return UsageReport{}, err
		}
		report.Intervals, err = eachRead(shown.Intervals, readUsageInterval)
		return report, err
	})
}

// MarshalJSON returns the interval as the admin API shows it.
func (i UsageInterval) MarshalJSON() ([]byte, error) { return encode(i.wire()) }

// UnmarshalJSON reads what MarshalJSON wrote, as [UsageReport.UnmarshalJSON] does.
func (i *UsageInterval) UnmarshalJSON(text []byte) error { return shape(text, i, readUsageInterval) }

func (i *UsageInterval) wire() wire.UsageInterval {
	return wire.UsageInterval{StartAt: i.StartAt.UTC(), Counts: countsByName(i.Count)}
}

func readUsageInterval(shown *wire.UsageInterval) (UsageInterval, error) {
	counts, err := countsByCode(shown.Counts)
	return UsageInterval{StartAt: shown.StartAt.UTC(), Count: counts}, err
}

// MarshalJSON returns the entry as the admin API shows it. Before and After are
// in it as JSON; what is not JSON, because another program wrote it, is null.
func (e AuditEntry) MarshalJSON() ([]byte, error) { return encode(e.wire()) }

// UnmarshalJSON reads the form that MarshalJSON writes. Errors: [InvalidError] for an "ip"
// that is not an IP address, and those of encoding/json.
func (e *AuditEntry) UnmarshalJSON(text []byte) error { return shape(text, e, readAuditEntry) }

func (e *AuditEntry) wire() wire.AuditEntry {
	document := func(text string) json.RawMessage {
		if !json.Valid([]byte(text)) {
			return nil
		}
		return json.RawMessage(text)
	}
	return wire.AuditEntry{
		Seq: e.Seq, At: e.At.UTC(), Actor: wire.Text(e.Actor), IP: ipText(e.IP), RequestID: wire.Text(e.RequestID),
		Action: e.Action, Target: e.Target, Before: document(e.Before), After: document(e.After),
	}
}

func readAuditEntry(shown *wire.AuditEntry) (AuditEntry, error) {
	text := func(document json.RawMessage) string {
		if string(document) == "null" {
			return ""
		}
		return string(document)
	}
	ip, err := readIP(shown.IP)
	return AuditEntry{Seq: shown.Seq, Mutation: Mutation{
		At: shown.At.UTC(), Actor: wire.ValueOf(shown.Actor), IP: ip, RequestID: wire.ValueOf(shown.RequestID),
		Action: shown.Action, Target: shown.Target, Before: text(shown.Before), After: text(shown.After),
	}}, err
}

// MarshalJSON returns the page as the admin API shows it. An empty one has the
// entries [], never null.
func (p AuditPage) MarshalJSON() ([]byte, error) {
	return encode(wire.AuditPage{Entries: each(p.Entries, (*AuditEntry).wire), Next: wire.Text(p.Next)})
}

// UnmarshalJSON reads the form that MarshalJSON writes. Errors: [InvalidError] for an "ip"
// that is not an IP address, and those of encoding/json.
func (p *AuditPage) UnmarshalJSON(text []byte) error {
	return shape(text, p, func(shown *wire.AuditPage) (AuditPage, error) {
		entries, err := eachRead(shown.Entries, readAuditEntry)
		return AuditPage{Entries: entries, Next: wire.ValueOf(shown.Next)}, err
	})
}
