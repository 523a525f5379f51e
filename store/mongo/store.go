// Package mongo is a [keyfold.Store] in MongoDB. It uses mongo-driver v2. It is a
// preview: it is tested on FerretDB 1.24 over the wire protocol, and not on mongod.
//
// A standalone server is enough. The package uses no transactions, change streams, TTL
// indexes or aggregation. A mutation first writes a change document, which is also its
// entry in the feed. Then one conditional update of one document stores the ID of the
// change; this update decides. The audit entries and all further steps follow. If a
// process stops in between, the next process that changes the same document or polls
// the feed finishes the change.
//
// Several calls cannot be one transaction: [Store.InTx] returns an error that is
// errors.ErrUnsupported, and there is no Tx for Service.With.
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
	waitTimeout     = 30 * time.Second // of the wait for earlier mutations in this process
	usageTimeout    = 30 * time.Second // of a batch of usage, and of pruning
)

// Store is a [keyfold.Store] in a MongoDB database. It is safe for concurrent
// use.
type Store struct {
	collections
	db     *mongo.Database
	own    *mongo.Client // the client that Close disconnects; nil if it belongs to the program
	closed atomic.Bool

	locks          stripes       // of documents, so that mutations of this process do not conflict
	flush          chan struct{} // holds a token while a batch of usage is applied
	limit          time.Duration // of one command
	maxPart        int           // maximum bytes of a batch in one document
	slot           atomic.Int64  // of the batches of this process
	sweeps         atomic.Int64  // time of the last sweep in Unix milliseconds
	feedID         string
	from, to       int64         // versions of the schema
	abandonedAfter time.Duration // age of the open changes that a sweep finishes

	intercept func(command string, run func() error) error // set by tests
}

var (
	_ keyfold.Store        = (*Store)(nil)
	_ keyfold.PollingStore = (*Store)(nil)
)

// collections are the collections of Keyfold.
type collections struct {
	keys, users, oneTimes, throttles collection
	changes, audit                   collection
	batches, parts, events, hours    collection
	settings, meta                   collection
}

// Open connects to the server that uri names,
// mongodb://user:password@host:27017/database or mongodb+srv://…, and creates missing
// collections and indexes. The default database is "keyfold". Writes wait for a majority
// and reads go to the primary; the URI cannot change that.
//
// Open takes at most ten seconds unless ctx has a deadline of its own. Errors
// never contain the URI or the password. The caller must call Close.
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
	"it must look like mongodb://user:password@host:27017/database")

// databaseOf returns the name of the database in a URI.
func databaseOf(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	rest, _, _ = strings.Cut(rest, "?")
	if _, database, _ := strings.Cut(rest, "/"); database != "" {
		return database
	}
	return defaultDatabase
}

// New returns a Store in an open database, and creates missing collections and indexes.
// The client still belongs to the caller; Close does not disconnect it.
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
	s := &Store{db: db, own: own, flush: make(chan struct{}, 1), limit: commandTimeout, maxPart: maxPart, abandonedAfter: defaultAbandonedAfter}
	s.collections = s.named()
	s.locks.init()
	s.slot.Store(anySlot())
	if err := s.pingServer(ctx); err != nil {
		return nil, fmt.Errorf("%s: the server does not answer: %w", name, err)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// pingServer has the time limit of a command, because the caller may set a much later
// deadline.
func (s *Store) pingServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	return s.db.Client().Ping(ctx, readpref.Primary())
}

// Migration returns the versions of the schema before and after the Store was opened.
// The version of a new database is 0.
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
	_, err := s.readMeta(ctx)
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

// wrap turns an error into an error of the Store contract. It returns the sentinel
// errors of the contract unchanged.
func wrap(operation string, err error) error {
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
	return fmt.Errorf("%s: %s: %w", name, operation, err)
}

// Error codes of the server.
const (
	codeNotWritablePrimary = 10107
	codeOutOfDiskSpace     = 14031
)
