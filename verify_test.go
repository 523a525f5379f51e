package keyfold_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

func TestVerifyDecidesByState(t *testing.T) {
	l := newLifecycle(t)
	_, good := l.create(keyfold.NewKey{})
	unknown, _ := keyfold.ParseToken(good)
	l.must(l.DeleteKey(t.Context(), unknown.ID()))
	_, token := l.create(keyfold.NewKey{})
	wrong := sealed(token[:len(token)-39] + strings.Repeat("x", 32) + "_")
	for name, row := range map[string]struct {
		token  string
		code   keyfold.Outcome
		parent error
	}{
		"no token":          {"", keyfold.OutcomeMissing, keyfold.ErrUnauthenticated},
		"not a token":       {"hello", keyfold.OutcomeMalformed, keyfold.ErrUnauthenticated},
		"id without a key":  {good, keyfold.OutcomeUnknown, keyfold.ErrUnauthenticated},
		"another secret":    {wrong, keyfold.OutcomeWrongSecret, keyfold.ErrUnauthenticated},
		"the key as it was": {token, keyfold.OutcomeAllowed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := l.Verify(t.Context(), keyfold.Request{Token: row.token})
			if keyfold.OutcomeOf(err) != row.code || !errors.Is(err, row.parent) {
				t.Errorf("%s: %v, want %v", name, err, row.code)
			}
			if id.IsZero() != (err != nil) {
				t.Errorf("%s: identity %v together with %v", name, id, err)
			}
		})
	}
}

// Mutation tried: State with the user before the key's own DisabledAt, and after
// its ExpiresAt.
func TestStateOfAKeyIsTheOutcomeOfAVerify(t *testing.T) {
	l := newLifecycle(t)
	for i, row := range []struct {
		revoked, disabled, userDisabled, expired bool
		want                                     keyfold.KeyState
	}{
		{false, false, false, false, keyfold.KeyActive},
		{false, false, false, true, keyfold.KeyExpired},
		{false, false, true, false, keyfold.KeyUserDisabled},
		{false, false, true, true, keyfold.KeyUserDisabled},
		{false, true, false, true, keyfold.KeyDisabled},
		{false, true, true, true, keyfold.KeyDisabled},
		{true, false, true, false, keyfold.KeyRevoked},
		{true, true, true, true, keyfold.KeyRevoked},
	} {
		user, err := l.CreateUser(t.Context(), keyfold.NewUser{Username: fmt.Sprint("user", i)})
		l.must(err)
		key, token := l.create(keyfold.NewKey{UserID: user.ID})
		if row.expired {
			_, err := l.RenewKey(t.Context(), key.ID, keyfold.RenewOptions{ExpiresAt: l.clock.now()})
			l.must(err)
		}
		if row.disabled {
			l.must(l.DisableKey(t.Context(), key.ID, ""))
		}
		if row.userDisabled {
			l.must(l.DisableUser(t.Context(), user.ID, ""))
		}
		if row.revoked {
			l.must(l.RevokeKey(t.Context(), key.ID, ""))
		}
		key = l.key(key.ID)
		_, err = l.Verify(t.Context(), keyfold.Request{Token: token})
		outcome := keyfold.OutcomeOf(err).String()
		if outcome == "allowed" {
			outcome = "active"
		}
		if got := key.State(l.clock.now()); got != row.want || string(got) != outcome {
			t.Errorf("%+v: the state is %q and a verify ends as %q", row, got, outcome)
		}
	}
}

func TestVerifyLooksAtTheSecretBeforeTheState(t *testing.T) {
	// A client without the secret must not learn that a key was revoked.
	l := newLifecycle(t)
	key, token := l.create(keyfold.NewKey{})
	l.must(l.RevokeKey(t.Context(), key.ID, ""))
	l.wants(sealed(token[:len(token)-39]+strings.Repeat("x", 32)+"_"), keyfold.OutcomeWrongSecret)
	l.wants(token, keyfold.OutcomeRevoked)
}

