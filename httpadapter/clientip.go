package httpadapter

import (
	"net/netip"
	"strings"
)

const (
	maxHops      = 32 // no real chain of proxies is that long
	maxHopLength = 64 // an IPv6 address has at most 45 characters; then zone and port
)

// ClientIP returns the address of the client: the right-most hop that is not a trusted
// proxy. remoteAddr is the peer of the connection, as in [http.Request.RemoteAddr].
// forwardedFor has all values of X-Forwarded-For, in the order in which they arrived.
//
//   - If the peer is not a trusted proxy, the peer is the client, and forwardedFor is not
//     read. With the zero [Proxies], this is always the case.
//   - Each proxy appends the address of its own peer. The hops are therefore read from the
//     right, and several headers are read as one list (RFC 9110 section 5.3). The first
//     hop that is not trusted is the client. Hops to the left of it are not read, because
//     the client can write anything there.
//   - If every hop is trusted, the left-most hop is the client: a proxy sent the request
//     itself.
//   - A hop may have a port, brackets and a zone. Ports and zones are removed, and an
//     IPv4-mapped IPv6 address becomes the IPv4 address.
//   - If a hop is not an address ("unknown", "_hidden", or empty), or is the 33rd hop, the
//     client is unknown.
//
// If the client is unknown, ClientIP returns the zero Addr, and keys that are bound to
// networks are refused. The peer of a Unix socket, whose remoteAddr is empty or begins
// with "@" or "/", has no address. It is unknown, and a proxy only if "unix" is one of
// the trusted proxies.
//
// The headers Forwarded (RFC 7239) and X-Real-IP are never read. A proxy sets one header
// and passes the others on unchanged, so a client could choose its address in a second
// header.
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

// hopAddr reads an address with or without brackets, port and zone. It returns the zero
// Addr if hop is not an address.
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
