package keyfold

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keyfold/keyfold/internal/scope"
	"github.com/keyfold/keyfold/internal/text"
	"github.com/keyfold/keyfold/internal/token"
)

// NewKey describes a key to create. The zero NewKey creates a key without a name and
// without scopes that expires after Options.KeyTTL.
type NewKey struct {
	Name        string            // at most 128 characters
	Notes       string            // at most 2 KiB
	OwnerID     string            // at most 128 bytes
	UserID      string            // the id of a [User], who must exist; empty = none
	Tenant      string            // at most 128 bytes
	Scopes      []string          // at most 64, each at most 128 bytes
	Networks    []netip.Prefix    // at most 64
	Metadata    map[string]string // at most 32 entries, 4 KiB as JSON
	TTL         time.Duration     // zero = Options.KeyTTL; [Never] = does not expire
	ExpiresAt   time.Time         // instead of TTL: an exact time in the future, up to the year 9999
	IdleTimeout time.Duration     // zero = none; otherwise at least a minute
	Environment string            // zero = Options.Environment
}

// CreateKey creates a key and returns it with its token. Only a hash of the token
// is stored, so it cannot be retrieved later. Errors: [InvalidError], also for a
// "user_id" that does not exist, and [ErrUnavailable].
func (s *Service) CreateKey(ctx context.Context, n NewKey) (Key, Token, error) {
	now := s.now()
	expires, err := newDeadline(now, n.TTL, n.ExpiresAt, s.opts.KeyTTL)
	if err != nil {
		return Key{}, Token{}, err
	}
	n.Environment = cmp.Or(n.Environment, s.opts.Environment)
	if n.Environment != "" && !isEnvironment(n.Environment) {
		return Key{}, Token{}, invalid("environment", "must be 1 to 16 lower-case letters and digits")
	}
	if n.UserID != "" && !token.IsID(n.UserID) {
		return Key{}, Token{}, invalid("user_id", idRule)
	}
	key := Key{
		Prefix: s.opts.Prefix, Environment: n.Environment,
		Name: n.Name, Notes: n.Notes, OwnerID: n.OwnerID, UserID: n.UserID, Tenant: n.Tenant,
		Scopes: slices.Clone(n.Scopes), Networks: slices.Clone(n.Networks), Metadata: maps.Clone(n.Metadata),
		ExpiresAt: expires, IdleTimeout: n.IdleTimeout,
	}
	if err := checkKey(&key, s.opts.Scopes); err != nil {
		return Key{}, Token{}, err
	}
	if key.UserID != "" {
		user, err := s.store.User(ctx, key.UserID)
		if err != nil {
			return Key{}, Token{}, unknownUser(ctx, err)
		}
		key.UserDisabled = user.State(now) == UserDisabled
	}
	record, token := s.issue(key, now)
	record.LineageID = record.ID
	m := newMutation(ctx, now, "key.create", record.ID, nil, keyFields(&record.Key))
	if err := s.store.CreateKey(ctx, record, m); err != nil {
		return Key{}, Token{}, unknownUser(ctx, err)
	}
	return record.Key, token, nil
}

// unknownUser returns the error of a creation. If the store did not find the user of
// the new key, the error is about the field "user_id".
func unknownUser(ctx context.Context, err error) error {
	if errors.Is(err, ErrNotFound) {
		return invalid("user_id", "must be the id of an existing user")
	}
	return storeError(ctx, err)
}

// issue gives a new key its id and secret.
func (s *Service) issue(key Key, now time.Time) (KeyRecord, Token) {
	parts, text := token.New(token.Head(key.Prefix, key.Environment))
	key.ID, key.Hint, key.Version = parts.ID, hint(parts), 1
	key.CreatedAt, key.UpdatedAt = now, now
	return KeyRecord{Key: key, Secret: s.secrets.hash(parts), ActiveAt: now}, Token{text: &text}
}

// hint returns the beginning of a token. It contains nothing secret.
func hint(parts token.Parts) string { return parts.Head + "_" + parts.ID[:4] + "…" }

