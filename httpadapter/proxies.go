package httpadapter

import (
	"cmp"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/keyfold/keyfold"
)

// Proxies are the peers whose X-Forwarded-For header is trusted. The zero value trusts no
// peer. Only [ParseProxies] returns other values, so a Proxies never contains a network
// that is too wide. A Proxies is immutable and safe for concurrent use.
type Proxies struct {
	networks []netip.Prefix
	unix     bool
}

// unixProxies stands for proxies that connect through a Unix socket.
const unixProxies = "unix"

// ParseProxies reads a list of proxies, separated by commas or spaces, as in the variable
// KEYFOLD_TRUSTED_PROXIES:
//
//	10.0.0.0/24, 2001:db8:f::/48, unix
//
// Each entry is a network in CIDR notation without host bits, or "unix", which trusts
// every peer of a Unix socket. For an empty list, ParseProxies returns the zero Proxies.
//
// A client in a trusted network can claim any address. ParseProxies therefore refuses
// networks that together contain half of the IPv4 addresses, of the IPv6 addresses, or of
// the public IPv6 addresses. For other wide networks, see [Proxies.Warnings]. The error is
// a [keyfold.InvalidError] for the field "proxies".
func ParseProxies(list string) (Proxies, error) {
	var p Proxies
	for _, entry := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		if entry == unixProxies {
			p.unix = true
			continue
		}
		network, err := netip.ParsePrefix(entry)
		if err != nil || network != network.Masked() || network.Addr().Is4In6() {
			return Proxies{}, &keyfold.InvalidError{
				Field: "proxies", Reason: `must be networks without host bits, such as 10.0.0.0/8 or 192.0.2.7/32, or "unix"`,
			}
		}
		p.networks = append(p.networks, network)
	}
	if holdsHalf(p.networks) {
		return Proxies{}, &keyfold.InvalidError{
			Field: "proxies", Reason: "must be networks that hold only the proxies; these hold half of all addresses or more, and a client in a trusted network can claim any address",
		}
	}
	return p, nil
}

// holdsHalf reports whether the networks cover half of a space that clients come from:
// IPv4, IPv6, the public part of IPv6 (RFC 4291), and the parts of IPv6 that represent
// IPv4, which are IPv4-mapped addresses, NAT64 (RFC 6052) and 6to4 (RFC 3056).
func holdsHalf(networks []netip.Prefix) bool {
	outermost := outermost(networks)
	for _, text := range [...]string{"0.0.0.0/0", "::/0", "2000::/3", "::ffff:0:0/96", "64:ff9b::/96", "2002::/16"} {
		space, share := netip.MustParsePrefix(text), 0.0
		for _, network := range outermost {
			if network.Overlaps(space) {
				share += math.Ldexp(1, -max(0, network.Bits()-space.Bits()))
			}
		}
		if share >= 0.5 {
			return true
		}
	}
	return false
}

// outermost returns the networks that are not part of another one.
func outermost(networks []netip.Prefix) []netip.Prefix {
	widestFirst := slices.SortedFunc(slices.Values(networks), func(a, b netip.Prefix) int { return cmp.Compare(a.Bits(), b.Bits()) })
	var kept []netip.Prefix
	for _, network := range widestFirst {
		if !slices.ContainsFunc(kept, network.Overlaps) {
			kept = append(kept, network)
		}
	}
	return kept
}

const (
	// widestIPv4 is the size of the largest private network, 10.0.0.0/8.
	widestIPv4 = 8
	// widestIPv6 is the size of the largest block that a registry has allocated to one
	// organization.
	widestIPv6 = 16
)

// Warnings returns a sentence for each network that is wider than /8, or /16 for IPv6, and
// is not private, because it is unlikely to contain only proxies. Log the warnings at
// start. [NewGuard], [RequireKey], [OptionalKey] and the packages admin, compat and
// fromenv do this themselves.
func (p Proxies) Warnings() []string {
	var warnings []string
	for _, network := range p.networks {
		if isWide(network) {
			warnings = append(warnings, "the trusted proxies include "+network.String()+
				", which is wider than a network of proxies: every client in it can claim any address")
		}
	}
	return warnings
}

func isWide(network netip.Prefix) bool {
	if network.Addr().Is4() {
		return network.Bits() < widestIPv4
	}
	for _, private := range [...]string{"fc00::/7", "fe80::/10"} { // unique local and link-local: not routed on the Internet
		if space := netip.MustParsePrefix(private); network.Bits() >= space.Bits() && network.Overlaps(space) {
			return false
		}
	}
	return network.Bits() < widestIPv6
}

// IsZero reports whether no proxy is trusted.
func (p Proxies) IsZero() bool { return len(p.networks) == 0 && !p.unix }

// String returns the list in the form that [ParseProxies] reads. It returns "" for the zero
// value.
func (p Proxies) String() string {
	var entries []string
	for _, network := range p.networks {
		entries = append(entries, network.String())
	}
	if p.unix {
		entries = append(entries, unixProxies)
	}
	return strings.Join(entries, ", ")
}

// MarshalText returns the list in the form that [ParseProxies] reads.
func (p Proxies) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the list with [ParseProxies].
func (p *Proxies) UnmarshalText(text []byte) error {
	parsed, err := ParseProxies(string(text))
	if err == nil {
		*p = parsed
	}
	return err
}

// ClientIP returns the address of the client that sent a request, by the rules of the
// function [ClientIP].
//
// If the server listens on a Unix socket, RemoteAddr is the name that the peer has given
// to its end of the connection. This name is never read as an address, even if it looks
// like one.
func (p Proxies) ClientIP(r *http.Request) netip.Addr {
	peer := r.RemoteAddr
	if _, isUnix := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); isUnix {
		peer = "@"
	}
	return ClientIP(peer, r.Header["X-Forwarded-For"], p)
}

// trustPeer reports whether the peer of a connection is one of the proxies. The
// peer of a Unix socket has no address; its name is "@", a path, or empty.
func (p Proxies) trustPeer(remoteAddr string) bool {
	if remoteAddr == "" || remoteAddr[0] == '@' || remoteAddr[0] == '/' {
		return p.unix
	}
	return p.trust(hopAddr(remoteAddr))
}

func (p Proxies) trust(addr netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(network netip.Prefix) bool { return network.Contains(addr) })
}
