package identifier

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"

	"github.com/keyfold/keyfold/internal/casefold"
)

const (
	maxEmail     = 254 // bytes; RFC 5321 section 4.5.3.1.3, without the angle brackets
	maxLocalPart = 64  // bytes; RFC 5321 section 4.5.3.1.1
	maxLabel     = 63  // bytes; RFC 1035 section 2.3.4
)

// AllowedEmail is what an address may be, for errors.
const EmailRule = "must be an address like user@example.com of at most 254 bytes, 64 before the @, without quotes and comments"

// Email returns an address in two forms: display is for sending to, with the
// local part in the case that was given, key must be unique. In both, the domain
// is in lower-case ASCII; the local part of display is in NFC.
//
// The key's local part is folded. RFC 5321 leaves its meaning to the receiving
// host, but hosts that distinguish "Ann" from "ann" are hardly found any more,
// while phones write the first letter as a capital: one person would have two
// accounts. Dots and "+tags" are kept, since they do make different mailboxes.
//
// Refused although some mail systems take them: quoted local parts and comments
// (which are hardly used, and hide spaces and second "@"s), address literals, and
// domains of one label, "user@localhost", which no mail reaches from outside
// (RFC 7085) and which mostly are slips.
//
// A key always contains an "@". So it is never a username, nor the "-" and id
// that the store writes for a user without an address, although an address may
// begin with "-".
func Email(s string) (display, key string, ok bool) {
	if len(s) > maxEmail || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", "", false
	}
	address, err := mail.ParseAddress(s)
	if err != nil || address.Name != "" || address.Address != s {
		return "", "", false
	}
	at := strings.LastIndexByte(s, '@')
	local := norm.NFC.String(s[:at])
	domain, err := idna.Lookup.ToASCII(s[at+1:])
	if err != nil || !isLocalPart(local) || !isMailDomain(domain) {
		return "", "", false
	}
	folded := casefold.String(local)
	if !isLocalPart(folded) { // NFKC makes words with spaces of a few letters
		return "", "", false
	}
	display, key = local+"@"+domain, folded+"@"+domain
	if len(display) > maxEmail || len(key) > maxEmail {
		return "", "", false
	}
	return display, key, true
}

// isLocalPart reports whether s is a dot-atom (RFC 5322, section 3.2.3), in
// which letters, marks and digits of any script may stand (RFC 6531): nothing
// invisible, and no symbols that look like others.
func isLocalPart(s string) bool {
	if len(s) > maxLocalPart {
		return false
	}
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for _, r := range atom {
			isAtom := unicode.IsLetter(r) || unicode.IsDigit(r)
			if r < utf8.RuneSelf {
				isAtom = isAtom || strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
			} else {
				isAtom = isAtom || unicode.IsMark(r)
			}
			if !isAtom {
				return false
			}
		}
	}
	return true
}

// isMailDomain reports whether a domain in ASCII is one that mail is sent to:
// of two labels or more, the last not a number, or it would be an IP address.
func isMailDomain(domain string) bool {
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabel {
			return false
		}
	}
	top := labels[len(labels)-1]
	return len(labels) >= 2 && strings.Trim(top, "0123456789") != ""
}
