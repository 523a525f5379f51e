package mongo

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// collection has the commands that the store uses. The promises of the store hold after
// each single command, even if no further command follows.
type collection struct {
	*mongo.Collection
	store *Store
}

func (s *Store) collection(name string) collection {
	return collection{s.db.Collection(name), s}
}

// do runs one command with a time limit. Without one, the driver would wait for a
// server, a connection and the answer until ctx is done, which may never happen.
func (c collection) do(ctx context.Context, command string, run func(context.Context) error) error {
	if c.store.closed.Load() {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.store.limit)
	defer cancel()
	if c.store.intercept != nil {
		return c.store.intercept(command+" "+c.Name(), func() error { return run(ctx) })
	}
	return run(ctx)
}

// errTaken means that another document has the ID or a unique value.
var errTaken = errors.New("a document with this ID or name already exists")

const duplicateKey = 11000 // the server's code

func taken(err error) error {
	if mongo.IsDuplicateKeyError(err) {
		return errTaken
	}
	return err
}

// list returns all documents that the filter matches.
func list[T any](ctx context.Context, c collection, filter bson.D, opts ...options.Lister[options.FindOptions]) (docs []T, err error) {
	err = c.do(ctx, "find", func(ctx context.Context) error {
		cursor, err := c.Find(ctx, filter, opts...)
		if err != nil {
			return err
		}
		return cursor.All(ctx, &docs)
	})
	return docs, err
}

// first returns the first document that the filter matches, or nil if there is none.
func first[T any](ctx context.Context, c collection, filter bson.D, opts ...options.Lister[options.FindOneOptions]) (*T, error) {
	doc := new(T)
	err := c.do(ctx, "find", func(ctx context.Context) error { return c.FindOne(ctx, filter, opts...).Decode(doc) })
	return orNone(doc, err)
}

func orNone[T any](doc *T, err error) (*T, error) {
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	return doc, err
}

// exchange changes one document and returns it as it was before or after the change. It
// returns nil if no document matches.
func exchange[T any](ctx context.Context, c collection, filter, change bson.D, which options.ReturnDocument) (*T, error) {
	doc := new(T)
	err := c.do(ctx, "findAndModify", func(ctx context.Context) error {
		return c.FindOneAndUpdate(ctx, filter, change, options.FindOneAndUpdate().SetReturnDocument(which)).Decode(doc)
	})
	return orNone(doc, err)
}

// insert inserts a document. It returns errTaken if one of its unique values exists.
func (c collection) insert(ctx context.Context, doc any) error {
	return c.do(ctx, "insert", func(ctx context.Context) error {
		_, err := c.InsertOne(ctx, doc)
		return taken(err)
	})
}

// chunk is the maximum number of documents in one command.
const chunk = 1000

// ensure inserts the documents that do not exist yet.
func (c collection) ensure(ctx context.Context, docs []any) error {
	for some := range slices.Chunk(docs, chunk) {
		err := c.do(ctx, "insert", func(ctx context.Context) error {
			_, err := c.InsertMany(ctx, some, options.InsertMany().SetOrdered(false))
			if onlyTaken(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// onlyTaken reports whether all errors of a bulk write are duplicates.
func onlyTaken(err error) bool {
	bulk, ok := errors.AsType[mongo.BulkWriteException](err)
	if !ok || bulk.WriteConcernError != nil {
		return false
	}
	return !slices.ContainsFunc(bulk.WriteErrors, func(one mongo.BulkWriteError) bool { return one.Code != duplicateKey })
}

// update changes one document and reports whether one matched. It returns errTaken if
// another document has one of the new unique values.
func (c collection) update(ctx context.Context, filter, change bson.D) (matched bool, err error) {
	err = c.do(ctx, "update", func(ctx context.Context) error {
		result, err := c.UpdateOne(ctx, filter, change)
		matched = err == nil && result.MatchedCount > 0
		return taken(err)
	})
	return matched, err
}

// updates changes one document with each model, and returns the number of documents
// that matched.
func (c collection) updates(ctx context.Context, models []mongo.WriteModel) (matched int, err error) {
	for some := range slices.Chunk(models, chunk) {
		err = c.do(ctx, "update", func(ctx context.Context) error {
			result, err := c.BulkWrite(ctx, some, options.BulkWrite().SetOrdered(false))
			if err != nil {
				return err
			}
			matched += int(result.MatchedCount)
			return nil
		})
		if err != nil {
			return matched, err
		}
	}
	return matched, nil
}

// put inserts a document, or replaces it if it exists.
func (c collection) put(ctx context.Context, id string, doc any) error {
	return c.do(ctx, "replace", func(ctx context.Context) error {
		_, err := c.ReplaceOne(ctx, byID(id), doc, options.Replace().SetUpsert(true))
		if mongo.IsDuplicateKeyError(err) { // a concurrent call inserted the document
			_, err = c.ReplaceOne(ctx, byID(id), doc, options.Replace().SetUpsert(true))
		}
		return err
	})
}

// remove deletes all documents that the filter matches, and returns their number.
func (c collection) remove(ctx context.Context, filter bson.D) (deleted int, err error) {
	err = c.do(ctx, "delete", func(ctx context.Context) error {
		result, err := c.DeleteMany(ctx, filter)
		if err != nil {
			return err
		}
		deleted = int(result.DeletedCount)
		return nil
	})
	return deleted, err
}

// byID matches the document with this ID.
func byID(id string) bson.D { return bson.D{{Key: "_id", Value: id}} }

// among matches the documents with these IDs.
func among(ids []string) bson.D {
	if len(ids) == 1 {
		return byID(ids[0])
	}
	if ids == nil {
		ids = []string{} // nil would become null, which $in does not accept
	}
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}
}

// is returns an element of a filter or an update. set and less build common ones.
func is(field string, value any) bson.E { return bson.E{Key: field, Value: value} }

func set(fields ...bson.E) bson.D { return bson.D{{Key: "$set", Value: bson.D(fields)}} }

func less(field string, than any) bson.E {
	return bson.E{Key: field, Value: bson.D{{Key: "$lt", Value: than}}}
}
