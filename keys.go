package keyfold

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/keyfold/keyfold/internal/token"
)

// Key is what is known of an API key: everything but its secret.
type Key struct {
	ID          string // 16 base62 characters; public, safe in logs
	Hint        string // how the token begins, to tell keys apart: "kf_live_8fJ2…"
	Prefix      string // first part of the token: "kf"
	Environment string // second part of the token, if any: "live"
	Name        string
	Notes       string
	OwnerID     string         // the host's own id of whoever the key belongs to; opaque
	UserID      string         // the [User] that the key belongs to; empty for none
	Tenant      string         // a label to list and stop keys by
	Scopes      []string       // "reports:read", see Options.Scopes; empty = none
	Networks    []netip.Prefix // where the key may be used from; empty = anywhere
	Metadata    map[string]string

	CreatedAt      time.Time
	UpdatedAt      time.Time
	ExpiresAt      time.Time     // exclusive; zero = never
	IdleTimeout    time.Duration // zero = none
	DisabledAt     time.Time     // zero = enabled
	DisabledReason string
	RevokedAt      time.Time // zero = not revoked; final otherwise
	RevokedReason  string
	// UserDisabled is true while the user of the key is disabled, or no longer exists.
	// It is read with the key and cannot be set: see [Service.DisableUser].
	UserDisabled bool

	LineageID   string // id of the first key of a chain of rotations; its own id for that one
	RotatedFrom string // id of the key that this one replaced
	RotatedTo   string // id of the key that replaced this one

	Version    int64     // 1 at creation, one more with every change
	Uses       int64     // verifies that were allowed, as of the last flush
	LastUsedAt time.Time // zero = never used
}

// KeyState is what a key's fields amount to at one moment.
type KeyState string

// The states of a key. The first that applies is the state, in this order, which
// is that of the outcomes of [Service.Verify].
const (
	KeyRevoked      KeyState = "revoked"
	KeyDisabled     KeyState = "disabled"
	KeyUserDisabled KeyState = "user_disabled" // the key's user is disabled or gone
	KeyExpired      KeyState = "expired"
	KeyActive       KeyState = "active"
)

// field is the field that puts a key into the state.
func (s KeyState) field() string {
	switch s {
	case KeyRevoked:
		return "revoked_at"
	case KeyDisabled:
		return "disabled_at"
	}
	return "expires_at"
}

// State returns the key's state at that time. It does not tell idleness: that
// depends on uses which may not have been written yet.
func (k *Key) State(at time.Time) KeyState {
	switch {
	case !k.RevokedAt.IsZero():
		return KeyRevoked
	case !k.DisabledAt.IsZero():
		return KeyDisabled
	case k.UserDisabled:
		return KeyUserDisabled
	case !k.ExpiresAt.IsZero() && !at.Before(k.ExpiresAt):
		return KeyExpired
	}
	return KeyActive
}

// NewKey is what a key is created with. The zero NewKey is a nameless key
// without scopes that lives for Options.KeyTTL.
type NewKey struct {
	Name        string            // at most 128 characters
	Notes       string            // at most 2 KiB
	OwnerID     string            // at most 128 bytes
	UserID      string            // the id of a [User], without whom the key is refused; empty = none
	Tenant      string            // at most 128 bytes
	Scopes      []string          // at most 64, each at most 128 bytes
	Networks    []netip.Prefix    // at most 64
	Metadata    map[string]string // at most 32 entries, 4 KiB as JSON
	TTL         time.Duration     // zero = Options.KeyTTL; [Never] = no end
	ExpiresAt   time.Time         // instead of TTL: an exact time to come, up to the year 9999
	IdleTimeout time.Duration     // zero = none; otherwise at least a minute
	Environment string            // zero = Options.Environment
}

// CreateKey creates a key and returns it with its token. The token is not kept
// and cannot be had again. Errors: [InvalidError], also for the "user_id" of a user
// who does not exist, [ErrUnavailable].
func (s *Service) CreateKey(ctx context.Context, n NewKey) (Key, Token, error) {
	now := s.now()
	expires, err := newDeadline(now, n.TTL, n.ExpiresAt, s.opts.KeyTTL)
	if err != nil {
		return Key{}, Token{}, err
	}
	orDefault(&n.Environment, s.opts.Environment)
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
	if err := s.checkKey(&key); err != nil {
		return Key{}, Token{}, err
	}
	if key.UserID != "" {
		user, err := s.store.User(ctx, key.UserID)
		if err != nil {
			return Key{}, Token{}, unknownUser(ctx, err)
		}
		key.UserDisabled = user.State() == UserDisabled
	}
	record, token := s.mint(key, now)
	record.LineageID = record.ID
	m := s.mutation(ctx, now, "key.create", record.ID, nil, keyFields(&record.Key))
	if err := s.store.CreateKey(ctx, record, m); err != nil {
		return Key{}, Token{}, unknownUser(ctx, err)
	}
	return record.Key, token, nil
}

// unknownUser names the field where the store did not find the user of a new key.
func unknownUser(ctx context.Context, err error) error {
	if errors.Is(err, ErrNotFound) {
		return invalid("user_id", "must be the id of an existing user")
	}
	return storeError(ctx, err)
}

// mint gives a key its id and secret and makes it new.
func (s *Service) mint(key Key, now time.Time) (KeyRecord, Token) {
	parts, text := token.New(token.Head(key.Prefix, key.Environment))
	key.ID, key.Hint, key.Version = parts.ID, hint(parts), 1
	key.CreatedAt, key.UpdatedAt = now, now
	return KeyRecord{Key: key, Secret: s.secrets.hash(parts), ActiveAt: now}, Token{text: &text}
}

