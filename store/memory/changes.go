package memory

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

// recordMutation adds the feed entry and the audit entry of a mutation.
func (s *state) recordMutation(target string, m keyfold.Mutation) {
	s.addChange(target, m)
	s.addAudit(m)
}

// addChange adds one entry to the feed.
func (s *state) addChange(target string, m keyfold.Mutation) {
	s.changeSeq++
	s.changes = append(s.changes, keyfold.Change{Seq: s.changeSeq, At: milli(m.At), Action: m.Action, Target: target})
}

// addAudit adds one entry to the audit log.
func (s *state) addAudit(m keyfold.Mutation) {
	s.auditSeq++
	m.At = milli(m.At)
	s.audit = append(s.audit, keyfold.AuditEntry{Seq: s.auditSeq, Mutation: m})
}

// Changes returns the changes committed since the cursor. One transaction writes at
// a time, so changes are numbered in the order of their commits, and a cursor is the
// number of the last change that was read.
func (s *Store) Changes(ctx context.Context, cursor string) (changes []keyfold.Change, next string, err error) {
	err = s.read(ctx, func(st *state) error {
		next = fmt.Sprintf("%s:%d", s.db.feedID, st.changeSeq)
		if cursor == "" {
			return nil
		}
		seq, ok := s.parseCursor(cursor)
		// The oldest entry shows how far back the feed reaches. A feed that ever had
		// an entry still has one, because the newest entry is never pruned.
		if !ok || seq > st.changeSeq || len(st.changes) > 0 && seq < st.changes[0].Seq-1 {
			changes = []keyfold.Change{{Seq: st.changeSeq}}
			return nil
		}
		for _, change := range st.changes {
			if change.Seq > seq {
				changes = append(changes, change)
			}
		}
		return nil
	})
	return changes, next, err
}

func (s *Store) parseCursor(cursor string) (int64, bool) {
	feedID, number, _ := strings.Cut(cursor, ":")
	seq, err := strconv.ParseInt(number, 10, 64)
	return seq, err == nil && seq >= 0 && feedID == s.db.feedID
}

// PruneChanges deletes old entries from the beginning of the feed and stops at the
// first recent one, so that the remaining entries have no gaps.
func (s *Store) PruneChanges(ctx context.Context, before time.Time, limit int) (deleted int, more bool, err error) {
	err = s.write(ctx, func(st *state) error {
		for deleted < min(limit, len(st.changes)-1) && st.changes[deleted].At.Before(before) {
			deleted++
		}
		st.changes = slices.Clone(st.changes[deleted:])
		more = len(st.changes) > 1 && st.changes[0].At.Before(before)
		return nil
	})
	if err != nil {
		return 0, false, err
	}
	return deleted, more, nil
}

// Audit returns one page of the audit log.
func (s *Store) Audit(ctx context.Context, scan keyfold.AuditScan) (page []keyfold.AuditEntry, err error) {
	err = s.read(ctx, func(st *state) error {
		for _, entry := range slices.Backward(st.audit) {
			if len(page) == scan.Limit {
				break
			}
			if (scan.AfterSeq == 0 || entry.Seq < scan.AfterSeq) && (scan.Target == "" || entry.Target == scan.Target) {
				page = append(page, entry)
			}
		}
		return nil
	})
	return page, err
}
