package compat

import (
	"errors"
	"net/http"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

// RequireKey is [httpadapter.RequireKey] by the predecessor's contract. It reads the key
// from the query parameter "api-key" and from the header "api-key", in this order. One good
// key is enough, and an empty key counts as missing. Refused requests are answered with
// {"detail":…} and 403, never 401. In the handler, [httpadapter.IdentityFrom] returns the
// identity of the key.
//
// RequireKey takes the options of the package httpadapter. QueryParam, KeyFunc, ErrorHandler
// and DisableFailureLimit have no effect, because the contract decides on these: the number
// of bad keys is not limited. Like httpadapter.RequireKey, it panics if v is nil or if no
// key can have a required scope.
func RequireKey(v httpadapter.Verifier, opts ...httpadapter.Option) func(http.Handler) http.Handler {
	all := append([]httpadapter.Option{}, opts...)
	return httpadapter.RequireKey(v, append(all, httpadapter.KeyFunc(keysOf), httpadapter.ErrorHandler(refuseKey), httpadapter.DisableFailureLimit())...)
}

// keysOf returns the keys of a request, in the order of the contract.
func keysOf(r *http.Request) []string {
	keys := make([]string, 0, 2)
	if r.URL.RawQuery != "" {
		query, _ := parseQuery(r.URL.RawQuery) // parameters that cannot be read are not keys
		if key, given := query.get("api-key"); given {
			keys = append(keys, key)
		}
	}
	if key := r.Header.Get("api-key"); key != "" && (len(keys) == 0 || keys[0] != key) {
		keys = append(keys, key)
	}
	return keys
}

func refuseKey(w http.ResponseWriter, _ *http.Request, err error) {
	refused := refusalOf(err)
	switch {
	case keyfold.OutcomeOf(err) == keyfold.OutcomeMissing:
		refused = forbidden("An API key must be passed as query or header")
	case errors.Is(err, keyfold.ErrUnauthenticated):
		refused = forbidden("Wrong, revoked, or expired API key.")
	}
	refused.write(w)
}