func TestScopesDenyByDefault(t *testing.T) {
	// Mutations tried: "*" matching part of a segment, and an empty set holding all.
	l := newLifecycle(t)
	for _, row := range []struct {
		has  []string
		want []string
		ok   bool
	}{
		{nil, nil, true},
		{nil, []string{"reports:read"}, false},
		{[]string{"reports:read"}, []string{"reports:read"}, true},
		{[]string{"reports:read"}, []string{"reports:write"}, false},
		{[]string{"reports:read"}, []string{"reports:read", "reports:write"}, false},
		{[]string{"reports:read", "reports:write"}, []string{"reports:write", "reports:read"}, true},
		{[]string{"reports:*"}, []string{"reports:delete"}, true},
		{[]string{"*:read"}, []string{"bills:read"}, true},
		{[]string{"*:read"}, []string{"bills:write"}, false},
		{[]string{"*:*"}, []string{"any:thing"}, true},
		{[]string{"read"}, []string{"read"}, true},
		{[]string{"orders.read"}, []string{"orders.read"}, true},
		{[]string{"repo:*:read"}, []string{"repo:user:read"}, true},
		{[]string{"repo:**"}, []string{"repo:user:read"}, true},
		{[]string{"repo:**"}, []string{"repo"}, false},
		{[]string{"**"}, []string{"read", "repo:user:read"}, true},
		{[]string{"report:read"}, []string{"reports:read"}, false},
		{[]string{"reports:rea"}, []string{"reports:read"}, false},
		{[]string{"Reports:read"}, []string{"reports:read"}, false},
		{[]string{"*:*"}, []string{"reports"}, false},
		{[]string{"*:*"}, []string{"a:b:c"}, false},
	} {
		_, token := l.create(keyfold.NewKey{Scopes: row.has})
		id, err := l.Verify(t.Context(), keyfold.Request{Token: token, Scopes: row.want})
		if (err == nil) != row.ok || err != nil && !errors.Is(err, keyfold.ErrForbidden) {
			t.Errorf("key with %v, request for %v: %v, want allowed %v", row.has, row.want, err, row.ok)
		}
		if id.IsZero() {
			t.Errorf("key with %v: no identity together with %v", row.has, err)
		}
	}
}

// A wildcard in what is asked for would be granted to keys that hold "**" alone,
// and refused to all others: a route that every customer's key fails at.
func TestRequestForAWildcardIsAMistake(t *testing.T) {
	t.Parallel()
	store := newSpy()
	svc, err := keyfold.New(store, &keyfold.Options{Scopes: []string{"reports:read", "bills:*", "**"}})
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Close(t.Context())
	_, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{Scopes: []string{"**"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []string{"reports:*", "**", "*:*", "", "reports:", "a b", "a:b:c:d:e:f:g:h:i"} {
		t.Run(wanted, func(t *testing.T) {
			before := store.reads.Load()
			id, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal(), Scopes: []string{"reports:read", wanted}})
			var refused *keyfold.InvalidError
			if !errors.As(err, &refused) || refused.Field != "scopes[1]" || !id.IsZero() {
				t.Errorf("Verify for %q: got %v and %v, want an InvalidError for scopes[1]", wanted, id, err)
			}
			if calls := store.reads.Load() - before; calls != 0 {
				t.Errorf("Verify for %q cost %d store calls", wanted, calls)
			}
			if err := svc.CheckScopes(wanted); !errors.Is(err, keyfold.ErrInvalid) {
				t.Errorf("CheckScopes(%q): got %v, want an InvalidError", wanted, err)
			}
		})
	}
	id, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	for wanted, want := range map[string]bool{"a": true, "a:b:c": true, "a:*": false, "**": false, "": false, "a:": false} {
		t.Run(wanted, func(t *testing.T) {
			if got := id.HasScope(wanted); got != want {
				t.Errorf("HasScope(%q) of a key with **: got %v, want %v", wanted, got, want)
			}
		})
	}
}

