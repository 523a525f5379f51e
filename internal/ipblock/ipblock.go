// Package ipblock groups IP addresses by client.
package ipblock

import "net/netip"

// Of returns the addresses that count as one client: an IPv4 address (/32), or the
// /64 of an IPv6 address, in which a host can choose its own. It is the zero Prefix
// for an unknown address. An IPv4 address that is mapped into IPv6 is that IPv4
// address.
func Of(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	block, _ := ip.Prefix(bits) // an error means that ip is unknown
	return block
}
