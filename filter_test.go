package keyfold_test

import (
	"errors"
	"testing"

	"github.com/keyfold/keyfold"
)

// A handler that lists the keys of the identity's owner must not list all keys if the key
// has no owner. The test failed while filters were strings, and an empty one meant all.
func TestFilterOfAnIdentityWithoutAnOwnerIsNeverAll(t *testing.T) {
	t.Parallel()
	onEveryStore(t, func(t *testing.T, store keyfold.Store) {
		svc := newService(t, store, nil)
		key, token, err := svc.CreateKey(t.Context(), keyfold.NewKey{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := svc.CreateKey(t.Context(), keyfold.NewKey{OwnerID: "another customer", Tenant: "theirs"}); err != nil {
			t.Fatal(err)
		}
		id, err := svc.Verify(t.Context(), keyfold.Request{Token: token.Reveal()})
		if err != nil {
			t.Fatal(err)
		}
		owner, user, tenant := keyfold.Only(id.OwnerID()), keyfold.Only(id.UserID()), keyfold.Only(id.Tenant())
		nobody := keyfold.Only(keyfold.Identity{}.KeyID())
		ctx := t.Context()
		for name, row := range map[string]struct {
			field string
			call  func() error
		}{
			"list by owner":   {"owner_id", func() error { _, err := svc.Keys(ctx, keyfold.KeyQuery{OwnerID: owner}); return err }},
			"list by user":    {"user_id", func() error { _, err := svc.Keys(ctx, keyfold.KeyQuery{UserID: user}); return err }},
			"list by tenant":  {"tenant", func() error { _, err := svc.Keys(ctx, keyfold.KeyQuery{Tenant: tenant}); return err }},
			"revoke by owner": {"owner_id", func() error { _, err := svc.RevokeKeys(ctx, keyfold.KeyFilter{OwnerID: owner}, ""); return err }},
			"revoke ids of an owner": {"owner_id", func() error {
				_, err := svc.RevokeKeys(ctx, keyfold.KeyFilter{IDs: []string{key.ID}, OwnerID: owner}, "")
				return err
			}},
			"revoke no ids of an owner": {"ids", func() error {
				_, err := svc.RevokeKeys(ctx, keyfold.KeyFilter{IDs: []string{}, OwnerID: keyfold.Only("another customer")}, "")
				return err
			}},
			"disable by tenant": {"tenant", func() error { _, err := svc.DisableKeys(ctx, keyfold.KeyFilter{Tenant: tenant}, ""); return err }},
			"usage of a key":    {"key_id", func() error { _, err := svc.Usage(ctx, keyfold.UsageQuery{KeyID: nobody}); return err }},
			"usage of an owner": {"owner_id", func() error { _, err := svc.UsageTotals(ctx, keyfold.UsageQuery{OwnerID: owner}); return err }},
			"report of a user":  {"user_id", func() error { _, err := svc.UsageReport(ctx, keyfold.UsageReportQuery{UserID: user}); return err }},
			"users of a name":   {"username", func() error { _, err := svc.Users(ctx, keyfold.UserQuery{Username: user}); return err }},
			"audit of a key":    {"target", func() error { _, err := svc.Audit(ctx, keyfold.AuditQuery{Target: nobody}); return err }},
		} {
			refused, ok := errors.AsType[*keyfold.InvalidError](row.call())
			if !ok || refused.Field != row.field {
				t.Errorf("%s: got %v, want an InvalidError for %s", name, refused, row.field)
			}
		}
		page, err := svc.Keys(t.Context(), keyfold.KeyQuery{State: keyfold.KeyActive})
		if err != nil || len(page.Keys) != 2 {
			t.Errorf("%d keys are active, %v; want both", len(page.Keys), err)
		}
	})
}
