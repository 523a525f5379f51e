package keyfold_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
)

// Mutations tried: rules that are published by New; a time to live of Never that
// comes back as a millisecond less than none.
func TestKeyRulesArePublishedOnPurposeAndComeBack(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		owner := newService(t, store, &keyfold.Options{
			Prefix: "acme", Environment: "live", KeyTTL: keyfold.Never, MaxOverlap: time.Hour, Scopes: []string{"a:b", "c"},
			PasswordPolicy: keyfold.PasswordPolicy{MinLength: 20},
		})
		visitor := newService(t, store, nil)
		create(t, owner, keyfold.NewKey{Name: "n"})
		if _, err := visitor.PublishedRules(t.Context()); !errors.Is(err, keyfold.ErrNotFound) {
			t.Errorf("before: %v, want ErrNotFound", err)
		}
		for range 2 { // the second changes nothing
			if err := owner.PublishRules(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want := keyfold.Rules{
			Prefix: "acme", Environment: "live", KeyTTL: keyfold.Never, MaxOverlap: time.Hour, Scopes: []string{"a:b", "c"},
			MinPasswordLength: 20, MaxPasswordLength: 256,
		}
		if got, err := visitor.PublishedRules(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if err := visitor.PublishRules(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, err := owner.PublishedRules(t.Context()); err != nil || got.Prefix != "kf" || got.KeyTTL != 15*day || got.Scopes != nil {
			t.Errorf("published again: got %+v, %v", got, err)
		}
		page, err := owner.Audit(t.Context(), keyfold.AuditQuery{Target: keyfold.Only("key_rules")})
		if err != nil || len(page.Entries) != 2 || page.Entries[0].Before != page.Entries[1].After || page.Entries[0].Action != "setting.key_rules" {
			t.Errorf("the audit log says %+v, %v; want one row for each change", page.Entries, err)
		}
	})
}

// Mutation tried: rules whose empty list comes back as nil, under which the command
// gave keys any scope.
func TestKeyRulesOfAProgramWithoutScopesPermitNone(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		owner := newService(t, store, &keyfold.Options{Scopes: []string{}})
		if err := owner.PublishRules(t.Context()); err != nil {
			t.Fatal(err)
		}
		rules, err := owner.PublishedRules(t.Context())
		if err != nil || rules.Scopes == nil || len(rules.Scopes) != 0 {
			t.Errorf("got the scopes %#v, %v; want a list without any: nil means every scope", rules.Scopes, err)
		}
		visitor := newService(t, store, &keyfold.Options{Scopes: rules.Scopes})
		if _, _, err := visitor.CreateKey(t.Context(), keyfold.NewKey{Name: "n", Scopes: []string{"any:thing"}}); !errors.Is(err, keyfold.ErrInvalid) {
			t.Errorf("a key with a scope under these rules: %v, want ErrInvalid", err)
		}
	})
}
