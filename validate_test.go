package keyfold_test

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// wantInvalid checks that err names the field.
func wantInvalid(t *testing.T, what string, err error, field string) {
	t.Helper()
	var bad *keyfold.InvalidError
	if !errors.As(err, &bad) || !errors.Is(err, keyfold.ErrInvalid) || bad.Field != field || bad.Reason == "" {
		t.Errorf("%s: %v, want an InvalidError for %q", what, err, field)
	}
}

func TestNewNamesTheBadOption(t *testing.T) {
	t.Parallel()
	pepper := map[string][]byte{"p1": []byte(strings.Repeat("p", 32))}
	for field, rows := range map[string][]keyfold.Options{
		"Options.Prefix":           {{Prefix: "KF"}, {Prefix: "_kf"}, {Prefix: "kf_"}, {Prefix: "k__f"}, {Prefix: "1k"}, {Prefix: "kéf"}, {Prefix: strings.Repeat("k", 17)}},
		"Options.Environment":      {{Environment: "Live"}, {Environment: "a_b"}, {Environment: strings.Repeat("e", 17)}},
		"Options.KeyTTL":           {{KeyTTL: -2}, {KeyTTL: time.Microsecond}, {KeyTTL: math.MaxInt64}},
		"Options.MaxOverlap":       {{MaxOverlap: -1}},
		"Options.Scopes[0]":        {{Scopes: []string{""}}, {Scopes: []string{"re*"}}, {Scopes: []string{"**:read"}}},
		"Options.VerifyTimeout":    {{VerifyTimeout: -1}, {VerifyTimeout: time.Hour}},
		"Options.FlushInterval":    {{FlushInterval: -1}, {FlushInterval: time.Microsecond}, {FlushInterval: time.Hour}},
		"Options.MaxPendingEvents": {{MaxPendingEvents: -1}},
		"Options.MaxPendingBytes":  {{MaxPendingBytes: -1}},
		"Options.Peppers":          {{Peppers: map[string][]byte{"": pepper["p1"]}}, {Peppers: map[string][]byte{"a b": pepper["p1"]}}},
		"Options.Peppers[short]":   {{Peppers: map[string][]byte{"short": []byte("x")}}},
		"Options.CurrentPepper":    {{CurrentPepper: "p1"}, {Peppers: pepper, CurrentPepper: "p2"}},
		"Options.RequirePepper":    {{Peppers: pepper, RequirePepper: true}},
	} {
		t.Run(field, func(t *testing.T) {
			for _, options := range rows {
				_, err := keyfold.New(memory.New(), &options)
				wantInvalid(t, "New", err, field)
				if err != nil && strings.Contains(err.Error(), string(pepper["p1"])) {
					t.Errorf("the error shows a pepper: %v", err)
				}
			}
		})
	}
	_, err := keyfold.New(nil, nil)
	wantInvalid(t, "New without a store", err, "store")
}

