package admin

import (
	"context"

	"github.com/keyfold/keyfold"
)

type (
	auditInput struct {
		Target string `query:"target" doc:"Only changes of the key or user with this ID."`
		Cursor string `query:"cursor" doc:"The member next of the previous page. The other parameters must be the same."`
		Limit  int    `query:"limit" minimum:"1" maximum:"200" doc:"The maximum number of entries. The default is 50."`
	}

	auditOutput struct{ Body keyfold.AuditPage }
)

func (a *api) auditRoutes(r *routes) {
	addRead(r, "/audit", "list-audit", "List audit entries", "The newest entries come first.", a.listAudit)
}

func (a *api) listAudit(ctx context.Context, in *auditInput) (*auditOutput, error) {
	page, err := a.svc.Audit(ctx, keyfold.AuditQuery{Target: filterOf(in.Target), Cursor: in.Cursor, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	return &auditOutput{Body: page}, nil
}