func TestRegistryPermitsOnlyListedScopes(t *testing.T) {
	t.Parallel()
	svc, err := keyfold.New(memory.New(), &keyfold.Options{Scopes: []string{"reports:read", "bills:*"}})
	if err != nil {
		t.Fatal(err)
	}
	for held, want := range map[string]bool{
		"reports:read": true, "bills:*": true, "bills:write": false, "reports:*": false, "**": false, "*:*": false, "bills:**": false,
	} {
		t.Run(held, func(t *testing.T) {
			_, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{Scopes: []string{held}})
			if (err == nil) != want || err != nil && !errors.Is(err, keyfold.ErrInvalid) {
				t.Errorf("a key with %q: got %v, want allowed %v", held, err, want)
			}
		})
	}
	for wanted, want := range map[string]bool{
		"reports:read": true, "bills:write": true, "reports:write": false, "bills": false, "bills:a:b": false,
	} {
		t.Run(wanted, func(t *testing.T) {
			if err := svc.CheckScopes(wanted); (err == nil) != want || err != nil && !errors.Is(err, keyfold.ErrInvalid) {
				t.Errorf("CheckScopes(%q): got %v, want allowed %v", wanted, err, want)
			}
		})
	}
}

func TestNetworksBindAKeyToAddresses(t *testing.T) {
	l := newLifecycle(t)
	_, token := l.create(keyfold.NewKey{Networks: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"),
	}})
	for _, row := range []struct {
		ip string
		ok bool
	}{
		{"192.0.2.1", true},
		{"::ffff:192.0.2.1", true},
		{"192.0.3.1", false},
		{"2001:db8::1", true},
		{"2001:db8::1%eth0", true},
		{"2001:db9::1", false},
		{"", false},
	} {
		t.Run(row.ip, func(t *testing.T) {
			var ip netip.Addr
			if row.ip != "" {
				ip = netip.MustParseAddr(row.ip)
			}
			_, err := l.Verify(t.Context(), keyfold.Request{Token: token, IP: ip})
			want := keyfold.OutcomeIP
			if row.ok {
				want = keyfold.OutcomeAllowed
			}
			if got := keyfold.OutcomeOf(err); got != want {
				t.Errorf("from %q: %v, want %v", row.ip, got, want)
			}
		})
	}
}

func TestIdentityCannotBeChanged(t *testing.T) {
	l := newLifecycle(t)
	metadata := map[string]string{"plan": "pro"}
	scopes := []string{"a:b", "c:d"}
	key, token := l.create(keyfold.NewKey{Name: "n", OwnerID: "o", Tenant: "t", Scopes: scopes, Metadata: metadata})
	metadata["plan"], scopes[0] = "free", "admin:*"
	id, err := l.Verify(t.Context(), keyfold.Request{Token: token})
	l.must(err)
	if got := slices.Collect(id.Scopes()); !slices.Equal(got, []string{"a:b", "c:d"}) {
		t.Errorf("Scopes = %v", got)
	}
	slices.Collect(id.Scopes())[0] = "admin:*"
	if id.HasScope("admin:x") || !id.HasScope("c:d") {
		t.Errorf("HasScope follows a change of a returned value")
	}
	got := fmt.Sprint(id.KeyID(), id.Name(), id.OwnerID(), id.Tenant(), id.Environment(), id.Metadata("plan"), id.Metadata("x"), id.ExpiresAt())
	want := fmt.Sprint(key.ID, "n", "o", "t", "", "pro", "", key.ExpiresAt)
	if got != want {
		t.Errorf("identity %q, want %q", got, want)
	}
	var nobody keyfold.Identity
	if nobody.HasScope("a:b") || nobody.KeyID() != "" || nobody.Metadata("x") != "" || !nobody.ExpiresAt().IsZero() {
		t.Errorf("the zero Identity is somebody")
	}
}

