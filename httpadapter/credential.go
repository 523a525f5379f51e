package httpadapter

import (
	"errors"
	"net/url"
	"strings"

	"github.com/keyfold/keyfold"
)

// ErrAmbiguous means that a request presented two different keys: 400. Which of
// them its sender meant cannot be told, and neither was verified.
var ErrAmbiguous = errors.New("keyfold/httpadapter: two different keys in one request")

// ExtractToken returns the key that a request presents, as it was written, or "" when
// it presents none. get returns all values of a header; it is called with the
// canonical names "X-Api-Key", "Api-Key" and "Authorization", and need not be
// case-insensitive if its headers are canonical, as those of net/http are.
//
//   - X-API-Key and api-key hold the key itself, Authorization holds it after
//     "Bearer", in any case. Other schemes, such as Basic, are not for keys and
//     are ignored. Blanks around a key and empty values mean nothing.
//   - What has the shape of a key, by [keyfold.ParseToken], wins over what has
//     not: a JWT of the host's own beside an API key is normal.
//   - Two different texts of that shape are an [ErrAmbiguous]; the same one
//     twice is one key.
//   - Where nothing has the shape of a key, the first value is returned, in the
//     order X-API-Key, api-key, Authorization, for Verify to refuse.
//
// The result shares memory with what get returned. A framework that reuses its
// buffers for the next request has to return copies.
func ExtractToken(get func(header string) []string) (token string, err error) {
	var found credentials
	found.fromHeaders(get)
	return found.choose()
}

// credentials gathers what a request presents.
type credentials struct {
	key       string // of the shape of a key
	other     string // the first that is not
	ambiguous bool
}

func (c *credentials) fromHeaders(get func(header string) []string) {
	for _, value := range get("X-Api-Key") {
		c.add(value)
	}
	for _, value := range get("Api-Key") {
		c.add(value)
	}
	for _, value := range get("Authorization") {
		c.add(bearer(value))
	}
}

// fromQuery reads parameters of that name, by the rules of [url.ParseQuery], which
// would allocate for all the others too.
func (c *credentials) fromQuery(query, name string) {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if strings.Contains(pair, ";") {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(key); err != nil || key != name {
			continue
		}
		if value, err := url.QueryUnescape(value); err == nil {
			c.add(value)
		}
	}
}

// add takes one candidate. Whatever its length, it costs no more than trimming:
// ParseToken refuses long texts unread.
func (c *credentials) add(candidate string) {
	candidate = strings.Trim(candidate, " \t")
	if candidate == "" || candidate == c.key || c.ambiguous {
		return
	}
	_, err := keyfold.ParseToken(candidate)
	switch {
	case err == nil && c.key != "":
		c.ambiguous = true
	case err == nil:
		c.key = candidate
	case c.other == "":
		c.other = candidate
	}
}

func (c *credentials) choose() (string, error) {
	switch {
	case c.ambiguous:
		return "", ErrAmbiguous
	case c.key != "":
		return c.key, nil
	}
	return c.other, nil
}

// bearer returns the credential of an Authorization header of that scheme, and
// "" for every other. The scheme's case does not matter (RFC 9110 section 11.1).
func bearer(authorization string) string {
	const scheme = "bearer"
	value := strings.Trim(authorization, " \t")
	if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	if blank := value[len(scheme)]; blank != ' ' && blank != '\t' {
		return ""
	}
	return value[len(scheme)+1:]
}
