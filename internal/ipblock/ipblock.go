// Package ipblock groups IP addresses by client.
package ipblock

import "net/netip"

// Of returns the prefix of the addresses that count as one client: the /32 of an IPv4
// address, or the /64 of an IPv6 address, because a host can choose any address in its
// /64. It unmaps IPv4-mapped IPv6 addresses. For the zero Addr it returns the zero Prefix.
func Of(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	block, _ := ip.Prefix(bits) // an error means that ip is unknown
	return block
}
