package sqlstore

import (
	"context"
	"math"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
)

// Audit implements keyfold.AuditStore.
func (s *Store) Audit(ctx context.Context, scan keyfold.AuditScan) ([]keyfold.AuditEntry, error) {
	before := scan.AfterSeq
	if before == 0 {
		before = math.MaxInt64
	}
	var rows []model.Audit
	err := s.read(ctx, "list audit log", func(session *Session) (err error) {
		if scan.Target == "" {
			rows, err = session.Querier.AuditAll(ctx, before, int64(scan.Limit))
		} else {
			rows, err = session.Querier.AuditByTarget(ctx, scan.Target, before, int64(scan.Limit))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	entries := make([]keyfold.AuditEntry, 0, len(rows))
	for i := range rows {
		entries = append(entries, auditEntry(&rows[i]))
	}
	return entries, nil
}
