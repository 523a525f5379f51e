// Package sqlstore implements keyfold.Store with the queries that sqlc generates. It
// imports no driver. An [Engine] supplies everything in which the databases differ.
package sqlstore

import (
	"context"
	"io/fs"
	"log/slog"
	"time"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/query/model"
	"github.com/keyfold/keyfold/query/mysqldb"
)

// Querier is the set of queries that all engines have. MySQL has exactly these; the
// other engines have more.
type Querier = mysqldb.Querier

// Class is the meaning of a database error.
type Class uint8

// The classes of errors.
const (
	Other    Class = iota // any other failure
	Conflict              // a unique value already exists
	Lost                  // the database ended the transaction; a retry may succeed
	NoSpace               // the disk or the quota of the database is full
	ReadOnly              // the database refuses every change
	Full                  // the server refuses more connections; an open one will become free
)

// Engine contains everything in which the databases differ.
type Engine struct {
	// Name is the prefix of every error, such as "keyfold/sqlite".
	Name string
	// Migrations are the migrations of this build, for [Migrate].
	Migrations fs.FS
	// Pool runs statements outside of transactions. Its Bulk, Exec, Commit and
	// Rollback are nil.
	Pool Session
	// Read, if not nil, runs fn with a session for reads outside of transactions. It
	// replaces Pool.
	Read func(ctx context.Context, fn func(*Session) error) error
	// Begin begins a transaction that the store owns.
	Begin func(ctx context.Context) (Session, error)
	// Check, if not nil, is the part of Store.Check that precedes the schema check. It
	// must return a keyfold.ErrCheckFailed if connections are unsafe or lead to a
	// database other than the one that was opened.
	Check func(ctx context.Context) error
	// State, if not nil, returns a text that changes with every commit to the database,
	// or "" if it cannot detect commits. The schema is read again only after a change.
	State func(ctx context.Context) string
	// Reserve is a small pool for the feed and for changes. It is nil if there is only
	// one pool, as when the program supplies its own.
	Reserve *Reserve
	// Lookups reads the keys of verifies. It is nil if they use the ordinary pool.
	Lookups *Lookups
	// OneWriter is true if only one transaction at a time can write to the database.
	// Changes then precede usage and attempts.
	OneWriter bool
	// Attempts is the maximum number of connections that throttle calls hold at the
	// same time. Anonymous clients cause these calls. Zero means no maximum.
	Attempts int
	// Class returns the class of a driver error.
	Class func(err error) Class
	// Hint, if not nil, returns advice for the administrator about a driver error, or
	// "" if there is none.
	Hint func(err error) string
	// Warn, if not nil, writes a message to the log.
	Warn func(message string, attributes ...slog.Attr)
	// Close, if not nil, releases the resources that the store opened.
	Close func() error

	// These are nil for a bound store.
	traffic    *traffic
	words      *wordMemory
	unreadable *unreadable
	merges     *merges
}

// Session runs statements on a pool or in one transaction.
type Session struct {
	Querier Querier
	Bulk    Bulk
	Feed    Feed
	// Exec runs a statement without arguments or rows, for savepoints.
	Exec func(ctx context.Context, statement string) error
	// Commit and Rollback are nil if the transaction belongs to the caller.
	Commit   func(ctx context.Context) error
	Rollback func(ctx context.Context) error
}

// Bulk writes a batch of usage inside a transaction. Every slice it is given
// is sorted by the primary key of its table and names no key twice.
type Bulk interface {
	// Lock returns which of the keys exist, and keeps them from being deleted or
	// counted by others until the transaction ends.
	Lock(ctx context.Context, keyIDs []string) ([]string, error)
	AddUses(ctx context.Context, rows []model.KeyTotal) error
	AddHours(ctx context.Context, rows []model.UsageHour) error
	AddWords(ctx context.Context, rows []model.Word) error
	// MaxBody is the approximate limit of the body of a block, in bytes.
	MaxBody() int
	AddBlock(ctx context.Context, row model.UsageBlock) error
}

// Feed reads the change feed.
type Feed interface {
	// Now returns a cursor for the current end of the feed.
	Now(ctx context.Context) (Cursor, error)
	// Poll returns the changes since the cursor, at most MaxChanges, and the cursor for
	// the next poll. known is false if changes since the cursor may be missing.
	Poll(ctx context.Context, since Cursor) (changes []keyfold.Change, next Cursor, known bool, err error)
}

// MaxChanges is the maximum number of changes that one poll returns. If there are
// more, the poll reports that any key may have changed.
const MaxChanges = 10_000

const (
	maxTries      = 20 // if several Galera nodes write one row, about half of the transactions fail
	maxPause      = 100 * time.Millisecond
	writeDeadline = 5 * time.Second  // of a transaction that the store owns; the feed of MySQL relies on it
	usageDeadline = 30 * time.Second // of a transaction that writes no change, or writes it last
)