// keyFields holds the fields of a key that the audit log records, in the form of
// its JSON. None of them is secret.
func keyFields(k *Key) fieldsOf {
	shown := k.wire()
	return fieldsOf{
		"name": shown.Name, "notes": shown.Notes, "owner_id": shown.OwnerID, "user_id": shown.UserID, "tenant": shown.Tenant,
		"scopes": shown.Scopes, "networks": shown.Networks, "metadata": shown.Metadata,
		"environment": shown.Environment, "expires_at": shown.ExpiresAt, "idle_timeout": shown.IdleTimeout,
		"rotated_from": shown.RotatedFrom, "rotated_to": shown.RotatedTo,
	}
}

// Key returns the key with the given id. Errors: [InvalidError], [ErrNotFound],
// [ErrUnavailable].
func (s *Service) Key(ctx context.Context, id string) (Key, error) {
	record, err := s.key(ctx, id)
	return record.Key, err
}

func (s *Service) key(ctx context.Context, id string) (KeyRecord, error) {
	if err := checkID(id); err != nil {
		return KeyRecord{}, err
	}
	record, err := s.store.Key(ctx, id)
	return record, storeError(ctx, err)
}

// KeyUpdate changes the fields of a key. A nil field is left unchanged. An empty value
// removes the old one.
type KeyUpdate struct {
	Version     int64 // required: the Key.Version that was read
	Name        *string
	Notes       *string
	OwnerID     *string
	Tenant      *string
	Scopes      *[]string
	Networks    *[]netip.Prefix
	Metadata    *map[string]string
	IdleTimeout *time.Duration
}

// UpdateKey changes a key, unless it has been changed since u.Version was read.
// Errors: [InvalidError], [ErrNotFound], [ErrStale], [ErrConflict] if the key is
// revoked, [ErrUnavailable].
func (s *Service) UpdateKey(ctx context.Context, id string, u KeyUpdate) (Key, error) {
	if u.Version < 1 {
		return Key{}, invalid("version", "must be the version of the key that was read, 1 or more")
	}
	record, err := s.key(ctx, id)
	if err != nil {
		return Key{}, err
	}
	if err := record.checkEdit(); err != nil {
		return Key{}, err
	}
	if record.Version != u.Version {
		return Key{}, fmt.Errorf("%w: key %s is at version %d", ErrStale, id, record.Version)
	}
	before := keyFields(&record.Key)
	u.apply(&record.Key)
	if err := checkKey(&record.Key, s.opts.Scopes); err != nil {
		return Key{}, err
	}
	record.UpdatedAt = s.now()
	m := newMutation(ctx, record.UpdatedAt, "key.update", id, before, keyFields(&record.Key))
	err = s.store.UpdateKey(ctx, record, m)
	s.changed(id)
	if err != nil {
		return Key{}, storeError(ctx, err)
	}
	record.Version++
	return record.Key, nil
}

// checkEdit returns an [ErrConflict] if the state of the key forbids an update, a
// disabling or an enabling.
func (k *Key) checkEdit() error {
	if !k.RevokedAt.IsZero() {
		return conflict("revoked_at", "key %s is revoked", k.ID)
	}
	return nil
}

