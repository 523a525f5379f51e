package httpadapter

import (
	"net/netip"
	"strings"
)

const (
	maxHops      = 32 // no real chain of proxies is that long
	maxHopLength = 64 // an IPv6 address has at most 45 characters; then zone and port
)

// ClientIP returns the address that a request comes from: the right-most hop
// that is not a trusted proxy. remoteAddr is the connection's peer as in
// [http.Request.RemoteAddr], forwardedFor all values of X-Forwarded-For in the
// order of arrival.
//
//   - Unless the peer is one of the trusted proxies it is the client, and
//     forwardedFor is not read. So it is with the zero [Proxies].
//   - Each proxy appends the address that it was called from. The hops are
//     therefore read from the right, through several headers as though they were
//     one list (RFC 9110 section 5.3), and the first that is not trusted is the
//     client. What stands left of it is the client's own claim and is not read.
//   - When every hop is trusted the left-most is the client: a proxy made the
//     request itself.
//   - A hop may have a port, brackets and a zone. Ports and zones are dropped,
//     and an IPv4 address that comes mapped into IPv6 is that IPv4 address.
//   - A hop that is no address ("unknown", "_hidden", nothing at all), or a 33rd
//     hop, ends the search: the client is unknown.
//
// Unknown is the zero Addr, which keys that are bound to networks refuse. The
// peer of a Unix socket has no address: it is unknown, and a proxy only if "unix"
// is one of the trusted proxies. Its remoteAddr is empty or begins with "@" or
// "/".
//
// The Forwarded header (RFC 7239) is never read, nor X-Real-IP: a proxy sets one
// header and passes the others on as its client wrote them, so that reading a
// second one would let clients choose their address.
func ClientIP(remoteAddr string, forwardedFor []string, trusted Proxies) netip.Addr {
	client := hopAddr(remoteAddr)
	if !trusted.trustPeer(remoteAddr) {
		return client
	}
	hops := 0
	for i := len(forwardedFor) - 1; i >= 0; i-- {
		for rest, more := forwardedFor[i], true; more; hops++ {
			var hop string
			rest, hop, more = cutLast(rest)
			if hops == maxHops {
				return netip.Addr{}
			}
			client = hopAddr(hop)
			if !trusted.trust(client) {
				return client
			}
		}
	}
	return client
}

// cutLast splits the last element off a comma-separated list.
func cutLast(list string) (rest, last string, more bool) {
	comma := strings.LastIndexByte(list, ',')
	if comma < 0 {
		return "", list, false
	}
	return list[:comma], list[comma+1:], true
}

// hopAddr reads an address with or without brackets, port and zone. What is no
// address is the zero Addr.
func hopAddr(hop string) netip.Addr {
	hop = strings.Trim(hop, " \t")
	if hop == "" || len(hop) > maxHopLength {
		return netip.Addr{}
	}
	if hop[0] == '[' {
		inside, after, found := strings.Cut(hop[1:], "]")
		if !found || !strings.Contains(inside, ":") || !isPort(after) {
			return netip.Addr{}
		}
		hop = inside
	} else if host, port, found := strings.Cut(hop, ":"); found && !strings.Contains(port, ":") {
		if !isPort(hop[len(host):]) {
			return netip.Addr{}
		}
		hop = host
	}
	address, zone, zoned := strings.Cut(hop, "%")
	addr, err := netip.ParseAddr(address)
	if err != nil || zoned && (zone == "" || !addr.Is6()) {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// isPort reports whether s is empty or a colon and one to five digits.
func isPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) < 2 || len(s) > 6 {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
