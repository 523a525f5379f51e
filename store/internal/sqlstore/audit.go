package sqlstore

import (
	"context"
	"math"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/store/internal/column"
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
	entries := make([]keyfold.AuditEntry, 0, len(rows))
	for _, row := range rows {
		entries = append(entries, keyfold.AuditEntry{Seq: row.Seq, Mutation: keyfold.Mutation{
			At: column.Moment(row.At), Actor: row.Actor, IP: column.ParseIP(row.IP), Action: row.Action, Target: row.Target,
			Before: row.StateBefore, After: row.StateAfter, RequestID: row.RequestID,
		}})
	}
	if err != nil {
		return nil, err
	}
	return entries, nil
}
