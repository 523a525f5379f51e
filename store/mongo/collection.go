package mongo

import (
	"context"
	"errors"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// collection is the few commands that the store is made of. Each is one step:
// what the store promises holds whatever step is its last.
type collection struct {
	*mongo.Collection
	store *Store
}

func (s *Store) collection(name string) collection {
	return collection{s.db.Collection(name), s}
}

// do runs one command. The driver waits for a server, a connection and the
// answer until ctx is done, and for ever if it never is: hence the time limit.
func (c collection) do(ctx context.Context, command string, run func(context.Context) error) error {
	if c.store.closed.Load() {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.store.limit)
	defer cancel()
	if c.store.around != nil {
		return c.store.around(command+" "+c.Name(), func() error { return run(ctx) })
	}
	return run(ctx)
}

// errTaken means that an id, or a value that is unique, is taken.
var errTaken = errors.New("a document with this id or name exists")

const duplicateKey = 11000 // the server's code

func taken(err error) error {
	if mongo.IsDuplicateKeyError(err) {
		return errTaken
	}
	return err
}

// list returns what the filter matches.
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

// first returns the first document that the filter matches, nil if there is none.
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

// exchange changes one document and returns it as it was before, or as it is
// after; nil if there is none.
func exchange[T any](ctx context.Context, c collection, filter, change bson.D, which options.ReturnDocument) (*T, error) {
	doc := new(T)
	err := c.do(ctx, "findAndModify", func(ctx context.Context) error {
		return c.FindOneAndUpdate(ctx, filter, change, options.FindOneAndUpdate().SetReturnDocument(which)).Decode(doc)
	})
	return orNone(doc, err)
}

// insert returns errTaken where one of its unique values exists.
func (c collection) insert(ctx context.Context, doc any) error {
	return c.do(ctx, "insert", func(ctx context.Context) error {
		_, err := c.InsertOne(ctx, doc)
		return taken(err)
	})
}

// chunk is how many documents go into one command.
const chunk = 1000

// ensure inserts those that do not exist yet.
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

// onlyTaken reports whether nothing went wrong but that documents exist.
func onlyTaken(err error) bool {
	bulk, ok := errors.AsType[mongo.BulkWriteException](err)
	if !ok || bulk.WriteConcernError != nil {
		return false
	}
	return !slices.ContainsFunc(bulk.WriteErrors, func(one mongo.BulkWriteError) bool { return one.Code != duplicateKey })
}

// update changes one document, and reports whether there was one to change. It
// returns errTaken where that would take a unique value of another.
func (c collection) update(ctx context.Context, filter, change bson.D) (hit bool, err error) {
	err = c.do(ctx, "update", func(ctx context.Context) error {
		result, err := c.UpdateOne(ctx, filter, change)
		hit = err == nil && result.MatchedCount > 0
		return taken(err)
	})
	return hit, err
}

// updates changes one document by each of the models, and returns how many
// there were to change.
func (c collection) updates(ctx context.Context, models []mongo.WriteModel) (matched int, err error) {
	for some := range slices.Chunk(models, chunk) {
		err = c.do(ctx, "update", func(ctx context.Context) error {
			result, err := c.BulkWrite(ctx, some, options.BulkWrite().SetOrdered(false))
			if err == nil {
				matched += int(result.MatchedCount)
			}
			return err
		})
		if err != nil {
			return matched, err
		}
	}
	return matched, nil
}

// put writes a document whether it exists or not.
func (c collection) put(ctx context.Context, id string, doc any) error {
	return c.do(ctx, "replace", func(ctx context.Context) error {
		_, err := c.ReplaceOne(ctx, byID(id), doc, options.Replace().SetUpsert(true))
		if mongo.IsDuplicateKeyError(err) { // another was inserted meanwhile
			_, err = c.ReplaceOne(ctx, byID(id), doc, options.Replace().SetUpsert(true))
		}
		return err
	})
}

// remove deletes what the filter matches, and returns how many went.
func (c collection) remove(ctx context.Context, filter bson.D) (deleted int, err error) {
	err = c.do(ctx, "delete", func(ctx context.Context) error {
		result, err := c.DeleteMany(ctx, filter)
		if err == nil {
			deleted = int(result.DeletedCount)
		}
		return err
	})
	return deleted, err
}

// byID matches the document of that id.
func byID(id string) bson.D { return bson.D{{Key: "_id", Value: id}} }

// among matches the documents of those ids.
func among(ids []string) bson.D {
	if len(ids) == 1 {
		return byID(ids[0])
	}
	if ids == nil {
		ids = []string{} // nil would be null, which $in does not take
	}
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}
}

// is and its like write the parts of filters and updates.
func is(field string, value any) bson.E { return bson.E{Key: field, Value: value} }

func set(fields ...bson.E) bson.D { return bson.D{{Key: "$set", Value: bson.D(fields)}} }

func less(field string, than any) bson.E {
	return bson.E{Key: field, Value: bson.D{{Key: "$lt", Value: than}}}
}
