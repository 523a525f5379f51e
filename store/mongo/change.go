package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/store/internal/column"
)

// state is the state of a change. ADR 11 describes the transitions.
type state int32

const (
	open state = iota + 1 // it may or may not be applied
	done                  // it is complete
	void                  // it was withdrawn before it was applied
)

// kind determines the steps that follow after a change has been applied. All kinds
// write audit entries.
type kind int32

const (
	plain       kind = iota // no further step
	creation                // of a key: no further step
	rotation                // make the successor live
	keyRemoval              // delete the key
	userRemoval             // delete the user with its keys and one-time tokens
	tokenUse                // delete the document of the token
)

// changeDoc is a change. It is written before the documents that it changes, so that
// processes that poll the feed evict them in time. It contains all data that is needed
// to finish the change.
type changeDoc struct {
	ID        string   `bson:"_id"` // sixteen hexadecimal digits of Seq, so that IDs sort by number
	Seq       int64    `bson:"seq"`
	State     state    `bson:"state"`
	Kind      kind     `bson:"kind"`
	WrittenAt int64    `bson:"written_at"` // by the clock of the process that wrote it
	Subjects  []string `bson:"subjects"`   // IDs of the documents to change
	Targets   []string `bson:"targets"`    // the targets of its feed entries
	Other     string   `bson:"other"`      // rotation: the successor; tokenUse: the token

	// Keys are the keys that are deleted with a user. They are collected after the user
	// is no longer live. Found is their number; it guards the updates of Keys.
	Keys  []string `bson:"keys"`
	Found int64    `bson:"found"`

	Of string `bson:"of"` // the collection of the subjects

	At        int64  `bson:"at"`
	Actor     string `bson:"actor"`
	IP        string `bson:"ip"`
	Action    string `bson:"action"`
	Before    string `bson:"before"`
	After     string `bson:"after"`
	RequestID string `bson:"request_id"`

	// The fields below are not stored.
	on    collection
	began time.Time // zero if another process wrote the change
}

const (
	// announceWithin is the maximum time between the number of a change and its
	// application. If a change takes longer, a second feed entry announces it, because
	// each poll returns a change again only for followFor.
	announceWithin = 5 * time.Second
	followFor      = 2 * announceWithin

	// defaultAbandonedAfter is the age at which an open change is assumed to be
	// abandoned. If its process still runs, the change fails and can be retried.
	defaultAbandonedAfter = 15 * time.Second
)

func newChange(on collection, kind kind, m keyfold.Mutation, subjects ...string) *changeDoc {
	return &changeDoc{
		State: open, Kind: kind, Subjects: subjects, Targets: subjects, Of: on.Name(), on: on,
		At: m.At.UnixMilli(), Actor: column.Clean(m.Actor, 512), IP: column.FormatIP(m.IP), Action: m.Action,
		Before: m.Before, After: m.After, RequestID: column.Clean(m.RequestID, 256),
	}
}

func changeID(seq int64) string { return fmt.Sprintf("%016x", seq) }

// begin assigns a number to the change and writes it. Changes may become visible in an
// order other than that of their numbers; see cursor.
func (s *Store) begin(ctx context.Context, c *changeDoc) error {
	c.began = time.Now()
	meta, err := exchange[metaDoc](ctx, s.meta, byID(metaID), bson.D{is("$inc", bson.D{is("seq", int64(1))})}, options.After)
	switch {
	case err != nil:
		return err
	case meta == nil:
		return errNoMeta
	}
	c.Seq, c.ID, c.WrittenAt = meta.Seq, changeID(meta.Seq), time.Now().UnixMilli()
	return s.changes.insert(ctx, c)
}

// withdraw marks a change that was not applied as void.
func (s *Store) withdraw(ctx context.Context, c *changeDoc) error {
	_, err := s.changes.update(ctx, bson.D{is("_id", c.ID), is("state", open)}, set(is("state", void)))
	return err
}

// finish runs the remaining steps of a change that was applied to some of its subjects.
// Several processes may run it at the same time, and repeat it.
func (s *Store) finish(ctx context.Context, c *changeDoc, applied []string) error {
	if c.Kind == rotation {
		if _, err := s.keys.update(ctx, bson.D{is("_id", c.Other), is("change", c.ID)}, set(is("live", true))); err != nil {
			return err
		}
	}
	if c.Kind == userRemoval {
		if err := s.findKeys(ctx, c); err != nil {
			return err
		}
	}
	if err := s.addAudit(ctx, c, applied); err != nil {
		return err
	}
	if err := s.removeLeftovers(ctx, c); err != nil {
		return err
	}
	return s.complete(ctx, c, applied)
}

// removeLeftovers deletes the documents that are obsolete after a change.
func (s *Store) removeLeftovers(ctx context.Context, c *changeDoc) (err error) {
	dead := bson.D{is("_id", c.Subjects[0]), is("live", false), is("change", c.ID)}
	switch c.Kind {
	case keyRemoval:
		_, err = s.keys.remove(ctx, dead)
	case userRemoval:
		if _, err := s.removeAll(ctx, s.keys, c.Keys, is("user_id", c.Subjects[0])); err != nil {
			return err
		}
		if _, err := s.oneTimes.remove(ctx, bson.D{is("user_id", c.Subjects[0])}); err != nil {
			return err
		}
		_, err = s.users.remove(ctx, dead)
	case tokenUse:
		if c.Other != "" {
			_, err = s.oneTimes.remove(ctx, byID(c.Other))
		}
	case plain, creation, rotation:
	}
	return err
}

// removeAll deletes the documents with these IDs that also match the other conditions.
func (s *Store) removeAll(ctx context.Context, from collection, ids []string, rest ...bson.E) (deleted int, err error) {
	for len(ids) > 0 {
		some := ids[:min(len(ids), chunk)]
		n, err := from.remove(ctx, append(among(some), rest...))
		if deleted += n; err != nil {
			return deleted, err
		}
		ids = ids[len(some):]
	}
	return deleted, nil
}

// complete marks a change as done. If polls may have stopped returning the change
// before it was applied, or another process has withdrawn it, complete announces it
// again first.
func (s *Store) complete(ctx context.Context, c *changeDoc, applied []string) error {
	if c.State == void || c.began.IsZero() || time.Since(c.began) > announceWithin {
		if err := s.announce(ctx, c); err != nil {
			return err
		}
	}
	completed := bson.D{is("state", done), is("targets", targetsOf(c, applied)), is("before", ""), is("after", "")}
	before, err := exchange[changeDoc](ctx, s.changes, byID(c.ID), set(completed...), options.Before)
	if err != nil {
		return err
	}
	if before != nil && before.State == void && c.State != void {
		return s.announce(ctx, c)
	}
	return nil
}

// targetsOf returns the targets of the feed entries of a change that was applied.
func targetsOf(c *changeDoc, applied []string) []string {
	switch {
	case len(c.Subjects) == 1:
		return c.Targets
	case len(applied) > keyfold.MaxFeedTargets:
		return []string{""}
	}
	return applied
}

// announce adds another feed entry for a change.
func (s *Store) announce(ctx context.Context, c *changeDoc) error {
	return s.begin(ctx, &changeDoc{State: done, Kind: plain, Targets: c.Targets, At: c.At, Action: c.Action})
}
