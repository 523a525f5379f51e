package httpadapter_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

// from sends a request from an address, with a key or without one.
func from(h http.Handler, address, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/reports", nil)
	r.RemoteAddr = address + ":4711"
	if token != "" {
		r.Header.Set("X-API-Key", token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestAddressWaitsAfterTenBadKeysInAMinute(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	_, good := newKey(t, svc, keyfold.NewKey{Name: "ci"})
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h := httpadapter.RequireKey(svc, httpadapter.FailuresBy(func() time.Time { return now }))(whose)
	const address, other = "198.51.100.7", "198.51.100.8"

	for range 30 { // a request without a key is not a guess
		if w := from(h, address, ""); w.Code != http.StatusUnauthorized {
			t.Fatalf("no key: %d, want 401", w.Code)
		}
	}
	for i := range 10 {
		if w := from(h, address, madeUp("")); w.Code != http.StatusUnauthorized {
			t.Fatalf("bad key %d: %d, want 401", i+1, w.Code)
		}
	}
	now = now.Add(15 * time.Second)
	w := from(h, address, madeUp(""))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "45" {
		t.Errorf("bad key 11: %d, Retry-After %q; want 429 and 45", w.Code, w.Header().Get("Retry-After"))
	}
	// The mutation that made this fail: checking the limit before the key.
	if w := from(h, address, good); w.Code != http.StatusOK {
		t.Errorf("a good key from the same address: %d, want 200", w.Code)
	}
	if w := from(h, other, madeUp("")); w.Code != http.StatusUnauthorized {
		t.Errorf("a bad key from another address: %d, want 401", w.Code)
	}
	now = now.Add(45 * time.Second)
	if w := from(h, address, madeUp("")); w.Code != http.StatusUnauthorized {
		t.Errorf("a bad key after the minute: %d, want 401", w.Code)
	}
}

func TestOnlyBadKeysAreFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		what   string
		err    error
		status int
	}{
		{"a key without the scope", keyfold.ErrForbidden, http.StatusForbidden},
		{"a store that is away", keyfold.ErrUnavailable, http.StatusServiceUnavailable},
		{"a process that has enough to do", fmt.Errorf("%w, %w", keyfold.ErrRateLimited, keyfold.ErrUnavailable), http.StatusServiceUnavailable},
	} {
		t.Run(test.what, func(t *testing.T) {
			h := httpadapter.RequireKey(&spy{err: test.err})(whose)
			for i := range 20 {
				if w := from(h, "198.51.100.7", madeUp("")); w.Code != test.status {
					t.Fatalf("%s, time %d: %d, want %d", test.what, i+1, w.Code, test.status)
				}
			}
		})
	}
}

func TestDisableFailureLimit(t *testing.T) {
	t.Parallel()
	h := httpadapter.RequireKey(newService(t, nil), httpadapter.DisableFailureLimit())(whose)
	for i := range 20 {
		if w := from(h, "198.51.100.7", madeUp("")); w.Code != http.StatusUnauthorized {
			t.Fatalf("bad key %d: %d, want 401", i+1, w.Code)
		}
	}
}

// Mutation tried: a limiter for each middleware.
func TestRoutesOfOneServiceCountTogether(t *testing.T) {
	t.Parallel()
	svc, other := newService(t, nil), newService(t, nil)
	reports, orders := httpadapter.RequireKey(svc)(whose), httpadapter.RequireKey(svc, httpadapter.Scopes("orders:read"))(whose)
	const address = "198.51.100.7"
	for range 5 {
		from(reports, address, madeUp(""))
		from(orders, address, madeUp(""))
	}
	for name, h := range map[string]http.Handler{"reports": reports, "orders": orders} {
		t.Run(name, func(t *testing.T) {
			if w := from(h, address, madeUp("")); w.Code != http.StatusTooManyRequests {
				t.Errorf("bad key 11, for %s: %d, want 429", name, w.Code)
			}
		})
	}
	if w := from(httpadapter.RequireKey(other)(whose), address, madeUp("")); w.Code != http.StatusUnauthorized {
		t.Errorf("a bad key for another Service: %d, want 401", w.Code)
	}
}

// A gRPC interceptor and the middlewares of its Service count together.
func TestLimitFailuresCountsWithTheMiddlewares(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	client := netip.MustParseAddr("198.51.100.9")
	_, bad := svc.Verify(t.Context(), keyfold.Request{Token: madeUp(""), IP: client})
	_, missing := svc.Verify(t.Context(), keyfold.Request{IP: client})
	for range 30 {
		if err := httpadapter.LimitFailures(svc, client, missing); !errors.Is(err, keyfold.ErrUnauthenticated) {
			t.Fatalf("no key: %v", err)
		}
		if err := httpadapter.LimitFailures(svc, client, nil); err != nil {
			t.Fatalf("a good key: %v", err)
		}
	}
	for i := range 10 {
		if err := httpadapter.LimitFailures(svc, client, bad); !errors.Is(err, keyfold.ErrUnauthenticated) {
			t.Fatalf("bad key %d: %v", i+1, err)
		}
	}
	err := httpadapter.LimitFailures(svc, client, bad)
	if !errors.Is(err, keyfold.ErrRateLimited) || keyfold.RetryAfter(err) <= 0 || httpadapter.GRPCCode(err) != 8 {
		t.Errorf("bad key 11: %v, retry after %v", err, keyfold.RetryAfter(err))
	}
	if w := from(httpadapter.RequireKey(svc)(whose), client.String(), madeUp("")); w.Code != http.StatusTooManyRequests {
		t.Errorf("bad key 12, over HTTP: %d, want 429", w.Code)
	}
	if err := httpadapter.LimitFailures(svc, netip.MustParseAddr("198.51.100.10"), bad); !errors.Is(err, keyfold.ErrUnauthenticated) {
		t.Errorf("another address: %v", err)
	}
}

// wrapped is a Verifier of a program that embeds a Service.
type wrapped struct{ *keyfold.Service }

// Mutation tried: a limiter for each Guard.
func TestGuardsOfOneServiceCountTogether(t *testing.T) {
	t.Parallel()
	svc := newService(t, nil)
	const address = "198.51.100.7"
	handlers := map[string]http.Handler{
		"a Guard":                   httpadapter.NewGuard(svc).RequireKey()(whose),
		"a second Guard":            httpadapter.NewGuard(svc).OptionalKey()(whose),
		"the short form":            httpadapter.RequireKey(svc)(whose),
		"a Verifier that embeds it": httpadapter.NewGuard(wrapped{svc}).RequireKey()(whose),
		"the short form of that":    httpadapter.RequireKey(&wrapped{svc})(whose),
	}
	for range 2 {
		for _, h := range handlers {
			from(h, address, madeUp(""))
		}
	}
	for name, h := range handlers {
		t.Run(name, func(t *testing.T) {
			if w := from(h, address, madeUp("")); w.Code != http.StatusTooManyRequests {
				t.Errorf("a bad key after ten, for %s: %d, want 429", name, w.Code)
			}
		})
	}
}

// Mutation tried: a limiter for each middleware of a Verifier that is not a Service.
func TestGuardCountsForAnyVerifier(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("198.51.100.7")
	verifier := &spy{err: keyfold.ErrUnauthenticated}
	guard := httpadapter.NewGuard(verifier)
	reports, orders := guard.RequireKey()(whose), guard.OptionalKey()(whose)
	for range 4 {
		from(reports, client.String(), madeUp(""))
		from(orders, client.String(), madeUp(""))
	}
	for range 2 {
		if err := guard.LimitFailures(client, keyfold.ErrUnauthenticated); !errors.Is(err, keyfold.ErrUnauthenticated) {
			t.Fatalf("one of the first ten: %v", err)
		}
	}
	if err := guard.LimitFailures(client, keyfold.ErrUnauthenticated); !errors.Is(err, keyfold.ErrRateLimited) {
		t.Errorf("bad key 11, without a request: %v, want an ErrRateLimited", err)
	}
	for name, h := range map[string]http.Handler{"reports": reports, "orders": orders} {
		t.Run(name, func(t *testing.T) {
			if w := from(h, client.String(), madeUp("")); w.Code != http.StatusTooManyRequests {
				t.Errorf("a bad key after ten, for %s: %d, want 429", name, w.Code)
			}
		})
	}
	if w := from(httpadapter.NewGuard(verifier).RequireKey()(whose), client.String(), madeUp("")); w.Code != http.StatusUnauthorized {
		t.Errorf("a bad key for another Guard: %d, want 401", w.Code)
	}
	for range 20 { // without a Guard, failures are not counted
		if err := httpadapter.LimitFailures(verifier, client, keyfold.ErrUnauthenticated); !errors.Is(err, keyfold.ErrUnauthenticated) {
			t.Fatalf("LimitFailures for a Verifier without state: %v", err)
		}
	}
}

func TestGuardWithoutFailureLimit(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("198.51.100.7")
	guard := httpadapter.NewGuard(newService(t, nil), httpadapter.DisableFailureLimit())
	h := guard.RequireKey()(whose)
	for range 20 {
		if w := from(h, client.String(), madeUp("")); w.Code != http.StatusUnauthorized {
			t.Fatalf("a bad key: %d, want 401", w.Code)
		}
		if err := guard.LimitFailures(client, keyfold.ErrUnauthenticated); !errors.Is(err, keyfold.ErrUnauthenticated) {
			t.Fatalf("a bad key, without a request: %v", err)
		}
	}
}
