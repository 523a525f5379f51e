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

// step is called before each command.
func (c collection) step(ctx context.Context, command string) error {
	if c.store.closed.Load() {
		return errClosed
	}
	if c.store.onStep != nil {
		if err := c.store.onStep(ctx, command+" "+c.Name()); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// errTaken means that an id, or a value that is unique, is taken.
var errTaken = errors.New("a document with this id or name exists")

// list returns what the filter matches.
func list[T any](ctx context.Context, c collection, filter bson.D, opts ...options.Lister[options.FindOptions]) ([]T, error) {
	if err := c.step(ctx, "find"); err != nil {
		return nil, err
	}
	cursor, err := c.Find(ctx, filter, opts...)
	if err != nil {
		return nil, err
	}
	var docs []T
	err = cursor.All(ctx, &docs)
	return docs, err
}

// first returns the first document that the filter matches, nil if there is none.
func first[T any](ctx context.Context, c collection, filter bson.D, opts ...options.Lister[options.FindOneOptions]) (*T, error) {
	if err := c.step(ctx, "find"); err != nil {
		return nil, err
	}
	doc := new(T)
	err := c.FindOne(ctx, filter, opts...).Decode(doc)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	return doc, err
}

// insert returns errTaken where one of its unique values exists.
func (c collection) insert(ctx context.Context, doc any) error {
	if err := c.step(ctx, "insert"); err != nil {
		return err
	}
	_, err := c.InsertOne(ctx, doc)
	return taken(err)
}

func taken(err error) error {
	if mongo.IsDuplicateKeyError(err) {
		return errTaken
	}
	return err
}

const duplicateKey = 11000 // the server's code

// chunk is how many documents go into one command.
const chunk = 1000

// ensure inserts those that do not exist yet.
func (c collection) ensure(ctx context.Context, docs []any) error {
	for some := range slices.Chunk(docs, chunk) {
		if err := c.step(ctx, "insert"); err != nil {
			return err
		}
		_, err := c.InsertMany(ctx, some, options.InsertMany().SetOrdered(false))
		if err != nil && !onlyTaken(err) {
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
	return !slices.ContainsFunc(bulk.WriteErrors, func(one mongo.BulkWriteError) bool {
		return one.Code != duplicateKey
	})
}

// update changes one document, and reports whether there was one to change.
func (c collection) update(ctx context.Context, filter, change bson.D) (bool, error) {
	if err := c.step(ctx, "update"); err != nil {
		return false, err
	}
	result, err := c.UpdateOne(ctx, filter, change)
	if err != nil {
		return false, taken(err)
	}
	return result.MatchedCount > 0, nil
}

// put writes a document whether it exists or not.
func (c collection) put(ctx context.Context, id string, doc any) error {
	if err := c.step(ctx, "replace"); err != nil {
		return err
	}
	replace := func() error {
		_, err := c.ReplaceOne(ctx, bson.D{{Key: "_id", Value: id}}, doc, options.Replace().SetUpsert(true))
		return err
	}
	err := replace()
	if mongo.IsDuplicateKeyError(err) { // another was inserted meanwhile
		err = replace()
	}
	return err
}

// updates changes one document by each of the models, and returns how many
// there were to change.
func (c collection) updates(ctx context.Context, models []mongo.WriteModel) (int, error) {
	matched := 0
	for some := range slices.Chunk(models, chunk) {
		if err := c.step(ctx, "update"); err != nil {
			return matched, err
		}
		result, err := c.BulkWrite(ctx, some, options.BulkWrite().SetOrdered(false))
		if err != nil {
			return matched, err
		}
		matched += int(result.MatchedCount)
	}
	return matched, nil
}

// remove deletes what the filter matches, and returns how many went.
func (c collection) remove(ctx context.Context, filter bson.D) (int, error) {
	if err := c.step(ctx, "delete"); err != nil {
		return 0, err
	}
	result, err := c.DeleteMany(ctx, filter)
	if err != nil {
		return 0, err
	}
	return int(result.DeletedCount), nil
}

// exchange changes one document and returns it as it was before, or as it is
// after; nil if there is none.
func exchange[T any](ctx context.Context, c collection, filter, change bson.D, which options.ReturnDocument) (*T, error) {
	if err := c.step(ctx, "findAndModify"); err != nil {
		return nil, err
	}
	doc := new(T)
	err := c.FindOneAndUpdate(ctx, filter, change, options.FindOneAndUpdate().SetReturnDocument(which)).Decode(doc)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	return doc, err
}

// byID matches the document of that id.
func byID(id string) bson.D { return bson.D{{Key: "_id", Value: id}} }

// among matches the documents of those ids.
func among(ids []string) bson.D {
	if len(ids) == 1 {
		return byID(ids[0])
	}
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}
}

// is and its like write the parts of filters and updates.
func is(field string, value any) bson.E { return bson.E{Key: field, Value: value} }

func set(fields ...bson.E) bson.D { return bson.D{{Key: "$set", Value: bson.D(fields)}} }

func less(field string, than any) bson.E {
	return bson.E{Key: field, Value: bson.D{{Key: "$lt", Value: than}}}
}