func TestPeppersKeyTheHash(t *testing.T) {
	t.Parallel()
	store := memory.New()
	one, two := []byte(strings.Repeat("1", 32)), []byte(strings.Repeat("2", 32))
	plain := newService(t, store, nil)
	key, token := create(t, plain, keyfold.NewKey{})

	peppered := newService(t, store, &keyfold.Options{Peppers: map[string][]byte{"p1": one}, CurrentPepper: "p1"})
	key1, token1 := create(t, peppered, keyfold.NewKey{})
	for name, tok := range map[string]string{"unpeppered": token, "peppered": token1} {
		t.Run(name, func(t *testing.T) {
			if got := outcome(peppered, tok); got != keyfold.OutcomeAllowed {
				t.Errorf("%s key: %v", name, got)
			}
		})
	}
	if got := outcome(plain, token1); got != keyfold.OutcomeUnavailable {
		t.Errorf("a process without the pepper: %v, want unavailable", got)
	}
	if err := peppered.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"a hash that was moved": key.ID, "a hash made with it": key1.ID} {
		t.Run(name, func(t *testing.T) {
			record, err := store.Key(t.Context(), id)
			if err != nil || record.Secret.PepperID != "p1" || record.Secret.Alg != "kf2h" {
				t.Errorf("key %s is stored under %q %q, %v; its use should have moved it to p1", id, record.Secret.Alg, record.Secret.PepperID, err)
			}
		})
	}
	both := newService(t, store, &keyfold.Options{Peppers: map[string][]byte{"p1": one, "p2": two}, CurrentPepper: "p2", RequirePepper: true})
	if got := outcome(both, token); got != keyfold.OutcomeAllowed {
		t.Errorf("after the move: %v", got)
	}
	wrong := newService(t, store, &keyfold.Options{Peppers: map[string][]byte{"p1": two}, CurrentPepper: "p1"})
	if got := outcome(wrong, token1); got != keyfold.OutcomeUnavailable {
		t.Errorf("another pepper under the same id: %v, want unavailable", got)
	}
	_, bare := create(t, plain, keyfold.NewKey{})
	if got := outcome(both, bare); got != keyfold.OutcomeWrongSecret {
		t.Errorf("RequirePepper and a bare hash: %v, want wrong_secret", got)
	}
}

func TestUnknownAlgorithmIsAnErrorNeverAFallback(t *testing.T) {
	t.Parallel()
	store := memory.New()
	svc := newService(t, store, nil)
	key, token := create(t, svc, keyfold.NewKey{})
	record, err := store.Key(t.Context(), key.ID)
	if err != nil {
		t.Fatal(err)
	}
	future := record.Secret
	future.Alg = "kf9"
	if err := store.RehashKey(t.Context(), key.ID, record.Secret, future); err != nil {
		t.Fatal(err)
	}
	if got := outcome(svc, token); got != keyfold.OutcomeUnavailable {
		t.Errorf("verify: %v, want unavailable", got)
	}
}

