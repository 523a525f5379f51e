package httpadapter_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/keyfold/keyfold/httpadapter"
)

func proxies(t testing.TB, list string) httpadapter.Proxies {
	t.Helper()
	p, err := httpadapter.ParseProxies(list)
	if err != nil {
		t.Fatalf("ParseProxies(%q): %v", list, err)
	}
	return p
}

// The mutations that made this fail: reading the list from the left, reading
// only the last header, skipping garbage, no bound on hops, and no Unmap of hops
// or prefixes.
func TestClientIPIsTheRightMostUntrustedHop(t *testing.T) {
	t.Parallel()
	var none httpadapter.Proxies
	v4, v6, unix := proxies(t, "10.0.0.0/8"), proxies(t, "2001:db8:f::/48 fe80::/10"), proxies(t, "unix, 10.0.0.0/8")
	for _, row := range []struct {
		name    string
		peer    string
		headers []string
		trusted httpadapter.Proxies
		want    string // empty: unknown
	}{
		{"nobody is trusted", "10.0.0.1:80", []string{"203.0.113.9"}, none, "10.0.0.1"},
		{"the peer is not trusted", "192.0.2.1:80", []string{"203.0.113.9"}, v4, "192.0.2.1"},
		{"one proxy", "10.0.0.1:80", []string{"203.0.113.9"}, v4, "203.0.113.9"},
		{"a claim of the client's own", "10.0.0.1:80", []string{"127.0.0.1, 203.0.113.9"}, v4, "203.0.113.9"},
		{"a claim to be a proxy", "10.0.0.1:80", []string{"10.9.9.9, 203.0.113.9"}, v4, "203.0.113.9"},
		{"two proxies", "10.0.0.1:80", []string{"203.0.113.9, 10.0.0.2"}, v4, "203.0.113.9"},
		{"several headers are one list", "10.0.0.1:80", []string{"127.0.0.1", "203.0.113.9", "10.0.0.2,10.0.0.3"}, v4, "203.0.113.9"},
		{"no header", "10.0.0.1:80", nil, v4, "10.0.0.1"},
		{"every hop is trusted", "10.0.0.1:80", []string{"10.0.0.3, 10.0.0.2"}, v4, "10.0.0.3"},
		{"garbage from the proxy", "10.0.0.1:80", []string{"203.0.113.9, unknown"}, v4, ""},
		{"nothing from the proxy", "10.0.0.1:80", []string{"203.0.113.9, "}, v4, ""},
		{"an empty header", "10.0.0.1:80", []string{"203.0.113.9", ""}, v4, ""},
		{"garbage left of the client", "10.0.0.1:80", []string{"\x00~,,,203.0.113.9"}, v4, "203.0.113.9"},
		{"a port", "10.0.0.1:80", []string{"203.0.113.9:4711"}, v4, "203.0.113.9"},
		{"no port after the colon", "10.0.0.1:80", []string{"203.0.113.9:"}, v4, ""},
		{"a port in words", "10.0.0.1:80", []string{"203.0.113.9:http"}, v4, ""},
		{"IPv6", "[2001:db8:f::1]:80", []string{"2001:db8::9"}, v6, "2001:db8::9"},
		{"IPv6 in brackets", "[2001:db8:f::1]:80", []string{"[2001:db8::9]"}, v6, "2001:db8::9"},
		{"IPv6 with a port", "[2001:db8:f::1]:80", []string{"[2001:db8::9]:4711"}, v6, "2001:db8::9"},
		{"IPv4 in brackets", "10.0.0.1:80", []string{"[203.0.113.9]:1"}, v4, ""},
		{"half a bracket", "10.0.0.1:80", []string{"[2001:db8::9"}, v4, ""},
		{"a zone on the peer", "[fe80::1%eth0]:80", []string{"203.0.113.9"}, v6, "203.0.113.9"},
		{"a zone on a hop", "[fe80::1%eth0]:80", []string{"fd00::9%eth1"}, v6, "fd00::9"},
		{"an empty zone", "10.0.0.1:80", []string{"fd00::9%"}, v4, ""},
		{"a zone on IPv4", "10.0.0.1:80", []string{"203.0.113.9%eth0"}, v4, ""},
		{"a peer mapped into IPv6", "[::ffff:10.0.0.1]:80", []string{"203.0.113.9"}, v4, "203.0.113.9"},
		{"a hop mapped into IPv6", "10.0.0.1:80", []string{"203.0.113.9, ::ffff:10.0.0.2"}, v4, "203.0.113.9"},
		{"a client mapped into IPv6", "10.0.0.1:80", []string{"::ffff:203.0.113.9"}, v4, "203.0.113.9"},
		{"leading zeros", "10.0.0.1:80", []string{"203.0.113.009"}, v4, ""},
		{"a Unix socket that is not trusted", "@", []string{"203.0.113.9"}, v4, ""},
		{"a trusted Unix socket", "@", []string{"203.0.113.9"}, unix, "203.0.113.9"},
		{"a trusted Unix socket without a name", "", []string{"203.0.113.9"}, unix, "203.0.113.9"},
		{"a trusted Unix socket with a path", "/run/proxy.sock", []string{"203.0.113.9"}, unix, "203.0.113.9"},
		{"a trusted Unix socket behind another proxy", "@", []string{"198.51.100.1, 203.0.113.9, 10.0.0.2"}, unix, "203.0.113.9"},
		{"a trusted Unix socket without a header", "@", nil, unix, ""},
		{"a Unix socket does not make other peers trusted", "192.0.2.1:80", []string{"203.0.113.9"}, unix, "192.0.2.1"},
		{"a hop that looks like a Unix socket", "@", []string{"203.0.113.9, @"}, unix, ""},
		{"a peer without a port", "192.0.2.1", nil, none, "192.0.2.1"},
		{"32 proxies", "10.0.0.1:80", []string{"10.0.0.3" + strings.Repeat(",10.0.0.2", 31)}, v4, "10.0.0.3"},
		{"more than 32 hops", "10.0.0.1:80", []string{"203.0.113.9" + strings.Repeat(",10.0.0.2", 32)}, v4, ""},
		{"a megabyte", "10.0.0.1:80", []string{strings.Repeat("1", 1<<20)}, v4, ""},
		{"a megabyte of proxies", "10.0.0.1:80", []string{strings.Repeat("10.0.0.2,", 1<<17)}, v4, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			var want netip.Addr
			if row.want != "" {
				want = netip.MustParseAddr(row.want)
			}
			if got := httpadapter.ClientIP(row.peer, row.headers, row.trusted); got != want {
				t.Errorf("%s: got %v, want %v", row.name, got, want)
			}
		})
	}
}

