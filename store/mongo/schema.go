package mongo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/internal/existing"
)

// schemaVersion is the version that this build creates and uses. oldestVersion is the
// oldest version whose processes may use a database of that version.
const (
	schemaVersion = 1
	oldestVersion = 1
)

// metaDoc is the only document of the collection meta.
type metaDoc struct {
	ID     string `bson:"_id"`
	Schema int64  `bson:"schema_version"`
	Oldest int64  `bson:"oldest_version"`
	Feed   string `bson:"feed_id"`
	// Seq is the number of the newest change, and Pruned is the highest number of a
	// change that was pruned.
	Seq    int64 `bson:"seq"`
	Pruned int64 `bson:"pruned"`
}

const metaID = "keyfold"

func (s *Store) named() collections {
	return collections{
		keys:      s.collection("keyfold_keys"),
		users:     s.collection("keyfold_users"),
		oneTimes:  s.collection("keyfold_tokens"),
		throttles: s.collection("keyfold_throttles"),
		changes:   s.collection("keyfold_changes"),
		audit:     s.collection("keyfold_audit"),
		batches:   s.collection("keyfold_batches"),
		parts:     s.collection("keyfold_batch_parts"),
		events:    s.collection("keyfold_usage_events"),
		hours:     s.collection("keyfold_usage_hours"),
		settings:  s.collection("keyfold_settings"),
		meta:      s.collection("keyfold_meta"),
	}
}

// index is an index of a collection. A field with the prefix "-" sorts in descending
// order.
type index struct {
	on     collection
	fields []string
	unique bool
}

func (s *Store) indexes() []index {
	newest := []string{"-created_at", "-_id"}
	return []index{
		{on: s.keys, fields: newest},
		{on: s.keys, fields: append([]string{"owner_id"}, newest...)},
		{on: s.keys, fields: append([]string{"tenant"}, newest...)},
		{on: s.keys, fields: append([]string{"user_id"}, newest...)},
		{on: s.keys, fields: []string{"expires_at", "_id"}},
		{on: s.users, fields: newest},
		{on: s.users, fields: []string{"username_key"}, unique: true},
		{on: s.users, fields: []string{"email_key"}, unique: true},
		{on: s.oneTimes, fields: []string{"user_id"}},
		{on: s.oneTimes, fields: []string{"expires_at"}},
		{on: s.throttles, fields: []string{"expires_at"}},
		{on: s.changes, fields: []string{"state", "_id"}},
		{on: s.audit, fields: []string{"target", "-_id"}},
		{on: s.batches, fields: []string{"claim"}, unique: true},
		{on: s.batches, fields: []string{"slot", "-ticket"}},
		{on: s.batches, fields: []string{"open", "written_at"}},
		{on: s.batches, fields: []string{"at"}},
		{on: s.parts, fields: []string{"written_at"}},
		{on: s.events, fields: []string{"-at", "-_id"}},
		{on: s.events, fields: []string{"key_id", "-at", "-_id"}},
		{on: s.hours, fields: []string{"key_id", "at"}},
		{on: s.hours, fields: []string{"at"}},
	}
}

// migrate creates the indexes and the metadata that are missing. It writes nothing if
// the version is current, so that a role without the right to create indexes can open
// the database. It writes the version last, so that a process that finds it can rely on
// the unique indexes. Several processes may create the same indexes at the same time.
func (s *Store) migrate(ctx context.Context) error {
	meta, err := first[metaDoc](ctx, s.meta, byID(metaID))
	switch {
	case err != nil:
		return fmt.Errorf("read the schema version: %w", err)
	case meta != nil && meta.Schema >= schemaVersion:
		s.feedID, s.from, s.to = meta.Feed, meta.Schema, meta.Schema
		return meta.admits()
	case meta == nil:
		if err := existing.Check(ctx, 0); err != nil {
			return err
		}
	}
	if meta != nil { // an upgrade, before which processes that are too old must stop
		s.from = meta.Schema
		if err := meta.startUpgrade(ctx, s.meta); err != nil {
			return err
		}
	}
	for _, index := range s.indexes() {
		if err := index.create(ctx); err != nil {
			return fmt.Errorf("create an index of %s: %w", index.on.Name(), err)
		}
	}
	fresh := metaDoc{ID: metaID, Schema: schemaVersion, Oldest: oldestVersion, Feed: rand.Text()}
	if err := s.meta.insert(ctx, fresh); err != nil && !errors.Is(err, errTaken) {
		return fmt.Errorf("write the schema version: %w", err)
	}
	raised := bson.D{is("$max", bson.D{is("schema_version", int64(schemaVersion))})}
	if _, err := s.meta.update(ctx, byID(metaID), raised); err != nil {
		return fmt.Errorf("write the schema version: %w", err)
	}
	if meta, err = s.readMeta(ctx); err != nil {
		return err
	}
	s.feedID, s.to = meta.Feed, meta.Schema
	return nil
}

// startUpgrade locks out processes that are too old for the new schema.
func (m *metaDoc) startUpgrade(ctx context.Context, meta collection) error {
	if m.Oldest > schemaVersion {
		return m.admits()
	}
	oldest := bson.D{is("$max", bson.D{is("oldest_version", int64(oldestVersion))})}
	if _, err := meta.update(ctx, byID(metaID), oldest); err != nil {
		return fmt.Errorf("write the oldest version: %w", err)
	}
	return nil
}

// admits returns an error if this build must not use the schema.
func (m *metaDoc) admits() error {
	switch {
	case m.Oldest > schemaVersion:
		return fmt.Errorf("schema version %d is newer than this build (%d) and needs version %d or later", m.Schema, schemaVersion, m.Oldest)
	case m.Schema < schemaVersion:
		return fmt.Errorf("schema version %d is older than this build needs (%d)", m.Schema, schemaVersion)
	}
	return nil
}

// Check implements keyfold.Store.
func (s *Store) Check(ctx context.Context) error {
	meta, err := first[metaDoc](ctx, s.meta, byID(metaID))
	var reason error
	switch {
	case err != nil:
		return wrap("check", err)
	case meta == nil:
		reason = errNoMeta
	case meta.Feed != s.feedID:
		reason = errReplaced
	default:
		reason = meta.admits()
	}
	if reason != nil {
		return wrap("check", fmt.Errorf("%w: %w", keyfold.ErrCheckFailed, reason))
	}
	return nil
}

func (i index) create(ctx context.Context) error {
	keys := bson.D{}
	for _, field := range i.fields {
		if field[0] == '-' {
			keys = append(keys, is(field[1:], -1))
		} else {
			keys = append(keys, is(field, 1))
		}
	}
	model := mongo.IndexModel{Keys: keys}
	if i.unique {
		model.Options = options.Index().SetUnique(true)
	}
	return i.on.do(ctx, "createIndexes", func(ctx context.Context) error {
		_, err := i.on.Indexes().CreateOne(ctx, model)
		return err
	})
}

var (
	errNoMeta   = errors.New("the collection keyfold_meta must have a document, but it is empty")
	errReplaced = errors.New("the database is not the one that was opened; restart the process")
)

// readMeta returns the metadata of a schema that this build may use.
func (s *Store) readMeta(ctx context.Context) (*metaDoc, error) {
	meta, err := first[metaDoc](ctx, s.meta, byID(metaID))
	if err != nil {
		return nil, err
	}
	if meta == nil {
		return nil, errNoMeta
	}
	return meta, meta.admits()
}
