// Package mongo keeps Keyfold's state in MongoDB, by mongo-driver v2. It is a
// preview: it is tested over the wire protocol, on FerretDB 1.24, and not on a
// mongod.
//
// It needs nothing that a standalone server lacks: no transactions, change
// streams, TTL indexes or aggregation. A mutation is a row of what is to happen
// (its change, which is also its row in the feed), then one guarded update of
// one document that names the change, and then what follows from it: the audit
// row first. A process that finds a change that was applied and not finished finishes
// it, so one that was stopped in the middle is repaired by the next that
// touches the same document, or by a process that polls the feed.
//
// What cannot be had in this way is a transaction of several calls:
// [Store.InTx] returns an error that is errors.ErrUnsupported, and there is no
// Tx for Service.With.
package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keyfold/keyfold"
)

const (
	name            = "keyfold/mongo"
	defaultDatabase = "keyfold"
	openTimeout     = 10 * time.Second
	selectTimeout   = 5 * time.Second  // until a server is found
	commandTimeout  = 10 * time.Second // of one command
	writeTimeout    = 10 * time.Second // of a mutation
	waitTimeout     = 30 * time.Second // of its wait for those of this process that came before
	usageTimeout    = 30 * time.Second // of a batch of usage, and of pruning
)

// Store is a [keyfold.Store] in a MongoDB database. It is safe for concurrent
// use.
type Store struct {
	collections
	db     *mongo.Database
	own    *mongo.Client // what Close disconnects; nil for the program's own
	closed atomic.Bool

	locks   stripes                                      // of documents, so that this process does not race with itself
	flush   chan struct{}                                // holds a token while a batch of usage is applied
	limit   time.Duration                                // of one command
	maxPart int                                          // bytes of a batch that go into one document
	slot    atomic.Int64                                 // where batches of this process go
	sweeps  atomic.Int64                                 // when the last sweep began, unix milliseconds
	around  func(command string, run func() error) error // for tests; nil
	feedID  string
	from    int64         // version of the schema that was found
	to      int64         // and the one that it has since
	patient time.Duration // how old a change is that a sweep takes for abandoned
}

var _ keyfold.Store = (*Store)(nil)

// collections are those of Keyfold, in the order of what they are about.
type collections struct {
	keys, users, oneTimes, throttles collection
	changes, audit                   collection
	batches, parts, events, hours    collection
	settings, meta                   collection
}

// Open connects to the server that uri names,
// mongodb://user:password@host:27017/database or mongodb+srv://…, and makes the
// collections and indexes that are missing. The database is "keyfold" if the URI
// names none. Writes wait for a majority and reads go to the primary, whatever
// the URI says.
//
// Open takes at most ten seconds unless ctx has a deadline of its own. Errors
// never hold the URI or the password. The caller must call Close.
func Open(ctx context.Context, uri string) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	config := options.Client().ApplyURI(uri)
	if config.Validate() != nil {
		return nil, errMalformed // the driver's error may quote a part of its input
	}
	if config.ServerSelectionTimeout == nil {
		config.SetServerSelectionTimeout(selectTimeout)
	}
	client, err := mongo.Connect(config)
	if err != nil {
		return nil, errMalformed
	}
	store, err := start(ctx, client.Database(databaseOf(uri)), client)
	if err != nil {
		_ = client.Disconnect(context.WithoutCancel(ctx))
		return nil, err
	}
	return store, nil
}

var errMalformed = errors.New(name + ": the connection string is malformed; " +
	"want mongodb://user:password@host:27017/database")

// databaseOf returns what stands between the hosts and the parameters.
func databaseOf(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	rest, _, _ = strings.Cut(rest, "?")
	if _, database, _ := strings.Cut(rest, "/"); database != "" {
		return database
	}
	return defaultDatabase
}

// New returns a Store in a database that the program has open, and makes the
// collections and indexes that are missing. The client stays the caller's:
// Close leaves it connected.
func New(ctx context.Context, db *mongo.Database) (*Store, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	return start(ctx, db, nil)
}

func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, set := ctx.Deadline(); set {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, openTimeout)
}

func start(ctx context.Context, db *mongo.Database, own *mongo.Client) (*Store, error) {
	db = db.Client().Database(db.Name(), options.Database().
		SetWriteConcern(writeconcern.Majority()).SetReadPreference(readpref.Primary()))
	s := &Store{db: db, own: own, flush: make(chan struct{}, 1), limit: commandTimeout, maxPart: maxPart, patient: abandonedAfter}
	s.collections = s.named()
	s.locks.init()
	s.slot.Store(anySlot())
	if err := s.answers(ctx); err != nil {
		return nil, fmt.Errorf("%s: the server does not answer: %w", name, err)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// answers waits for the server as long as for any command: ctx may be the
// caller's, and end in an hour.
func (s *Store) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	return s.db.Client().Ping(ctx, readpref.Primary())
}

// Migration returns the version of the schema that was found when the Store was
// opened, 0 for none, and the one that it has since.
func (s *Store) Migration() (from, to int64) { return s.from, s.to }

// Database returns the database, for the program's own use.
func (s *Store) Database() *mongo.Database { return s.db }

// ErrNoTransactions is what [Store.InTx] returns. It is errors.ErrUnsupported.
var ErrNoTransactions = fmt.Errorf("%s: several calls cannot be one transaction here: %w", name, errors.ErrUnsupported)

// InTx returns [ErrNoTransactions] and does not call fn.
func (s *Store) InTx(ctx context.Context, _ func(keyfold.Store) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return ErrNoTransactions
}

// Ping implements keyfold.Store.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.feed(ctx)
	return wrap("ping", err)
}

// Close implements keyfold.Store.
func (s *Store) Close() error {
	if s.closed.Swap(true) || s.own == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return s.own.Disconnect(ctx)
}

var errClosed = errors.New("the store is closed")

// wrap turns an error into one of the contract. The sentinels pass as they are.
func wrap(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case err == keyfold.ErrNotFound, err == keyfold.ErrConflict, err == keyfold.ErrStale:
		return err
	}
	if server, ok := errors.AsType[mongo.ServerError](err); ok {
		switch {
		case server.HasErrorCode(codeOutOfDiskSpace):
			err = fmt.Errorf("%w: %w", keyfold.ErrNoSpace, err)
		case server.HasErrorCode(codeNotWritablePrimary):
			err = fmt.Errorf("%w: %w", keyfold.ErrReadOnly, err)
		}
	}
	return fmt.Errorf("%s: %s: %w", name, what, err)
}

// Codes of the server.
const (
	codeNotWritablePrimary = 10107
	codeOutOfDiskSpace     = 14031
)
