// Package cidr converts lists of IP networks to and from text.
package cidr

import (
	"fmt"
	"net/netip"
	"strings"
)

// Join returns the networks in CIDR notation, separated by one space.
func Join(networks []netip.Prefix) string {
	texts := make([]string, len(networks))
	for i, network := range networks {
		texts[i] = network.String()
	}
	return strings.Join(texts, " ")
}

// Split is the inverse of [Join]. If the text contains words that are not CIDR
// prefixes, Split returns the other networks and an error for the first such word.
func Split(text string) (networks []netip.Prefix, err error) {
	for word := range strings.FieldsSeq(text) {
		network, parseErr := netip.ParsePrefix(word)
		if parseErr == nil {
			networks = append(networks, network)
		} else if err == nil {
			err = fmt.Errorf("network %q must be a CIDR prefix", word)
		}
	}
	return networks, err
}
