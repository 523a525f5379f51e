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
	// Live is false for a document that readers must not see: the new key of a rotation
	// that is not decided yet, and a document that is about to be deleted.
	Live bool `bson:"live"`
	// Change is the ID of the last change of the document. Every update has a condition
	// on it, and happens only after that change is complete.
	Change string `bson:"change"`
}

// document is a stored key, user or setting.
type document[T any] interface {
	*T
	head() *head
}

// maxTries is the maximum number of tries of a mutation that conflicts with others.
const maxTries = 100

// write runs a mutation of the documents with these IDs. Its time limit begins when the
// earlier mutations of these documents in this process have ended.
func (s *Store) write(ctx context.Context, operation string, ids []string, fn func(context.Context) error) error {
	waiting, stop := context.WithTimeout(ctx, waitTimeout)
	unlock, err := s.locks.lock(waiting, ids...)
	stop()
	defer unlock()
	if err != nil {
		return wrap(operation, err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return wrap(operation, fn(ctx))
}

// apply applies a change to its subjects and finishes it. edit edits a document; it
// returns false to leave the document unchanged, and an error to refuse the whole
// change. apply returns the IDs of the changed documents in the order of c.Subjects.
//
// One update changes each document, on condition that its last change is still the one
// that edit saw. If another mutation came first, edit is called again.
func apply[T any, D document[T]](ctx context.Context, s *Store, c *changeDoc, edit func(D) (bool, error)) ([]string, error) {
	a := application{store: s, change: c, pending: slices.Clone(c.Subjects)}
	for range maxTries {
		edits, err := prepare[T](ctx, s, c, a.pending, edit)
		if err != nil {
			return nil, a.fail(ctx, err)
		}
		if err := a.update(ctx, edits); err != nil {
			return nil, a.fail(ctx, err)
		}
		if len(edits) == 0 || len(a.pending) == 0 {
			return a.conclude(ctx)
		}
	}
	return nil, a.fail(ctx, keyfold.ErrRetry)
}

// application is the progress of apply.
type application struct {
	store   *Store
	change  *changeDoc
	began   bool     // the change may have been written
	applied []string // IDs of the documents that were changed
	pending []string // IDs of the other documents
}

// update begins the change, unless it has begun, and updates the documents that are
// still as edit saw them.
func (a *application) update(ctx context.Context, edits []edited) error {
	if len(edits) == 0 {
		return nil
	}
	c := a.change
	if !a.began {
		c.Subjects = inOrder(c.Subjects, edits)
		if len(c.Subjects) > 1 {
			c.Targets = targetsOf(c, c.Subjects)
		}
		a.began = true
		if err := a.store.begin(ctx, c); err != nil {
			return err
		}
	}
	updated, err := a.store.update(ctx, c, edits)
	a.applied = append(a.applied, updated...)
	a.pending = slices.DeleteFunc(a.pending, func(id string) bool { return slices.Contains(updated, id) })
	return err
}

// fail ends a change that went wrong.
func (a *application) fail(ctx context.Context, err error) error {
	if a.began {
		return a.store.recover(ctx, a.change, err)
	}
	return err
}

// conclude ends a change that has been applied to all documents that edit accepts.
func (a *application) conclude(ctx context.Context) ([]string, error) {
	if !a.began {
		return nil, nil
	}
	if len(a.applied) == 0 {
		return nil, a.store.withdraw(ctx, a.change)
	}
	if err := a.store.finish(ctx, a.change, a.applied); err != nil {
		return nil, a.fail(ctx, err)
	}
	return slices.DeleteFunc(slices.Clone(a.change.Subjects), func(id string) bool { return !slices.Contains(a.applied, id) }), nil
}

// edited is the new content of a document.
type edited struct {
	id     string
	last   string // the change that the document had before
	fields bson.D
}

func inOrder(ids []string, edits []edited) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return !slices.ContainsFunc(edits, func(e edited) bool { return e.id == id })
	})
}

// prepare reads the documents, finishes their last changes, and returns their edits.
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
		last := doc.head().Change
		accepted, err := edit(doc)
		if err != nil {
			return nil, err
		}
		if !accepted {
			continue
		}
		fields, err := difference(before, doc)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edited{doc.head().ID, last, fields})
	}
	return edits, nil
}

// settled finishes the last changes of the documents with these IDs, and returns the
// live documents.
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

// difference returns the fields of a document that differ from before.
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
		old, value := before.Lookup(element.Key()), element.Value()
		if old.Type != value.Type || !bytes.Equal(old.Value, value.Value) {
			fields = append(fields, bson.E{Key: element.Key(), Value: value})
		}
	}
	return fields, nil
}

// update writes the edits of documents that have not changed since they were read, and
// returns their IDs.
func (s *Store) update(ctx context.Context, c *changeDoc, edits []edited) ([]string, error) {
	if len(edits) == 1 {
		e := edits[0]
		updated, err := c.on.update(ctx, bson.D{is("_id", e.id), is("change", e.last)}, set(append(e.fields, is("change", c.ID))...))
		if err != nil || !updated {
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

// applied returns the IDs of the documents whose last change is c.
func (s *Store) applied(ctx context.Context, c *changeDoc, ids []string) (applied []string, err error) {
	docs, err := list[head](ctx, c.on, among(ids), options.Find().SetProjection(bson.D{is("change", 1)}))
	for i := range docs {
		if docs[i].Change == c.ID {
			applied = append(applied, docs[i].ID)
		}
	}
	return applied, err
}

// settle finishes the last changes of the documents. It returns false if there was one
// to finish; the caller must then read the documents again.
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
			// The document may be the successor, and the update of the old key decides.
			applied, err := s.applied(ctx, c, c.Subjects)
			if err != nil {
				return false, err
			}
			if len(applied) == 0 {
				continue
			}
		}
		if len(c.Subjects) > 1 {
			if err := s.auditApplied(ctx, c); err != nil {
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

// auditApplied writes the audit entries of the applied part of a change of several
// documents, so that other mutations can continue. The change stays open, because its
// own process may still apply the rest.
func (s *Store) auditApplied(ctx context.Context, c *changeDoc) error {
	applied, err := s.applied(ctx, c, c.Subjects)
	if err != nil {
		return err
	}
	return s.addAudit(ctx, c, applied)
}

// recover handles an error after a change has begun. It finishes the change if it was
// applied, and withdraws it otherwise. If that fails too, the sweep does it later.
// recover returns the error for the caller.
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
