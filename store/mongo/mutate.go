package mongo

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
)

// head begins every document that mutations change.
type head struct {
	ID string `bson:"_id"`
	// Live is false for a document that must not be visible: a successor that has not
	// come to life, or what is about to be deleted.
	Live bool `bson:"live"`
	// Change is the last change of the document. Every update is guarded by it,
	// and happens only once that change is whole.
	Change string `bson:"change"`
}

// document is a key or a user as it is stored.
type document[T any] interface {
	*T
	top() *head
}

// maxTries bounds how often a mutation begins anew because another one came
// first.
const maxTries = 100

// write runs a mutation of documents of those ids. Its time limit begins when
// those of this process that came before it are done.
func (s *Store) write(ctx context.Context, what string, ids []string, fn func(context.Context) error) error {
	waiting, stop := context.WithTimeout(ctx, waitTimeout)
	unlock, err := s.locks.lock(waiting, ids...)
	stop()
	defer unlock()
	if err != nil {
		return wrap(what, err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return wrap(what, fn(ctx))
}

// apply makes a change in those of its subjects that edit wants to change, and
// finishes it. It returns the ids of those, in the order of c.Subjects. edit
// changes the document that it is given; it returns false to pass it over, and
// an error to refuse the whole change.
//
// Each document changes by one update that is guarded by its last change, so
// it is still what edit saw. Where another mutation came first, edit decides
// anew.
func apply[T any, D document[T]](ctx context.Context, s *Store, c *changeDoc, edit func(D) (bool, error)) ([]string, error) {
	var applied []string
	wanted := slices.Clone(c.Subjects)
	began := false
	for range maxTries {
		edits, err := prepare[T](ctx, s, c, wanted, edit)
		if err == nil && len(edits) > 0 {
			if !began {
				c.Subjects = inOrder(c.Subjects, edits)
				if len(c.Subjects) > 1 {
					c.Targets = targetsOf(c, c.Subjects)
				}
				began = true
				err = s.begin(ctx, c)
			}
			if err == nil {
				var hit []string
				hit, err = s.update(ctx, c, edits)
				applied = append(applied, hit...)
				wanted = slices.DeleteFunc(wanted, func(id string) bool { return slices.Contains(hit, id) })
			}
		}
		switch {
		case err != nil && began:
			return nil, s.recover(ctx, c, err)
		case err != nil:
			return nil, err
		case len(edits) == 0 || len(wanted) == 0:
			return conclude(ctx, s, c, began, applied)
		}
	}
	if began {
		return nil, s.recover(ctx, c, keyfold.ErrRetry)
	}
	return nil, keyfold.ErrRetry
}

// conclude ends a change once nothing is left to apply it to.
func conclude(ctx context.Context, s *Store, c *changeDoc, began bool, applied []string) ([]string, error) {
	if len(applied) == 0 {
		if began {
			return nil, s.withdraw(ctx, c)
		}
		return nil, nil
	}
	if err := s.finish(ctx, c, applied); err != nil {
		return nil, s.recover(ctx, c, err)
	}
	return slices.DeleteFunc(slices.Clone(c.Subjects), func(id string) bool { return !slices.Contains(applied, id) }), nil
}

// edited is what one document becomes.
type edited struct {
	id, last string // and its last change
	fields   bson.D
}

func inOrder(ids []string, edits []edited) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return !slices.ContainsFunc(edits, func(e edited) bool { return e.id == id })
	})
}

// prepare reads the documents, finishes what was not finished on them, and
// returns what they become.
func prepare[T any, D document[T]](ctx context.Context, s *Store, c *changeDoc, ids []string, edit func(D) (bool, error)) ([]edited, error) {
	docs, err := s.settled(ctx, c.on, ids)
	if err != nil {
		return nil, err
	}
	var edits []edited
	for _, raw := range docs {
		doc := D(new(T))
		if err := bson.Unmarshal(raw, doc); err != nil {
			return nil, err
		}
		before, err := bson.Marshal(doc)
		if err != nil {
			return nil, err
		}
		last := doc.top().Change
		if wanted, err := edit(doc); err != nil {
			return nil, err
		} else if !wanted {
			continue
		}
		fields, err := difference(before, doc)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edited{doc.top().ID, last, fields})
	}
	return edits, nil
}

