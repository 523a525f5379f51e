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

// auditDoc is an audit entry. Its number depends only on the change and the index of
// its target, so that an entry that is written twice exists once.
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

// maxAuditEntries is the maximum number of audit entries of one change.
const maxAuditEntries = 1 << 20

func auditSeq(c *changeDoc, index int) int64 { return c.Seq*maxAuditEntries + int64(index) }

// addAudit adds the audit entries of the applied part of a change.
func (s *Store) addAudit(ctx context.Context, c *changeDoc, applied []string) error {
	var docs []any
	for i, subject := range c.Subjects {
		if slices.Contains(applied, subject) {
			docs = append(docs, newAuditDoc(c, i, c.Action, subject))
		}
	}
	for i, key := range c.Keys {
		doc := newAuditDoc(c, len(c.Subjects)+i, "key.delete", key)
		doc.Before, doc.After = "", ""
		docs = append(docs, doc)
	}
	return s.audit.ensure(ctx, docs)
}

func newAuditDoc(c *changeDoc, index int, action, target string) auditDoc {
	return auditDoc{
		ID: changeID(auditSeq(c, index)), At: c.At, Actor: c.Actor, IP: c.IP, Action: action,
		Target: target, Before: c.Before, After: c.After, RequestID: c.RequestID,
	}
}

func auditEntry(d *auditDoc) (keyfold.AuditEntry, error) {
	entry := keyfold.AuditEntry{Mutation: keyfold.Mutation{
		At: column.Moment(d.At), Actor: d.Actor, IP: column.ParseIP(d.IP), Action: d.Action, Target: d.Target,
		Before: d.Before, After: d.After, RequestID: d.RequestID,
	}}
	if _, err := fmt.Sscanf(d.ID, "%x", &entry.Seq); err != nil {
		return keyfold.AuditEntry{}, fmt.Errorf("the ID of audit entry %q must be a hexadecimal number: %w", d.ID, err)
	}
	return entry, nil
}

// auditedSubjects returns the subjects that have an audit entry.
func (s *Store) auditedSubjects(ctx context.Context, c *changeDoc) (subjects []string, err error) {
	var ids []string
	for i := range c.Subjects {
		ids = append(ids, changeID(auditSeq(c, i)))
	}
	docs, err := list[auditDoc](ctx, s.audit, among(ids))
	for i := range docs {
		subjects = append(subjects, docs[i].Target)
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
	docs, err := list[auditDoc](ctx, s.audit, filter,
		options.Find().SetSort(bson.D{is("_id", -1)}).SetLimit(int64(scan.Limit)))
	if err != nil {
		return nil, wrap("list audit log", err)
	}
	entries := make([]keyfold.AuditEntry, len(docs))
	for i := range docs {
		if entries[i], err = auditEntry(&docs[i]); err != nil {
			return nil, wrap("list audit log", err)
		}
	}
	return entries, nil
}
