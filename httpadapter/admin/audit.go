package admin

import (
	"context"
	"encoding/json"
	"time"

	"github.com/keyfold/keyfold"
)

// AuditEntry is a change, as the command's --json shows it.
type AuditEntry struct {
	Seq       int64           `json:"seq" doc:"Orders entries; it has gaps"`
	At        time.Time       `json:"at"`
	Actor     *string         `json:"actor" doc:"Who; null when nobody said"`
	Address   *string         `json:"address" doc:"From which network address; null when unknown"`
	RequestID *string         `json:"request_id"`
	Action    string          `json:"action" doc:"key.create, key.revoke, …"`
	Target    string          `json:"target" doc:"The id of what changed"`
	Before    json.RawMessage `json:"before" doc:"The fields that changed, as they were; null for a creation"`
	After     json.RawMessage `json:"after" doc:"The fields that changed, as they became; null for a deletion"`
}

// NewAuditEntry shows a change.
func NewAuditEntry(e keyfold.AuditEntry) AuditEntry {
	return AuditEntry{
		Seq: e.Seq, At: e.At.UTC(), Actor: textOrNil(e.Actor), Address: textOrNil(e.Address), RequestID: textOrNil(e.RequestID),
		Action: e.Action, Target: e.Target, Before: documentOrNil(e.Before), After: documentOrNil(e.After),
	}
}

// AuditPage is a page of the audit log. An empty one has the entries [], never
// null.
type AuditPage struct {
	Entries []AuditEntry `json:"entries" nullable:"false"`
	Next    *string      `json:"next" doc:"Cursor of the next page; null at the end"`
}

// NewAuditPage shows a page of the audit log.
func NewAuditPage(p keyfold.AuditPage) AuditPage {
	shown := AuditPage{Entries: make([]AuditEntry, 0, len(p.Entries)), Next: textOrNil(p.Next)}
	for _, entry := range p.Entries {
		shown.Entries = append(shown.Entries, NewAuditEntry(entry))
	}
	return shown
}

// documentOrNil is null for what is no JSON: others may write the log too.
func documentOrNil(text string) json.RawMessage {
	if !json.Valid([]byte(text)) {
		return nil
	}
	return json.RawMessage(text)
}

type (
	auditInput struct {
		Target string `query:"target" doc:"The id of what changed: a key or a user"`
		Cursor string `query:"cursor" doc:"The next of the page before, with the same filters"`
		Limit  int    `query:"limit" minimum:"1" maximum:"200" doc:"Default 50"`
	}

	auditAnswer struct{ Body AuditPage }
)

func (a *api) auditRoutes(r *routes) {
	addRead(r, "/audit", "list-audit", "List who changed what", "Newest first.", a.listAudit)
}

func (a *api) listAudit(ctx context.Context, in *auditInput) (*auditAnswer, error) {
	page, err := a.svc.Audit(ctx, keyfold.AuditQuery{Target: onlyIf(in.Target), Cursor: in.Cursor, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	return &auditAnswer{Body: NewAuditPage(page)}, nil
}
