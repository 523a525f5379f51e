package admin

import (
	"encoding/json"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/wire"
)

// tags are the groups of operations, in the order in which the page shows them.
func tags() []*huma.Tag {
	return []*huma.Tag{
		{Name: "keys", Description: "Create and manage API keys."},
		{Name: "users", Description: "Manage users. A user can log in and own keys."},
		{Name: "one-time-tokens", Description: "Verify an e-mail address or reset a password."},
		{Name: "usage", Description: "Read the usage of keys."},
		{Name: "audit", Description: "Read the audit log of changes to keys and users."},
	}
}

// tagsOf returns the group of a route: the first segment of its path.
func tagsOf(path string) []string {
	tag, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return []string{tag}
}

// aliasRecords derives the schemas of the records from the types that the root
// package encodes them with.
func aliasRecords(schemas huma.Registry) {
	alias[keyfold.Key, wire.Key](schemas)
	alias[keyfold.KeyPage, wire.KeyPage](schemas)
	alias[keyfold.CreatedKey, wire.CreatedKey](schemas)
	alias[keyfold.User, wire.User](schemas)
	alias[keyfold.UserPage, wire.UserPage](schemas)
	alias[keyfold.UsagePage, wire.UsagePage](schemas)
	alias[keyfold.UsageTotals, wire.UsageTotals](schemas)
	alias[keyfold.UsageReport, wire.UsageReport](schemas)
	alias[keyfold.AuditPage, wire.AuditPage](schemas)

	// The only raw JSON in these records.
	alias[json.RawMessage, wire.AuditFields](schemas)
	fields := schemas.Schema(reflect.TypeFor[wire.AuditFields](), false, "")
	fields.Description = "The fields that changed, in the form of the key or user. " +
		"Null before a creation and after a deletion."
	fields.Nullable = true
	fields.AdditionalProperties = nil // later versions may record more
}

func alias[Record, Encoded any](schemas huma.Registry) {
	schemas.RegisterTypeAlias(reflect.TypeFor[Record](), reflect.TypeFor[Encoded]())
}

// exampleToken has the form of a one-time token.
var exampleToken = "kf1t_" + strings.Repeat("0", 43)

// exampleBody returns the body that the document shows for an operation. A body
// that a tool derives from the schema would be refused, because it has members that
// exclude each other.
func exampleBody(operation string) any {
	switch operation {
	case "create-key":
		return map[string]any{"name": "ci", "owner_id": "cust_42", "scopes": []string{"reports:read"}, "ttl": "30d"}
	case "update-key":
		return map[string]any{"version": 1, "name": "ci of the reports team"}
	case "create-user":
		return map[string]any{"username": "olga", "email": "olga@example.com"}
	case "update-user":
		return map[string]any{"version": 1, "username": "olga.k"}
	case "set-password":
		return map[string]any{"password": "at least fifteen characters"}
	case "authenticate":
		return map[string]any{"identifier": "olga", "password": "at least fifteen characters", "ip": "192.0.2.7"}
	case "create-one-time-token":
		return map[string]any{"purpose": "reset_password"}
	case sendOperation:
		return map[string]any{"purpose": "reset_password", "identifier": "olga", "ip": "192.0.2.7"}
	case "use-verify-email", "use-change-email":
		return map[string]any{"token": exampleToken}
	case "use-reset-password":
		return map[string]any{"token": exampleToken, "password": "at least fifteen characters", "revoke_keys": true}
	case "unlock-user":
		return map[string]any{"ip": "192.0.2.7"}
	case "disable-user":
		return map[string]any{"reason": "left the company"}
	case "revoke-key", "disable-key":
		return map[string]any{"reason": "left the company"}
	case "renew-key":
		return map[string]any{"ttl": "30d"}
	case "rotate-key":
		return map[string]any{"overlap": "24h"}
	case "revoke-keys", "disable-keys":
		return map[string]any{"owner_id": "cust_42", "reason": "left the company"}
	}
	return nil
}