func (u *KeyUpdate) apply(k *Key) {
	set(&k.Name, u.Name)
	set(&k.Notes, u.Notes)
	set(&k.OwnerID, u.OwnerID)
	set(&k.Tenant, u.Tenant)
	if u.Scopes != nil {
		k.Scopes = slices.Clone(*u.Scopes)
	}
	if u.Networks != nil {
		k.Networks = slices.Clone(*u.Networks)
	}
	if u.Metadata != nil {
		k.Metadata = maps.Clone(*u.Metadata)
	}
	set(&k.IdleTimeout, u.IdleTimeout)
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// KeyQuery asks for a page of keys. Every field that is set must match:
//
//	KeyQuery{OwnerID: keyfold.Only(id.OwnerID())}
type KeyQuery struct {
	OwnerID Filter
	UserID  Filter
	Tenant  Filter
	State   KeyState // empty = any
	// ExpiringBefore, if set, lists the keys that expire after now and before that
	// time, soonest first. Otherwise the newest key comes first.
	ExpiringBefore time.Time
	Cursor         string // KeyPage.Next of the previous page; empty = the first page
	Limit          int    // 1 to 200; zero = 50
}

// KeyPage is a page of keys. It may contain fewer keys than the limit, even none,
// and still have a Next: filters without an index are applied to a limited part of
// the list at a time.
type KeyPage struct {
	Keys []Key
	Next string // cursor of the next page; empty on the last page
}

// Keys returns a page of keys. Errors: [InvalidError], [ErrUnavailable].
func (s *Service) Keys(ctx context.Context, q KeyQuery) (KeyPage, error) {
	now := s.now()
	limit, err := checkLimit(q.Limit)
	if err != nil {
		return KeyPage{}, err
	}
	if err := q.check(); err != nil {
		return KeyPage{}, err
	}
	filter := q.filter()
	after, err := s.readCursor(ctx, q.Cursor, filter)
	if err != nil {
		return KeyPage{}, err
	}
	scan, step := q.scan(now), max(limit, maxPage)
	if q.leadsAlone() {
		step = limit
	}
	records, next, err := walk(after.position(), limit, step,
		func(after Position, limit int) ([]KeyRecord, error) {
			scan.After, scan.Limit = after, limit
			return s.store.Keys(ctx, scan)
		},
		func(r *KeyRecord) (Key, Position, bool) {
			at := Position{At: r.CreatedAt, ID: r.ID}
			if scan.Index == KeysExpiring {
				at.At = r.ExpiresAt
			}
			return r.Key, at, q.matches(&r.Key, now)
		})
	if err != nil {
		return KeyPage{}, storeError(ctx, err)
	}
	page := KeyPage{Keys: records}
	page.Next, err = s.cursorAfter(ctx, next, filter)
	return page, err
}

// AllKeys yields every key that matches the query, in the order of [Service.Keys]. It
// reads the list in pages of q.Limit keys, 200 by default, and starts at q.Cursor. It
// ends after the first error, which it yields with the zero Key. Errors are those of
// Service.Keys.
func (s *Service) AllKeys(ctx context.Context, q KeyQuery) iter.Seq2[Key, error] {
	return everyPage(q.Cursor, func(cursor string) ([]Key, string, error) {
		q.Cursor, q.Limit = cursor, pageLength(q.Limit)
		page, err := s.Keys(ctx, q)
		return page.Keys, page.Next, err
	})
}

func (q *KeyQuery) check() error {
	if err := q.conditions().check(); err != nil {
		return err
	}
	switch q.State {
	case "", KeyActive, KeyExpired, KeyUserDisabled, KeyDisabled, KeyRevoked:
		return nil
	}
	return invalid("state", "must be one of active, expired, user_disabled, disabled, revoked")
}

func (q *KeyQuery) filter() string {
	return fmt.Sprintf("keys|%q|%s|%q|%s|%d", q.OwnerID.value, q.UserID.value, q.Tenant.value, q.State, q.ExpiringBefore.UnixMilli())
}

func (q *KeyQuery) conditions() *keyConditions {
	return &keyConditions{owner: q.OwnerID, user: q.UserID, tenant: q.Tenant}
}

// scan returns the scan over the most selective index. The caller filters its rows with
// matches.
func (q *KeyQuery) scan(now time.Time) KeyScan {
	if !q.ExpiringBefore.IsZero() {
		return KeyScan{Index: KeysExpiring, From: now.Add(time.Millisecond), To: q.ExpiringBefore}
	}
	return q.conditions().scan()
}

// leadsAlone reports whether every row of the scan matches the query.
func (q *KeyQuery) leadsAlone() bool {
	filters := 0
	for _, set := range []bool{q.OwnerID.set, q.UserID.set, q.Tenant.set, q.State != "", !q.ExpiringBefore.IsZero()} {
		if set {
			filters++
		}
	}
	return filters == 0 || filters == 1 && q.State == ""
}

func (q *KeyQuery) matches(k *Key, now time.Time) bool {
	return q.conditions().admits(k) && (q.State == "" || q.State == k.State(now))
}

const (
	maxName      = 128 // code points
	maxNotes     = 2 << 10
	maxScopes    = 64
	maxNetworks  = 64
	maxMetaItems = 32
	maxMetaKey   = 128
	maxMetadata  = 4 << 10 // as JSON
)

// checkKey returns an [InvalidError] for the first field that exceeds its limits. It
// truncates the idle timeout to the millisecond, as it is stored.
func checkKey(k *Key, allowedScopes []string) error {
	if err := checkCharacters("name", k.Name, maxName); err != nil {
		return err
	}
	if len(k.Notes) > maxNotes || !text.IsPlain(strings.NewReplacer("\n", "", "\t", "").Replace(k.Notes)) {
		return invalid("notes", fmt.Sprintf("must be at most %d bytes of UTF-8 without control characters except tab and newline", maxNotes))
	}
	if err := checkBytes("owner_id", k.OwnerID, maxOwnerID); err != nil {
		return err
	}
	if err := checkBytes("tenant", k.Tenant, maxTenant); err != nil {
		return err
	}
	if k.IdleTimeout != 0 && (k.IdleTimeout < time.Minute || k.IdleTimeout > maxKeyTTL) {
		return invalid("idle_timeout", "must be between 1 minute and 100 years, or none")
	}
	k.IdleTimeout = k.IdleTimeout.Truncate(time.Millisecond)
	if err := checkScopes(k.Scopes, allowedScopes); err != nil {
		return err
	}
	if err := checkNetworks(k.Networks); err != nil {
		return err
	}
	return checkMetadata(k.Metadata)
}

func checkNetworks(networks []netip.Prefix) error {
	if len(networks) > maxNetworks {
		return invalid("networks", fmt.Sprintf("must contain at most %d prefixes", maxNetworks))
	}
	for i, network := range networks {
		if !network.IsValid() || network.Masked() != network || network.Addr().Is4In6() {
			return invalid(fmt.Sprintf("networks[%d]", i),
				"must be a CIDR prefix without host bits, such as \"192.0.2.0/24\" or \"2001:db8::/32\", and not an IPv4 prefix in IPv6 form")
		}
	}
	return nil
}

func checkMetadata(metadata map[string]string) error {
	rule := fmt.Sprintf("must be at most %d entries and %d bytes as JSON; names of 1 to %d bytes; UTF-8 without control characters",
		maxMetaItems, maxMetadata, maxMetaKey)
	if len(metadata) > maxMetaItems {
		return invalid("metadata", rule)
	}
	for name, value := range metadata {
		if name == "" || len(name) > maxMetaKey || !text.IsPlain(name) || !text.IsPlain(value) {
			return invalid("metadata", rule)
		}
	}
	if encoded, err := json.Marshal(metadata); err != nil || len(encoded) > maxMetadata {
		return invalid("metadata", rule)
	}
	return nil
}

// deadline returns the ExpiresAt for a time to live or an exact time. If both are zero,
// the fallback applies. If both are set, it returns an error.
func deadline(now time.Time, ttl time.Duration, at time.Time, fallback time.Duration) (time.Time, error) {
	if ttl != 0 && !at.IsZero() {
		return time.Time{}, invalid("ttl", "must not be set together with expires_at")
	}
	if !at.IsZero() {
		if at.Year() < 1970 || at.Year() > 9999 {
			return time.Time{}, invalid("expires_at", "must be between the years 1970 and 9999")
		}
		return at.UTC().Truncate(time.Millisecond), nil
	}
	ttl = cmp.Or(ttl, fallback)
	switch {
	case ttl == Never:
		return time.Time{}, nil
	case ttl < time.Millisecond || ttl > maxKeyTTL:
		return time.Time{}, invalid("ttl", "must be between 1 ms and 100 years, or never")
	}
	return now.Add(ttl), nil
}

// newDeadline is [deadline] for a new key. It refuses a time in the past, because such
// a key could not be used.
func newDeadline(now time.Time, ttl time.Duration, at time.Time, fallback time.Duration) (time.Time, error) {
	expires, err := deadline(now, ttl, at, fallback)
	if err == nil && !expires.IsZero() && !expires.After(now) {
		return time.Time{}, invalid("expires_at", "must be in the future")
	}
	return expires, err
}

// checkScopes checks the scopes of a key. A wildcard in Options.Scopes permits that
// wildcard, not the scopes that it covers. Otherwise Options.Scopes could not permit a
// wildcard without permitting every scope below it.
func checkScopes(scopes, allowed []string) error {
	if len(scopes) > maxScopes {
		return invalid("scopes", fmt.Sprintf("must contain at most %d scopes", maxScopes))
	}
	seen := make(map[string]bool, len(scopes))
	for i, held := range scopes {
		field := fmt.Sprintf("scopes[%d]", i)
		switch {
		case !scope.IsValid(held):
			return invalid(field, scope.Rule)
		case seen[held]:
			return invalid(field, "must not repeat an earlier scope")
		case allowed != nil && !slices.Contains(allowed, held):
			return invalid(field, "must be "+scopeList(allowed))
		}
		seen[held] = true
	}
	return nil
}
