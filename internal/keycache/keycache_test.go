package keycache

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold/internal/token"
)

const never = int64(1<<63 - 1)

func newKey(t testing.TB, r Record) Key {
	t.Helper()
	if r.ID == "" {
		r.ID = token.Random(token.IDLen)
	}
	if r.Algorithm == "" {
		r.Algorithm = token.Plain.String()
	}
	if r.ExpiresAt == 0 {
		r.ExpiresAt = never
	}
	k, err := NewKey(&r, 60_000)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// FuzzKeyHasAllTextsOfItsRecord stores texts of all lengths, alone and in a chunk
// next to other keys.
func FuzzKeyHasAllTextsOfItsRecord(f *testing.F) {
	f.Add("kf_live", "a:b c:d", "live", "ci", "owner", "tenant", "user", `{"a":"b"}`, "kf2")
	f.Add("", "", "", "", "", "", "", "", "kf2h")
	f.Add("kf", strings.Repeat("s", 127), strings.Repeat("e", 128), strings.Repeat("n", 300), "\x00", "\x80", "ü", "{", "other")
	f.Fuzz(func(t *testing.T, head, scopes, environment, name, owner, tenant, user, metadata, algorithm string) {
		r := Record{
			ID: "0123456789ABCDEF", Head: head, Scopes: scopes, Environment: environment, Name: name, OwnerID: owner, Tenant: tenant,
			UserID: user, Metadata: metadata, Algorithm: algorithm, PepperID: "pepper", ExpiresAt: never,
		}
		key, err := NewKey(&r, 60_000)
		if err != nil {
			return // larger than a record may be
		}
		cache := New(100, 10<<20, time.Minute, 1)
		ids := []string{"1123456789ABCDEF", r.ID, "2123456789ABCDEF"}
		for _, id := range ids {
			other := r
			other.ID = id
			k, err := NewKey(&other, 60_000)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := cache.Load(context.Background(), id, time.Second, func(context.Context) (Key, error) { return k, nil }); err != nil {
				t.Fatal(err)
			}
		}
		for i, k := range []Key{key, cache.Get(r.ID, 0)} {
			if k.IsZero() {
				t.Fatal("the key is not in the cache")
			}
			got := []string{k.ID(), k.Head(), string(k.Scopes()), k.Environment(), k.Name(), k.OwnerID(), k.Tenant(), k.UserID(), k.text(fieldMetadata), k.AlgorithmName()}
			want := []string{r.ID, head, scopes, environment, name, owner, tenant, user, metadata, algorithm}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Fatalf("key %d has %q, want %q", i, got, want)
			}
		}
	})
}

