package compat

import (
	"errors"
	"net/http"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/httpadapter"
)

// RequireKey is [httpadapter.RequireKey] by the predecessor's contract: the key
// comes in the query parameter "api-key" or the header "api-key", tried in that
// order, and one good one is enough; an empty one counts as not given. A refusal
// is {"detail":…} with 403, never 401. In the handler,
// [httpadapter.IdentityFrom] says whose key it was.
//
// The options are those of the package httpadapter, but for the sources of keys,
// ErrorHandler and the limit on failures, which the contract decides. A nil Verifier panics here,
// at start.
func RequireKey(v httpadapter.Verifier, opts ...httpadapter.Option) func(http.Handler) http.Handler {
	all := append([]httpadapter.Option{}, opts...)
	return httpadapter.RequireKey(v, append(all, httpadapter.KeyFunc(keysOf), httpadapter.ErrorHandler(refuseKey), httpadapter.DisableFailureLimit())...)
}

// keysOf returns the keys that a request presents, in the order of the contract.
func keysOf(r *http.Request) []string {
	keys := make([]string, 0, 2)
	if r.URL.RawQuery != "" {
		query, _ := parseQuery(r.URL.RawQuery) // what cannot be read is no key
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