func TestCreateNamesTheBadFieldAndStoresNothing(t *testing.T) {
	t.Parallel()
	svc := newService(t, refusing{}, &keyfold.Options{Scopes: []string{"reports:read", "bills:write"}})
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int) (scopes []string) {
		for range n {
			scopes = append(scopes, "reports:read")
		}
		return scopes
	}
	entries := map[string]string{}
	for i := range 33 {
		entries[strconv.Itoa(i)] = ""
	}
	for field, rows := range map[string][]keyfold.NewKey{
		"name":         {{Name: long(129)}, {Name: "a\x00b"}, {Name: "a\nb"}, {Name: "\xff"}, {Name: "\u0085"}},
		"notes":        {{Notes: long(2049)}, {Notes: "a\x00b"}, {Notes: "\xff"}, {Notes: strings.Repeat("\n", 2049)}},
		"owner_id":     {{OwnerID: long(129)}, {OwnerID: strings.Repeat("é", 65)}, {OwnerID: "a\x7f"}},
		"tenant":       {{Tenant: long(129)}, {Tenant: "\t"}},
		"scopes":       {{Scopes: many(65)}},
		"scopes[0]":    {{Scopes: []string{""}}, {Scopes: []string{"reports"}}, {Scopes: []string{"reports:*"}}, {Scopes: []string{"*:*"}}, {Scopes: []string{"**"}}, {Scopes: []string{"re*:read"}}, {Scopes: []string{"reports:read bills:write"}}, {Scopes: []string{":read"}}, {Scopes: []string{"reports:" + long(128)}}, {Scopes: []string{"reports:write"}}, {Scopes: []string{"other:*"}}},
		"scopes[1]":    {{Scopes: many(2)}},
		"networks":     {{Networks: make([]netip.Prefix, 65)}},
		"networks[0]":  {{Networks: make([]netip.Prefix, 1)}, {Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}, {Networks: []netip.Prefix{netip.MustParsePrefix("::ffff:192.0.2.0/120")}}},
		"metadata":     {{Metadata: entries}, {Metadata: map[string]string{"": "x"}}, {Metadata: map[string]string{"a": long(4096)}}, {Metadata: map[string]string{"a": "\x01"}}, {Metadata: map[string]string{long(129): ""}}},
		"ttl":          {{TTL: -2}, {TTL: time.Microsecond}, {TTL: math.MaxInt64}, {TTL: time.Hour, ExpiresAt: time.Now()}},
		"expires_at":   {{ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, {ExpiresAt: time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)}},
		"idle_timeout": {{IdleTimeout: -1}, {IdleTimeout: time.Second}, {IdleTimeout: math.MaxInt64}},
		"environment":  {{Environment: "Live"}, {Environment: "a_b"}},
	} {
		for _, n := range rows {
			_, _, err := svc.CreateKey(t.Context(), n)
			wantInvalid(t, "CreateKey", err, field)
		}
	}
}

// Errors write the allowed values in a form that flags, the admin API and Go all accept.
func TestAllowedValuesAreToldAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	_, _, idle := svc.CreateKey(t.Context(), keyfold.NewKey{IdleTimeout: time.Second})
	_, _, overlap := svc.RotateKey(t.Context(), "0123456789abcdef", keyfold.RotateOptions{Overlap: 8 * day})
	_, length := keyfold.New(memory.New(), &keyfold.Options{PasswordPolicy: keyfold.PasswordPolicy{MinLength: 65, MaxLength: 64}})
	for _, row := range []struct {
		err  error
		want string
	}{
		{idle, "must be between 1 minute and 100 years, or none"},
		{overlap, "must be between 1 ms and 7d, or none"},
		{length, "must be between 8 and 64 characters"},
	} {
		if bad, ok := errors.AsType[*keyfold.InvalidError](row.err); !ok || bad.Reason != row.want {
			t.Errorf("got %v, want %q", row.err, row.want)
		}
	}
}

func TestLimitsThemselvesAreAllowed(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	var scopes []string
	var networks []netip.Prefix
	for i := range 64 {
		scopes = append(scopes, "r"+strconv.Itoa(100+i)+":"+strings.Repeat("a", 123))
		networks = append(networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24))
	}
	n := keyfold.NewKey{
		Name: strings.Repeat("𝒳", 128), Notes: strings.Repeat("n\n", 1024), OwnerID: strings.Repeat("é", 64), Tenant: strings.Repeat("t", 128),
		Scopes: scopes, Networks: networks, Metadata: map[string]string{"k": strings.Repeat("v", 4096-8)},
		TTL: 100 * 365 * day, IdleTimeout: time.Minute,
	}
	key, _, err := svc.CreateKey(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	got, err := svc.Key(t.Context(), key.ID)
	if err != nil || got.Name != n.Name || got.Notes != n.Notes || len(got.Scopes) != 64 || len(got.Networks) != 64 || got.Metadata["k"] != n.Metadata["k"] {
		t.Errorf("came back as %+v, %v", got, err)
	}
}

