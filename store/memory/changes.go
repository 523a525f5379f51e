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

// addChange writes one row of the feed.
func (s *state) addChange(m keyfold.Mutation, target string) {
	s.changeSeq++
	s.changes = append(s.changes, keyfold.Change{Seq: s.changeSeq, At: milli(m.At), Action: m.Action, Target: target})
}

// addAudit writes one row of the audit log.
func (s *state) addAudit(m keyfold.Mutation) {
	s.auditSeq++
	m.At = milli(m.At)
	s.audit = append(s.audit, keyfold.AuditEntry{Seq: s.auditSeq, Mutation: m})
}

// Changes returns what was committed since the cursor. Here the order of
// numbers is the order of commits, since one transaction writes at a time: a
// cursor is no more than the number that was read last.
func (s *Store) Changes(ctx context.Context, cursor string) (changes []keyfold.Change, next string, err error) {
	err = s.read(ctx, func(st *state) error {
		next = fmt.Sprintf("%s:%d", s.db.feedID, st.changeSeq)
		if cursor == "" {
			return nil
		}
		seq, ok := s.parseCursor(cursor)
		// The oldest row tells how far back the feed reaches. It always has one
		// when anything was ever told, since the newest row is never pruned.
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

// PruneChanges deletes old rows from the beginning of the feed, up to the first
// that is young: what is left has no gaps.
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