// settled returns the live documents of those ids, once the last change of each
// is whole.
func (s *Store) settled(ctx context.Context, on collection, ids []string) ([]bson.Raw, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	for range maxTries {
		docs, err := list[bson.Raw](ctx, on, among(ids))
		if err != nil {
			return nil, err
		}
		settled, err := s.settle(ctx, on, docs)
		if err != nil {
			return nil, err
		}
		if !settled {
			continue
		}
		return slices.DeleteFunc(docs, func(doc bson.Raw) bool { return !doc.Lookup("live").Boolean() }), nil
	}
	return nil, keyfold.ErrRetry
}

// difference returns the fields in which a document is not what it was before.
func difference(before bson.Raw, doc any) (bson.D, error) {
	after, err := bson.Marshal(doc)
	if err != nil {
		return nil, err
	}
	elements, err := bson.Raw(after).Elements()
	if err != nil {
		return nil, err
	}
	var fields bson.D
	for _, element := range elements {
		was, is := before.Lookup(element.Key()), element.Value()
		if was.Type != is.Type || !bytes.Equal(was.Value, is.Value) {
			fields = append(fields, bson.E{Key: element.Key(), Value: is})
		}
	}
	return fields, nil
}

// update writes the edits whose documents are still as they were read, and
// returns the ids of those.
func (s *Store) update(ctx context.Context, c *changeDoc, edits []edited) ([]string, error) {
	if len(edits) == 1 {
		e := edits[0]
		hit, err := c.on.update(ctx, bson.D{is("_id", e.id), is("change", e.last)}, set(append(e.fields, is("change", c.ID))...))
		if err != nil || !hit {
			return nil, err
		}
		return []string{e.id}, nil
	}
	models := make([]mongo.WriteModel, len(edits))
	ids := make([]string, len(edits))
	for i, e := range edits {
		ids[i] = e.id
		models[i] = mongo.NewUpdateOneModel().
			SetFilter(bson.D{is("_id", e.id), is("change", e.last)}).
			SetUpdate(set(append(e.fields, is("change", c.ID))...))
	}
	if _, err := c.on.updates(ctx, models); err != nil {
		return nil, err
	}
	return s.applied(ctx, c, ids)
}

// applied returns the ids of those documents whose last change is c.
func (s *Store) applied(ctx context.Context, c *changeDoc, ids []string) (hit []string, err error) {
	docs, err := list[head](ctx, c.on, among(ids), options.Find().SetProjection(bson.D{is("change", 1)}))
	for i := range docs {
		if docs[i].Change == c.ID {
			hit = append(hit, docs[i].ID)
		}
	}
	return hit, err
}

// settle finishes the last changes of documents where they are not whole. It
// returns false where it did, for then the documents have to be read again.
func (s *Store) settle(ctx context.Context, on collection, docs []bson.Raw) (bool, error) {
	var ids []string
	for _, doc := range docs {
		id := doc.Lookup("change").StringValue()
		if dead := !doc.Lookup("live").Boolean(); dead || len(id) == len(changeID(0)) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return true, nil
	}
	slices.Sort(ids)
	unfinished, err := list[changeDoc](ctx, s.changes, among(slices.Compact(ids)))
	if err != nil {
		return false, err
	}
	unfinished = slices.DeleteFunc(unfinished, func(c changeDoc) bool { return c.State == done })
	again := false
	for i := range unfinished {
		c := &unfinished[i]
		c.on = on
		if c.Kind == rotation {
			// The document may be the successor, which the old key decides on.
			applied, err := s.applied(ctx, c, c.Subjects)
			if err != nil {
				return false, err
			}
			if len(applied) == 0 {
				continue
			}
		}
		if len(c.Subjects) > 1 {
			if err := s.noteApplied(ctx, c); err != nil {
				return false, err
			}
			continue
		}
		if err := s.finish(ctx, c, c.Subjects); err != nil {
			return false, err
		}
		again = true
	}
	return !again, nil
}

// noteApplied does for a change of several documents what keeps others waiting.
// Its own process may be at the rest still, so the change stays open.
func (s *Store) noteApplied(ctx context.Context, c *changeDoc) error {
	applied, err := s.applied(ctx, c, c.Subjects)
	if err != nil {
		return err
	}
	return s.addAudit(ctx, c, applied)
}

// recover is for a change that went wrong after it began. It undoes what was
// not applied and finishes what was, as far as the server lets it: what it
// leaves is for the sweep. The caller gets its error in any case.
func (s *Store) recover(ctx context.Context, c *changeDoc, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if c.ID != "" {
		_ = s.resolve(ctx, c)
	}
	if errors.Is(cause, errTaken) {
		return keyfold.ErrConflict
	}
	return cause
}
