package admin

import (
	"context"

	"github.com/keyfold/keyfold"
)

type (
	auditInput struct {
		Target string `query:"target" doc:"The id of what changed: a key or a user"`
		Cursor string `query:"cursor" doc:"The next of the page before, with the same filters"`
		Limit  int    `query:"limit" minimum:"1" maximum:"200" doc:"Default 50"`
	}

	auditAnswer struct{ Body keyfold.AuditPage }
)

func (a *api) auditRoutes(r *routes) {
	addRead(r, "/audit", "list-audit", "List who changed what", "Newest first.", a.listAudit)
}

func (a *api) listAudit(ctx context.Context, in *auditInput) (*auditAnswer, error) {
	page, err := a.svc.Audit(ctx, keyfold.AuditQuery{Target: onlyIf(in.Target), Cursor: in.Cursor, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	return &auditAnswer{Body: page}, nil
}
