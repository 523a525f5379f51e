package httpadapter

import (
	"errors"
	"net/url"
	"strings"

	"github.com/keyfold/keyfold"
)

// ErrAmbiguous means that a request has two different keys. Neither was verified, because
// it is not clear which of them the client meant. The status is 400.
var ErrAmbiguous = errors.New("keyfold/httpadapter: two different keys in one request")

// ExtractToken returns the key of a request unchanged, or "" if the request has none. The
// function get must return all values of a header. ExtractToken calls it with the
// canonical names "X-Api-Key", "Api-Key" and "Authorization", so get need not ignore case
// if the names of its headers are canonical, as they are in net/http.
//
//   - X-API-Key and api-key contain the key itself. Authorization contains it after
//     "Bearer", in upper or lower case. Other schemes, such as Basic, are ignored, and so
//     are spaces around a key and empty values.
//   - A value that has the form of a key, by [keyfold.ParseToken], takes precedence over
//     other values: a request may have an API key and, for example, a JWT of your program.
//   - If two different values have the form of a key, the error is [ErrAmbiguous]. The
//     same key twice is one key.
//   - If no value has the form of a key, ExtractToken returns the first value, in the
//     order X-API-Key, api-key, Authorization. Verify refuses it.
//
// The result shares memory with the values that get returned. If your framework reuses
// its buffers for the next request, get must return copies.
func ExtractToken(get func(header string) []string) (token string, err error) {
	var found credentials
	found.fromHeaders(get)
	return found.choose()
}

// credentials collects the values of a request.
type credentials struct {
	key       string // has the form of a key
	other     string // the first value that does not
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

// fromQuery reads the parameters of this name by the rules of [url.ParseQuery], which would
// also allocate for all other parameters.
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

// add adds one value. A long value costs only the trimming, because ParseToken refuses
// long texts without reading them.
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

// bearer returns the credential of an Authorization header with the Bearer scheme, or "".
// The scheme is not case-sensitive (RFC 9110 section 11.1).
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
