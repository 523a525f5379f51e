package keyfold_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/memory"
)

// A client that can read a key or a user can read the fields in the audit log.
//
// Mutations tried: scopes as one string, an idle timeout in the form of
// time.Duration, a user ID that is empty instead of null, and a member "disabled".
func TestAuditFieldsHaveTheFormOfTheRecord(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	svc, err := keyfold.New(memory.New(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Close(ctx) })

	user, err := svc.CreateUser(ctx, keyfold.NewUser{Username: "olga"})
	if err != nil {
		t.Fatal(err)
	}
	checkAudit(t, svc, user.ID, user, "user.create")
	for _, change := range []struct {
		action string
		do     func() error
	}{
		{"user.disable", func() error { return svc.DisableUser(ctx, user.ID, "left") }},
		{"user.enable", func() error { return svc.EnableUser(ctx, user.ID) }},
		{"user.disable", func() error { return svc.DisableUser(ctx, user.ID, "") }},
	} {
		t.Run(change.action, func(t *testing.T) {
			if err := change.do(); err != nil {
				t.Fatal(err)
			}
			changed, err := svc.User(ctx, user.ID)
			if err != nil {
				t.Fatal(err)
			}
			checkAudit(t, svc, user.ID, changed, change.action)
		})
	}

	for name, created := range map[string]keyfold.NewKey{
		"with every field": {
			Name: "ci", Notes: "n", OwnerID: "o", Tenant: "t", Scopes: []string{"a:b", "c:d"}, TTL: time.Hour, IdleTimeout: 36 * time.Hour,
			Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Metadata: map[string]string{"x": "1"}, Environment: "live",
		},
		"with none": {TTL: keyfold.Never},
	} {
		t.Run(name, func(t *testing.T) {
			key, _, err := svc.CreateKey(ctx, created)
			if err != nil {
				t.Fatal(name, err)
			}
			checkAudit(t, svc, key.ID, key, "key.create")
			for _, change := range []struct {
				action string
				do     func() error
			}{
				{"key.disable", func() error { return svc.DisableKey(ctx, key.ID, "abuse") }},
				{"key.enable", func() error { return svc.EnableKey(ctx, key.ID) }},
				{"key.update", func() error {
					_, err := svc.UpdateKey(ctx, key.ID, keyfold.KeyUpdate{Version: 3, Scopes: &[]string{"e:f"}, IdleTimeout: new(72 * time.Hour)})
					return err
				}},
				{"key.rotate", func() error { _, _, err := svc.RotateKey(ctx, key.ID, keyfold.RotateOptions{}); return err }},
				{"key.revoke", func() error { return svc.RevokeKey(ctx, key.ID, "") }},
			} {
				if err := change.do(); err != nil {
					t.Fatal(name, change.action, err)
				}
				changed, err := svc.Key(ctx, key.ID)
				if err != nil {
					t.Fatal(err)
				}
				checkAudit(t, svc, key.ID, changed, change.action)
			}
		})
	}
}

// checkAudit compares the newest entry on a target with the JSON of its record.
func checkAudit(t *testing.T, svc *keyfold.Service, target string, record any, action string) {
	t.Helper()
	page, err := svc.Audit(t.Context(), keyfold.AuditQuery{Target: keyfold.Only(target), Limit: 1})
	if err != nil || len(page.Entries) != 1 || page.Entries[0].Action != action {
		t.Fatalf("the newest entry is %+v, %v, want %s", page.Entries, err, action)
	}
	entry := page.Entries[0]
	encoded, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	var members, after, before map[string]any
	for text, into := range map[string]*map[string]any{string(encoded): &members, entry.After: &after, entry.Before: &before} {
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatalf("%s: %q: %v", action, text, err)
		}
	}
	if len(after) == 0 {
		t.Errorf("%s records no field", action)
	}
	for name, value := range after {
		if want, ok := members[name]; !ok || !reflect.DeepEqual(value, want) {
			t.Errorf("%s: after has %s = %v, the record has %v", action, name, value, want)
		}
	}
	for name, value := range before {
		now, ok := members[name]
		if !ok {
			t.Errorf("%s: before has %s, the record has no such member", action, name)
		}
		if value != nil && now != nil && reflect.TypeOf(value) != reflect.TypeOf(now) {
			t.Errorf("%s: before has %s = %v, of another type than %v", action, name, value, now)
		}
	}
}
