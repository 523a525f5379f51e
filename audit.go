package keyfold

import (
	"context"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// AuditEntry is one row of the audit log.
type AuditEntry struct {
	// Seq orders entries. It has gaps, and entries of transactions that run at
	// the same time may become visible out of order.
	Seq int64
	Mutation
}

// Actor is who changes something, for the audit log.
type Actor struct {
	Name      string     // "admin", "user 42"; the host's own words
	IP        netip.Addr // the IP address it came from; the zero Addr when unknown
	RequestID string     // the host's id of the request
}

type actorKey struct{}

// maxActorField bounds each field of an Actor in the audit log, in bytes.
const maxActorField = 256

// WithActor returns a context whose changes are written to the audit log under
// that name. Each text is cut at 256 bytes, and what is not plain UTF-8 text
// is left out: an audit row never fails for the sake of its decoration.
func WithActor(ctx context.Context, actor Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, Actor{
		Name: plainText(actor.Name), IP: actor.IP.Unmap().WithZone(""), RequestID: plainText(actor.RequestID),
	})
}

func plainText(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxActorField)], "")
	if !isText(s) {
		return ""
	}
	return s
}

// fieldsOf holds the fields of a record that the audit log records, by their
// names in the JSON of that record.
type fieldsOf = map[string]any

// mutation describes one change. If it has fields both before and after the
// change, it keeps only those that differ.
func (s *Service) mutation(ctx context.Context, at time.Time, action, target string, before, after fieldsOf) Mutation {
	actor, _ := ctx.Value(actorKey{}).(Actor)
	m := Mutation{At: at, Actor: actor.Name, IP: actor.IP, RequestID: actor.RequestID, Action: action, Target: target}
	if before != nil && after != nil {
		for name, old := range before {
			if now, ok := after[name]; ok && reflect.DeepEqual(old, now) {
				delete(before, name)
				delete(after, name)
			}
		}
	}
	m.Before, m.After = encodeFields(before), encodeFields(after)
	return m
}

func encodeFields(fields fieldsOf) string {
	if fields == nil {
		return ""
	}
	encoded, err := json.Marshal(fields)
	if err != nil { // unreachable: the fields are strings, numbers, times and lists of them
		return "{}"
	}
	return string(encoded)
}

// keyFields holds the fields of a key that the audit log records, in the form of
// its JSON. None of them is secret.
func keyFields(k *Key) fieldsOf {
	shown := k.wire()
	return fieldsOf{
		"name": shown.Name, "notes": shown.Notes, "owner_id": shown.OwnerID, "user_id": shown.UserID, "tenant": shown.Tenant,
		"scopes": shown.Scopes, "networks": shown.Networks, "metadata": shown.Metadata,
		"environment": shown.Environment, "expires_at": shown.ExpiresAt, "idle_timeout": shown.IdleTimeout,
		"rotated_from": shown.RotatedFrom, "rotated_to": shown.RotatedTo,
	}
}

// AuditQuery asks for a page of the audit log.
type AuditQuery struct {
	Target Filter // the id of the key or the user that changed
	Cursor string // AuditPage.Next of the page before; empty starts
	Limit  int    // 1 to 200; zero = 50
}

// AuditPage is a page of the audit log, newest first.
type AuditPage struct {
	Entries []AuditEntry
	Next    string // Cursor of the next page; empty when there is none
}

// Audit returns who changed what, newest first. Errors: [InvalidError],
// [ErrUnavailable].
func (s *Service) Audit(ctx context.Context, q AuditQuery) (AuditPage, error) {
	limit, err := checkLimit(q.Limit)
	if err != nil {
		return AuditPage{}, err
	}
	if err := q.Target.checkText("target", maxOwnerID); err != nil {
		return AuditPage{}, err
	}
	filter := "audit|" + q.Target.value
	after, err := s.readCursor(ctx, q.Cursor, filter)
	if err != nil {
		return AuditPage{}, err
	}
	entries, err := s.store.Audit(ctx, AuditScan{Target: q.Target.value, AfterSeq: after.Seq, Limit: limit})
	if err != nil {
		return AuditPage{}, storeError(ctx, err)
	}
	page := AuditPage{Entries: entries}
	if len(entries) == limit {
		page.Next, err = s.nextCursor(ctx, cursor{Seq: entries[limit-1].Seq}, filter)
	}
	return page, err
}