// hint is how a token begins. It is made of the public part alone.
func hint(parts token.Parts) string { return parts.Head + "_" + parts.ID[:4] + "…" }

// Key returns the key of that id. Errors: [InvalidError], [ErrNotFound],
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

// KeyUpdate changes what a key is labelled with and what it may do. A nil
// field stays as it is.
type KeyUpdate struct {
	Version     int64 // required: Key.Version as it was read
	Name        *string
	Notes       *string
	OwnerID     *string
	Tenant      *string
	Scopes      *[]string
	Networks    *[]netip.Prefix
	Metadata    *map[string]string
	IdleTimeout *time.Duration
}

// UpdateKey changes a key that nobody else changed since it was read. Errors:
// [InvalidError], [ErrNotFound], [ErrStale], [ErrConflict] when the key is
// revoked, [ErrUnavailable].
func (s *Service) UpdateKey(ctx context.Context, id string, u KeyUpdate) (Key, error) {
	if u.Version < 1 {
		return Key{}, invalid("version", "must be the version of the key that was read, 1 or more")
	}
	record, err := s.key(ctx, id)
	if err != nil {
		return Key{}, err
	}
	if !record.RevokedAt.IsZero() {
		return Key{}, conflict("revoked_at", "key %s is revoked", id)
	}
	if record.Version != u.Version {
		return Key{}, fmt.Errorf("%w: key %s is at version %d", ErrStale, id, record.Version)
	}
	before := keyFields(&record.Key)
	u.apply(&record.Key)
	if err := s.checkKey(&record.Key); err != nil {
		return Key{}, err
	}
	record.UpdatedAt = s.now()
	m := s.mutation(ctx, record.UpdatedAt, "key.update", id, before, keyFields(&record.Key))
	err = s.store.UpdateKey(ctx, record, m)
	s.changed(id)
	if err != nil {
		return Key{}, storeError(ctx, err)
	}
	record.Version++
	return record.Key, nil
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
	// ExpiringBefore lists the keys whose deadline is still to come and before
	// that time, soonest first; otherwise the newest key comes first.
	ExpiringBefore time.Time
	Cursor         string // KeyPage.Next of the page before; empty starts
	Limit          int    // 1 to 200; zero = 50
}

// KeyPage is a page of keys. A page may hold fewer keys than its limit, even
// none, and still have a Next: filters that no index serves are applied to a
// bounded stretch of the list at a time.
type KeyPage struct {
	Keys []Key
	Next string // Cursor of the next page; empty when there is none
}

// maxStretch bounds how many stored keys one page looks at.
const maxStretch = 2000

// Keys lists keys. Errors: [InvalidError], [ErrUnavailable].
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
	scan := q.scan(now)
	scan.After = after.position()
	var page KeyPage
	for looked := 0; looked < maxStretch; looked += scan.Limit {
		scan.Limit = max(limit, maxPage)
		if q.leadsAlone() {
			scan.Limit = limit
		}
		records, err := s.store.Keys(ctx, scan)
		if err != nil {
			return KeyPage{}, storeError(ctx, err)
		}
		for i := range records {
			key := &records[i].Key
			scan.After = Position{At: key.CreatedAt, ID: key.ID}
			if scan.Index == KeysExpiring {
				scan.After.At = key.ExpiresAt
			}
			if q.matches(key, now) {
				page.Keys = append(page.Keys, *key)
			}
			if len(page.Keys) == limit {
				break
			}
		}
		if len(page.Keys) < limit && len(records) < scan.Limit {
			return page, nil // the end of the list
		}
		if len(page.Keys) == limit {
			break
		}
	}
	page.Next, err = s.nextCursor(ctx, cursor{At: scan.After.At.UnixMilli(), ID: scan.After.ID}, filter)
	return page, err
}

func (q *KeyQuery) check() error {
	if err := checkFilters(q.OwnerID, q.UserID, q.Tenant); err != nil {
		return err
	}
	switch q.State {
	case "", KeyActive, KeyExpired, KeyUserDisabled, KeyDisabled, KeyRevoked:
		return nil
	}
	return invalid("state", "must be one of active, expired, user_disabled, disabled, revoked")
}

// checkFilters checks the conditions that keys are listed and changed by.
func checkFilters(owner, user, tenant Filter) error {
	if err := owner.checkText("owner_id", maxOwnerID); err != nil {
		return err
	}
	if err := user.checkID("user_id"); err != nil {
		return err
	}
	return tenant.checkText("tenant", maxTenant)
}

func (q *KeyQuery) filter() string {
	return fmt.Sprintf("keys|%q|%s|%q|%s|%d", q.OwnerID.value, q.UserID.value, q.Tenant.value, q.State, q.ExpiringBefore.UnixMilli())
}

// scan picks the index that leads; what it does not decide, matches does.
func (q *KeyQuery) scan(now time.Time) KeyScan {
	switch {
	case !q.ExpiringBefore.IsZero():
		return KeyScan{Index: KeysExpiring, From: now.Add(time.Millisecond), To: q.ExpiringBefore}
	case q.UserID.set:
		return KeyScan{Index: KeysByUser, Value: q.UserID.value}
	case q.OwnerID.set:
		return KeyScan{Index: KeysByOwner, Value: q.OwnerID.value}
	case q.Tenant.set:
		return KeyScan{Index: KeysByTenant, Value: q.Tenant.value}
	}
	return KeyScan{Index: KeysAll}
}

// leadsAlone reports whether the index decides everything.
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
	return q.OwnerID.admits(k.OwnerID) && q.UserID.admits(k.UserID) && q.Tenant.admits(k.Tenant) && (q.State == "" || q.State == k.State(now))
}
