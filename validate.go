package keyfold

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keyfold/keyfold/internal/scope"
	"github.com/keyfold/keyfold/internal/token"
)

const (
	maxScopes    = 64
	maxName      = 128 // code points
	maxNotes     = 2 << 10
	maxOwnerID   = 128
	maxTenant    = 128
	maxNetworks  = 64
	maxMetaItems = 32
	maxMetaKey   = 128
	maxMetadata  = 4 << 10 // as JSON
	maxReason    = 256     // code points
	maxPage      = 200
	defaultPage  = 50
)

// isText reports whether s is valid UTF-8 without control characters.
func isText(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }

func checkCharacters(field, text string, limit int) error {
	if utf8.RuneCountInString(text) > limit || !isText(text) {
		return invalid(field, fmt.Sprintf("must be at most %d characters of UTF-8 without control characters", limit))
	}
	return nil
}

func checkBytes(field, text string, limit int) error {
	if len(text) > limit || !isText(text) {
		return invalid(field, fmt.Sprintf("must be at most %d bytes of UTF-8 without control characters", limit))
	}
	return nil
}

func checkReason(reason string) error { return checkCharacters("reason", reason, maxReason) }

// checkID refuses what cannot be an id, before a store is asked.
func checkID(id string) error {
	if !token.IsID(id) {
		return invalid("id", idRule)
	}
	return nil
}

const idRule = "must be 16 letters and digits"

// checkKey refuses a key whose fields break their limits, and cuts its times to
// the millisecond that is stored.
func (s *Service) checkKey(k *Key) error {
	if err := checkCharacters("name", k.Name, maxName); err != nil {
		return err
	}
	if len(k.Notes) > maxNotes || !isText(strings.NewReplacer("\n", "", "\t", "").Replace(k.Notes)) {
		return invalid("notes", fmt.Sprintf("must be at most %d bytes of UTF-8 without control characters except tab and newline", maxNotes))
	}
	if err := checkBytes("owner_id", k.OwnerID, maxOwnerID); err != nil {
		return err
	}
	if err := checkBytes("tenant", k.Tenant, maxTenant); err != nil {
		return err
	}
	if k.IdleTimeout != 0 && (k.IdleTimeout < time.Minute || k.IdleTimeout > maxKeyTTL) {
		return invalid("idle_timeout", "must be between 1 minute and 100 years, or none")
	}
	k.IdleTimeout = k.IdleTimeout.Truncate(time.Millisecond)
	if err := s.checkScopes(k.Scopes); err != nil {
		return err
	}
	if err := checkNetworks(k.Networks); err != nil {
		return err
	}
	return checkMetadata(k.Metadata)
}

func checkNetworks(networks []netip.Prefix) error {
	if len(networks) > maxNetworks {
		return invalid("networks", fmt.Sprintf("must contain at most %d prefixes", maxNetworks))
	}
	for i, network := range networks {
		if !network.IsValid() || network.Masked() != network || network.Addr().Is4In6() {
			return invalid(fmt.Sprintf("networks[%d]", i),
				"must be a CIDR prefix without host bits, such as \"192.0.2.0/24\" or \"2001:db8::/32\", and not an IPv4 prefix in IPv6 form")
		}
	}
	return nil
}

func checkMetadata(metadata map[string]string) error {
	rule := fmt.Sprintf("must be at most %d entries and %d bytes as JSON; names of 1 to %d bytes; UTF-8 without control characters",
		maxMetaItems, maxMetadata, maxMetaKey)
	if len(metadata) > maxMetaItems {
		return invalid("metadata", rule)
	}
	for name, value := range metadata {
		if name == "" || len(name) > maxMetaKey || !isText(name) || !isText(value) {
			return invalid("metadata", rule)
		}
	}
	if encoded, err := json.Marshal(metadata); err != nil || len(encoded) > maxMetadata {
		return invalid("metadata", rule)
	}
	return nil
}

// deadline turns a time to live or an exact time into an ExpiresAt. Zero and
// zero mean the fallback; both set is an error, as is a life below 1 ms.
func deadline(now time.Time, ttl time.Duration, at time.Time, fallback time.Duration) (time.Time, error) {
	if ttl != 0 && !at.IsZero() {
		return time.Time{}, invalid("ttl", "must not be set together with expires_at")
	}
	if !at.IsZero() {
		if at.Year() < 1970 || at.Year() > 9999 {
			return time.Time{}, invalid("expires_at", "must be between the years 1970 and 9999")
		}
		return at.UTC().Truncate(time.Millisecond), nil
	}
	orDefault(&ttl, fallback)
	switch {
	case ttl == Never:
		return time.Time{}, nil
	case ttl < time.Millisecond || ttl > maxKeyTTL:
		return time.Time{}, invalid("ttl", "must be between 1 ms and 100 years, or never")
	}
	return now.Add(ttl), nil
}

// newDeadline is [deadline] for a key that does not exist yet: an end that is
// past would make a key that nobody can use.
func newDeadline(now time.Time, ttl time.Duration, at time.Time, fallback time.Duration) (time.Time, error) {
	expires, err := deadline(now, ttl, at, fallback)
	if err == nil && !expires.IsZero() && !expires.After(now) {
		return time.Time{}, invalid("expires_at", "must be in the future")
	}
	return expires, err
}

func checkLimit(limit int) (int, error) {
	orDefault(&limit, defaultPage)
	if limit < 1 || limit > maxPage {
		return 0, invalid("limit", fmt.Sprintf("must be between 1 and %d; the default is %d", maxPage, defaultPage))
	}
	return limit, nil
}

// checkScopes checks the scopes of a key. A wildcard in Options.Scopes permits
// that wildcard and not what it covers: otherwise nothing could be registered
// that only some keys may hold.
func (s *Service) checkScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return invalid("scopes", fmt.Sprintf("must contain at most %d scopes", maxScopes))
	}
	seen := make(map[string]bool, len(scopes))
	for i, held := range scopes {
		field := fmt.Sprintf("scopes[%d]", i)
		switch {
		case !scope.IsValid(held):
			return invalid(field, scope.Rule)
		case seen[held]:
			return invalid(field, "must not repeat an earlier scope")
		case s.opts.Scopes != nil && !slices.Contains(s.opts.Scopes, held):
			return invalid(field, "must be one of "+strings.Join(s.opts.Scopes, ", "))
		}
		seen[held] = true
	}
	return nil
}
