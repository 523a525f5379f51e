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

// EmailRule describes a valid address, for errors.
const EmailRule = "must be an address like user@example.com of at most 254 bytes, 64 before the @, without quotes and comments"

// Email returns the display form and the comparison key of an address. Mail is sent to
// the display form, whose local part has the original case, in NFC. The key must be unique
// among users. In both forms, the domain is in lower-case ASCII.
//
// The local part of the key is case-folded. RFC 5321 leaves its meaning to the receiving
// host, but few hosts still distinguish "Ann" from "ann", and phones capitalize the first
// letter, so that one person could get two accounts. Dots and "+tags" are kept, because
// they can name different mailboxes.
//
// Some mail systems accept addresses that Email refuses: quoted local parts and comments,
// which are rare and can hide spaces and a second "@"; address literals; and domains with
// a single label, such as "user@localhost", which are not reachable from outside
// (RFC 7085) and usually are mistakes.
//
// A key always contains an "@". It is therefore never equal to a username, or to the "-"
// and user id that the store writes for a user without an address.
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

// isLocalPart reports whether s is a dot-atom (RFC 5322, section 3.2.3) with letters,
// marks and digits of any script (RFC 6531). Invisible characters and other symbols are
// not permitted.
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

// isMailDomain reports whether an ASCII domain has at least two labels, the last of which
// is not a number, so that it is not an IP address.
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
