package keyfold

import (
	"context"
	"iter"
)

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

// AllAudit yields every entry of the audit log that matches the query, as
// [Service.AllKeys] yields keys.
func (s *Service) AllAudit(ctx context.Context, q AuditQuery) iter.Seq2[AuditEntry, error] {
	return everyPage(q.Cursor, func(cursor string) ([]AuditEntry, string, error) {
		q.Cursor, q.Limit = cursor, pageLength(q.Limit)
		page, err := s.Audit(ctx, q)
		return page.Entries, page.Next, err
	})
}