// The mutation that made this fail: reading the header from every peer.
func TestGuardTrustsOnlyTrustedProxies(t *testing.T) {
	t.Parallel()
	forwarded := []string{"X-Forwarded-For", "203.0.113.9", "Forwarded", "for=203.0.113.8", "X-Real-IP", "203.0.113.7"}
	for _, row := range []struct {
		name    string
		options []httpadapter.Option
		want    string
	}{
		{"by default the connection's peer", nil, "192.0.2.1"},
		{"behind another proxy", []httpadapter.Option{httpadapter.TrustedProxies(proxies(t, "10.0.0.0/8"))}, "192.0.2.1"},
		{"behind a trusted proxy", []httpadapter.Option{
			httpadapter.TrustedProxies(proxies(t, "10.0.0.0/8, 192.0.2.0/24")),
		}, "203.0.113.9"},
		{"the last TrustedProxies counts", []httpadapter.Option{
			httpadapter.TrustedProxies(proxies(t, "192.0.2.0/24")), httpadapter.TrustedProxies(proxies(t, "10.0.0.0/8")),
		}, "192.0.2.1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			verifier := &spy{id: somebody(t)}
			send(httpadapter.RequireKey(verifier, row.options...)(http.NotFoundHandler()), "GET", "/", forwarded...)
			if got := verifier.seen[0].IP; got != netip.MustParseAddr(row.want) {
				t.Errorf("%s: got %v, want %s", row.name, got, row.want)
			}
		})
	}
}

func FuzzClientIP(f *testing.F) {
	f.Add("10.0.0.1:80", "203.0.113.9, 10.0.0.2", "127.0.0.1")
	f.Add("[fe80::1%eth0]:80", "[2001:db8::9%x]:1", "::ffff:10.0.0.1")
	f.Add("@", ",,,", "")
	f.Fuzz(func(t *testing.T, peer, forwarded, claim string) {
		networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}
		trusted := proxies(t, "10.0.0.0/8, fe80::/10")
		alone := httpadapter.ClientIP(peer, nil, httpadapter.Proxies{})
		got := httpadapter.ClientIP(peer, []string{forwarded}, trusted)
		if got.Zone() != "" || got.Is4In6() {
			t.Errorf("got %v, with a zone or mapped", got)
		}
		believed := false
		for _, prefix := range networks {
			believed = believed || prefix.Contains(alone)
		}
		if !believed && got != alone {
			t.Errorf("got %v from an untrusted peer %v", got, alone)
		}
		// A known client that is not a proxy cannot change its address by adding hops to
		// the left of it.
		for _, prefix := range networks {
			if !got.IsValid() || prefix.Contains(got) {
				return
			}
		}
		for _, headers := range [][]string{{claim + "," + forwarded}, {claim, forwarded}} {
			if moved := httpadapter.ClientIP(peer, headers, trusted); moved != got {
				t.Errorf("got %v with the claim %q, want %v", moved, claim, got)
			}
		}
	})
}