func TestCheckNamesTheFirstReason(t *testing.T) {
	t.Parallel()
	home, away := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("198.51.100.1")
	for name, row := range map[string]struct {
		record Record
		scopes []string
		ip     netip.Addr
		want   Reason
	}{
		"nothing against it":           {Record{}, nil, netip.Addr{}, Allowed},
		"revoked and disabled":         {Record{Revoked: true, Disabled: true, UserDisabled: true, ExpiresAt: 1}, nil, away, Revoked},
		"disabled, as its user is":     {Record{Disabled: true, UserDisabled: true, ExpiresAt: 1}, nil, away, Disabled},
		"its user is disabled":         {Record{UserDisabled: true, ExpiresAt: 1}, nil, away, UserDisabled},
		"expired one millisecond ago":  {Record{ExpiresAt: 4_999}, nil, home, Expired},
		"expires now":                  {Record{ExpiresAt: 5_000}, nil, home, Expired},
		"expires in a millisecond":     {Record{ExpiresAt: 5_001}, nil, home, Allowed},
		"idle for exactly the timeout": {Record{IdleTimeout: 1000, ActiveAt: 4_000}, nil, home, Idle},
		"nearly idle":                  {Record{IdleTimeout: 1000, ActiveAt: 4_001}, nil, home, Allowed},
		"from its network":             {Record{Networks: "192.0.2.0/24"}, nil, home, Allowed},
		"mapped into IPv6":             {Record{Networks: "192.0.2.0/24"}, nil, netip.MustParseAddr("::ffff:192.0.2.7"), Allowed},
		"from another network":         {Record{Networks: "192.0.2.0/24"}, nil, away, Network},
		"from an unknown address":      {Record{Networks: "192.0.2.0/24"}, nil, netip.Addr{}, Network},
		"networks that are damaged":    {Record{Networks: "192.0.2.0"}, nil, home, Network},
		"a scope that it has":          {Record{Scopes: "a:b c:*"}, []string{"a:b", "c:d"}, home, Allowed},
		"a scope that it lacks":        {Record{Scopes: "a:b"}, []string{"a:b", "c:d"}, home, Scope},
	} {
		if got := newKey(t, row.record).Check(row.scopes, row.ip, 5_000); got != row.want {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}

func TestDamagedRecordsAreRefused(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]Record{
		"an id that is too short": {ID: "short"},
		"texts that are too long": {ID: "0123456789ABCDEF", Metadata: strings.Repeat("m", maxRecord+1)},
	} {
		if _, err := NewKey(&r, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEvictedAndStaleKeysAreNotFound(t *testing.T) {
	t.Parallel()
	cache := New(100, 1<<20, time.Minute, 1)
	add := func(r Record) string {
		k := newKey(t, r)
		got, err := cache.Load(t.Context(), k.ID(), time.Second, func(context.Context) (Key, error) { return k, nil })
		if err != nil || got.ID() != k.ID() {
			t.Fatal(err)
		}
		return k.ID()
	}
	plain, owned, other := add(Record{}), add(Record{UserID: "u1"}), add(Record{UserID: "u2"})
	found := func() (ids string) {
		for _, id := range []string{plain, owned, other} {
			ids += fmt.Sprint(!cache.Get(id, 0).IsZero(), " ")
		}
		return ids
	}
	cache.EvictUsers(map[string]bool{"u1": true})
	if got := found(); got != "true false true " {
		t.Errorf("after u1 was evicted: %s", got)
	}
	cache.Evict(plain)
	if got := found(); got != "false false true " {
		t.Errorf("after the first key was evicted: %s", got)
	}
	if !cache.Get(other, 60_000).IsZero() || cache.Peek(other).IsZero() {
		t.Error("Get returns a stale key, or Peek does not")
	}
	cache.Flush()
	if !cache.Peek(other).IsZero() {
		t.Error("a key was found after Flush")
	}
}

func TestReadThatBeganBeforeAnEvictionAddsNothing(t *testing.T) {
	t.Parallel()
	cache := New(100, 1<<20, time.Minute, 1)
	k := newKey(t, Record{})
	for name, evict := range map[string]func(){
		"Evict":      func() { cache.Evict(k.ID()) },
		"EvictUsers": func() { cache.EvictUsers(map[string]bool{"u": true}) },
		"Flush":      func() { cache.Flush() },
	} {
		_, err := cache.Load(t.Context(), k.ID(), time.Second, func(context.Context) (Key, error) {
			evict()
			return k, nil
		})
		if err != nil || !cache.Peek(k.ID()).IsZero() {
			t.Errorf("%s during a read: %v, and the key was added: %v", name, err, !cache.Peek(k.ID()).IsZero())
		}
	}
}

func TestLoadReportsAFullQueueAndErrorsOfTheRead(t *testing.T) {
	t.Parallel()
	cache := New(100, 1<<20, time.Minute, 1)
	broken := errors.New("broken")
	_, err := cache.Load(t.Context(), token.Random(token.IDLen), time.Second, func(ctx context.Context) (Key, error) {
		_, err := cache.Load(ctx, token.Random(token.IDLen), time.Millisecond, func(context.Context) (Key, error) { return Key{}, nil })
		if !errors.Is(err, ErrBusy) {
			t.Errorf("a second read when one may run: %v, want ErrBusy", err)
		}
		return Key{}, broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("Load returned %v, want the error of the read", err)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	cache := New(100, 1<<20, time.Minute, 1)
	k := newKey(t, Record{Scopes: "a:b", Networks: "192.0.2.0/24", IdleTimeout: 1 << 40})
	if _, err := cache.Load(t.Context(), k.ID(), time.Second, func(context.Context) (Key, error) { return k, nil }); err != nil {
		t.Fatal(err)
	}
	id, scopes, ip := k.ID(), []string{"a:b"}, netip.MustParseAddr("192.0.2.7")
	if n := testing.AllocsPerRun(100, func() {
		if cache.Get(id, 0).Check(scopes, ip, 0) != Allowed {
			t.Fatal("the key was refused")
		}
	}); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}