func TestFailingStoreAllowsNothing(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(context.Context) error{
		"an error":            func(context.Context) error { return errors.New("boom") },
		"a dropped line":      func(context.Context) error { return fmt.Errorf("read tcp: %w", errors.New("connection reset by peer")) },
		"no answer":           hang,
		"an answer after 2 s": func(ctx context.Context) error { return wait(ctx, 2*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newSpy()
				svc := newService(t, store, &keyfold.Options{Now: time.Now})
				_, token := create(t, svc, keyfold.NewKey{})
				on(&store.verify, fault)
				start := time.Now()
				id, err := svc.Verify(t.Context(), keyfold.Request{Token: token})
				if !errors.Is(err, keyfold.ErrUnavailable) || !id.IsZero() {
					t.Errorf("Verify = %v, %v; want no identity and ErrUnavailable", id, err)
				}
				if took := time.Since(start); took > time.Second {
					t.Errorf("took %v, more than its deadline of 1 s", took)
				}
				if keyfold.RetryAfter(err) <= 0 {
					t.Errorf("no RetryAfter")
				}
				on(&store.verify, nil)
				if got := outcome(svc, token); got != keyfold.OutcomeAllowed {
					t.Errorf("after the fault: %v; errors must not be remembered", got)
				}
			})
		})
	}
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func TestCallerThatWentAwayGetsItsOwnError(t *testing.T) {
	t.Parallel()
	store := newSpy()
	svc := newService(t, store, nil)
	_, token := create(t, svc, keyfold.NewKey{})
	ctx, cancel := context.WithCancel(t.Context())
	on(&store.verify, func(ctx context.Context) error { cancel(); return hang(ctx) })
	if _, err := svc.Verify(ctx, keyfold.Request{Token: token}); err != context.Canceled {
		t.Errorf("cancelled in the middle: %v, want context.Canceled", err)
	}
	if _, err := svc.Verify(ctx, keyfold.Request{Token: token}); err != context.Canceled {
		t.Errorf("cancelled before: %v, want context.Canceled", err)
	}
	if got := store.reads.Load(); got != 1 {
		t.Errorf("%d reads, want 1", got)
	}
}

func TestConcurrentVerifiesAndChanges(t *testing.T) {
	t.Parallel()
	svc := newService(t, memory.New(), nil)
	key, token := create(t, svc, keyfold.NewKey{Scopes: []string{"a:b"}, Metadata: map[string]string{"k": "v"}})
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				id, err := svc.Verify(t.Context(), keyfold.Request{Token: token, Scopes: []string{"a:b"}})
				if err != nil || id.Metadata("k") != "v" {
					t.Errorf("verify: %v, metadata %q", err, id.Metadata("k"))
					return
				}
			}
		})
		group.Go(func() {
			for range 50 {
				if _, err := svc.RenewKey(t.Context(), key.ID, keyfold.RenewOptions{}); err != nil && !errors.Is(err, keyfold.ErrStale) {
					t.Errorf("renew: %v", err)
				}
			}
		})
	}
	group.Wait()
}

func TestMalformedIDsCostNoStoreCall(t *testing.T) {
	t.Parallel()
	svc := newService(t, refusing{}, nil)
	for _, id := range []string{"", "short", strings.Repeat("0", 17), "0123456789ABCDE_", "0123456789ABCDE\x00", strings.Repeat("0", 1<<20)} {
		t.Run(id, func(t *testing.T) {
			_, get := svc.Key(t.Context(), id)
			_, update := svc.UpdateKey(t.Context(), id, keyfold.KeyUpdate{Version: 1})
			_, renew := svc.RenewKey(t.Context(), id, keyfold.RenewOptions{})
			_, _, rotate := svc.RotateKey(t.Context(), id, keyfold.RotateOptions{})
			_, usage := svc.Usage(t.Context(), keyfold.UsageQuery{KeyID: keyfold.Only(id + "!")})
			for name, err := range map[string]error{
				"Key": get, "UpdateKey": update, "RenewKey": renew, "RotateKey": rotate, "Usage": usage,
				"RevokeKey": svc.RevokeKey(t.Context(), id, ""), "DisableKey": svc.DisableKey(t.Context(), id, ""),
				"EnableKey": svc.EnableKey(t.Context(), id), "DeleteKey": svc.DeleteKey(t.Context(), id),
			} {
				if !errors.Is(err, keyfold.ErrInvalid) {
					t.Errorf("%s(%.20q): %v, want ErrInvalid", name, id, err)
				}
			}
		})
	}
}

// refusing is a store that panics on every call. Tests use it if no call is expected.
type refusing struct{ keyfold.Store }
