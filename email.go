package keyfold

import (
	"net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
	"golang.org/x/text/unicode/norm"
)

const (
	maxEmail     = 254 // bytes; RFC 5321 section 4.5.3.1.3, without the angle brackets
	maxLocalPart = 64  // bytes; RFC 5321 section 4.5.3.1.1
	maxLabel     = 63  // bytes; RFC 1035 section 2.3.4
)

// canonicalEmail returns an address in two forms: display is for sending to,
// its local part in the case that was given, key is what must be unique. In
// both the domain is in lower-case ASCII and the local part in NFC.
//
// The key's local part is in lower case too. RFC 5321 leaves its meaning to the
// receiving host, but hosts that tell "Ann" from "ann" are not found any more,
// while phones write the first letter as a capital: two accounts would be one
// person. Dots and "+tags" are kept, since they do make different mailboxes.
//
// Refused although some mail systems take them: quoted local parts and comments
// (nobody has them, and they hide spaces and second "@"s), address literals,
// and domains of one label, "user@localhost", which no mail reaches from
// outside (RFC 7085) and which mostly are slips.
//
// A key always holds an "@". So it is no username, which never does, nor the
// "-" and id that the store writes for a user without an address, although an
// address may begin with "-".
func canonicalEmail(s string) (display, key string, err error) {
	bad := invalid("email", "an address like user@example.com of at most 254 bytes, 64 before the @, without quotes and comments")
	if len(s) > maxEmail || !isText(s) {
		return "", "", bad
	}
	address, err := mail.ParseAddress(s)
	if err != nil || address.Name != "" || address.Address != s {
		return "", "", bad
	}
	at := strings.LastIndexByte(s, '@')
	local := norm.NFC.String(s[:at])
	domain, err := idna.Lookup.ToASCII(s[at+1:])
	if err != nil || !isLocalPart(local) || !isMailDomain(domain) {
		return "", "", bad
	}
	display, key = local+"@"+domain, lowerCase(local)+"@"+domain
	if len(display) > maxEmail || len(key) > maxEmail || len(key) > maxLocalPart+1+len(domain) {
		return "", "", bad
	}
	return display, key, nil
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

// lowerCase maps as PRECIS does for usernames. The full mapping matters: that
// of one code point to one takes "İ" to "i", which is somebody else's letter.
func lowerCase(s string) string {
	return norm.NFC.String(cases.Lower(language.Und, cases.HandleFinalSigma(false)).String(s))
}

// loginKey returns the key of whom a log-in text means: an e-mail address if
// there is an "@" in it, a username otherwise. It is not ok for what can be
// nobody's.
func loginKey(login string) (isEmail bool, key string, ok bool) {
	var err error
	if isEmail = strings.Contains(login, "@"); isEmail {
		_, key, err = canonicalEmail(login)
	} else {
		_, key, err = canonicalUsername(login)
	}
	return isEmail, key, err == nil
}
