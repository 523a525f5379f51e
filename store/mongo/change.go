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

// state is how far a change has come.
type state int32

const (
	open state = iota + 1 // it may be applied or not
	done                  // it is whole
	void                  // it was given up before it was applied
)

// kind says what follows once a change is applied.
type kind int32

const (
	plain       kind = iota // the audit rows, which all have
	creation                // of a key: nothing more
	rotation                // the successor comes to life
	keyRemoval              // the key goes
	userRemoval             // keys, one-time tokens and the user go
	tokenUse                // the token's own document goes
)

// changeDoc is a change: written before anything is changed, so that processes
// that follow the feed forget what is about to be different, and holding all that
// is needed to finish it.
type changeDoc struct {
	ID        string   `bson:"_id"` // sixteen hexadecimal digits of Seq, so that ids have its order
	Seq       int64    `bson:"seq"`
	State     state    `bson:"state"`
	Kind      kind     `bson:"kind"`
	WrittenAt int64    `bson:"written_at"` // by the clock of the process that wrote it
	Subjects  []string `bson:"subjects"`   // ids of the documents to change
	Targets   []string `bson:"targets"`    // what the feed names
	Other     string   `bson:"other"`      // rotation: the successor; tokenUse: the token

	// Keys are those that go with a user: found once the user is marked. Of a
	// document that was read before, Found tells whether they are all.
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

	// Those below are not stored.
	on    collection
	began time.Time // by the monotonic clock of this process; zero for one that another wrote
}

const (
	// announceWithin bounds the time from when a change is numbered until it is
	// applied. One that took longer is announced again, for followers of the feed
	// come back to a change for followFor only.
	announceWithin = 5 * time.Second
	followFor      = 2 * announceWithin

	// abandonedAfter is the age of an open change whose process is taken to be
	// gone. To be wrong does no harm.
	abandonedAfter = 15 * time.Second
)

func newChange(on collection, kind kind, m keyfold.Mutation, subjects ...string) *changeDoc {
	return &changeDoc{
		State: open, Kind: kind, Subjects: subjects, Targets: subjects, Of: on.Name(), on: on,
		At: m.At.UnixMilli(), Actor: column.Clean(m.Actor, 512), IP: column.FormatIP(m.IP), Action: m.Action,
		Before: m.Before, After: m.After, RequestID: column.Clean(m.RequestID, 256),
	}
}

func changeID(seq int64) string { return fmt.Sprintf("%016x", seq) }

// begin writes the change, under a number of its own. Numbers are given before
// they are written, so they appear in another order now and then: see Changes.
func (s *Store) begin(ctx context.Context, c *changeDoc) error {
	c.began = time.Now()
	meta, err := exchange[metaDoc](ctx, s.meta, byID(metaID), bson.D{is("$inc", bson.D{is("seq", int64(1))})}, options.After)
	switch {
	case err != nil:
		return err
	case meta == nil:
		return errNoSchema
	}
	c.Seq, c.ID, c.WrittenAt = meta.Seq, changeID(meta.Seq), time.Now().UnixMilli()
	return s.changes.insert(ctx, c)
}

// withdraw gives up a change that was not applied.
func (s *Store) withdraw(ctx context.Context, c *changeDoc) error {
	_, err := s.changes.update(ctx, bson.D{is("_id", c.ID), is("state", open)}, set(is("state", void)))
	return err
}

// finish does what follows on a change that was applied to some of its
// subjects. It is safe to repeat, and to do by several at once.
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
	if err := s.sweepUp(ctx, c); err != nil {
		return err
	}
	return s.complete(ctx, c, applied)
}

// sweepUp deletes what a change leaves behind.
func (s *Store) sweepUp(ctx context.Context, c *changeDoc) error {
	var err error
	dead := bson.D{is("_id", c.Subjects[0]), is("live", false), is("change", c.ID)}
	switch c.Kind {
	case keyRemoval:
		_, err = s.keys.remove(ctx, dead)
	case userRemoval:
		if _, err = s.removeAll(ctx, s.keys, c.Keys, is("user_id", c.Subjects[0])); err == nil {
			_, err = s.oneTimes.remove(ctx, bson.D{is("user_id", c.Subjects[0])})
		}
		if err == nil {
			_, err = s.users.remove(ctx, dead)
		}
	case tokenUse:
		if c.Other != "" {
			_, err = s.oneTimes.remove(ctx, byID(c.Other))
		}
	case plain, creation, rotation:
	}
	return err
}

// removeAll deletes those of the documents that also match the rest.
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

// complete marks a change as whole. One that was given up meanwhile, or that
// took so long that followers may have looked before it was applied, is
// announced again first.
func (s *Store) complete(ctx context.Context, c *changeDoc, applied []string) error {
	if c.State == void || c.began.IsZero() || time.Since(c.began) > announceWithin {
		if err := s.announce(ctx, c); err != nil {
			return err
		}
	}
	whole := bson.D{is("state", done), is("targets", targetsOf(c, applied)), is("before", ""), is("after", "")}
	was, err := exchange[changeDoc](ctx, s.changes, byID(c.ID), set(whole...), options.Before)
	if err == nil && was != nil && was.State == void && c.State != void {
		err = s.announce(ctx, c)
	}
	return err
}

// targetsOf returns what the feed names once it is known what changed.
func targetsOf(c *changeDoc, applied []string) []string {
	switch {
	case len(c.Subjects) == 1:
		return c.Targets
	case len(applied) > keyfold.MaxFeedTargets:
		return []string{""}
	}
	return applied
}

// announce writes another row of the feed for a change.
func (s *Store) announce(ctx context.Context, c *changeDoc) error {
	again := &changeDoc{Kind: plain, Targets: c.Targets, At: c.At, Action: c.Action}
	again.State = done
	return s.begin(ctx, again)
}