func TestEveryOtherInputIsCheckedBeforeTheStore(t *testing.T) {
	t.Parallel()
	svc := newService(t, refusing{}, nil)
	ctx, id := t.Context(), "0123456789abcdef"
	long := strings.Repeat("x", 300)
	_, renew := svc.RenewKey(ctx, id, keyfold.RenewOptions{TTL: -2})
	_, _, overlap := svc.RotateKey(ctx, id, keyfold.RotateOptions{Overlap: 8 * day})
	_, _, rotate := svc.RotateKey(ctx, id, keyfold.RotateOptions{TTL: time.Hour, ExpiresAt: time.Now()})
	_, bulk := svc.RevokeKeys(ctx, keyfold.KeyFilter{OwnerID: keyfold.Only("o")}, long)
	_, ids := svc.DisableKeys(ctx, keyfold.KeyFilter{IDs: []string{id, "x"}}, "")
	_, limit := svc.Keys(ctx, keyfold.KeyQuery{Limit: 201})
	_, negative := svc.Keys(ctx, keyfold.KeyQuery{Limit: -1})
	_, state := svc.Keys(ctx, keyfold.KeyQuery{State: "gone"})
	_, cursor := svc.Keys(ctx, keyfold.KeyQuery{Cursor: "x"})
	_, span := svc.Usage(ctx, keyfold.UsageQuery{From: time.Unix(2, 0), To: time.Unix(1, 0)})
	_, both := svc.UsageTotals(ctx, keyfold.UsageQuery{KeyID: keyfold.Only(id), OwnerID: keyfold.Only("o")})
	_, code := svc.Usage(ctx, keyfold.UsageQuery{Outcomes: []keyfold.Outcome{99}})
	_, audit := svc.Audit(ctx, keyfold.AuditQuery{Cursor: strings.Repeat("A", 1000)})
	for _, row := range []struct {
		what  string
		err   error
		field string
	}{
		{"RenewKey", renew, "ttl"},
		{"RotateKey", overlap, "overlap"},
		{"RotateKey", rotate, "ttl"},
		{"RevokeKey", svc.RevokeKey(ctx, id, long), "reason"},
		{"DisableKey", svc.DisableKey(ctx, id, "a\nb"), "reason"},
		{"RevokeKeys", bulk, "reason"},
		{"DisableKeys", ids, "ids[1]"},
		{"Keys", limit, "limit"},
		{"Keys", negative, "limit"},
		{"Keys", state, "state"},
		{"Keys", cursor, "cursor"},
		{"Usage", span, "from"},
		{"UsageTotals", both, "owner_id"},
		{"Usage", code, "outcome"},
		{"Audit", audit, "cursor"},
	} {
		wantInvalid(t, row.what, row.err, row.field)
	}
}

func TestCursorIsBoundToItsFilters(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	for range 3 {
		create(t, svc, keyfold.NewKey{OwnerID: "o"})
	}
	page, err := svc.Keys(t.Context(), keyfold.KeyQuery{OwnerID: keyfold.Only("o"), Limit: 2})
	if err != nil || page.Next == "" {
		t.Fatalf("next %q, %v", page.Next, err)
	}
	_, err = svc.Keys(t.Context(), keyfold.KeyQuery{Limit: 2, Cursor: page.Next})
	wantInvalid(t, "another filter", err, "cursor")
	_, err = svc.Audit(t.Context(), keyfold.AuditQuery{Cursor: page.Next})
	wantInvalid(t, "another list", err, "cursor")
	last, err := svc.Keys(t.Context(), keyfold.KeyQuery{OwnerID: keyfold.Only("o"), Limit: 2, Cursor: page.Next})
	if err != nil || len(last.Keys) != 1 || last.Next != "" {
		t.Errorf("last page: %d keys, next %q, %v", len(last.Keys), last.Next, err)
	}
}

func FuzzCursorNeverPanicsNorPasses(f *testing.F) {
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("eyJmIjoxfQ")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := svc.Keys(context.Background(), keyfold.KeyQuery{Cursor: text})
		if err != nil && !errors.Is(err, keyfold.ErrInvalid) {
			t.Errorf("cursor %q: %v", text, err)
		}
	})
}

