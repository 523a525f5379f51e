package mongo

import (
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// auditDoc is an audit row. Its number follows from the change and the place of
// its target in it, so that writing it twice leaves one.
type auditDoc struct {
	ID        string `bson:"_id"` // sixteen hexadecimal digits of the number
	At        int64  `bson:"at"`
	Actor     string `bson:"actor"`
	IP        string `bson:"ip"`
	Action    string `bson:"action"`
	Target    string `bson:"target"`
	Before    string `bson:"before"`
	After     string `bson:"after"`
	RequestID string `bson:"request_id"`
}

// auditPlaces is how many audit rows one change has room for.
const auditPlaces = 1 << 20

func auditSeq(c *changeDoc, place int) int64 { return c.Seq*auditPlaces + int64(place) }

// addAudit writes the audit rows of what was applied.
func (s *Store) addAudit(ctx context.Context, c *changeDoc, applied []string) error {
	var rows []any
	for place, subject := range c.Subjects {
		if slices.Contains(applied, subject) {
			rows = append(rows, c.auditRow(place, c.Action, subject))
		}
	}
	for i, key := range c.Keys {
		row := c.auditRow(len(c.Subjects)+i, "key.delete", key)
		row.Before, row.After = "", ""
		rows = append(rows, row)
	}
	return s.audit.ensure(ctx, rows)
}

func (c *changeDoc) auditRow(place int, action, target string) auditDoc {
	return auditDoc{
		ID: changeID(auditSeq(c, place)), At: c.At, Actor: c.Actor, IP: c.IP, Action: action,
		Target: target, Before: c.Before, After: c.After, RequestID: c.RequestID,
	}
}

// auditedSubjects returns the subjects that have an audit row.
func (s *Store) auditedSubjects(ctx context.Context, c *changeDoc) (subjects []string, err error) {
	var ids []string
	for place := range c.Subjects {
		ids = append(ids, changeID(auditSeq(c, place)))
	}
	rows, err := list[auditDoc](ctx, s.audit, among(ids))
	for i := range rows {
		subjects = append(subjects, rows[i].Target)
	}
	return subjects, err
}

// Audit implements keyfold.AuditStore.
func (s *Store) Audit(ctx context.Context, scan keyfold.AuditScan) ([]keyfold.AuditEntry, error) {
	filter := bson.D{}
	if scan.Target != "" {
		filter = append(filter, is("target", scan.Target))
	}
	if scan.AfterSeq != 0 {
		filter = append(filter, less("_id", changeID(scan.AfterSeq)))
	}
	rows, err := list[auditDoc](ctx, s.audit, filter,
		options.Find().SetSort(bson.D{is("_id", -1)}).SetLimit(int64(scan.Limit)))
	if err != nil {
		return nil, wrap("list audit log", err)
	}
	entries := make([]keyfold.AuditEntry, len(rows))
	for i, row := range rows {
		entries[i] = keyfold.AuditEntry{Mutation: keyfold.Mutation{
			At: column.Moment(row.At), Actor: row.Actor, IP: column.ParseIP(row.IP), Action: row.Action, Target: row.Target,
			Before: row.Before, After: row.After, RequestID: row.RequestID,
		}}
		if _, err := fmt.Sscanf(row.ID, "%x", &entries[i].Seq); err != nil {
			return nil, wrap("list audit log", fmt.Errorf("audit row %q: %w", row.ID, err))
		}
	}
	return entries, nil
}
