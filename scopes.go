package keyfold

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyfold/keyfold/internal/scope"
)

const maxScopes = 64

// CheckScopes returns an [InvalidError] for the first of the scopes that a
// request cannot ask for, because it is malformed or holds a wildcard, or
// because no key can hold it under Options.Scopes. A route that needs such a
// scope would refuse every key: call CheckScopes at start. Middleware from
// package httpadapter does so by itself.
func (s *Service) CheckScopes(scopes ...string) error {
	if err := checkConcrete(scopes); err != nil {
		return err
	}
	for i, wanted := range scopes {
		if s.opts.Scopes != nil && !scope.Join(s.opts.Scopes).Covers(wanted) {
			return invalid(fmt.Sprintf("scopes[%d]", i), "a scope that Options.Scopes covers: "+strings.Join(s.opts.Scopes, ", "))
		}
	}
	return nil
}

// checkConcrete refuses scopes that a request cannot ask for.
func checkConcrete(scopes []string) error {
	for i := range scopes {
		if !scope.IsConcrete(scopes[i]) {
			return invalid(fmt.Sprintf("scopes[%d]", i), scope.AllowedConcrete)
		}
	}
	return nil
}

// checkScopes checks the scopes of a key. A wildcard in Options.Scopes permits
// that wildcard and not what it covers: otherwise nothing could be registered
// that only some keys may hold.
func (s *Service) checkScopes(scopes []string) error {
	if len(scopes) > maxScopes {
		return invalid("scopes", fmt.Sprintf("at most %d", maxScopes))
	}
	seen := make(map[string]bool, len(scopes))
	for i, held := range scopes {
		field := fmt.Sprintf("scopes[%d]", i)
		switch {
		case !scope.IsValid(held):
			return invalid(field, scope.Allowed)
		case seen[held]:
			return invalid(field, "each scope once")
		case s.opts.Scopes != nil && !slices.Contains(s.opts.Scopes, held):
			return invalid(field, "one of "+strings.Join(s.opts.Scopes, ", "))
		}
		seen[held] = true
	}
	return nil
}