func TestKeysAreListedByFilter(t *testing.T) {
	l := newLifecycle(t)
	ids := map[string]string{}
	for _, name := range []string{"active", "expired", "disabled", "revoked"} {
		key, _ := l.create(keyfold.NewKey{Name: name, OwnerID: "o", Tenant: "t", TTL: 30 * day})
		l.clock.add(time.Second)
		ids[name] = key.ID
	}
	l.create(keyfold.NewKey{Name: "other", OwnerID: "p", TTL: 2 * day})
	_, err := l.RenewKey(t.Context(), ids["expired"], keyfold.RenewOptions{ExpiresAt: l.clock.now()})
	l.must(err)
	l.must(l.DisableKey(t.Context(), ids["disabled"], ""))
	l.must(l.RevokeKey(t.Context(), ids["revoked"], ""))
	l.clock.add(time.Second)
	user, err := l.CreateUser(t.Context(), keyfold.NewUser{Username: "olga"})
	l.must(err)
	l.create(keyfold.NewKey{Name: "theirs", UserID: user.ID, TTL: 20 * day})
	l.clock.add(time.Second)
	past, _ := l.create(keyfold.NewKey{Name: "past", UserID: user.ID, TTL: 20 * day})
	_, err = l.RenewKey(t.Context(), past.ID, keyfold.RenewOptions{ExpiresAt: l.clock.now()})
	l.must(err)
	l.must(l.DisableUser(t.Context(), user.ID, ""))
	for _, row := range []struct {
		name string
		q    keyfold.KeyQuery
		want string
	}{
		{"everything, newest first", keyfold.KeyQuery{}, "past theirs other revoked disabled expired active"},
		{"an owner", keyfold.KeyQuery{OwnerID: keyfold.Only("o")}, "revoked disabled expired active"},
		{"a tenant", keyfold.KeyQuery{Tenant: keyfold.Only("t")}, "revoked disabled expired active"},
		{"owner and tenant", keyfold.KeyQuery{OwnerID: keyfold.Only("p"), Tenant: keyfold.Only("t")}, ""},
		{"active", keyfold.KeyQuery{State: keyfold.KeyActive}, "other active"},
		{"expired", keyfold.KeyQuery{State: keyfold.KeyExpired}, "expired"},
		{"disabled", keyfold.KeyQuery{State: keyfold.KeyDisabled}, "disabled"},
		{"of a disabled user", keyfold.KeyQuery{State: keyfold.KeyUserDisabled}, "past theirs"},
		{"active of a disabled user", keyfold.KeyQuery{UserID: keyfold.Only(user.ID), State: keyfold.KeyActive}, ""},
		{"revoked of an owner", keyfold.KeyQuery{OwnerID: keyfold.Only("o"), State: keyfold.KeyRevoked}, "revoked"},
		{"expiring soon", keyfold.KeyQuery{ExpiringBefore: l.clock.now().Add(3 * day)}, "other"},
		{"expiring, soonest first", keyfold.KeyQuery{ExpiringBefore: l.clock.now().Add(90 * day)}, "other theirs active disabled revoked"},
	} {
		for _, limit := range []int{1, 2, 50} {
			q := row.q
			q.Limit = limit
			var names []string
			for {
				page, err := l.Keys(t.Context(), q)
				l.must(err)
				for _, key := range page.Keys {
					names = append(names, key.Name)
				}
				if q.Cursor = page.Next; q.Cursor == "" {
					break
				}
			}
			if got := strings.Join(names, " "); got != row.want {
				t.Errorf("%s, %d a page: %q, want %q", row.name, limit, got, row.want)
			}
		}
	}
}

func TestSparseFilterStillEnds(t *testing.T) {
	l := newLifecycle(t)
	wanted, _ := l.create(keyfold.NewKey{})
	l.must(l.RevokeKey(t.Context(), wanted.ID, ""))
	l.clock.add(time.Second)
	for range 4500 {
		l.create(keyfold.NewKey{})
	}
	q := keyfold.KeyQuery{State: keyfold.KeyRevoked}
	found, pages := 0, 0
	for {
		page, err := l.Keys(t.Context(), q)
		l.must(err)
		found += len(page.Keys)
		pages++
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if found != 1 || pages != 3 {
		t.Errorf("found %d keys in %d pages, want 1 in 3", found, pages)
	}
}

// An empty registry permits no scope, which differs from the nil one. Both errors
// name scopes from the registry, and here there are none.
func TestEmptyRegistryIsNamedInTheError(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), &keyfold.Options{Scopes: []string{}})
	_, _, create := svc.CreateKey(t.Context(), keyfold.NewKey{Scopes: []string{"reports:read"}})
	for err, want := range map[error]string{
		create:                          "must be one of Options.Scopes, which lists none",
		svc.CheckScopes("reports:read"): "must be covered by one of Options.Scopes, which lists none",
	} {
		if bad, ok := errors.AsType[*keyfold.InvalidError](err); !ok || bad.Field != "scopes[0]" || bad.Reason != want {
			t.Errorf("got %v, want scopes[0] %s", err, want)
		}
	}
}
